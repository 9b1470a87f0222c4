//! One test for each attack, against a node as a process: what it costs the attacker's own connection, and nobody else.
//!
//! Attacks on tokens stand in `adapters/src/jwt/tests`, on tickets in `application/src/tickets/tests.rs`, on HTML in
//! `adapters/src/sanitize/tests.rs`, on the framing of events in `encoder.rs`, on forwarded addresses in `limits.rs`.

mod bombs;
mod crowds;
mod others;
mod websocket;

use std::time::Duration;

use serde_json::{Value, json};
use tests::node::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cluster::{Setup, http};

/// Nothing here takes this long unless it is broken.
const DEADLINE: Duration = Duration::from_secs(30);

/// A node under attack, with a neighbour who only wants to work.
struct Target {
    setup: Setup,
    node: Node,
    client: reqwest::Client,
}

impl Target {
    fn start() -> Self {
        Self::with(Setup::new())
    }

    fn with(setup: Setup) -> Self {
        let node = setup.node();
        Self {
            setup,
            node,
            client: http(DEADLINE),
        }
    }

    fn token(&self, user: &str, role: &str) -> String {
        self.setup.issuer.token(user, role, &[]).unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.node.url())
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.node.address()).await.unwrap()
    }

    /// Sends bytes and returns what comes until the node closes, or until it has been silent for the deadline.
    async fn send(&self, bytes: &[u8]) -> String {
        let mut socket = self.connect().await;
        // It may stop reading before all is said.
        let _ = socket.write_all(bytes).await;
        let mut heard = Vec::new();
        let _ = timeout(DEADLINE, socket.read_to_end(&mut heard)).await;
        String::from_utf8_lossy(&heard).into_owned()
    }

    async fn publish(&self, publisher: &str, key: Option<&str>, draft: &Value) -> (u16, Value) {
        let call = self.client.post(self.url("/v1/notifications"));
        let mut call = call.bearer_auth(self.token(publisher, "SERVICE")).json(draft);
        if let Some(key) = key {
            call = call.header("idempotency-key", key);
        }
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The neighbour publishes and reads.
    async fn neighbour_works(&self) {
        let draft = json!({ "audience": { "users": ["neighbour"] }, "type": "a", "title": "b" });
        assert_eq!(self.publish("back-end", None, &draft).await.0, 201);
        let call = self.client.get(self.url("/v1/notifications/unread-count"));
        let answer = call
            .bearer_auth(self.token("neighbour", "CIDADAO"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert!(!self.node.log().unwrap().contains("panicked"));
    }

    /// Resident memory of the node, in KiB.
    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.node.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    async fn metrics(&self) -> String {
        let answer = self.client.get(self.url("/metrics")).send().await.unwrap();
        answer.text().await.unwrap()
    }
}
