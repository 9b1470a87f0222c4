//! JSON bodies: bounded while they are read, and every error names the field.

use futures_util::StreamExt as _;
use poem::http::{HeaderMap, header};
use poem::{Body, Request, Result};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::budget::Share;
use super::object::Object;
use crate::http::problem::{Kind, Problem};
use crate::http::{BodyLimits, services_of};

/// Most bodies are smaller.
const AT_FIRST: usize = 8 * 1024;

/// An object that a request's body holds.
pub(crate) trait RequestBody: Type + DeserializeOwned {
    /// Whether there must be a body; without one the default is taken.
    const REQUIRED: bool = true;

    /// Picks the limit that holds for it, in bytes.
    fn limit(limits: &BodyLimits) -> usize {
        limits.other
    }
}

/// The JSON body of a request.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<'a, T: RequestBody> ApiExtractor<'a> for JsonBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType {
                content_type: "application/json",
                schema: T::schema_ref(),
            }],
            required: T::REQUIRED,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut poem::RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let services = services_of(request)?;
        let limit = T::limit(&services.config.body_limits);
        // Given back when the text has been read: what it says takes less.
        let mut share = services.config.bodies.share(&services.observer);
        let bytes = read(request.headers(), body.take()?, limit, &mut share).await?;
        if bytes.is_empty() && !T::REQUIRED {
            return Ok(Self(parse(b"{}")?));
        }
        check_content_type(request.headers())?;
        Ok(Self(parse(&bytes)?))
    }
}

/// Reads a body, and stops as soon as it is known to be too large.
async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    share: &mut Share<'_>,
) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        Problem::new(
            Kind::BodyTooLarge,
            format!("the body is larger than {limit} bytes"),
        )
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    // What is only announced takes nothing yet.
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(AT_FIRST));
    let mut chunks = Box::pin(body.into_bytes_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::new(Kind::InvalidRequest, "the body broke off"))?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large());
        }
        share.take(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// JSON is UTF-8 (RFC 8259, section 8.1), and nothing here unpacks what somebody else has packed.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |detail: String| Err(Problem::new(Kind::UnsupportedMediaType, detail));
    let text = |name| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("?").trim())
    };
    if let Some(coding) =
        text(header::CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        return unsupported(format!("the body must not be compressed, got {coding}"));
    }
    let Some(given) = text(header::CONTENT_TYPE) else {
        return unsupported("the content type must be application/json, got none".to_owned());
    };
    let mut parts = given.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let other_charset = parts
        .filter_map(|part| part.split_once('='))
        .find(|(name, value)| {
            name.trim().eq_ignore_ascii_case("charset")
                && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        });
    match other_charset {
        None if is_json => Ok(()),
        _ => unsupported(format!(
            "the content type must be application/json in UTF-8, got {given}"
        )),
    }
}

/// Parses a JSON text; the problem names the path of the field.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let Object(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        problem_of(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| problem_of(".", &error))?;
    Ok(value)
}

fn problem_of(path: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    match error.classify() {
        Category::Data => {
            // What is wrong with a field does not depend on where it stands in the text.
            let detail = text.rfind(" at line ").map_or(text.as_str(), |at| &text[..at]);
            let path = if path == "." { "" } else { path };
            match (named("missing field", detail), named("duplicate field", detail)) {
                (Some(name), _) => Problem::field(&join(path, name), "is required"),
                (_, Some(name)) => Problem::field(&join(path, name), "is given twice"),
                _ if path.is_empty() => {
                    Problem::new(Kind::InvalidRequest, format!("the body is of an {detail}"))
                }
                _ => Problem::field(path, detail),
            }
        }
        Category::Syntax | Category::Eof | Category::Io => {
            Problem::new(Kind::InvalidRequest, format!("the body is not JSON: {text}"))
        }
    }
}

