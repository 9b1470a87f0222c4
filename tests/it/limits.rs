//! Limits over two nodes as processes that share one Redis, and what is left of them when it dies.
//!
//! The nodes trust this machine as a proxy, so that clients come from whichever address a test says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tests::node::Node;
use tests::postgres::database;
use tests::redis::{Redis, Settings};
use tests::server::now;
use tests::whatwg::EventStream;
use tokio::task::JoinSet;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::cluster::{Setup, http, plain};
use crate::outages::limiters::counted;

const OFFICE: &str = "203.0.113.9";
const CALLS: usize = 1_000;
/// Another document is in force on every node by then.
const IN_FORCE: Duration = Duration::from_secs(10);
/// What is promised for five hundred people who come back at once.
const ALL_BACK: Duration = Duration::from_secs(60);

fn limited(setup: Setup) -> Setup {
    setup.with("ARAUTO_RATE_LIMIT_ENABLED", "true")
}

fn on_redis(redis: &Redis) -> Setup {
    limited(Setup::new())
        .with("ARAUTO_STORE", "redis")
        .with("ARAUTO_REDIS_URL", &redis.url())
}

/// People who call both nodes.
#[derive(Clone)]
struct Callers {
    setup: Arc<Setup>,
    doors: [String; 2],
    client: Client,
}

impl Callers {
    fn new(setup: Setup, nodes: &[Node; 2]) -> Self {
        Self {
            setup: Arc::new(setup),
            doors: nodes.each_ref().map(|node| plain(node.address())),
            client: http(Duration::from_secs(30)),
        }
    }

    fn token(&self, user: &str, role: &str) -> String {
        self.setup.issuer.token(user, role, &[]).unwrap()
    }

    async fn get(&self, node: usize, path: &str, token: Option<&str>, from: &str) -> Response {
        let call = self.client.get(format!("{}{path}", self.doors[node]));
        let call = call.header("x-forwarded-for", from);
        let call = match token {
            Some(token) => call.bearer_auth(token),
            None => call,
        };
        call.send().await.unwrap()
    }

    /// Calls a thousand times at once, over both nodes in turn; returns how many got each status.
    async fn all_at_once(
        &self,
        token: Option<String>,
        from: impl Fn(usize) -> String,
    ) -> BTreeMap<u16, usize> {
        let mut calls = JoinSet::new();
        for n in 0..CALLS {
            let (callers, token, from) = (self.clone(), token.clone(), from(n));
            calls.spawn(async move {
                let path = "/v1/notifications/unread-count";
                let answer = callers.get(n % 2, path, token.as_deref(), &from).await;
                if answer.status() == 429 {
                    let wait: u64 = header(&answer, "retry-after");
                    assert!((1..=61).contains(&wait), "{wait}");
                    assert_eq!(header::<u64>(&answer, "ratelimit-remaining"), 0);
                }
                answer.status().as_u16()
            });
        }
        let mut counts = BTreeMap::new();
        for status in calls.join_all().await {
            *counts.entry(status).or_default() += 1;
        }
        counts
    }

