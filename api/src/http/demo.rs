//! The demo page of development mode.

use std::collections::HashMap;

use include_dir::{Dir, include_dir};
use poem::endpoint::{BoxEndpoint, make_sync};
use poem::http::{HeaderValue, Method, header};
use poem::{EndpointExt as _, Response};

use super::answer::text;

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/web/demo");

/// Everything comes from the service itself; icons may stand in style sheets.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'";

/// The media types of the files that a page is made of. What has another ending is not served.
const MEDIA_TYPES: [(&str, &str); 7] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("json", "application/json"),
    ("woff2", "font/woff2"),
];

/// Adds the page at `/` and its files below `/demo/`.
pub(super) fn add_pages(addresses: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
    let mut add = |address: String, media_type: &'static str, contents: &'static [u8]| {
        let endpoint = make_sync(move |_| file(media_type, contents)).boxed();
        addresses
            .entry(address)
            .or_default()
            .insert(Method::GET, endpoint);
    };
    for (name, media_type, contents) in served() {
        if name == "index.html" {
            add("/".to_owned(), media_type, contents);
        } else {
            add(format!("/demo/{name}"), media_type, contents);
        }
    }
}

fn served() -> impl Iterator<Item = (&'static str, &'static str, &'static [u8])> {
    FILES.files().filter_map(|file| {
        let name = file.path().to_str()?;
        let (_, ending) = name.rsplit_once('.')?;
        let (_, media_type) = MEDIA_TYPES.iter().find(|(known, _)| *known == ending)?;
        Some((name, *media_type, file.contents()))
    })
}

fn file(media_type: &'static str, contents: &'static [u8]) -> Response {
    let mut response = text(media_type, contents);
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_POLICY),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        for file in FILES.files() {
            let name = file.path().to_str().unwrap();
            let hidden = name.starts_with('.');
            assert_eq!(
                served().any(|(served, ..)| served == name),
                !hidden,
                "{name} has no media type"
            );
        }
        assert_eq!(
            FILES.dirs().count(),
            0,
            "only files directly below the folder are served"
        );
    }
}