/// Takes the name out of what serde says of a field as a whole, which it says of the object around it.
fn named<'a>(complaint: &str, detail: &'a str) -> Option<&'a str> {
    detail
        .strip_prefix(complaint)?
        .strip_prefix(" `")?
        .strip_suffix('`')
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use application::ports::Observer;
    use application::testing::Unobserved;
    use poem::http::StatusCode;
    use serde::Deserialize;

    use super::super::budget::BodyBudget;
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it parses matters")]
    struct Outer {
        name: String,
        #[serde(default)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it parses matters")]
    struct Inner {
        count: u8,
    }

    fn complaint(text: &[u8]) -> String {
        parse::<Outer>(text).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_the_path_of_the_field() {
        let cases: [(&str, &str); 7] = [
            (
                r#"{"name":5}"#,
                "invalid-request: name: invalid type: integer `5`, expected a string",
            ),
            (
                r#"{"name":"a","inner":[{"count":1},{"count":256}]}"#,
                "invalid-request: inner[1].count: invalid value: integer `256`, expected u8",
            ),
            (
                r#"{"name":"a","nmae":1}"#,
                "invalid-request: nmae: unknown field `nmae`, expected `name` or `inner`",
            ),
            (
                r#"{"name":"a","name":"b"}"#,
                "invalid-request: name: is given twice",
            ),
            (
                r#"{"name":"a","inner":[{}]}"#,
                "invalid-request: inner[0].count: is required",
            ),
            (
                r#"["a",[]]"#,
                "invalid-request: the body is of an invalid type: sequence, expected an object",
            ),
            (
                "null",
                "invalid-request: the body is of an invalid type: null, expected an object",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(complaint(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_json_says_where() {
        let cases: [&[u8]; 9] = [
            b"",
            b"{",
            b"{\"name\":\"a\"} x",
            b"{\"name\":\"\\ud800\"}",
            b"{\"name\":\"\xff\"}",
            b"{\"name\":\"a\nb\"}",
            b"{'name':1}",
            b"\xef\xbb\xbf{\"name\":\"a\"}",
            b"{\"name\":\"a\",}",
        ];
        for text in cases {
            let got = complaint(text);
            assert!(
                got.contains("the body is not JSON") && got.contains(" at line "),
                "{got}"
            );
        }
    }

    fn content_type(value: &str) -> StatusCode {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
        check_content_type(&headers).map_or_else(|problem| problem.status_code(), |()| StatusCode::OK)
    }

    #[test]
    fn only_json_in_utf_8_is_taken() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json; profile=x",
        ] {
            assert_eq!(content_type(good), StatusCode::OK, "{good}");
        }
        for bad in [
            "text/plain",
            "application/jsonx",
            "application/x-www-form-urlencoded",
            "application/json; charset=utf-16",
            "text/plain; application/json",
            "",
        ] {
            assert_eq!(content_type(bad), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{bad}");
        }
    }

    async fn read_alone(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
        let observer: Arc<dyn Observer> = Arc::new(Unobserved);
        let budget = BodyBudget::default();
        read(headers, body, 10_000, &mut budget.share(&observer)).await
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_cut_off_at_its_limit() {
        let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1_000]));
        let problem = read_alone(&HeaderMap::new(), Body::from_bytes_stream(endless))
            .await
            .unwrap_err();
        assert_eq!(problem.kind(), Kind::BodyTooLarge);
    }

    #[tokio::test]
    async fn an_announced_size_is_refused_before_anything_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 10_001.into());
        let unread =
            futures_util::stream::poll_fn(|_| -> std::task::Poll<Option<std::io::Result<Vec<u8>>>> {
                unreachable!("nothing is read")
            });
        let problem = read_alone(&headers, Body::from_bytes_stream(unread))
            .await
            .unwrap_err();
        assert_eq!(problem.kind(), Kind::BodyTooLarge);
        let exact = read_alone(&HeaderMap::new(), Body::from_vec(vec![0; 10_000]))
            .await
            .unwrap();
        assert_eq!(exact.len(), 10_000);
    }
}
