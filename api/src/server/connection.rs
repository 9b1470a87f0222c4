//! One connection, from the first byte to the last.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Shutdown as Half, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Options;
use super::progress::{Announced, Patience, Progress};
use super::refusal::{Input, discard_to_end, discard_what_is_there};
use super::shutdown::Shutdown;

/// The head of a request may be this long: tokens and cookies are, but not longer.
const HEAD_MAX_BYTES: usize = 32 << 10;
/// On shutdown a connection that has had no request gets this long: its first one may be in the socket already.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(100);
/// After an early answer a client gets this long, and this much of what it is still sending is read, so that it
/// reads the answer and not a reset.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_MAX_BYTES: usize = 16 << 20;

/// What all connections share.
pub(super) struct Shared<E> {
    endpoint: E,
    local: SocketAddr,
    http: http1::Builder,
    head_timeout: Duration,
    rest_timeout: Duration,
    /// Connections finish what they are doing.
    pub(super) shutdown: Shutdown,
    /// Connections end at once.
    pub(super) abort: CancellationToken,
}

impl<E> Shared<E> {
    pub(super) fn new(endpoint: E, local: SocketAddr, options: &Options, shutdown: Shutdown) -> Self {
        let mut http = http1::Builder::new();
        http.max_buf_size(HEAD_MAX_BYTES)
            .header_read_timeout(options.header_timeout)
            // A client that has closed its half has gone: nothing else tells of an event stream's end before
            // something is sent on it.
            .half_close(false);
        Self {
            endpoint,
            local,
            http,
            head_timeout: options.header_timeout,
            rest_timeout: options.keep_alive_timeout,
            shutdown,
            abort: CancellationToken::new(),
        }
    }

    fn http(&self, progress: &Arc<Progress>) -> http1::Builder {
        let mut http = self.http.clone();
        http.timer(Patience {
            progress: Arc::clone(progress),
            head: self.head_timeout,
            rest: self.rest_timeout,
        });
        http
    }
}

/// Serves a connection until it ends, or is told to. `counted` goes with the socket wherever that goes, also into a
/// WebSocket.
pub(super) fn serve<E>(
    shared: &Arc<Shared<E>>,
    stream: TcpStream,
    remote: SocketAddr,
    counted: TaskTrackerToken,
) -> impl Future<Output = ()> + Send + 'static
where
    E: Endpoint + 'static,
{
    let shared = Arc::clone(shared);
    let progress = Arc::<Progress>::default();
    let socket = Socket {
        stream,
        progress: Arc::clone(&progress),
        _counted: counted,
    };
    let front = Front {
        shared: Arc::clone(&shared),
        progress: Arc::clone(&progress),
        remote,
    };
    let mut http = shared
        .http(&progress)
        .serve_connection(TokioIo::new(socket), front)
        .with_upgrades();

    // Only what lives as long as the connection is held here: it counts for every idle stream.
    async move {
        let served = tokio::select! {
            biased;
            served = &mut http => Some(served),
            () = shared.shutdown.begun().cancelled() => None,
        };
        let served = match served {
            None if progress.is_new() => tokio::select! {
                biased;
                served = &mut http => Some(served),
                () = sleep(FIRST_REQUEST_GRACE) => None,
            },
            served => served,
        };
        // A connection that has ended must not be asked for more: it would never answer.
        let served = if let Some(served) = served {
            served
        } else {
            Pin::new(&mut http).graceful_shutdown();
            tokio::select! {
                biased;
                served = &mut http => served,
                () = shared.abort.cancelled() => return,
            }
        };
        let broke_off = match &served {
            Ok(()) => false,
            Err(error) => {
                tracing::debug!(%error, "connection ended");
                error.is_parse() && !progress.has_peer_finished()
            }
        };
        let Some(socket) = http.into_parts().map(|parts| parts.io.into_inner()) else {
            return;
        };
        if broke_off || progress.may_be_sending() || socket.holds_unread() {
            Box::pin(linger(socket, shared.abort.clone())).await;
        }
    }
}

/// Lets a peer that is still sending read its answer.
async fn linger(socket: Socket, abort: CancellationToken) {
    // Has been done, unless the answer could not be written whole.
    let _ = SockRef::from(&socket.stream).shutdown(Half::Write);
    let discard = timeout(LINGER, discard_to_end(&socket.stream, LINGER_MAX_BYTES));
    tokio::select! {
        _ = discard => {}
        () = abort.cancelled() => {}
    }
}

/// Hands a connection's requests to the endpoint.
struct Front<E> {
    shared: Arc<Shared<E>>,
    progress: Arc<Progress>,
    remote: SocketAddr,
}

impl<E: Endpoint + 'static> Service<http::Request<Incoming>> for Front<E> {
    type Response = http::Response<BoxBody<Bytes, io::Error>>;
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
            let local = LocalAddr(Addr::from(shared.local));
            let remote = RemoteAddr(Addr::from(remote));
            let mut request = poem::Request::from((request, local, remote, http::uri::Scheme::HTTP));
            if announced == Announced::Body {
                let inner = BoxBody::from(request.take_body());
                request.set_body(poem::Body::from(BoxBody::new(Watched { inner, progress })));
            }
            Ok(shared.endpoint.get_response(request).await.into())
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

/// The client's socket, which notes what it hears.
struct Socket {
    stream: TcpStream,
    progress: Arc<Progress>,
    _counted: TaskTrackerToken,
}

impl Socket {
    /// Tells whether something has come in that nobody has read. It is discarded.
    fn holds_unread(&self) -> bool {
        matches!(
            discard_what_is_there(&self.stream),
            Ok(Input::Open { bytes: 1.. })
        )
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) {
            if buffer.filled().len() > before {
                self.progress.heard();
            } else {
                self.progress.peer_finished();
            }
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use poem::endpoint::make_sync;
    use tokio_util::task::TaskTracker;

    use super::*;

    /// The task of an idle stream is part of its budget of 10 KiB, of which hyper's two buffers take 8.
    const TASK_MAX_BYTES: usize = 1_280;

    #[tokio::test]
    async fn the_task_of_a_connection_is_small() {
        let options = Options {
            header_timeout: LINGER,
            keep_alive_timeout: LINGER,
            max_connections: 1,
            shutdown_timeout: LINGER,
        };
        let listener = super::super::listener::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let local = listener.local_addr().unwrap();
        let endpoint = make_sync(|_| "hello");
        let shared = Arc::new(Shared::new(endpoint, local, &options, Shutdown::new()));
        let stream = TcpStream::connect(local).await.unwrap();

        let task = serve(&shared, stream, local, TaskTracker::new().token());

        let bytes = size_of_val(&task);
        assert!(bytes <= TASK_MAX_BYTES, "{bytes} bytes");
    }
}
