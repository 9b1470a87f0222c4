//! The rollout of Ably, changed at one node and in force at the other.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::node::Node;
use tests::postgres::database;
use tests::redis::{Redis, Settings};
use tests::server::now;

use crate::cluster::{Setup, http};

/// After one call every node goes by the change.
const WITHIN: Duration = Duration::from_secs(1);

const ROLLOUT: &str = "/v1/admin/rollout";
const KILL_SWITCH: &str = "/v1/admin/kill-switch";

struct Operator {
    client: reqwest::Client,
    token: String,
}

impl Operator {
    fn of(setup: &Setup) -> Self {
        Self {
            client: http(Duration::from_secs(10)),
            token: setup.issuer.token("admin-1", "ADMIN", &[]).unwrap(),
        }
    }

    async fn call(&self, node: &Node, method: Method, path: &str, body: Value) -> Value {
        let call = self.client.request(method, format!("{}{path}", node.url()));
        let call = call
            .bearer_auth(&self.token)
            .header("content-type", "application/json");
        let answer = call.body(body.to_string()).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn show(&self, node: &Node) -> Value {
        let call = self.client.get(format!("{}{ROLLOUT}", node.url()));
        let answer = call.bearer_auth(&self.token).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// Changes something at one node and waits until another goes by it; fails if that takes too long.
    async fn reaches(&self, at: &Node, other: &Node, change: (Method, &str, Value)) -> Value {
        let (method, path, body) = change;
        let answered = self.call(at, method, path, body).await;
        let since = now();
        loop {
            let shown = self.show(other).await;
            if shown["in_force"] == answered["version"] {
                assert!(since.elapsed() < WITHIN, "only after {:?}", since.elapsed());
                return shown;
            }
            assert!(since.elapsed() < WITHIN, "{answered} is not in force: {shown}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Everything that an operator does, each time at the other node.
async fn goes_its_way(setup: &Setup) {
    let (one, two) = (setup.node(), setup.node());
    let operator = Operator::of(setup);
    let share = |version: u64, share: Value| {
        let body = json!({ "version": version, "why": "by plan", "share": share });
        (Method::PUT, ROLLOUT, body)
    };

    let five = operator.reaches(&one, &two, share(0, json!(5))).await;
    assert_eq!(five["share"], 5);
    let more = operator.reaches(&two, &one, share(1, json!(25.25))).await;
    assert_eq!(more["share"], 25.25);
    let why = || json!({ "why": "Ably repeats messages" });
    let killed = operator
        .reaches(&one, &two, (Method::POST, KILL_SWITCH, why()))
        .await;
    assert_eq!(killed["kill_switch"]["by"], "admin-1");
    let again = operator
        .call(&two, Method::POST, KILL_SWITCH, json!({ "why": "again" }))
        .await;
    assert_eq!(again["kill_switch"], killed["kill_switch"]);
    let released = operator
        .reaches(&two, &one, (Method::DELETE, KILL_SWITCH, json!({})))
        .await;
    assert_eq!(released["kill_switch"], Value::Null);
    assert_eq!(released["share"], 25.25);
    let past = released["changes"].as_array().unwrap().len();
    assert_eq!((past, &released["version"]), (4, &json!(4)));

    for node in [&one, &two] {
        let log = node.log().unwrap();
        assert!(log.contains("another rollout is in force"), "{log}");
        assert!(
            !log.contains("Ably repeats messages") && !log.contains("admin-1"),
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_rollout_is_in_force_on_every_node_within_a_second() {
    let database = database().await.unwrap();
    goes_its_way(&Setup::new().on_postgres(&database.url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_rollout_is_in_force_on_every_node_within_a_second_with_redis() {
    let database = database().await.unwrap();
    let redis = Redis::start(Settings::default()).unwrap();
    let setup = Setup::new()
        .on_postgres(&database.url())
        .with("ARAUTO_REDIS_URL", &redis.url());
    goes_its_way(&setup).await;
}

/// A node that comes up goes by what was decided before, kill switch included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_up_goes_by_the_rollout_of_the_others() {
    let database = database().await.unwrap();
    let setup = Setup::new().on_postgres(&database.url());
    let mut one = setup.node();
    let operator = Operator::of(&setup);
    operator
        .call(&one, Method::POST, KILL_SWITCH, json!({ "why": "stop" }))
        .await;
    one.restart().unwrap();
    one.ready(Duration::from_secs(60)).unwrap();
    let two = setup.node();
    for node in [&one, &two] {
        let since = now();
        while operator.show(node).await["in_force"] != 1 {
            assert!(since.elapsed() < WITHIN, "the kill switch is not in force");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
