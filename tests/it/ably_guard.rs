//! The guard of the rollout on nodes as processes, against the stand-in.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::node::Node;
use tests::postgres::{Database, database};
use tests::server::now;
use tests::standin::{Fault, PUBLISH_KEY, Rule, StandIn, TOKEN_KEY};

use crate::cluster::{Setup, http};

const PATIENCE: Duration = Duration::from_secs(90);

struct Site {
    ably: StandIn,
    setup: Setup,
    nodes: [Node; 2],
    client: reqwest::Client,
    _database: Database,
}

impl Site {
    async fn open() -> Self {
        let ably = StandIn::start().unwrap();
        let database = database().await.unwrap();
        let setup = Setup::new()
            .on_postgres(&database.url())
            .with("ARAUTO_ABLY_PUBLISH_KEY", PUBLISH_KEY)
            .with("ARAUTO_ABLY_TOKEN_KEY", TOKEN_KEY)
            .with("ARAUTO_ABLY_ENDPOINT", &ably.url())
            .with("ARAUTO_ABLY_GUARD_WINDOW", "30s")
            .with("ARAUTO_ABLY_GUARD_MIN_PUBLISHES", "5")
            .with("ARAUTO_ABLY_GUARD_NOTIFY", "on-duty");
        Self {
            nodes: [setup.node(), setup.node()],
            client: http(Duration::from_secs(10)),
            ably,
            setup,
            _database: database,
        }
    }

    async fn call(&self, node: usize, (user, role): (&str, &str), call: (Method, &str, Value)) -> Value {
        let token = self.setup.issuer.token(user, role, &[]).unwrap();
        let (method, path, body) = call;
        let request = self
            .client
            .request(method.clone(), format!("{}{path}", self.nodes[node].url()));
        let request = if method == Method::GET {
            request
        } else {
            request.json(&body)
        };
        let answer = request.bearer_auth(token).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn rollout(&self, node: usize) -> Value {
        let show = (Method::GET, "/v1/admin/rollout", Value::Null);
        self.call(node, ("admin-1", "ADMIN"), show).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ably_that_fails_is_taken_back_one_step_on_all_nodes_and_administrators_are_told_once() {
    let site = Site::open().await;
    let up = json!({ "version": 0, "why": "a test", "share": 75 });
    let up = (Method::PUT, "/v1/admin/rollout", up);
    site.call(0, ("admin-1", "ADMIN"), up).await;
    site.ably.faults().add(Rule::from(Fault::answer(500, 50_000)));
    let started = now();
    loop {
        for node in [0, 1] {
            let draft = json!({ "type": "t", "title": "x", "audience": { "unit": "norte" } });
            let draft = (Method::POST, "/v1/notifications", draft);
            site.call(node, ("somebody", "SERVICE"), draft).await;
        }
        let shown = site.rollout(1).await;
        if shown["version"] == 2 && shown["in_force"] == 2 {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{shown}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // More of the same, through several looks of both nodes: the hold is half an hour.
    let held = now();
    while held.elapsed() < Duration::from_secs(12) {
        let draft = json!({ "type": "t", "title": "x", "audience": { "unit": "norte" } });
        let draft = (Method::POST, "/v1/notifications", draft);
        site.call(0, ("somebody", "SERVICE"), draft).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let shown = site.rollout(0).await;
    assert_eq!((&shown["version"], &shown["share"]), (&json!(2), &json!(25)));
    assert_eq!(shown["changes"][0]["by"], "arauto-guard");
    for person in ["on-duty", "admin-1"] {
        let inbox = (Method::GET, "/v1/notifications", Value::Null);
        let inbox = site.call(1, (person, "CIDADAO"), inbox).await;
        let items = inbox["items"].as_array().unwrap();
        assert_eq!(items.len(), 1, "{inbox}");
        assert_eq!(items[0]["notification"]["title"], "Ably: 75 % → 25 %");
        assert_eq!(items[0]["notification"]["priority"], "urgent");
    }
}
