//! What a cluster is connected to fails while it works, in ways that are no clean end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::node::Node;
use tests::postgres::{Postgres, Settings};
use tests::redis::{self, Redis};
use tests::server::now;

use crate::cluster::cast::Cast;
use crate::cluster::reader::{Manners, OnReset, Return};
use crate::cluster::{Dice, Setup, http, plain};

const PATIENCE: Duration = Duration::from_secs(30);

/// No request is left without an answer for longer.
const ANSWERED: Duration = Duration::from_secs(15);

const MANNERS: Manners = Manners {
    back: Return::Soon,
    reset: OnReset::Complain,
};

/// A back end that looks at each answer by itself.
struct BackEnd {
    url: String,
    token: String,
    client: reqwest::Client,
}

struct Answer {
    status: u16,
    retry_after: Option<u64>,
    body: Value,
    took: Duration,
}

impl BackEnd {
    fn new(setup: &Setup, node: &Node) -> Self {
        Self {
            url: plain(node.address()),
            token: setup.issuer.token("back-end", "SERVICE", &[]).unwrap(),
            client: http(PATIENCE),
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let started: Instant = now();
        let request = self.client.post(format!("{}{path}", self.url));
        let answer = request.bearer_auth(&self.token).json(body).send().await.unwrap();
        let retry_after = answer.headers().get("retry-after");
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        Answer {
            status: answer.status().as_u16(),
            retry_after,
            body: answer.json().await.unwrap(),
            took: started.elapsed(),
        }
    }

    async fn publish(&self) -> Answer {
        self.post("/v1/notifications", &draft(0, &mut Dice::new(1, 1)))
            .await
    }
}

impl Answer {
    /// Refused, in bounded time, with when to come back.
    fn is_a_bounded_503(&self) {
        assert_eq!(self.status, 503, "{}", self.body);
        assert!(
            self.retry_after.is_some_and(|seconds| seconds <= 60),
            "{}",
            self.body
        );
        assert!(self.took < ANSWERED, "{:?}", self.took);
    }
}

/// A notification to one person that takes some 8 KiB however it is packed.
fn draft(number: u64, dice: &mut Dice) -> Value {
    // Letters of chance: nothing makes them shorter by much.
    let letter = |dice: &mut Dice| char::from(b'a' + u8::try_from(dice.below(26)).unwrap());
    let padding: String = (0..12_000).map(|_| letter(dice)).collect();
    json!({
        "audience": { "users": ["u-0"] },
        "type": "sistema.comunicado",
        "title": format!("Cheio {number}"),
        "data": { "number": number, "padding": padding },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_a_503_loses_nothing_and_is_over_when_there_is_room() {
    let database = Postgres::start(Settings::default()).unwrap();
    let setup = Setup::new().on_postgres(&database.url());
    let node = setup.node();
    let back_end = BackEnd::new(&setup, &node);
    database.limit_files(Some(16 << 20)).unwrap();
    let (mut dice, mut stored) = (Dice::new(1, 1), 0);
    let full = loop {
        let items: Vec<Value> = (0..200).map(|number| draft(number, &mut dice)).collect();
        let answer = back_end
            .post("/v1/notifications/batch", &json!({ "items": items }))
            .await;
        if answer.status != 200 {
            break answer;
        }
        let results = answer.body["results"].as_array().unwrap();
        stored += results.iter().filter(|result| result["status"] == 201).count();
        let refused = results.iter().find(|result| result["status"] != 201);
        if let Some(refused) = refused {
            assert_eq!(refused["status"], 503, "{refused}");
            break back_end.publish().await;
        }
        assert!(stored < 20_000, "the disk never fills");
    };
    full.is_a_bounded_503();
    assert_eq!(node.status("/health/live"), Some(200));

    database.limit_files(None).unwrap();
    let started = now();
    while back_end.publish().await.status != 201 {
        assert!(started.elapsed() < PATIENCE, "it does not take anything again");
    }
    stored += 1;
    let client = tests::postgres::connect(&database.url()).await.unwrap();
    let row = client
        .query_one("SELECT count(*) FROM events", &[])
        .await
        .unwrap();
    let kept = usize::try_from(row.get::<_, i64>(0)).unwrap();
    assert!(kept >= stored, "{stored} were acknowledged, {kept} are there");
    assert!(!node.log().unwrap().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_connections_and_says_nothing_is_a_bounded_503_and_streams_live_on() {
    let database = Postgres::start(Settings::default()).unwrap();
    let setup = Setup::new().on_postgres(&database.url());
    let node = setup.node();
    let back_end = BackEnd::new(&setup, &node);
    let cast = Cast::new(&setup, 1, 5, &[plain(node.address())], MANNERS);
    cast.listen().await;
    assert_eq!(back_end.publish().await.status, 201);

    // Frozen: the kernel still completes handshakes.
    database.freeze().unwrap();
    for _ in 0..2 {
        back_end.publish().await.is_a_bounded_503();
    }
    assert_eq!(node.status("/health/ready"), Some(503));
    assert_eq!(node.status("/health/live"), Some(200));
    database.thaw().unwrap();

    let started = now();
    while back_end.publish().await.status != 201 {
        assert!(started.elapsed() < PATIENCE, "it does not come back");
    }
    cast.tell(crate::cluster::ledger::Audience::Everyone).await;
    crate::cluster::until("everybody hears again", PATIENCE, || {
        let deaf = cast.readers.iter().filter(|reader| {
            let heard = &reader.story().received;
            !heard
                .iter()
                .any(|item| cast.ledger.all().iter().any(|p| p.number == item.number))
        });
        match deaf.count() {
            0 => Ok(()),
            deaf => Err(format!("{deaf} do not")),
        }
    })
    .await;
    for reader in &cast.readers {
        assert_eq!(reader.story().opened, 1, "its stream was closed meanwhile");
    }
    assert!(!node.log().unwrap().contains("panicked"));
}

/// Waits until every node says that of itself. Meanwhile each takes work.
async fn healthy(nodes: &[Node], status: &str) {
    let client = http(PATIENCE);
    for node in nodes {
        let started = now();
        loop {
            let answer = client.get(format!("{}/health", node.url())).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let health: Value = answer.json().await.unwrap();
            if health["status"] == status {
                break;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "it is not {status} but says {health}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Somebody's stream, as far as it was read.
struct Tab {
    response: reqwest::Response,
    heard: String,
}

impl Tab {
    async fn open(setup: &Setup, node: &Node) -> Self {
        let token = setup.issuer.token("u-0", "TECNICO", &[]).unwrap();
        let request = http(PATIENCE)
            .get(format!("{}/v1/stream", node.url()))
            .bearer_auth(token);
        let response = request.send().await.unwrap().error_for_status().unwrap();
        let mut tab = Self {
            response,
            heard: String::new(),
        };
        tab.hears("event: ready").await;
        tab
    }

    /// Waits for words. What else comes meanwhile, heartbeats above all, does not lengthen the wait.
    async fn hears(&mut self, words: &str) {
        let deadline = now() + PATIENCE;
        while !self.heard.contains(words) {
            let left = deadline.saturating_duration_since(now());
            let Ok(read) = tokio::time::timeout(left, self.response.chunk()).await else {
                panic!("{words} was not heard, but {}", self.heard)
            };
            let piece = read.unwrap().expect("the stream ended");
            self.heard.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persons_streams_are_counted_over_all_nodes_with_redis_and_without() {
    let database = tests::postgres::database().await.unwrap();
    let redis = Redis::start(redis::Settings::default()).unwrap();
    let setup = Setup::new()
        .on_postgres(&database.url())
        .with("ARAUTO_REDIS_URL", &redis.url())
        .with("ARAUTO_MAX_STREAMS_PER_USER", "2");
    let nodes = [setup.node(), setup.node()];
    let mut first = Tab::open(&setup, &nodes[0]).await;
    let mut second = Tab::open(&setup, &nodes[1]).await;
    let mut third = Tab::open(&setup, &nodes[1]).await;
    first.hears("\"replaced\"").await;

    redis.freeze().unwrap();
    let mut fourth = Tab::open(&setup, &nodes[0]).await;
    second.hears("\"replaced\"").await;
    redis.thaw().unwrap();

    healthy(&nodes, "up").await;
    let _fifth = Tab::open(&setup, &nodes[1]).await;
    third.hears("\"replaced\"").await;
    let _sixth = Tab::open(&setup, &nodes[1]).await;
    fourth.hears("\"replaced\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_answers_errors_costs_nobody_anything() {
    let database = tests::postgres::database().await.unwrap();
    let mut redis = Redis::start(redis::Settings::default()).unwrap();
    let setup = Setup::new()
        .on_postgres(&database.url())
        .with("ARAUTO_REDIS_URL", &redis.url());
    let nodes = [setup.node(), setup.node()];
    let doors = nodes.each_ref().map(|node| plain(node.address()));
    let cast = Cast::new(&setup, 1, 10, &doors, MANNERS);
    cast.listen().await;
    let told = || cast.caught_up(Duration::from_secs(5));
    told().await;
    healthy(&nodes, "up").await;

    // Every command is answered with an error, on connections that are open and on new ones.
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    told().await;
    healthy(&nodes, "degraded").await;
    redis.restart_with("requirepass", "unknown").unwrap();
    told().await;
    healthy(&nodes, "degraded").await;
    redis.freeze().unwrap();
    told().await;
    healthy(&nodes, "degraded").await;
    redis.thaw().unwrap();
    redis.restart_with("requirepass", "").unwrap();
    told().await;
    healthy(&nodes, "up").await;
    cast.settle(PATIENCE).await;
    for node in &nodes {
        assert!(!node.log().unwrap().contains("panicked"));
    }
}
