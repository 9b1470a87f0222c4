//! A request as it came, read whole.

use std::collections::BTreeMap;

use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::form_urlencoded;

use super::ErrorInfo;
use super::ledger::{Outcome, Seen, body_shown, query_without_secrets, without_secrets};

/// What Ably takes in one request, and what stands around it.
const BODY_MAX: usize = 2 * 1024 * 1024 + 64 * 1024;

/// A request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    /// The path's segments, decoded.
    pub(super) segments: Vec<String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    bytes: Bytes,
    at_ms: i64,
    /// Why the body cannot be used.
    pub(super) unread: Option<ErrorInfo>,
}

impl Call {
    /// Takes what stands in front of the body.
    pub(super) fn head<B>(request: &Request<B>, at_ms: i64) -> Self {
        let path = request.uri().path().to_owned();
        let decoded = |segment: &str| percent_decode_str(segment).decode_utf8_lossy().into_owned();
        let segments = path.split('/').skip(1).map(decoded).collect();
        let query = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
        Self {
            method: request.method().clone(),
            segments,
            query: query.into_owned().collect(),
            headers: request.headers().clone(),
            path,
            body: Value::Null,
            bytes: Bytes::new(),
            at_ms,
            unread: None,
        }
    }

    /// Reads the body. One that cannot be used is an error to be told, not the end of the connection.
    pub(super) async fn read(request: Request<Incoming>, at_ms: i64) -> Self {
        let mut call = Self::head(&request, at_ms);
        let Ok(body) = Limited::new(request.into_body(), BODY_MAX).collect().await else {
            call.unread = Some(ErrorInfo::new(40009, 413, "the body exceeds 2 MiB, or broke off"));
            return call;
        };
        call.bytes = body.to_bytes();
        if call.bytes.is_empty() {
            return call;
        }
        if call
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-msgpack"))
        {
            let why = "this stand-in reads JSON alone: set useBinaryProtocol to false";
            call.unread = Some(ErrorInfo::new(40000, 415, why));
            return call;
        }
        match serde_json::from_slice(&call.bytes) {
            Ok(body) => call.body = body,
            Err(error) => {
                call.unread = Some(ErrorInfo::new(
                    40000,
                    400,
                    format!("the body is no JSON: {error}"),
                ));
            }
        }
        call
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn asks(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// The segments as texts, to match on.
    pub(super) fn route(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// The protocol's version, in the header or in the query: its whole part decides.
    pub(super) fn version(&self) -> u32 {
        let text = self.header("x-ably-version").or_else(|| self.asks("v"));
        let whole = text.and_then(|text| text.split('.').next()?.parse().ok());
        whole.unwrap_or(1)
    }

    /// The entry for the ledger.
    pub(super) fn seen(&self, outcome: Outcome) -> Seen {
        Seen {
            at_ms: self.at_ms,
            method: self.method.to_string(),
            path: self.path.clone(),
            query: query_without_secrets(&self.query),
            headers: without_secrets(&self.headers),
            body: body_shown(&self.bytes, &self.body),
            outcome,
        }
    }
}
