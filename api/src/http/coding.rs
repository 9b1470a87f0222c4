//! How an answer is coded: as it is, or in gzip where the client would rather have that and the node can do it.

use application::ports::Observation;
use poem::http::{HeaderMap, HeaderName, HeaderValue, header};
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaHeader, MetaResponses, Registry};
use poem_openapi::types::Type;

use super::Services;
use super::answer::{Answer, header_of};
use crate::wire::gzip_page;

/// A page below this size fits into one packet either way.
const PAGE_MIN_BYTES: usize = 1_024;

/// A weight of one, in thousandths: the grain that weights have.
const WHOLE: u16 = 1_000;

/// How an answer is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As it is.
    Identity,
    /// In gzip.
    Gzip,
}

impl Coding {
    /// Says how an answer to this request is coded, unless there is a reason not to. Whoever refuses everything gets it as
    /// it is: any status but 200 would end a native `EventSource` for ever.
    pub(crate) fn of(services: &Services, request: &HeaderMap) -> Self {
        let can = services.config.compression && services.degrade.load.level().compresses();
        if can && prefers_gzip(request) {
            Self::Gzip
        } else {
            Self::Identity
        }
    }

    /// Returns the headers that say so. The answer depends on what was asked for, also where it is not compressed.
    pub(crate) fn headers(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let vary = (header::VARY, HeaderValue::from_static("Accept-Encoding"));
        let gzip = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        [vary].into_iter().chain((self == Self::Gzip).then_some(gzip))
    }

    /// Describes the header.
    pub(crate) fn described() -> MetaHeader {
        header_of(
            &header::CONTENT_ENCODING,
            "`gzip` where `Accept-Encoding` asks for it and the node is not pressed.",
            false,
        )
    }
}

/// Tells whether a request would rather have gzip than the plain bytes (RFC 9110, 12.5.3). Where both have the same weight
/// it would. What is no weight counts as not said.
fn prefers_gzip(request: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut rest) = (None, None, None);
    let values = request.get_all(header::ACCEPT_ENCODING).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    for item in texts.flat_map(|text| text.split(',')) {
        let (coding, weight) = item.split_once(';').unwrap_or((item, "q=1"));
        let Some(weight) = read_weight(weight) else {
            continue;
        };
        let of = match coding.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => &mut gzip,
            "identity" => &mut identity,
            "*" => &mut rest,
            _ => continue,
        };
        *of = Some(weight);
    }
    let gzip = gzip.or(rest).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// Reads `q=` and 0 to 1 with up to three decimals, in thousandths.
fn read_weight(text: &str) -> Option<u16> {
    let text = text.trim();
    let number = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q="))?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(WHOLE),
        _ => None,
    }
}

/// A page of notifications: a JSON answer that may be compressed. No answer that holds a token or a ticket is one.
pub(crate) struct Page<T>(Answer<T>);

impl<T: Type> Page<T> {
    /// Compresses an answer where that was asked for and pays.
    pub(crate) fn of(mut answer: Answer<T>, services: &Services, request: &HeaderMap) -> Self {
        let plain = answer.body().len();
        let gzip = match Coding::of(services, request) {
            Coding::Gzip if plain >= PAGE_MIN_BYTES => gzip_page(answer.body(), services.entropy.bits()),
            _ => None,
        };
        let coding = if let Some(gzip) = gzip {
            let sent = gzip.len();
            let what = "page";
            services
                .observer
                .saw(&Observation::Compressed { what, plain, sent });
            answer = answer.recoded(gzip);
            Coding::Gzip
        } else {
            Coding::Identity
        };
        Self(
            coding
                .headers()
                .fold(answer, |answer, (name, value)| answer.with(name, value)),
        )
    }
}

impl<T: Type> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl<T: Type> ApiResponse for Page<T> {
    fn meta() -> MetaResponses {
        let mut meta = Answer::<T>::meta();
        for response in &mut meta.responses {
            response.headers.push(Coding::described());
        }
        meta
    }

    fn register(registry: &mut Registry) {
        Answer::<T>::register(registry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefers(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
        }
        prefers_gzip(&headers)
    }

    #[test]
    fn gzip_is_given_where_it_is_asked_for_and_nothing_is_liked_better() {
        for values in [
            &["gzip"][..],
            &["gzip, deflate, br, zstd"],
            &["br;q=1.0, GZIP;q=0.8, *;q=0.1"],
            &["x-gzip"],
            &["*"],
            &["deflate, *;q=0.5"],
            &["br", "gzip"],
            &["gzip ; q=0.001"],
            &["identity;q=0, gzip;Q=1.000"],
            &["gzip;q=0.5, identity;q=0.5"],
            &["*;q=0, gzip"],
        ] {
            assert!(prefers(values), "{values:?}");
        }
    }

    #[test]
    fn it_is_not_given_where_it_is_refused_or_not_named() {
        for values in [
            &[][..],
            &[""],
            &["identity"],
            &["br, deflate"],
            &["gzip;q=0"],
            &["gzip;q=0.000, *"],
            &["*;q=0"],
            &["identity;q=0"],
            &["identity, gzip;q=0.9"],
            &["identity;q=0.6, *;q=0.5"],
            &["gzipped", "xgzip"],
        ] {
            assert!(!prefers(values), "{values:?}");
        }
    }

    #[test]
    fn what_is_no_weight_counts_as_not_said() {
        for value in [
            "gzip;q=2",
            "gzip;q=1.001",
            "gzip;q=0.1234",
            "gzip;q=-1",
            "gzip;q=+1",
            "gzip;q=0.+1",
            "gzip;q=",
            "gzip;level=9",
            "gzip;q=NaN",
            "gzip;;q=1",
        ] {
            assert!(!prefers(&[value]), "{value}");
        }
    }
}
