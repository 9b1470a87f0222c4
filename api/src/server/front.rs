//! From a request of hyper's to the endpoint, and back.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::Service;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint};

use super::connection::Shared;
use super::handover::{Asked, Reply};
use super::progress::{Announced, Progress};

/// Hands a connection's requests to the endpoint.
pub(super) struct Front<E> {
    pub(super) shared: Arc<Shared<E>>,
    pub(super) progress: Arc<Progress>,
    pub(super) remote: SocketAddr,
}

impl<E: Endpoint + 'static> Service<http::Request<Incoming>> for Front<E> {
    type Response = http::Response<Reply>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let announced = if request.body().is_end_stream() {
            Announced::Nothing
        } else {
            Announced::Body
        };
        self.progress.request(announced);
        let progress = Arc::clone(&self.progress);
        let shared = Arc::clone(&self.shared);
        let remote = self.remote;
        // hyper keeps room for this future for as long as the connection lives. In a box, it is the box that stays,
        // and the many kilobytes of a handshake are given back once the answer streams.
        Box::pin(async move {
            let asked = Asked {
                method: request.method().clone(),
                version: request.version(),
            };
            let local = LocalAddr(Addr::from(shared.local));
            let remote = RemoteAddr(Addr::from(remote));
            let mut request = poem::Request::from((request, local, remote, http::uri::Scheme::HTTP));
            if announced == Announced::Body {
                let inner = BoxBody::from(request.take_body());
                let progress = Arc::clone(&progress);
                request.set_body(poem::Body::from(BoxBody::new(Watched { inner, progress })));
            }
            let answer = shared.endpoint.get_response(request).await;
            Ok(Reply::to(&asked, answer.into(), progress))
        })
    }
}

/// The body of a request, which notes when it is complete.
struct Watched {
    inner: BoxBody<Bytes, io::Error>,
    progress: Arc<Progress>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.inner.is_end_stream() {
            self.progress.body_finished();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
