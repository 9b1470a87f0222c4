//! Problems as `ably-js` reads them.
//!
//! Where an `authUrl` fails, `ably-js` looks for `{"error":{"code","statusCode","message"}}`: in Node.js only under the
//! media type `application/json` without parameters, in browsers only where the header `x-ably-errorcode` is there. So
//! problems of that one address carry `error` as an extension member (RFC 9457, 3.2) and are sent as plain JSON. Every
//! member that problems have elsewhere is there too.

use poem::http::{HeaderName, HeaderValue};
use poem::{Body, IntoResponse, Response};
use poem_openapi::Object;
use serde::Serialize;

use super::ProblemDocument;
use crate::wire::to_json;

/// Says the code once more.
pub(crate) const ABLY_ERROR_CODE: HeaderName = HeaderName::from_static("x-ably-errorcode");

/// The form in which problems of an address are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `application/problem+json`.
    Problem,
    /// The same, with what `ably-js` reads beside it, as `application/json`.
    Ably,
}

impl Form {
    /// Says in which form problems of an address are answered, whether a handler states them or what is around it.
    pub(crate) fn at(path: &str) -> Self {
        match path {
            "/v1/ably/token" => Self::Ably,
            _ => Self::Problem,
        }
    }
}

/// What went wrong, as RFC 9457 and `ably-js` say it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
#[oai(rename = "AblyProblem", skip_serializing_if_is_none)]
pub(crate) struct AblyProblemDocument {
    #[serde(flatten)]
    #[oai(flatten)]
    problem: ProblemDocument,
    /// The same for `ably-js`. On 403 it gives up; on anything else it asks again.
    error: AblyError,
}

/// What went wrong, as `ably-js` reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct AblyError {
    /// The status times a hundred: one of Ably's codes that say no more than the class.
    code: u32,
    /// The HTTP status.
    status_code: u16,
    /// What went wrong this time.
    message: String,
}

impl From<ProblemDocument> for AblyProblemDocument {
    /// The codes 40102, 40140 to 40149 and 40171 mean more to `ably-js` than "refused", so no finer code is given.
    fn from(problem: ProblemDocument) -> Self {
        let error = AblyError {
            code: u32::from(problem.status) * 100,
            status_code: problem.status,
            message: problem.detail.clone(),
        };
        Self { problem, error }
    }
}

impl IntoResponse for AblyProblemDocument {
    fn into_response(self) -> Response {
        Response::builder()
            .content_type("application/json")
            .header(ABLY_ERROR_CODE, HeaderValue::from(self.error.code))
            .body(Body::from_string(to_json(&self)))
    }
}
