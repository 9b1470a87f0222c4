//! Nodes that publish to Ably, against the stand-in: whatever it does, each event is accepted there once and in its
//! channel's order, and what never is accepted is accounted for.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::node::Node;
use tests::postgres::{Database, database};
use tests::server::now;
use tests::standin::{Fault, PUBLISH_KEY, Remembers, Rule, StandIn, TOKEN_KEY};

use crate::cluster::{Setup, http};

const UNIT: &str = "private:unit:norte:notifications";
const PATIENCE: Duration = Duration::from_secs(60);

/// Two nodes over one database, everybody on Ably.
pub(crate) struct Site {
    pub(crate) ably: StandIn,
    pub(crate) setup: Setup,
    pub(crate) nodes: [Node; 2],
    client: reqwest::Client,
    pub(crate) database: Database,
}

impl Site {
    pub(crate) async fn open() -> Self {
        let ably = StandIn::start().unwrap();
        let database = database().await.unwrap();
        let setup = Setup::new()
            .on_postgres(&database.url())
            .with("ARAUTO_ABLY_PUBLISH_KEY", PUBLISH_KEY)
            .with("ARAUTO_ABLY_TOKEN_KEY", TOKEN_KEY)
            .with("ARAUTO_ABLY_ENDPOINT", &ably.url())
            // Faults are for what is published, and not for probes.
            .with("ARAUTO_ABLY_PROBE_EVERY", "0s");
        let site = Self {
            nodes: [setup.node(), setup.node()],
            client: http(Duration::from_secs(10)),
            ably,
            setup,
            database,
        };
        site.share(100, 0).await;
        site
    }

    pub(crate) async fn call(
        &self,
        node: &Node,
        role: &str,
        (method, path, body): (Method, &str, Value),
    ) -> Value {
        let token = self.setup.issuer.token("somebody", role, &[]).unwrap();
        let call = self.client.request(method, format!("{}{path}", node.url()));
        let answer = call.bearer_auth(token).json(&body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Moves the rollout and waits until both nodes go by it.
    async fn share(&self, percent: u8, version: u64) {
        let change = json!({ "version": version, "why": "a test", "share": percent });
        self.call(
            &self.nodes[0],
            "ADMIN",
            (Method::PUT, "/v1/admin/rollout", change),
        )
        .await;
        for node in &self.nodes {
            let started = now();
            while self
                .call(node, "ADMIN", (Method::GET, "/v1/admin/rollout", json!({})))
                .await["in_force"]
                != version + 1
            {
                assert!(started.elapsed() < PATIENCE, "the rollout is not in force");
            }
        }
    }

    /// Publishes to the unit on both nodes in turn and returns the cursors.
    async fn publish(&self, count: usize) -> Vec<String> {
        let mut cursors = Vec::new();
        for n in 0..count {
            let draft = json!({ "type": "t", "title": format!("{n}"), "audience": { "unit": "norte" } });
            let node = &self.nodes[n % 2];
            let receipt = self
                .call(node, "SERVICE", (Method::POST, "/v1/notifications", draft))
                .await;
            cursors.push(receipt["cursor"].as_str().unwrap().to_owned());
        }
        cursors
    }

    /// The cursors that Ably accepted on the unit's channel, in its order.
    fn accepted(&self) -> Vec<String> {
        let accepted = self.ably.ledger().accepted(UNIT);
        accepted
            .iter()
            .map(|accepted| cursor(&accepted.message))
            .collect()
    }

    async fn until_accepted(&self, cursors: &[String]) {
        let started = now();
        while self.accepted().len() < cursors.len() {
            assert!(
                started.elapsed() < PATIENCE,
                "{:?} of {cursors:?}",
                self.accepted()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(self.accepted(), cursors);
    }

    /// How many deliveries stand how, once none is open any more.
    async fn ledger(&self) -> Vec<(String, i64)> {
        let database = self.database.connect().await.unwrap();
        let started = now();
        loop {
            let rows = database
                .query(
                    "SELECT record::json ->> 'status', count(*) FROM deliveries GROUP BY 1 ORDER BY 1",
                    &[],
                )
                .await
                .unwrap();
            let rows: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            let open = ["pending", "leased", "retry_at"];
            if rows.iter().all(|(status, _)| !open.contains(&status.as_str())) {
                return rows;
            }
            assert!(started.elapsed() < PATIENCE, "{rows:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn cursor(message: &Value) -> String {
    let data = message["data"].as_str().expect("data is JSON text");
    let data: Value = serde_json::from_str(data).unwrap();
    data["cursor"].as_str().unwrap().to_owned()
}

fn counted(status: &str, count: i64) -> (String, i64) {
    (status.to_owned(), count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_on_either_node_is_accepted_once_and_in_order() {
    let site = Site::open().await;
    let cursors = site.publish(30).await;
    site.until_accepted(&cursors).await;
    assert_eq!(site.ledger().await, [counted("done", 30)]);
    let repeated = site.ably.ledger().counts().repeated;
    assert_eq!(repeated, 0, "nothing was sent twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_ably_does_once_each_event_is_accepted_once_and_in_order() {
    let site = Site::open().await;
    let mut all = Vec::new();
    for fault in [
        Fault::Refuse,
        Fault::Cut,
        Fault::answer(500, 50_000),
        Fault::answer(503, 50_003),
        Fault::answer(429, 42_913),
        Fault::answer(401, 40_142),
        Fault::CutAnswer,
        Fault::Slow(Duration::from_secs(1)),
    ] {
        site.ably.faults().add(Rule::from(fault).once());
        all.extend(site.publish(3).await);
        site.until_accepted(&all).await;
    }
    assert_eq!(site.ledger().await, [counted("done", 24)]);
    assert_eq!(
        site.ably.ledger().counts().repeated,
        1,
        "the one whose answer was cut"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ably_refuses_for_good_is_dead_and_frees_its_channel() {
    let site = Site::open().await;
    site.ably
        .faults()
        .add(Rule::from(Fault::answer(400, 40_000)).once());
    let cursors = site.publish(3).await;
    site.until_accepted(&cursors[1..]).await;
    assert_eq!(site.ledger().await, [counted("dead", 1), counted("done", 2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ably_that_is_away_slows_no_publish_and_gets_what_is_due_when_it_is_back() {
    let site = Site::open().await;
    let before = site.publish(2).await;
    site.until_accepted(&before).await;
    site.ably.kill().unwrap();
    let started = now();
    let waiting = site.publish(2).await;
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "publishing waits for Ably"
    );
    site.ably.restart(Remembers::Everything).unwrap();
    let all = [before, waiting].concat();
    site.until_accepted(&all).await;
    assert_eq!(site.ledger().await, [counted("done", 4)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kill_switch_stops_what_was_not_sent_yet_and_is_accounted_for() {
    let site = Site::open().await;
    let before = site.publish(2).await;
    site.until_accepted(&before).await;
    let why = json!({ "why": "a test" });
    site.call(
        &site.nodes[1],
        "ADMIN",
        (Method::POST, "/v1/admin/kill-switch", why),
    )
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.publish(4).await;
    assert_eq!(
        site.ledger().await,
        [counted("done", 2), counted("suppressed", 4)]
    );
    assert_eq!(site.accepted(), before);
}
