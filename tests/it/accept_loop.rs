//! The accept loop, on real sockets: clients that vanish, dawdle, come in crowds or send too much, and the end.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail the test, as tests do"
)]

mod alone;
mod crowds;
mod ending;
mod requests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::server::{Connections, Ending, Options, Server, Shutdown};
use application::ports::{Observation, Observer};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use poem::http::StatusCode;
use poem::{Body, Endpoint, Request, Response, Result, Route, endpoint::make};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

/// Nothing here takes this long unless it is broken.
const DEADLINE: Duration = Duration::from_secs(5);

/// Counts what the accept loop reports.
#[derive(Default)]
struct Seen {
    descriptors: AtomicUsize,
    connections: AtomicUsize,
}

impl Observer for Seen {
    fn saw(&self, observation: &Observation) {
        match observation {
            Observation::Full("descriptors") => self.descriptors.fetch_add(1, Ordering::SeqCst),
            Observation::Full("connections") => self.connections.fetch_add(1, Ordering::SeqCst),
            _ => 0,
        };
    }
}

struct Node {
    address: SocketAddr,
    connections: Connections,
    shutdown: Shutdown,
    seen: Arc<Seen>,
    running: JoinSet<io::Result<Ending>>,
}

fn options() -> Options {
    Options {
        header_timeout: Duration::from_secs(10),
        keep_alive_timeout: Duration::from_secs(75),
        max_connections: 10_000,
        shutdown_timeout: DEADLINE,
    }
}

/// Starts a server with the endpoints of [`routes`].
fn start(options: Options, streams_end: watch::Receiver<bool>) -> Node {
    start_with(options, routes(streams_end))
}

fn start_with(options: Options, routes: impl Endpoint + 'static) -> Node {
    let (node, server) = bind(options);
    node.run(server, routes)
}

/// Binds without serving yet.
fn bind(options: Options) -> (Node, Server) {
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0)), options).unwrap();
    let node = Node {
        address: server.local_addr(),
        connections: server.connections(),
        shutdown: Shutdown::new(),
        seen: Arc::default(),
        running: JoinSet::new(),
    };
    (node, server)
}

impl Node {
    fn run(mut self, server: Server, routes: impl Endpoint + 'static) -> Self {
        let observer = Arc::clone(&self.seen) as Arc<dyn Observer>;
        self.running
            .spawn(server.run(routes, self.shutdown.clone(), observer));
        self
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request and keeps the connection.
    async fn send(&self, request: &str) -> TcpStream {
        let mut client = self.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    async fn open_streams(&self, count: usize) -> Vec<TcpStream> {
        self.open("/endless", count).await
    }

    async fn open(&self, path: &str, count: usize) -> Vec<TcpStream> {
        let opening = (0..count).map(|_| async {
            let mut client = self.send(&get(path)).await;
            assert!(head(&mut client).await.starts_with("HTTP/1.1 200"));
            client
        });
        stream::iter(opening).buffer_unordered(100).collect().await
    }

    async fn until_open(&self, expected: usize) {
        let connections = || self.connections.open();
        until(|| connections() == expected, || format!("{} open", connections())).await;
    }

    async fn ended(&mut self) -> Ending {
        let ended = timeout(DEADLINE, self.running.join_next()).await;
        ended.expect("the server ends").unwrap().unwrap().unwrap()
    }
}

/// Waits for a condition, and fails at the deadline.
async fn until(condition: impl Fn() -> bool, state: impl Fn() -> String) {
    let mut ticks = interval(Duration::from_millis(5));
    let waiting = async {
        while !condition() {
            ticks.tick().await;
        }
    };
    assert!(timeout(DEADLINE, waiting).await.is_ok(), "still {}", state());
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

/// Reads the head of an answer.
async fn head(client: &mut TcpStream) -> String {
    read_to(client, "\r\n\r\n").await
}

async fn read_to(client: &mut TcpStream, mark: &str) -> String {
    let reading = async {
        let mut bytes = Vec::new();
        while !bytes.ends_with(mark.as_bytes()) {
            bytes.push(client.read_u8().await.unwrap());
        }
        String::from_utf8(bytes).unwrap()
    };
    timeout(DEADLINE, reading).await.expect("it arrives")
}

/// Reads a whole answer that says how long it is.
async fn answer(client: &mut TcpStream) -> (String, String) {
    let head = head(client).await;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.expect("a length").parse().unwrap()];
    timeout(DEADLINE, client.read_exact(&mut body))
        .await
        .unwrap()
        .unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// Reads until the server closes.
async fn rest(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = timeout(DEADLINE, client.read_to_end(&mut bytes)).await;
    read.expect("the server closes").map(|_| bytes)
}

/// Stands for the routes of the service: whatever can happen on a connection.
fn routes(streams_end: watch::Receiver<bool>) -> impl Endpoint {
    Route::new()
        .at("/", make(|_| async { Result::<_>::Ok("hello") }))
        .at(
            "/echo",
            make(|mut request: Request| async move { Result::<_>::Ok(request.take_body().into_bytes().await?) }),
        )
        .at("/endless", endless_body("text/event-stream", streams_end.clone()))
        .at("/download", endless_body("application/octet-stream", streams_end))
        .at("/stuck", make(|_| std::future::pending::<Result<&'static str>>()))
        .at(
            "/early",
            make(|_| async { Result::<_>::Ok(StatusCode::PAYLOAD_TOO_LARGE.with_body("too much")) }),
        )
        .at("/panic", make(panics))
        .at("/upgrade", make(upgrades))
}

/// Begins a body, and ends it when the streams are to end.
fn endless_body(media_type: &'static str, streams_end: watch::Receiver<bool>) -> impl Endpoint {
    make(move |_| {
        let mut end = streams_end.clone();
        async move {
            let first = stream::iter([io::Result::Ok(Bytes::from_static(b": hello\n\n"))]);
            let ended = async move { end.wait_for(|end| *end).await.is_ok() };
            let then = stream::once(ended).filter_map(|_| async { None });
            let body = Body::from_bytes_stream(first.chain(then));
            Result::<_>::Ok(Response::builder().content_type(media_type).body(body))
        }
    })
}

trait WithBody {
    fn with_body(self, body: &'static str) -> Response;
}

impl WithBody for StatusCode {
    fn with_body(self, body: &'static str) -> Response {
        Response::builder().status(self).body(body)
    }
}

async fn panics(_: Request) -> Result<&'static str> {
    panic!("planted");
}

/// Switches protocols and echoes.
async fn upgrades(request: Request) -> Result<Response> {
    let upgrade = request.take_upgrade()?;
    let mut echo = JoinSet::new();
    echo.spawn(async move {
        let (mut input, mut output) = tokio::io::split(upgrade.await.unwrap());
        let _ = tokio::io::copy(&mut input, &mut output).await;
    });
    echo.detach_all();
    let switching = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    Ok(switching
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .finish())
}

/// Streams that nobody ends.
fn endless() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    // As long as the process lives.
    std::mem::forget(sender);
    receiver
}
