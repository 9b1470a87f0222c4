//! The accept loop, on real sockets: clients that vanish, dawdle, come in crowds or send too much, and the end.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail the test, as tests do"
)]

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::server::{Capacity, Connections, Ending, Options, Server, Shutdown};
use application::ports::{Observation, Observer};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use poem::http::StatusCode;
use poem::{Body, Endpoint, Request, Response, Result, Route, endpoint::make};
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_vanish_from_an_idle_stream_are_released_without_traffic() {
    const CLIENTS: usize = 2_000;
    let node = start(options(), endless());
    let mut clients = node.open("/endless", CLIENTS / 2).await;
    clients.extend(node.open("/download", CLIENTS / 2).await);
    // Some have said more than they were asked.
    for client in clients.iter_mut().take(10) {
        client.write_all(get("/").as_bytes()).await.unwrap();
    }
    assert_eq!(node.connections.open(), CLIENTS);

    // Half of them say goodbye, half of them are cut off.
    for client in clients.iter().step_by(2) {
        client.set_zero_linger().unwrap();
    }
    drop(clients);

    node.until_open(0).await;
}

#[tokio::test]
async fn an_event_stream_is_framed_as_its_client_asked() {
    let (end_streams, streams_end) = watch::channel(false);
    let node = start(options(), streams_end);
    let mut pipelined = node.send(&(get("/") + &get("/endless"))).await;
    let mut old = node.send("GET /endless HTTP/1.0\r\n\r\n").await;
    let mut only_head = node.send("HEAD /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;

    assert_eq!(answer(&mut pipelined).await.1, "hello");
    let pipelined_head = head(&mut pipelined).await;
    let old_head = head(&mut old).await;
    assert!(head(&mut only_head).await.starts_with("HTTP/1.1 200"));
    end_streams.send(true).unwrap();

    assert!(
        pipelined_head.contains("transfer-encoding: chunked"),
        "{pipelined_head}"
    );
    assert!(pipelined_head.contains("connection: close"), "{pipelined_head}");
    assert!(!old_head.contains("transfer-encoding"), "{old_head}");
    assert_eq!(
        rest(&mut pipelined).await.unwrap(),
        b"9\r\n: hello\n\n\r\n0\r\n\r\n"
    );
    assert_eq!(rest(&mut old).await.unwrap(), b": hello\n\n");
    let usual = reqwest::get(format!("http://{}/endless", node.address))
        .await
        .unwrap();
    assert_eq!(usual.text().await.unwrap(), ": hello\n\n");
    drop((pipelined, old, only_head));
    node.until_open(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_every_byte_of_a_long_backlog() {
    const FRAMES: usize = 5_000;
    let frame = |number: usize| format!("id: 0-{number}\ndata: {}\n\n", "x".repeat(number % 2_000));
    let expected: String = (0..FRAMES).map(frame).collect();
    let backlog = make(move |_| async move {
        let frames = stream::iter((0..FRAMES).map(move |number| io::Result::Ok(Bytes::from(frame(number)))));
        let body = Body::from_bytes_stream(frames);
        Result::<_>::Ok(Response::builder().content_type("text/event-stream").body(body))
    });
    let node = start_with(options(), backlog);

    let mut answer = reqwest::get(format!("http://{}/", node.address)).await.unwrap();
    let mut received = Vec::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        received.extend_from_slice(&chunk);
        // Gives the server time to fill the buffers in between.
        tokio::task::yield_now().await;
    }

    assert!(
        received == expected.as_bytes(),
        "{} of {} bytes",
        received.len(),
        expected.len()
    );
}

#[tokio::test]
async fn a_head_that_takes_too_long_ends_the_connection() {
    let header_timeout = Duration::from_millis(300);
    let node = start(
        Options {
            header_timeout,
            ..options()
        },
        endless(),
    );
    for begun in ["", "GET / HTTP/1.1\r\nhost: a\r\nx-slow: "] {
        let start = Instant::now();
        let mut client = node.send(begun).await;

        let read = rest(&mut client).await;

        assert!(read.unwrap_or_default().is_empty());
        assert!(start.elapsed() >= header_timeout, "after {:?}", start.elapsed());
    }
    node.until_open(0).await;
}

#[tokio::test]
async fn a_connection_may_rest_between_requests_but_a_begun_head_may_not() {
    let node = start(
        Options {
            header_timeout: Duration::from_millis(200),
            keep_alive_timeout: Duration::from_secs(60),
            ..options()
        },
        endless(),
    );
    let mut client = node.send(&get("/")).await;
    answer(&mut client).await;

    let silence = timeout(Duration::from_millis(600), client.read_u8()).await;
    assert!(
        silence.is_err(),
        "the connection was not left to rest: {silence:?}"
    );
    client.write_all(get("/").as_bytes()).await.unwrap();
    assert_eq!(answer(&mut client).await.1, "hello");

    client.write_all(b"GET / HT").await.unwrap();
    assert!(rest(&mut client).await.unwrap_or_default().is_empty());
}

#[tokio::test]
async fn a_connection_that_rests_too_long_is_closed() {
    let keep_alive_timeout = Duration::from_millis(300);
    let node = start(
        Options {
            keep_alive_timeout,
            ..options()
        },
        endless(),
    );
    let mut client = node.send(&get("/")).await;
    answer(&mut client).await;
    assert!(rest(&mut client).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_over_the_cap_are_told_so_at_once() {
    let node = start(
        Options {
            max_connections: 2,
            ..options()
        },
        endless(),
    );
    let mut streams = node.open_streams(2).await;

    // More than the server turns away in peace at a time.
    let turned_away = stream::iter((0..200).map(|_| async {
        let mut client = node.send(&get("/")).await;
        let (head, body) = answer(&mut client).await;
        assert!(rest(&mut client).await.unwrap_or_default().is_empty());
        (head, body)
    }));
    let answers: Vec<_> = turned_away.buffer_unordered(100).collect().await;

    for (head, body) in &answers {
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains("\r\ncontent-type: application/problem+json\r\n"));
        assert!(head.contains("\r\nretry-after: "));
        assert!(body.contains("\"status\":503"));
    }
    assert_eq!(node.seen.connections.load(Ordering::SeqCst), 200);
    assert_eq!(node.connections.open(), 2);

    drop(streams.pop());
    node.until_open(1).await;
    let (head, _) = answer(&mut node.send(&get("/")).await).await;
    assert!(head.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_over_the_cap_that_says_nothing_is_not_kept() {
    let node = start(
        Options {
            max_connections: 0,
            ..options()
        },
        endless(),
    );
    let mut silent = node.connect().await;
    assert!(rest(&mut silent).await.unwrap_or_default().is_empty());
}

#[tokio::test]
async fn a_pool_of_connections_takes_the_refusal_for_an_answer() {
    let node = start(
        Options {
            max_connections: 0,
            ..options()
        },
        endless(),
    );
    let answer = reqwest::get(format!("http://{}/", node.address)).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn keep_alive_and_pipelining_work() {
    let node = start(options(), endless());
    let post = |body: &str| {
        let length = body.len();
        format!("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let pipelined = [get("/"), post("one"), get("/"), post("two")].concat();
    let mut client = node.send(&pipelined).await;

    let mut bodies = Vec::new();
    for _ in 0..4 {
        bodies.push(answer(&mut client).await.1);
    }
    client.write_all(post("three").as_bytes()).await.unwrap();
    bodies.push(answer(&mut client).await.1);

    assert_eq!(bodies, ["hello", "one", "hello", "two", "three"]);
    assert_eq!(node.connections.open(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_is_read_by_a_client_that_is_still_sending() {
    const LENGTH: usize = 8 << 20;
    let node = start(options(), endless());
    let mut client = node
        .send(&format!(
            "POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: {LENGTH}\r\n\r\n"
        ))
        .await;

    // A client of the simplest kind: it sends everything before it looks at the answer.
    let body = vec![b'x'; LENGTH];
    let sent = timeout(DEADLINE, client.write_all(&body)).await;
    sent.expect("the body is taken").expect("no reset while sending");

    let (head, body) = answer(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert_eq!(body, "too much");
    assert!(rest(&mut client).await.unwrap().is_empty());
    node.until_open(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_is_read_by_a_usual_client() {
    let node = start(options(), endless());
    let client = reqwest::Client::new();
    for _ in 0..20 {
        let request = client.post(format!("http://{}/early", node.address));
        let answer = request.body(vec![b'x'; 8 << 20]).send().await.unwrap();
        assert_eq!(answer.status(), 413);
        assert_eq!(answer.text().await.unwrap(), "too much");
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_answered() {
    let node = start(options(), endless());
    let head_of = |bytes: usize| {
        let value = "x".repeat(bytes);
        format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {value}\r\n\r\n")
    };
    let mut long = node.send(&head_of(24 << 10)).await;
    assert!(head(&mut long).await.starts_with("HTTP/1.1 200"));

    let mut too_long = node.send(&head_of(256 << 10)).await;
    assert!(head(&mut too_long).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_request_that_panics_ends_its_own_connection_alone() {
    let node = start(options(), endless());
    let mut stream = node.open_streams(1).await.remove(0);
    let mut client = node.send(&get("/panic")).await;
    assert!(rest(&mut client).await.unwrap_or_default().is_empty());

    node.until_open(1).await;
    let (head, _) = answer(&mut node.send(&get("/")).await).await;
    assert!(head.starts_with("HTTP/1.1 200"));
    assert!(
        timeout(Duration::from_millis(50), rest(&mut stream))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_upgraded_connection_counts_until_it_is_closed() {
    let mut node = start(options(), endless());
    let request = "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let mut client = node.send(request).await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101"));
    client.write_all(b"echo").await.unwrap();
    let mut back = [0; 4];
    timeout(DEADLINE, client.read_exact(&mut back))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(node.connections.open(), 1);

    node.shutdown.begin();
    assert!(
        timeout(Duration::from_millis(100), node.running.join_next())
            .await
            .is_err()
    );
    drop(client);

    assert_eq!(node.ended().await, Ending::Drained);
    assert_eq!(node.connections.open(), 0);
}

#[tokio::test]
async fn draining_closes_what_is_idle_finishes_what_runs_and_takes_nothing_new() {
    let (end_streams, streams_end) = watch::channel(false);
    let mut node = start(options(), streams_end);
    let mut idle = node.send(&get("/")).await;
    answer(&mut idle).await;
    let mut silent = node.connect().await;
    let mut stream = node.open_streams(1).await.remove(0);
    let mut half = node
        .send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nha")
        .await;
    node.until_open(4).await;

    node.shutdown.begin();
    node.shutdown.begin();

    assert!(rest(&mut idle).await.unwrap().is_empty());
    assert!(rest(&mut silent).await.unwrap().is_empty());
    half.write_all(b"lf").await.unwrap();
    let (head, body) = answer(&mut half).await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, "half");
    assert!(rest(&mut half).await.unwrap().is_empty());
    let refused = TcpStream::connect(node.address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    node.until_open(1).await;

    end_streams.send(true).unwrap();
    assert!(rest(&mut stream).await.unwrap().ends_with(b"0\r\n\r\n"));
    drop((idle, silent, half, stream));
    assert_eq!(node.ended().await, Ending::Drained);
}

#[tokio::test]
async fn whoever_the_system_had_accepted_before_the_drain_is_still_served() {
    let (node, server) = bind(options());
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(node.send(&get("/")).await);
    }
    node.shutdown.begin();

    let mut node = node.run(server, routes(endless()));

    for mut client in waiting {
        assert_eq!(answer(&mut client).await.1, "hello");
        assert!(rest(&mut client).await.unwrap().is_empty());
    }
    assert_eq!(node.ended().await, Ending::Drained);
}

#[tokio::test]
async fn what_does_not_end_is_cut_off_in_time() {
    let shutdown_timeout = Duration::from_millis(500);
    let mut node = start(
        Options {
            shutdown_timeout,
            ..options()
        },
        endless(),
    );
    let mut stuck = node.send(&get("/stuck")).await;
    let mut stream = node.open_streams(1).await.remove(0);
    node.until_open(2).await;
    let start = Instant::now();

    node.shutdown.begin();

    assert_eq!(node.ended().await, Ending::CutOff { connections: 2 });
    let took = start.elapsed();
    assert!(
        took >= shutdown_timeout && took < shutdown_timeout * 3,
        "{took:?}"
    );
    assert!(rest(&mut stuck).await.unwrap_or_default().is_empty());
    let _ = rest(&mut stream).await;
    assert_eq!(node.connections.open(), 0);
}

#[tokio::test]
async fn whoever_is_told_not_to_wait_does_not() {
    let mut node = start(options(), endless());
    let _stuck = node.send(&get("/stuck")).await;
    node.until_open(1).await;
    node.shutdown.begin();
    let start = Instant::now();
    node.shutdown.force();
    assert_eq!(node.ended().await, Ending::Forced);
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_accepted_at_once() {
    const CLIENTS: usize = 3_000;
    let node = start(options(), endless());
    let connecting = (0..CLIENTS).map(|_| node.connect());
    let crowd: Vec<TcpStream> = stream::iter(connecting).buffer_unordered(CLIENTS).collect().await;
    node.until_open(CLIENTS).await;
    drop(crowd);
    node.until_open(0).await;
}

/// Says that this process was started by [`in_a_process_of_its_own`].
const ALONE: &str = "TEST_RUNS_ALONE";

/// Runs one test of this binary again, in a process of its own, with at most `descriptors` descriptors.
async fn in_a_process_of_its_own(test: &str, descriptors: u32) {
    let binary = std::env::current_exe().unwrap();
    let script = format!("ulimit -n {descriptors} && exec \"$0\" --exact accept_loop::{test} --nocapture");
    let child = Command::new("sh")
        .args(["-c", &script])
        .arg(binary)
        .env(ALONE, "1")
        .kill_on_drop(true)
        .output();
    let output = timeout(DEADLINE * 4, child).await.expect("it ends").unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{printed}{errors}"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "not configuration: how the test runs itself"
)]
fn runs_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_clients_are_turned_away_and_streams_live_on() {
    if !runs_alone() {
        let test = "without_descriptors_clients_are_turned_away_and_streams_live_on";
        return in_a_process_of_its_own(test, 128).await;
    }
    let (end_streams, streams_end) = watch::channel(false);
    let node = start(options(), streams_end);
    let mut stream = node.open_streams(1).await.remove(0);
    let late: Vec<TcpSocket> = (0..20).map(|_| TcpSocket::new_v4().unwrap()).collect();
    // Whatever is left is taken.
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }

    let turned_away = late.into_iter().map(|socket| async {
        let mut client = socket.connect(node.address).await.unwrap();
        let _ = client.write_all(get("/").as_bytes()).await;
        // A client that went now would leave a descriptor to the next one.
        (head(&mut client).await, client)
    });
    let answers: Vec<_> = stream::iter(turned_away).buffer_unordered(20).collect().await;

    for (head, _) in &answers {
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    }
    let reported = node.seen.descriptors.load(Ordering::SeqCst);
    assert!(reported >= 20, "{reported}");
    // It waits for the next client instead of trying over and over.
    let quiet = timeout(Duration::from_millis(300), std::future::pending::<()>()).await;
    assert!(quiet.is_err());
    let more = node.seen.descriptors.load(Ordering::SeqCst) - reported;
    assert!(more <= 8, "{more} more failures with nobody there");
    assert_eq!(node.connections.open(), 1);

    drop(taken);
    let (head, _) = answer(&mut node.send(&get("/")).await).await;
    assert!(head.starts_with("HTTP/1.1 200"));
    end_streams.send(true).unwrap();
    assert!(read_to(&mut stream, "0\r\n\r\n").await.contains(": hello"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_even_a_spare_descriptor_it_waits_and_goes_on() {
    if !runs_alone() {
        return in_a_process_of_its_own("without_even_a_spare_descriptor_it_waits_and_goes_on", 128).await;
    }
    let (node, server) = bind(options());
    let late = TcpSocket::new_v4().unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    let node = node.run(server, routes(endless()));
    let mut client = late.connect(node.address).await.unwrap();
    client.write_all(get("/").as_bytes()).await.unwrap();

    let answered = timeout(Duration::from_millis(400), client.read_u8()).await;

    assert!(answered.is_err(), "{answered:?}");
    let failures = node.seen.descriptors.load(Ordering::SeqCst);
    assert!((1..=20).contains(&failures), "{failures} failures in 400 ms");
    drop(taken);
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_stops_at_once() {
    if !runs_alone() {
        return in_a_process_of_its_own("the_first_signal_drains_and_the_second_stops_at_once", 1_024).await;
    }
    for (first, second) in [(Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM)] {
        let mut node = start(options(), endless());
        let _watch = node.shutdown.on_signals().unwrap();
        let _stuck = node.send(&get("/stuck")).await;
        node.until_open(1).await;
        let shutdown = node.shutdown.clone();

        kill_process(getpid(), first).unwrap();
        until(|| shutdown.has_begun(), || "not stopping".to_owned()).await;
        assert!(!shutdown.forced().is_cancelled());

        kill_process(getpid(), second).unwrap();
        assert_eq!(node.ended().await, Ending::Forced);
    }
}

#[tokio::test]
async fn the_descriptor_limit_is_raised_as_far_as_it_goes() {
    if !runs_alone() {
        return in_a_process_of_its_own("the_descriptor_limit_is_raised_as_far_as_it_goes", 512).await;
    }
    // `ulimit` has lowered both limits, so the soft one is lowered further here.
    let low = Rlimit {
        current: Some(300),
        maximum: Some(512),
    };
    setrlimit(Resource::Nofile, low).unwrap();

    let capacity = Capacity::claim(None).unwrap();

    assert_eq!(getrlimit(Resource::Nofile).current, Some(512));
    assert_eq!(capacity, Capacity::plan(512, None));
}
