//! The document, the page that shows it, and a page for each kind of problem.

use std::collections::HashMap;
use std::fmt::Write as _;

use bytes::Bytes;
use poem::endpoint::{BoxEndpoint, make_sync};
use poem::http::{HeaderValue, Method, header};
use poem::{EndpointExt as _, IntoResponse, Response};
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::{ApiResponse, OpenApi, OpenApiService};

use super::answer::{text, text_response};
use super::problem::{Kind, PAGES};
use super::{Group, HttpConfig};
use crate::openapi;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// These answers are the same for everybody until the program is replaced.
const PUBLIC: &str = "public, max-age=300";

/// The page loads its own files; the library that draws it writes style attributes and inlines its icons.
const PAGE_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                           frame-ancestors 'none'";

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Arauto API</title>
  <link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
  <div id="ui"></div>
  <noscript>The document itself: <a href="openapi.json">JSON</a>, <a href="openapi.yaml">YAML</a>.</noscript>
  <script src="docs/swagger-ui-bundle.js"></script>
  <script src="docs/start.js"></script>
</body>
</html>
"#;

const START: &str = "SwaggerUIBundle({ dom_id: '#ui', url: 'openapi.json', deepLinking: true });\n";

/// The document in both formats.
#[derive(Debug, Clone, Default)]
pub(crate) struct Documents {
    json: Bytes,
    yaml: Bytes,
}

impl Documents {
    /// Writes the document with the service's public address in it.
    pub(super) fn of(config: &HttpConfig) -> Self {
        let document = openapi::described(config.public_url.as_ref());
        Self {
            json: openapi::json(&document).into(),
            yaml: openapi::yaml(&document).into(),
        }
    }
}

/// The document and its page.
pub(crate) struct DocsApi(pub(super) Documents);

#[OpenApi(tag = "Group::Operations")]
#[expect(clippy::unused_async, reason = "handlers are async, whether they wait or not")]
impl DocsApi {
    /// Read this document as JSON
    #[oai(path = "/openapi.json", method = "get", operation_id = "openapiJson")]
    async fn json(&self) -> Document {
        Document(self.0.json.clone(), JSON)
    }

    /// Read this document as YAML
    #[oai(path = "/openapi.yaml", method = "get", operation_id = "openapiYaml")]
    async fn yaml(&self) -> YamlDocument {
        YamlDocument(Document(self.0.yaml.clone(), YAML))
    }
}

/// The document as JSON.
pub(crate) struct Document(Bytes, &'static str);

/// The document as YAML.
pub(crate) struct YamlDocument(Document);

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        public(text(self.1, self.0))
    }
}

impl IntoResponse for YamlDocument {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl ApiResponse for Document {
    fn meta() -> MetaResponses {
        let mut response = text_response(JSON, "The document.");
        for content in &mut response.content {
            content.schema = poem_openapi::registry::MetaSchemaRef::Inline(Box::new(
                poem_openapi::registry::MetaSchema::new("object"),
            ));
        }
        MetaResponses {
            responses: vec![response],
        }
    }

    fn register(_: &mut Registry) {}
}

impl ApiResponse for YamlDocument {
    fn meta() -> MetaResponses {
        let mut meta = Document::meta();
        for content in meta
            .responses
            .iter_mut()
            .flat_map(|response| &mut response.content)
        {
            content.content_type = YAML;
        }
        meta
    }

