//! One connection, from the first byte to the last.

use std::future::{Future, poll_fn};
use std::net::{Shutdown as Half, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use poem::Endpoint;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Options;
use super::event_stream::{EventStream, Framing};
use super::front::Front;
use super::handover::Events;
use super::progress::{Patience, Progress};
use super::refusal::discard_to_end;
use super::shutdown::Shutdown;
use super::socket::Socket;

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
    pub(super) endpoint: E,
    pub(super) local: SocketAddr,
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
            // A client that has closed its half has gone: nobody is to work for it any longer.
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

type Http<E> = http1::UpgradeableConnection<TokioIo<Socket>, Front<E>>;

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
    let abort = shared.abort.clone();
    // In a box of its own, given back when the requests are over: an event stream goes on with the little that it
    // needs itself.
    let requests = Box::pin(requests(Arc::clone(shared), stream, remote, counted));
    async move {
        let Some(stream) = requests.await else { return };
        let socket = tokio::select! {
            biased;
            ended = stream.run() => ended,
            () = abort.cancelled() => return,
        };
        if let Ok(socket) = socket
            && socket.holds_unread()
        {
            Box::pin(linger(socket, &abort)).await;
        }
    }
}

/// How hyper's part ends.
enum Step {
    Ended(hyper::Result<()>),
    HandedOver(Events, Framing),
}

/// Answers requests, until the connection ends or becomes an event stream.
fn requests<E>(
    shared: Arc<Shared<E>>,
    stream: TcpStream,
    remote: SocketAddr,
    counted: TaskTrackerToken,
) -> impl Future<Output = Option<EventStream<Socket>>> + Send + 'static
where
    E: Endpoint + 'static,
{
    let progress = Arc::<Progress>::default();
    let socket = Socket::new(stream, Arc::clone(&progress), counted);
    let front = Front {
        shared: Arc::clone(&shared),
        progress: Arc::clone(&progress),
        remote,
    };
    let mut http = shared
        .http(&progress)
        .serve_connection(TokioIo::new(socket), front)
        .with_upgrades();

    async move {
        let mut step = tokio::select! {
            biased;
            step = advance(&mut http, &progress) => Some(step),
            () = shared.shutdown.begun().cancelled() => None,
        };
        if step.is_none() && progress.is_new() {
            step = tokio::select! {
                biased;
                step = advance(&mut http, &progress) => Some(step),
                () = sleep(FIRST_REQUEST_GRACE) => None,
            };
        }
        // A connection that has ended must not be asked for more: it would never answer.
        let step = if let Some(step) = step {
            step
        } else {
            Pin::new(&mut http).graceful_shutdown();
            tokio::select! {
                biased;
                step = advance(&mut http, &progress) => step,
                () = shared.abort.cancelled() => return None,
            }
        };
        // Without its parts, it has become a WebSocket and is in other hands.
        let socket = http.into_parts()?.io.into_inner();
        let broke_off = match step {
            Step::HandedOver(events, framing) => return Some(EventStream::new(socket, events, framing)),
            Step::Ended(Ok(())) => false,
            Step::Ended(Err(error)) => {
                tracing::debug!(%error, "connection ended");
                error.is_parse() && !progress.has_peer_finished()
            }
        };
        if broke_off || progress.may_be_sending() || socket.holds_unread() {
            linger(socket, &shared.abort).await;
        }
        None
    }
}

/// Lets hyper work until the connection ends or its socket is to be taken over.
async fn advance<E: Endpoint + 'static>(http: &mut Http<E>, progress: &Progress) -> Step {
    poll_fn(|context| match Pin::new(&mut *http).poll(context) {
        Poll::Ready(ended) => Poll::Ready(Step::Ended(ended)),
        Poll::Pending => match progress.handover.take() {
            Some((events, framing)) => Poll::Ready(Step::HandedOver(events, framing)),
            None => Poll::Pending,
        },
    })
    .await
}

/// Lets a peer that is still sending read its answer.
async fn linger(socket: Socket, abort: &CancellationToken) {
    // Has been done, unless the answer could not be written whole.
    let _ = SockRef::from(socket.stream()).shutdown(Half::Write);
    let discard = timeout(LINGER, discard_to_end(socket.stream(), LINGER_MAX_BYTES));
    tokio::select! {
        _ = discard => {}
        () = abort.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use poem::endpoint::make_sync;
    use tokio_util::task::TaskTracker;

    use super::*;

    /// The task of an idle stream is part of its budget.
    const TASK_MAX_BYTES: usize = 512;

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
