//! How an event stream is taken over from hyper.
//!
//! hyper keeps two buffers of 8 KiB for every connection, of which a stream that is idle for hours touches a page
//! each: four fifths of what such a stream costs. So hyper gets the head of the answer and a body that never comes;
//! when it has written the head, the connection is taken apart, and the events are written by [`EventStream`].
//!
//! [`EventStream`]: super::event_stream::EventStream

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, SizeHint};

use super::event_stream::Framing;
use super::progress::Progress;

/// A body as poem makes it.
pub(super) type Events = BoxBody<Bytes, io::Error>;

/// Where the body of an event stream waits until hyper has written the head.
#[derive(Debug, Default)]
pub(super) struct Handover {
    /// Locked for a moment, never over an await.
    body: Mutex<Option<(Events, Framing)>>,
    head_encoded: AtomicBool,
    head_written: AtomicBool,
}

impl Handover {
    /// Notes that everything that hyper held has been written.
    pub(super) fn flushed(&self) {
        if self.head_encoded.load(Relaxed) {
            self.head_written.store(true, Relaxed);
        }
    }

    /// Takes the body once the head has been written.
    pub(super) fn take(&self) -> Option<(Events, Framing)> {
        if !self.head_written.load(Relaxed) {
            return None;
        }
        self.body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What hyper is given for a body.
pub(super) enum Reply {
    /// The body.
    Whole(Events),
    /// Nothing, for ever: the body is elsewhere.
    Elsewhere(Arc<Progress>),
}

/// What decides how an answer is framed.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
}

impl Reply {
    /// Keeps an event stream's body back, and leaves any other where it is. The connection ends with the stream, and
    /// says so.
    pub(super) fn to(asked: &Asked, answer: Response<Events>, progress: Arc<Progress>) -> Response<Self> {
        if asked.method != Method::GET || !is_event_stream(&answer) {
            return answer.map(Self::Whole);
        }
        // As hyper frames a body of unknown length.
        let framing = if asked.version == Version::HTTP_11 {
            Framing::Chunked
        } else {
            Framing::Bare
        };
        let (mut head, body) = answer.into_parts();
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let mut waiting = progress
            .handover
            .body
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *waiting = Some((body, framing));
        drop(waiting);
        Response::from_parts(head, Self::Elsewhere(progress))
    }
}

fn is_event_stream(answer: &Response<Events>) -> bool {
    let media_type = answer.headers().get(CONTENT_TYPE);
    answer.status() == StatusCode::OK
        && media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/event-stream"))
        && !answer.headers().contains_key(CONTENT_LENGTH)
        && !answer.body().is_end_stream()
        && answer.body().size_hint().exact().is_none()
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Elsewhere(progress) => {
                // hyper asks for the body after it has encoded the head.
                progress.handover.head_encoded.store(true, Relaxed);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Elsewhere(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Elsewhere(_) => SizeHint::default(),
        }
    }
}
