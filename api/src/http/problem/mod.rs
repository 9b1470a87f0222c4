//! Problems: every answer that is not what was asked for (RFC 9457). Nothing else knows status codes of errors.

mod ably;
mod causes;
mod from;
mod kind;

use std::fmt;
use std::time::Duration;

use domain::notification::FieldError;
use poem::error::ResponseError;
use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Body, IntoResponse as _, Response};
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde::Serialize;

pub(crate) use self::ably::{ABLY_ERROR_CODE, AblyProblemDocument, Form};
pub(crate) use self::causes::{CALLER, CREDENTIALS, Causes, Fails, JSON_BODY, STORE, causes};
pub(in crate::http) use self::from::{
    KEYS_RETRY_AFTER, TicketRefusal, tickets_unavailable, token_missing, token_refusal,
};
pub(crate) use self::kind::{Kind, PAGES};
use crate::wire::to_json;

/// The media type of problems.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// What a handler answers: what was asked for, or one of the problems that its document lists.
pub(crate) type Outcome<T, C> = Result<T, Fails<C>>;

/// A problem on its way to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// States a problem in a sentence for the person who reads it.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// States what is wrong with fields or parameters of a request.
    pub(crate) fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.to_string(),
            several => format!("{} fields cannot be taken", several.len()),
        };
        Self {
            errors,
            ..Self::new(Kind::InvalidRequest, detail)
        }
    }

    /// States what is wrong with one field or parameter.
    pub(crate) fn field(field: &str, detail: impl Into<String>) -> Self {
        Self::fields(vec![FieldError::new(field, detail)])
    }

    /// States that there is no such thing.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("there is no such {what}"))
    }

    /// States that an address does not know the method.
    pub(crate) fn method_not_allowed(allow: HeaderValue) -> Self {
        let detail = "the header Allow lists the methods of this address";
        Self::new(Kind::MethodNotAllowed, detail).with(header::ALLOW, allow)
    }

    /// States that an address speaks WebSocket alone (RFC 6455, section 4.4).
    pub(crate) fn upgrade_required() -> Self {
        let detail = "the handshake of a WebSocket, version 13, is missing";
        Self::new(Kind::UpgradeRequired, detail)
            .with(header::UPGRADE, HeaderValue::from_static("websocket"))
            .with(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
    }

    /// Says when to try again.
    pub(crate) fn retry_after(self, after: Duration) -> Self {
        self.with(header::RETRY_AFTER, HeaderValue::from(whole_seconds(after)))
    }

    /// Says how many a minute are answered, and when to try again.
    pub(crate) fn limited(self, limit: u32, after: Duration) -> Self {
        let said = limit_headers(limit, 0, after);
        said.into_iter()
            .fold(self, |problem, (name, value)| problem.with(name, value))
            .retry_after(after)
    }

    /// Says how to authenticate (RFC 6750).
    pub(crate) fn challenge(self, challenge: &str) -> Self {
        match HeaderValue::try_from(challenge) {
            Ok(value) => self.with(header::WWW_AUTHENTICATE, value),
            Err(_) => self,
        }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Returns what is wrong with fields, as a list that others can be added to.
    pub(crate) fn into_errors(self) -> Vec<FieldError> {
        if self.errors.is_empty() {
            vec![FieldError::new("", self.detail)]
        } else {
            self.errors
        }
    }

    /// Returns its kind.
    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns its status.
    pub(crate) const fn status_code(&self) -> StatusCode {
        self.kind.facts().status
    }

    /// Returns the object that clients read.
    pub(crate) fn document(&self, request_id: Option<&str>) -> ProblemDocument {
        let facts = self.kind.facts();
        let errors = self.errors.iter().map(|error| FieldProblem {
            field: error.field.clone(),
            detail: error.detail.clone(),
        });
        ProblemDocument {
            kind: self.kind.uri(),
            title: facts.title.to_owned(),
            status: facts.status.as_u16(),
            detail: self.detail.clone(),
            errors: (!self.errors.is_empty()).then(|| errors.collect()),
            request_id: request_id.map(ToOwned::to_owned),
        }
    }

    /// Returns the whole answer, in the form that is read where it goes.
    pub(crate) fn into_answer(self, form: Form, request_id: &str) -> Response {
        let document = self.document(Some(request_id));
        let mut response = match form {
            Form::Problem => Response::builder()
                .content_type(PROBLEM_JSON)
                .body(Body::from_string(to_json(&document))),
            Form::Ably => AblyProblemDocument::from(document).into_response(),
        };
        response.set_status(self.status_code());
        response.set_data(self.kind);
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Says how many a minute are answered, how many of them are left, and when more are.
pub(crate) fn limit_headers(limit: u32, remaining: u32, reset: Duration) -> [(HeaderName, HeaderValue); 3] {
    [
        (LIMIT, HeaderValue::from(limit)),
        (REMAINING, HeaderValue::from(remaining)),
        (RESET, HeaderValue::from(whole_seconds(reset))),
    ]
}

/// Rounds up: nobody comes back too early.
fn whole_seconds(duration: Duration) -> u64 {
    let rest = u64::from(duration.subsec_nanos() > 0);
    (duration.as_secs() + rest).max(1)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.facts().name, self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.status_code()
    }

    fn as_response(&self) -> Response {
        self.clone().into_answer(Form::Problem, "-")
    }
}

/// What went wrong, as RFC 9457 says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
#[oai(rename = "Problem", example, skip_serializing_if_is_none)]
pub(crate) struct ProblemDocument {
    /// The kind of problem, for programs: `/problems/` and a name that does not change. The address has a page.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    kind: String,
    /// The kind of problem, for people.
    title: String,
    /// The HTTP status.
    #[oai(validator(minimum(value = "400"), maximum(value = "599")))]
    status: u16,
    /// What went wrong this time.
    detail: String,
    /// What is wrong with fields of the request, all at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<FieldProblem>>,
    /// The request's id, as in the header `x-request-id`. Problems inside an answer have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
#[oai(rename = "FieldProblem")]
pub(crate) struct FieldProblem {
    /// The field's path, or the name of the parameter or header.
    field: String,
    /// What is wrong with it and what is taken instead.
    detail: String,
}

impl Example for ProblemDocument {
    fn example() -> Self {
        causes::example_of(Kind::InvalidRequest).document(Some("0f8fad5bd9cb469f"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_come_back_too_early() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
        assert_eq!(whole_seconds(Duration::from_millis(2_001)), 3);
    }

    #[test]
    fn one_field_is_the_detail_and_several_are_counted() {
        assert_eq!(
            Problem::field("limit", "must be 1 to 1000").detail,
            "limit: must be 1 to 1000"
        );
        let two = vec![FieldError::new("a", "x"), FieldError::new("b", "y")];
        assert_eq!(Problem::fields(two).detail, "2 fields cannot be taken");
    }
}
