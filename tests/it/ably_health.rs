//! How a node finds Ably, against the stand-in: one that accepts and does not deliver is found out, and what cannot be
//! seen from inside is not made up.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::node::Node;
use tests::server::now;
use tests::standin::{Fault, PUBLISH_KEY, Rule, StandIn, TOKEN_KEY};

use crate::cluster::{Setup, http};

const PATIENCE: Duration = Duration::from_secs(60);

struct Site {
    ably: StandIn,
    setup: Setup,
    node: Node,
    client: reqwest::Client,
}

impl Site {
    async fn open() -> Self {
        let ably = StandIn::start().unwrap();
        let setup = Setup::new()
            .with("ARAUTO_ABLY_PUBLISH_KEY", PUBLISH_KEY)
            .with("ARAUTO_ABLY_TOKEN_KEY", TOKEN_KEY)
            .with("ARAUTO_ABLY_CHANNEL_PREFIX", "staging")
            .with("ARAUTO_ABLY_ENDPOINT", &ably.url())
            .with("ARAUTO_ABLY_PROBE_EVERY", "200ms");
        let site = Self {
            node: setup.node(),
            client: http(Duration::from_secs(10)),
            ably,
            setup,
        };
        let up = json!({ "version": 0, "why": "a test", "share": 100 });
        site.call("ADMIN", (Method::PUT, "/v1/admin/rollout", up)).await;
        site
    }

    async fn call(&self, role: &str, (method, path, body): (Method, &str, Value)) -> (u16, Value) {
        let token = self.setup.issuer.token("somebody", role, &[]).unwrap();
        let request = self
            .client
            .request(method.clone(), format!("{}{path}", self.node.url()))
            .bearer_auth(token);
        let request = if method == Method::GET {
            request
        } else {
            request.json(&body)
        };
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn health(&self) -> (u16, Value) {
        self.call("ADMIN", (Method::GET, "/health/ably", Value::Null))
            .await
    }

    async fn until(&self, status: &str) -> (u16, Value) {
        let started = now();
        loop {
            let (code, body) = self.health().await;
            if body["status"] == status && !body["details"]["probe"].is_null() {
                return (code, body);
            }
            assert!(started.elapsed() < PATIENCE, "{body}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn metric(&self, line: &str) -> bool {
        let (_, text) = self.call("ADMIN", (Method::GET, "/metrics", Value::Null)).await;
        text.as_str()
            .unwrap()
            .lines()
            .any(|known| known.starts_with(line))
    }

    async fn publish(&self) {
        let draft = json!({ "type": "t", "title": "x", "audience": { "unit": "norte" } });
        let (status, _) = self
            .call("SERVICE", (Method::POST, "/v1/notifications", draft))
            .await;
        assert_eq!(status, 201);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ably_that_accepts_and_does_not_deliver_is_down_and_one_that_delivers_again_is_up() {
    let site = Site::open().await;
    let (code, body) = site.until("up").await;
    let details = &body["details"];
    assert_eq!((code, &details["probe"]["outcome"]), (200, &json!("delivered")));
    assert!(
        details["probe"]["took_ms"].is_u64() && details["time_ms"].is_u64(),
        "{details}"
    );
    assert_eq!(
        (&details["breaker"], &details["host"]),
        (&json!("closed"), &json!("primary"))
    );
    assert!(site.metric("arauto_ably_host{host=\"primary\"} 1").await);

    site.ably.faults().add(Rule::from(Fault::Swallow));
    let (code, body) = site.until("down").await;
    assert_eq!(
        (code, &body["details"]["probe"]["outcome"]),
        (503, &json!("silent"))
    );
    assert_eq!(body["details"]["breaker"], "closed", "nobody else finds it out");
    let ready = site
        .call("ADMIN", (Method::GET, "/health/ready", Value::Null))
        .await;
    assert_eq!((ready.0, &ready.1["status"]), (200, &json!("degraded")));
    let all = site.call("ADMIN", (Method::GET, "/health", Value::Null)).await.1;
    assert_eq!(
        (&all["status"], &all["parts"]["ably"]),
        (&json!("degraded"), &json!("down"))
    );
    // What is published meanwhile is left to the streams, and counts as failed for the guard.
    site.publish().await;
    let left = "arauto_ably_fallbacks_total{reason=\"ably_unhealthy\"} 1";
    let started = now();
    while !site.metric(left).await {
        assert!(started.elapsed() < PATIENCE, "nothing was left to the streams");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(site.metric("arauto_ably_health{health=\"down\"} 1").await);

    site.ably.faults().clear();
    site.until("up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn details_are_for_administrators_and_what_is_used_is_counted() {
    let site = Site::open().await;
    site.until("up").await;
    let (code, body) = site
        .call("CIDADAO", (Method::GET, "/health/ably", Value::Null))
        .await;
    assert_eq!((code, body), (200, json!({ "status": "up" })));
    let token = (Method::GET, "/v1/ably/token", Value::Null);
    assert_eq!(site.call("CIDADAO", token).await.0, 200);
    site.publish().await;
    let started = now();
    loop {
        let stats = (Method::GET, "/v1/admin/stats", Value::Null);
        let (code, stats) = site.call("ADMIN", stats).await;
        assert_eq!(code, 200);
        assert_eq!(stats["node"].as_str().map(str::len), Some(8), "{stats}");
        let ably = &stats["ably"];
        if ably["published"] == 1 {
            assert_eq!(
                ably["channels"],
                json!({ "user": 0, "unit": 1, "benefit": 0, "system": 0 })
            );
            assert_eq!(
                (&ably["token_holders"], &ably["delivered_estimate"]),
                (&json!(1), &json!(1))
            );
            assert_eq!(
                ably["cost"]["messages_micros"], 5,
                "two messages at 2.50 for a million"
            );
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{stats}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refused = site
        .call("CIDADAO", (Method::GET, "/v1/admin/stats", Value::Null))
        .await;
    assert_eq!(refused.0, 403);
    let (_, body) = site.health().await;
    assert_eq!(body["details"]["last_publish"]["outcome"], "accepted");
    assert_eq!(
        body["details"]["backlog"],
        json!({ "open": 0, "age_ms": 0, "dead": 0 })
    );
}