    fn register(_: &mut Registry) {}
}

/// Adds the page that shows the document, its files, and the pages of problems. They are for people; the document
/// does not list them.
pub(super) fn add_pages(addresses: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
    let mut add = |address: String, page: Page| {
        let endpoint = make_sync(move |_| page.answer()).boxed();
        addresses
            .entry(address)
            .or_default()
            .insert(Method::GET, endpoint);
    };
    let library = Library::of_swagger_ui();
    add("/docs".to_owned(), Page::new(HTML, PAGE.to_owned(), PAGE_POLICY));
    add(
        "/docs/start.js".to_owned(),
        Page::new(JAVASCRIPT, START.to_owned(), PAGE_POLICY),
    );
    add(
        "/docs/swagger-ui.css".to_owned(),
        Page::new(CSS, library.style, PAGE_POLICY),
    );
    add(
        "/docs/swagger-ui-bundle.js".to_owned(),
        Page::new(JAVASCRIPT, library.script, PAGE_POLICY),
    );
    for &kind in Kind::ALL {
        add(
            kind.uri(),
            Page::new(
                HTML,
                problem_page(kind),
                "default-src 'none'; frame-ancestors 'none'",
            ),
        );
    }
    add(
        PAGES.trim_end_matches('/').to_owned(),
        Page::new(
            HTML,
            problems_page(),
            "default-src 'none'; frame-ancestors 'none'",
        ),
    );
}

/// A page that never changes.
struct Page {
    media_type: &'static str,
    body: Bytes,
    policy: &'static str,
}

impl Page {
    fn new(media_type: &'static str, body: String, policy: &'static str) -> Self {
        Self {
            media_type,
            body: body.into(),
            policy,
        }
    }

    fn answer(&self) -> Response {
        let mut response = public(text(self.media_type, self.body.clone()));
        let policy = HeaderValue::from_static(self.policy);
        response
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, policy);
        response
    }
}

fn public(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static(PUBLIC));
    response
}

/// The library that draws the page. poem-openapi embeds it, but only inside a page that needs inline scripts; taken
/// out of that page, it stands under a policy that forbids them.
struct Library {
    style: String,
    script: String,
}

impl Library {
    fn of_swagger_ui() -> Self {
        let page = OpenApiService::new((), "", "").swagger_ui_html();
        let element = |name: &str| {
            let (open, close) = (format!("<{name} charset=\"UTF-8\">"), format!("</{name}>"));
            let (_, rest) = page.split_once(&open)?;
            rest.split_once(&close).map(|(content, _)| content.to_owned())
        };
        Self {
            style: element("style").unwrap_or_default(),
            script: element("script").unwrap_or_default(),
        }
    }
}

fn problem_page(kind: Kind) -> String {
    let facts = kind.facts();
    html(facts.title, |body| {
        let _ = write!(
            body,
            "<p><code>{}</code>, status {}</p>\n<p>{}</p>\n<p><a href=\"../problems\">All problems</a></p>\n",
            kind.uri(),
            facts.status,
            paragraph(facts.advice)
        );
    })
}

fn problems_page() -> String {
    html("Problems", |body| {
        body.push_str("<ul>\n");
        for kind in Kind::ALL {
            let facts = kind.facts();
            let _ = writeln!(
                body,
                "<li><a href=\"problems/{}\"><code>{}</code></a> ({}): {}</li>",
                facts.name,
                facts.name,
                facts.status.as_u16(),
                facts.title
            );
        }
        body.push_str("</ul>\n");
    })
}

fn html(title: &str, write: impl FnOnce(&mut String)) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title></head>\n\
         <body>\n<h1>{title}</h1>\n"
    );
    write(&mut page);
    page.push_str("</body>\n</html>\n");
    page
}

/// Turns the backquotes of a sentence of ours into code elements, and what HTML would take for its own into text.
fn paragraph(text: &str) -> String {
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let parts = escaped.split('`').enumerate();
    parts
        .map(|(index, part)| {
            if index % 2 == 1 {
                format!("<code>{part}</code>")
            } else {
                part.to_owned()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_whole_and_works_without_the_network() {
        let library = Library::of_swagger_ui();
        assert!(library.script.len() > 1_000_000, "{}", library.script.len());
        assert!(library.script.contains("SwaggerUIBundle"));
        assert!(library.style.len() > 100_000, "{}", library.style.len());
        assert!(!library.style.contains("@import") && !library.style.contains("url(http"));
    }

    #[test]
    fn pages_of_problems_show_code_as_code() {
        assert_eq!(paragraph("Send `a <b>`."), "Send <code>a &lt;b&gt;</code>.");
    }
}