    /// Changes the limits at one node, and waits until both go by what a probe finds.
    async fn change(&self, change: impl Fn(&mut Value), in_force: impl AsyncFn(usize) -> bool) {
        let admin = self.token("boss", "ADMIN");
        let path = "/v1/admin/limits";
        let mut limits: Value = self
            .get(0, path, Some(&admin), "127.0.0.1")
            .await
            .json()
            .await
            .unwrap();
        change(&mut limits["rules"]);
        let wanted = json!({ "version": limits["version"], "rules": limits["rules"] });
        let call = self.client.put(format!("{}{path}", self.doors[0]));
        let answer = call.bearer_auth(&admin).json(&wanted).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        let deadline = now() + IN_FORCE;
        for node in 0..2 {
            while !in_force(node).await {
                assert!(now() < deadline, "node {node} goes by the old limits");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Says what a window lets through for somebody who was never seen before.
    async fn limit_of(&self, node: usize, role: &str, from: &str) -> Option<u32> {
        let probe = self.token(&format!("probe-{:016x}", tests::port::random()), role);
        let answer = self
            .get(node, "/v1/notifications/unread-count", Some(&probe), from)
            .await;
        answer
            .headers()
            .get("ratelimit-limit")?
            .to_str()
            .unwrap()
            .parse()
            .ok()
    }
}

fn header<T: std::str::FromStr<Err: std::fmt::Debug>>(answer: &Response, name: &str) -> T {
    answer.headers()[name].to_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_calls_at_once_two_nodes_answer_exactly_as_many_as_a_window_allows() {
    let redis = Redis::start(Settings::default()).unwrap();
    let setup = on_redis(&redis).with("ARAUTO_TRUSTED_PROXIES", "127.0.0.0/8");
    let nodes = [setup.node(), setup.node()];
    let callers = Callers::new(setup, &nodes);
    callers
        .change(
            |rules| rules["profiles"]["default"]["api"] = json!({ "limit": 100, "burst": 50 }),
            async |node| callers.limit_of(node, "CIDADAO", "198.51.100.1").await == Some(150),
        )
        .await;
    let ana = callers.token("ana", "CIDADAO");
    // The same person from a thousand addresses.
    let counts = callers
        .all_at_once(Some(ana), |n| format!("192.0.2.{}", n % 250))
        .await;
    assert_eq!(counts, [(200, 150), (429, 850)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_forges_an_address_is_counted_by_their_own() {
    let redis = Redis::start(Settings::default()).unwrap();
    let setup = on_redis(&redis);
    let nodes = [setup.node(), setup.node()];
    let callers = Callers::new(setup, &nodes);
    // This machine is exempt until an administrator says otherwise.
    let forged = |n: usize| ["127.0.0.1".to_owned(), format!("192.0.2.{n}")][n % 2].clone();
    assert_eq!(callers.all_at_once(None, forged).await, [(401, CALLS)].into());
    callers
        .change(
            |rules| rules["exempt"] = json!([]),
            async |node| callers.limit_of(node, "CIDADAO", "127.0.0.1").await.is_some(),
        )
        .await;
    let counts = callers.all_at_once(None, forged).await;
    assert_eq!(counts, [(401, 60), (429, CALLS - 60)].into());
}

/// Opens a stream and returns it with the first event that it has, and how long a browser would wait.
async fn open(callers: &Callers, node: usize, token: &str) -> (Response, String, Option<u64>) {
    let mut answer = callers.get(node, "/v1/stream", Some(token), OFFICE).await;
    assert_eq!(answer.status(), 200, "anything else ends an EventSource for ever");
    let mut events = EventStream::new();
    while let Some(bytes) = answer.chunk().await.unwrap() {
        if let Some(first) = events.push(&bytes).into_iter().next() {
            return (
                answer,
                format!("{} {}", first.event, first.data),
                events.retry_ms(),
            );
        }
    }
    panic!("the stream ended without an event")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_source_that_comes_too_often_is_told_when_to_come_back_however_often_it_tries() {
    let redis = Redis::start(Settings::default()).unwrap();
    let setup = on_redis(&redis).with("ARAUTO_TRUSTED_PROXIES", "127.0.0.0/8");
    let nodes = [setup.node(), setup.node()];
    let callers = Callers::new(setup, &nodes);
    let (ana, bia) = (callers.token("ana", "CIDADAO"), callers.token("bia", "CIDADAO"));
    for n in 0..25 {
        let (_, first, _) = open(&callers, n % 2, &ana).await;
        assert!(first.starts_with("ready "), "{first}");
    }
    for n in 0..100 {
        let (_, first, retry) = open(&callers, n % 2, &ana).await;
        let data: Value = serde_json::from_str(first.strip_prefix("closing ").unwrap()).unwrap();
        assert_eq!(
            (&data["reason"], &data["reconnect"]),
            (&json!("rate_limited"), &json!(true))
        );
        assert_eq!(data["after_ms"].as_u64(), retry);
        assert!(
            retry.is_some_and(|retry| (1..=61_000).contains(&retry)),
            "{retry:?}"
        );
    }
    let (_, first, _) = open(&callers, 0, &bia).await;
    assert!(
        first.starts_with("ready "),
        "a colleague at the same address: {first}"
    );
}

/// Opens a WebSocket and returns its first frame, the code that it was closed with if it was, and itself.
async fn socket(callers: &Callers, node: usize, token: &str) -> (Value, Option<u16>, impl Sized) {
    let address = callers.doors[node].replacen("http", "ws", 1);
    let mut request = format!("{address}/v1/ws").into_client_request().unwrap();
    for (name, value) in [
        ("authorization", format!("Bearer {token}")),
        ("x-forwarded-for", OFFICE.to_owned()),
        ("sec-websocket-protocol", "arauto.v1".to_owned()),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let (mut socket, _) = connect_async(request).await.unwrap();
    let first = socket.next().await.unwrap().unwrap().into_text().unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    let mut code = None;
    if first["event"] == "closing" {
        let Message::Close(Some(frame)) = socket.next().await.unwrap().unwrap() else {
            panic!("it is closed with a reason")
        };
        code = Some(u16::from(frame.code));
    }
    (first, code, socket)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_socket_that_comes_too_often_is_told_so_and_asked_to_come_back() {
    let redis = Redis::start(Settings::default()).unwrap();
    let setup = on_redis(&redis).with("ARAUTO_TRUSTED_PROXIES", "127.0.0.0/8");
    let nodes = [setup.node(), setup.node()];
    let callers = Callers::new(setup, &nodes);
    let ana = callers.token("ana", "CIDADAO");
    for n in 0..25 {
        let (first, ..) = socket(&callers, n % 2, &ana).await;
        assert_eq!(first["event"], "ready", "{first}");
    }
    for n in 0..10 {
        let (first, code, _) = socket(&callers, n % 2, &ana).await;
        assert_eq!(first["data"]["reason"], "rate_limited", "{first}");
        assert_eq!(code, Some(4_002));
    }
    // Streams and sockets are one budget.
    let (_, first, _) = open(&callers, 0, &ana).await;
    assert!(first.starts_with("closing "), "{first}");
}

/// Connects everybody to a node at once, each with a ticket, and keeps their streams.
async fn connect(callers: &Callers, people: std::ops::Range<usize>, node: usize) -> Vec<Response> {
    let mut connecting = JoinSet::new();
    for person in people {
        let callers = callers.clone();
        connecting.spawn(async move {
            let token = callers.token(&format!("u-{person}"), "TECNICO");
            let ticket = callers
                .client
                .post(format!("{}/v1/stream/tickets", callers.doors[node]));
            let ticket = ticket.header("x-forwarded-for", OFFICE).bearer_auth(&token);
            assert_eq!(ticket.send().await.unwrap().status(), 200);
            let (stream, first, _) = open(&callers, node, &token).await;
            assert!(first.starts_with("ready "), "{first}");
            stream
        });
    }
    connecting.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_people_behind_one_address_are_all_back_within_a_minute() {
    let redis = Redis::start(Settings::default()).unwrap();
    let setup = on_redis(&redis).with("ARAUTO_TRUSTED_PROXIES", "127.0.0.0/8");
    let mut nodes = [setup.node(), setup.node()];
    let callers = Callers::new(setup, &nodes);
    let streams = connect(&callers, 0..500, 0).await;
    assert_eq!(streams.len(), 500);

    nodes[0].kill_9().unwrap();
    for stream in streams {
        // Whatever was on its way comes, and then the end.
        let mut rest = stream.bytes_stream();
        while let Some(Ok(_)) = rest.next().await {}
    }
    let cut = now();
    let back = connect(&callers, 0..500, 1).await;
    assert_eq!(back.len(), 500);
    assert!(cut.elapsed() < ALL_BACK, "{:?}", cut.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_redis_dies_each_node_keeps_to_its_share_and_health_says_so() {
    let mut redis = Redis::start(Settings::default()).unwrap();
    let database = database().await.unwrap();
    let setup = limited(Setup::new())
        .on_postgres(&database.url())
        .with("ARAUTO_REDIS_URL", &redis.url())
        .with("ARAUTO_TRUSTED_PROXIES", "127.0.0.0/8");
    let nodes = [setup.node(), setup.node()];
    let callers = Callers::new(setup, &nodes);
    let limits = async |node: usize, wanted: &str| {
        let deadline = now() + IN_FORCE;
        loop {
            let answer = callers.get(node, "/health", None, OFFICE).await;
            assert_eq!(answer.status(), 200);
            let health: Value = answer.json().await.unwrap();
            if health["parts"]["limits"] == wanted {
                return health["status"].as_str().unwrap().to_owned();
            }
            assert!(now() < deadline, "{health}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    for node in 0..2 {
        limits(node, "up").await;
    }
    counted(2, &redis).await;
    redis.kill_9().unwrap();
    for node in 0..2 {
        assert_eq!(limits(node, "degraded").await, "degraded");
        assert_eq!(
            callers.limit_of(node, "CIDADAO", OFFICE).await,
            Some(300),
            "half of 600"
        );
    }
    redis.restart().unwrap();
    for node in 0..2 {
        limits(node, "up").await;
        assert_eq!(callers.limit_of(node, "CIDADAO", OFFICE).await, Some(600));
    }
}
