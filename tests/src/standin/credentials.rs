//! What a client shows to be let in.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// A key, a token or nothing.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    Key(String),
    Token(String),
    Missing,
}

impl Credentials {
    /// Reads them from the header, else from the query: `key`, `accessToken`, or `access_token` as `ably-js` writes it.
    pub(super) fn of(headers: &HeaderMap, query: &BTreeMap<String, String>) -> Self {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(found) = header.and_then(Self::of_header) {
            return found;
        }
        if let Some(key) = query.get("key") {
            return Self::Key(key.clone());
        }
        match query.get("accessToken").or_else(|| query.get("access_token")) {
            Some(token) => Self::of_token(token),
            None => Self::Missing,
        }
    }

    /// A token, whether or not it was encoded once more: `ably-js` does that to JWTs too.
    pub(super) fn of_token(text: &str) -> Self {
        // Neither a JWT nor a native token is base64: both have dots.
        let decoded = STANDARD
            .decode(text)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        Self::Token(decoded.unwrap_or_else(|| text.to_owned()))
    }

    fn of_header(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::of_token(rest.trim()));
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let key = STANDARD.decode(rest.trim()).ok()?;
            return String::from_utf8(key).ok().map(Self::Key);
        }
        None
    }
}
