//! Whoever tries again and again what they have no right to, over two nodes. The nodes trust this machine as a proxy, so
//! that clients come from whichever address a test says.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::node::Node;
use tests::postgres::{Database, database};
use tests::server::now;

use crate::cluster::{Setup, http};

const STRANGER: &str = "203.0.113.9";
/// A block is in force on every node by then: a quarter of a second to gather, and a change of the settings.
const WITHIN: Duration = Duration::from_secs(2);
const COUNT: &str = "/v1/notifications/unread-count";

struct Site {
    setup: Setup,
    nodes: [Node; 2],
    client: reqwest::Client,
    _database: Database,
}

impl Site {
    async fn open() -> Self {
        let database = database().await.unwrap();
        let setup = Setup::new()
            .on_postgres(&database.url())
            .with("ARAUTO_RATE_LIMIT_ENABLED", "true")
            .with("ARAUTO_TRUSTED_PROXIES", "127.0.0.0/8")
            .with("ARAUTO_ALERT_USERS", "boss");
        Self {
            nodes: [setup.node(), setup.node()],
            client: http(Duration::from_secs(20)),
            setup,
            _database: database,
        }
    }

    fn token(&self, user: &str, role: &str) -> String {
        self.setup.issuer.token(user, role, &[]).unwrap()
    }

    async fn ask(
        &self,
        node: usize,
        token: &str,
        (method, path): (Method, &str),
        body: Value,
    ) -> (u16, String) {
        self.ask_from(STRANGER, node, token, (method, path), body).await
    }

    async fn ask_from(
        &self,
        address: &str,
        node: usize,
        token: &str,
        (method, path): (Method, &str),
        body: Value,
    ) -> (u16, String) {
        let call = self
            .client
            .request(method, format!("{}{path}", self.nodes[node].url()));
        let call = call.header("x-forwarded-for", address).bearer_auth(token);
        let answer = call.json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Asks until the answer is what is expected; fails if that takes longer than is promised.
    async fn answers(&self, node: usize, token: &str, expected: u16) -> String {
        let since = now();
        loop {
            let (status, said) = self.ask(node, token, (Method::GET, COUNT), Value::Null).await;
            if status == expected {
                return said;
            }
            assert!(since.elapsed() < WITHIN, "node {node} answers {status}: {said}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_reaches_for_foreign_channels_is_shut_out_everywhere_until_it_is_lifted() {
    let site = Site::open().await;
    let (ana, bia, boss) = (
        site.token("ana", "CIDADAO"),
        site.token("bia", "CIDADAO"),
        site.token("boss", "ADMIN"),
    );
    let foreign = "/v1/stream?channels=private:user:bia:notifications";
    for n in 0..11 {
        let (status, said) = site.ask(0, &ana, (Method::GET, foreign), Value::Null).await;
        assert_eq!(status, 403, "attempt {n}: {said}");
    }
    for node in 0..2 {
        let said = site.answers(node, &ana, 429).await;
        assert!(said.contains("/problems/blocked"), "{said}");
        // A stream is told in-band, so that no EventSource dies of it.
        let (status, said) = site
            .ask(node, &ana, (Method::GET, "/v1/stream"), Value::Null)
            .await;
        assert_eq!(status, 200);
        assert!(
            said.contains(r#""reason":"rate_limited","reconnect":true"#),
            "{said}"
        );
        site.answers(node, &bia, 200).await;
    }
    // Administrators are told by a notification, once.
    let since = now();
    loop {
        let (_, inbox) = site
            .ask(1, &boss, (Method::GET, "/v1/notifications"), Value::Null)
            .await;
        let inbox: Value = serde_json::from_str(&inbox).unwrap();
        let items = inbox["items"].as_array().unwrap();
        if let [alarm] = items.as_slice() {
            assert_eq!(alarm["notification"]["type"], "seguranca.atividade_suspeita");
            assert_eq!(alarm["notification"]["priority"], "urgent");
            assert!(
                alarm["notification"]["body"]
                    .as_str()
                    .unwrap()
                    .contains("user:ana")
            );
            break;
        }
        assert!(
            items.len() < 2 && since.elapsed() < Duration::from_secs(10),
            "{inbox}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, listed) = site
        .ask(1, &boss, (Method::GET, "/v1/admin/blocks"), Value::Null)
        .await;
    assert!(
        listed.contains("user:ana") && listed.contains("foreign-channel"),
        "{listed}"
    );
    let freed = site
        .ask(
            1,
            &boss,
            (Method::DELETE, "/v1/admin/blocks/user:ana"),
            Value::Null,
        )
        .await;
    assert_eq!(freed.0, 204, "{}", freed.1);
    for node in 0..2 {
        site.answers(node, &ana, 200).await;
    }
    let (_, trail) = site
        .ask(0, &boss, (Method::GET, "/v1/admin/audit?kind=block"), Value::Null)
        .await;
    assert!(trail.contains("user:ana foreign-channel"), "{trail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_forged_tokens_is_shut_out_and_whoever_can_say_who_they_are_is_served() {
    let site = Site::open().await;
    let ana = site.token("ana", "CIDADAO");
    let forged = format!("{}x", ana.rsplit_once('.').unwrap().0);
    for n in 0..11 {
        let (status, said) = site.ask(n % 2, "a.b.c", (Method::GET, COUNT), Value::Null).await;
        assert_eq!(status, 401, "attempt {n}: {said}");
        let (status, _) = site.ask(n % 2, &forged, (Method::GET, COUNT), Value::Null).await;
        assert!(status == 401 || status == 429);
    }
    for node in 0..2 {
        let said = site.answers(node, "a.b.c", 429).await;
        assert!(said.contains("/problems/blocked"), "{said}");
        site.answers(node, &ana, 200).await;
        let elsewhere = site
            .ask_from("203.0.113.10", node, "a.b.c", (Method::GET, COUNT), Value::Null)
            .await;
        assert_eq!(elsewhere.0, 401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_shuts_somebody_out_by_hand_and_networks_that_are_exempt_are_not() {
    let site = Site::open().await;
    let (ana, boss) = (site.token("ana", "CIDADAO"), site.token("boss", "ADMIN"));
    let wish = json!({ "key": "user:ana", "why": "a test" });
    let added = site.ask(0, &boss, (Method::POST, "/v1/admin/blocks"), wish).await;
    assert_eq!(added.0, 200, "{}", added.1);
    site.answers(1, &ana, 429).await;
    let from_here = site
        .ask_from("127.0.0.1", 1, &ana, (Method::GET, COUNT), Value::Null)
        .await;
    assert_eq!(from_here.0, 200, "this machine is exempt");
    for _ in 0..30 {
        let (status, _) = site
            .ask_from("127.0.0.1", 1, "a.b.c", (Method::GET, COUNT), Value::Null)
            .await;
        assert_eq!(status, 401);
    }
    for bad in [
        json!({ "key": "unit:x", "why": "y" }),
        json!({ "key": "user:x", "why": " " }),
    ] {
        assert_eq!(
            site.ask(0, &boss, (Method::POST, "/v1/admin/blocks"), bad)
                .await
                .0,
            400
        );
    }
    let unknown = "/v1/admin/blocks/user:nobody";
    assert_eq!(
        site.ask(0, &boss, (Method::DELETE, unknown), Value::Null).await.0,
        404
    );
}
