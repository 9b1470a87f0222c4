//! Holds answers against the document: every status is listed, and every body has the shape that is described.

use std::sync::LazyLock;

use poem::http::Method;
use serde_json::Value;

use super::Reply;
use crate::http::edge::RoutePattern;
use crate::openapi;

/// Making the document takes longer than a test.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| openapi::described(None));

pub(super) struct Conformance {
    document: &'static Value,
}

impl Conformance {
    pub(super) fn new() -> Self {
        Self { document: &DOCUMENT }
    }

    /// Checks an answer. Pages are for people and not in the document; 404 for no address and 405 for no method of
    /// one are the same everywhere.
    pub(super) fn check(&self, pattern: Option<RoutePattern>, method: &Method, reply: &Reply) {
        let Some(path) = pattern.and_then(|pattern| self.path(pattern.0)) else {
            return;
        };
        if reply.status.as_u16() == 405 {
            return;
        }
        let method = if method == Method::HEAD {
            Method::GET
        } else {
            method.clone()
        };
        let operation = &path[method.as_str().to_ascii_lowercase()];
        let answer = &operation["responses"][reply.status.as_str()];
        assert!(answer.is_object(), "{method} {pattern:?} does not list {reply:?}");
        for (name, header) in answer["headers"].as_object().into_iter().flatten() {
            let there = reply.headers.contains_key(name.as_str());
            assert!(
                there || header["required"] != true,
                "{name} is missing: {reply:?}"
            );
        }
        let Some(content) = answer["content"].as_object() else {
            assert_eq!(reply.text, "", "no body is described");
            return;
        };
        let media_type = reply.header("content-type").unwrap();
        let schema = content
            .get(media_type)
            .unwrap_or_else(|| panic!("{media_type} is not described: {content:?}"));
        if media_type.ends_with("json") {
            self.fits("$", &schema["schema"], &reply.json());
        }
    }

    fn path(&self, pattern: &str) -> Option<&Value> {
        let paths = self.document["paths"].as_object()?;
        let fits = |path: &str| {
            let (path, pattern): (Vec<&str>, Vec<&str>) =
                (path.split('/').collect(), pattern.split('/').collect());
            let same = |(a, b): (&&str, &&str)| a == b || (a.starts_with('{') && b.starts_with(':'));
            path.len() == pattern.len() && path.iter().zip(&pattern).all(same)
        };
        paths
            .iter()
            .find(|(path, _)| fits(path))
            .map(|(_, operations)| operations)
    }

    /// As much of JSON Schema as the document uses.
    fn fits(&self, at: &str, schema: &Value, value: &Value) {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.document.pointer(reference.trim_start_matches('#'));
            return self.fits(at, target.unwrap(), value);
        }
        if value.is_null() && schema["nullable"] == true {
            return;
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.fits(at, part, value);
        }
        if let Some(values) = schema["enum"].as_array() {
            assert!(values.contains(value), "{at}: {value} is none of {values:?}");
        }
        match schema["type"].as_str() {
            Some("object") => self.fits_object(at, schema, value),
            Some("array") => {
                for (index, item) in value
                    .as_array()
                    .unwrap_or_else(|| panic!("{at}: {value}"))
                    .iter()
                    .enumerate()
                {
                    self.fits(&format!("{at}[{index}]"), &schema["items"], item);
                }
            }
            Some("string") => assert!(value.is_string(), "{at}: {value} is no text"),
            Some("boolean") => assert!(value.is_boolean(), "{at}: {value} is no boolean"),
            Some("integer") => assert!(
                value.is_i64() || value.is_u64(),
                "{at}: {value} is no whole number"
            ),
            _ => {}
        }
    }

    fn fits_object(&self, at: &str, schema: &Value, value: &Value) {
        let object = value
            .as_object()
            .unwrap_or_else(|| panic!("{at}: {value} is no object"));
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(
                object.contains_key(name.as_str().unwrap()),
                "{at}.{name} is missing"
            );
        }
        let Some(properties) = schema["properties"].as_object() else {
            return;
        };
        for (name, value) in object {
            let described = properties
                .get(name)
                .unwrap_or_else(|| panic!("{at}.{name} is not described"));
            self.fits(&format!("{at}.{name}"), described, value);
        }
    }
}
