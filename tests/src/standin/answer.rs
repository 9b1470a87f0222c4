//! Answers over HTTP.

use std::convert::Infallible;

use futures_util::Stream;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, SERVER};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};

use super::ErrorInfo;

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;
pub(super) type Answer = Response<Body>;

/// A body that is there.
pub(super) fn whole(status: u16, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// JSON. The media type is bare: with a charset `ably-js` loses the code of an error.
pub(super) fn told(status: u16, value: &Value) -> Answer {
    whole(status, "application/json", value.to_string())
}

/// An error in the body and once more in headers, as Ably has it.
pub(super) fn refused(error: &ErrorInfo) -> Answer {
    let mut answer = told(error.status, &json!({ "error": error.to_value() }));
    put(&mut answer, "x-ably-errorcode", &error.code.to_string());
    put(&mut answer, "x-ably-errormessage", &error.message);
    answer
}

/// An error with a pause that is asked for.
pub(super) fn refused_for_now(error: &ErrorInfo, retry_after: Option<u32>) -> Answer {
    let mut answer = refused(error);
    if let Some(seconds) = retry_after {
        put(&mut answer, RETRY_AFTER.as_str(), &seconds.to_string());
    }
    answer
}

/// What the edge says: nothing that a client of Ably could read but the code in a header.
pub(super) fn refused_by_edge(error: &ErrorInfo) -> Answer {
    let mut answer = whole(
        error.status,
        "text/html",
        "<h1>The request could not be satisfied</h1>".to_owned(),
    );
    put(&mut answer, SERVER.as_str(), "CloudFront");
    put(&mut answer, "x-ably-errorcode", &error.code.to_string());
    answer
}

/// An event stream, as long as it lasts.
pub(super) fn event_stream(events: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    use futures_util::StreamExt as _;
    let frames = events.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    put(&mut answer, CONTENT_TYPE.as_str(), "text/event-stream");
    put(&mut answer, "cache-control", "no-store");
    answer
}

/// Pages of every origin may read it: Ably is another origin to all of them.
pub(super) fn for_every_origin(mut answer: Answer) -> Answer {
    put(&mut answer, "access-control-allow-origin", "*");
    put(&mut answer, "access-control-allow-methods", "GET, POST, OPTIONS");
    put(
        &mut answer,
        "access-control-allow-headers",
        "accept, ably-agent, authorization, content-type, last-event-id, x-ably-clientid, x-ably-version",
    );
    put(
        &mut answer,
        "access-control-expose-headers",
        "link, retry-after, x-ably-errorcode, x-ably-errormessage",
    );
    answer
}

/// Sets a header; a text that cannot stand in one is left out.
pub(super) fn put(answer: &mut Answer, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
