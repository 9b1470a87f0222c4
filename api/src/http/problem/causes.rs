//! Which problems an operation can answer with, for its document.

use std::marker::PhantomData;
use std::time::Duration;

use domain::notification::FieldError;
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, Registry};
use poem_openapi::types::{ToJSON, Type};

use super::{ABLY_ERROR_CODE, AblyProblemDocument, Form, Kind, PROBLEM_JSON, Problem, ProblemDocument};

/// The kinds of problems of a group of operations. Made by [`causes!`].
pub(crate) trait Causes: Send + Sync + 'static {
    /// Sets of kinds.
    const KINDS: &'static [&'static [Kind]];
    /// The form in which they are answered.
    const FORM: Form = Form::Problem;
}

/// Names the kinds of problems that a group of operations answers with.
macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = [$($set:expr),+ $(,)?];)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl $crate::http::problem::Causes for $name {
            const KINDS: &'static [&'static [$crate::http::problem::Kind]] = &[$($set),+];
        }
    )+};
}
pub(crate) use causes;

/// What every operation with a bearer token can answer.
pub(crate) const CALLER: &[Kind] = &[
    Kind::TokenMissing,
    Kind::TokenInvalid,
    Kind::TokenExpired,
    Kind::TokenRevoked,
    Kind::SubjectNotAddressable,
    Kind::TooManyMemberships,
    Kind::RateLimited,
    Kind::Blocked,
    Kind::Unavailable,
];

/// The same for operations that are not limited, or say so in-band.
pub(crate) const CREDENTIALS: &[Kind] = &[
    Kind::TokenMissing,
    Kind::TokenInvalid,
    Kind::TokenExpired,
    Kind::TokenRevoked,
    Kind::SubjectNotAddressable,
    Kind::TooManyMemberships,
    Kind::Unavailable,
];

/// What every operation with a JSON body can answer.
pub(crate) const JSON_BODY: &[Kind] = &[
    Kind::InvalidRequest,
    Kind::BodyTooLarge,
    Kind::UnsupportedMediaType,
    Kind::CapacityReached,
];

/// What every operation that needs the store can answer.
pub(crate) const STORE: &[Kind] = &[Kind::StoreUnavailable, Kind::OutcomeUnknown];

/// A problem of one of the kinds that `C` names.
pub(crate) struct Fails<C>(Problem, PhantomData<fn() -> C>);

impl<C: Causes, E: Into<Problem>> From<E> for Fails<C> {
    fn from(error: E) -> Self {
        let problem = error.into();
        debug_assert!(
            C::KINDS.iter().any(|set| set.contains(&problem.kind())),
            "the document does not list {:?}",
            problem.kind()
        );
        Self(problem, PhantomData)
    }
}

impl<C> From<Fails<C>> for poem::Error {
    fn from(fails: Fails<C>) -> Self {
        fails.0.into()
    }
}

impl<C: Causes> ApiResponse for Fails<C> {
    fn meta() -> MetaResponses {
        let given = |kind: &Kind| C::KINDS.iter().any(|set| set.contains(kind));
        let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(given).collect();
        let responses = kinds
            .chunk_by(|a, b| a.facts().status == b.facts().status)
            .map(|kinds| response(kinds, C::FORM))
            .collect();
        MetaResponses { responses }
    }

    fn register(registry: &mut Registry) {
        match C::FORM {
            Form::Problem => ProblemDocument::register(registry),
            Form::Ably => AblyProblemDocument::register(registry),
        }
    }
}

/// Describes the answers of one status.
fn response(kinds: &[Kind], form: Form) -> MetaResponse {
    let status = kinds[0].facts().status.as_u16();
    let example = example_of(kinds[0]).document(Some("0f8fad5bd9cb469f"));
    let (content_type, schema, example) = match form {
        Form::Problem => (PROBLEM_JSON, ProblemDocument::schema_ref(), example.to_json()),
        Form::Ably => (
            "application/json",
            AblyProblemDocument::schema_ref(),
            AblyProblemDocument::from(example).to_json(),
        ),
    };
    let schema = schema.merge(MetaSchema {
        example,
        ..MetaSchema::ANY
    });
    let lines: Vec<String> = kinds
        .iter()
        .map(|kind| {
            let facts = kind.facts();
            format!("`{}`: {}. {}", kind.uri(), facts.title, facts.advice)
        })
        .collect();
    MetaResponse {
        // Descriptions are few, made once for a document, and its types ask for ones that live for ever.
        description: lines.join("\n\n").leak(),
        status: Some(status),
        status_range: None,
        content: vec![MetaMediaType { content_type, schema }],
        headers: headers(status, form),
    }
}

fn headers(status: u16, form: Form) -> Vec<MetaHeader> {
    let header = |name: &str, description: &str, schema: MetaSchema| MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required: true,
        deprecated: false,
        schema: poem_openapi::registry::MetaSchemaRef::Inline(Box::new(schema)),
    };
    let number = |minimum: f64| MetaSchema {
        minimum: Some(minimum),
        ..MetaSchema::new("integer")
    };
    let mut headers = match status {
        401 => {
            let description = "How to authenticate (RFC 6750), and what is wrong with the token.";
            vec![header("WWW-Authenticate", description, MetaSchema::new("string"))]
        }
        429 => vec![
            header("Retry-After", "Seconds to wait.", number(1.0)),
            header("RateLimit-Limit", "How many a minute are answered.", number(1.0)),
            header("RateLimit-Remaining", "How many are left: none.", number(0.0)),
            header("RateLimit-Reset", "Seconds until one is left.", number(1.0)),
        ],
        503 => vec![header("Retry-After", "Seconds to wait.", number(1.0))],
        _ => Vec::new(),
    };
    if form == Form::Ably {
        let description = "The code again: `ably-js` in browsers reads the body only where this is there.";
        headers.push(header(ABLY_ERROR_CODE.as_str(), description, number(40_000.0)));
    }
    headers
}

/// Returns a problem of a kind as a caller might meet it.
pub(super) fn example_of(kind: Kind) -> Problem {
    let problem = |detail: &str| Problem::new(kind, detail);
    match kind {
        Kind::InvalidRequest => Problem::fields(vec![
            FieldError::new("title", "must be 1 to 200 characters of plain text, got 0"),
            FieldError::new("audience.users[3]", "must be 1 to 64 of A-Z a-z 0-9 _ -"),
        ]),
        Kind::TokenMissing => problem("the header Authorization: Bearer is missing"),
        Kind::Forbidden => problem("none of your roles may publish to private:unit:cras-2:notifications"),
        Kind::NotFound => problem("there is no such notification"),
        Kind::NotificationTooLarge => {
            problem("the notification takes 40211 bytes as sent, at most 32768 are taken")
        }
        Kind::BodyTooLarge => problem("the body is larger than 16384 bytes"),
        Kind::UnsupportedMediaType => problem("the content type must be application/json, got text/plain"),
        Kind::RateLimited => problem("at most 10 a minute are answered").limited(10, Duration::from_secs(6)),
        Kind::StoreUnavailable => problem("the store is unavailable").retry_after(Duration::from_secs(1)),
        other => {
            let title = other.facts().title;
            let (first, rest) = title.split_at(1);
            problem(&format!("{}{rest}", first.to_ascii_lowercase()))
        }
    }
}
