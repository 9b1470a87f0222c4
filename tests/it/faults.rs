//! The fault table: what a node is connected to fails in one way each, as a real process. What goes on meanwhile, what is
//! refused and how fast, that health, breakers and level say so, that it is over by itself, and that nothing that was
//! acknowledged is lost. Ably's rows stand in `ably_delivery.rs`, a full disk in `bad_input/at_work.rs`.

#![expect(clippy::print_stdout, reason = "how fast is printed, not asserted")]

mod postgres;
mod redis;
mod slow;

use std::time::Duration;

use serde_json::{Value, json};
use tests::node::Node;
use tests::server::now;

use crate::cluster::{Setup, http, plain};

/// Whatever is back is used again by then.
const RECOVERED: Duration = Duration::from_secs(30);
/// A part that is away is known to be by then, with one publish after the other to find out.
const NOTICED: Duration = Duration::from_secs(45);
/// What is not even asked is refused within this time, on a machine that does other things as well.
const AT_ONCE: Duration = Duration::from_millis(500);
/// No publish is left without an answer for longer.
const ANSWERED: Duration = Duration::from_secs(15);

/// A node with everybody who asks something of it.
struct Scene {
    setup: Setup,
    node: Node,
    client: reqwest::Client,
    /// Titles of what was acknowledged.
    acknowledged: Vec<String>,
    published: usize,
}

/// An answer, and how long it took.
struct Answer {
    status: u16,
    retry_after: Option<u64>,
    took: Duration,
}

impl Scene {
    fn start(setup: Setup) -> Self {
        let node = setup.node();
        Self {
            setup,
            node,
            client: http(Duration::from_secs(60)),
            acknowledged: Vec::new(),
            published: 0,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", plain(self.node.address()))
    }

    fn token(&self, role: &str) -> String {
        self.setup.issuer.token("u-0", role, &[]).unwrap()
    }

    async fn publish(&mut self) -> Answer {
        self.published += 1;
        let title = format!("Aviso {}", self.published);
        let draft =
            json!({ "audience": { "users": ["u-0", "u-1"] }, "type": "sistema.comunicado", "title": title });
        let call = self.client.post(self.url("/v1/notifications"));
        let call = call.bearer_auth(self.setup.issuer.token("back-end", "SERVICE", &[]).unwrap());
        let started = now();
        let answer = call.json(&draft).send().await.unwrap();
        let took = started.elapsed();
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after");
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        if status == 201 {
            self.acknowledged.push(title);
        } else {
            assert_eq!(status, 503);
            assert!(retry_after.is_some(), "a refusal says when to come back");
        }
        assert!(took < ANSWERED, "{took:?}");
        Answer {
            status,
            retry_after,
            took,
        }
    }

    /// Publishes until the answer is a refusal that came at once; prints when that was.
    async fn refused_at_once(&mut self, row: &str) {
        let started = now();
        let mut slowest = Duration::ZERO;
        loop {
            let answer = self.publish().await;
            slowest = slowest.max(answer.took);
            if answer.status == 503 && answer.took < AT_ONCE {
                let after = started.elapsed();
                println!(
                    "{row}: refused at once after {after:?}; the slowest answer before took {slowest:?}"
                );
                assert!(answer.retry_after.is_some_and(|seconds| seconds <= 5));
                return;
            }
            assert!(started.elapsed() < NOTICED, "it still asks");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Publishes until it is taken again; prints when that was.
    async fn taken_again(&mut self, row: &str) {
        let started = now();
        while self.publish().await.status != 201 {
            assert!(
                started.elapsed() < RECOVERED,
                "{row}: it does not recover by itself"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("{row}: taken again after {:?}", started.elapsed());
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let call = self.client.get(self.url(path)).bearer_auth(self.token("ADMIN"));
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn breaker(&self, name: &str) -> String {
        let (_, listed) = self.json("/v1/admin/breakers").await;
        let breakers = listed["breakers"].as_array().unwrap();
        let found = breakers.iter().find(|breaker| breaker["name"] == name);
        found.unwrap()["state"].as_str().unwrap().to_owned()
    }

    /// Waits until health is as `fits` wants it.
    async fn health(&self, what: &str, fits: impl Fn(&Value) -> bool) {
        let started = now();
        loop {
            let (_, health) = self.json("/health").await;
            if fits(&health) {
                return;
            }
            assert!(started.elapsed() < RECOVERED, "{what}: {health}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Opens a stream from the beginning of what the ring holds, and returns how it begins.
    async fn stream_opens(&self) {
        let call = self
            .client
            .get(self.url("/v1/stream"))
            .bearer_auth(self.token("TECNICO"));
        let mut answer = call.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut heard = String::new();
        while !heard.contains("event: ready") {
            let piece = answer.chunk().await.unwrap().expect("the stream ended");
            heard.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    /// Everything that was acknowledged is in the inbox, once.
    async fn nothing_is_lost(&self) {
        let started = now();
        while self.inbox_has_it_all("u-0").await != 200 {
            assert!(started.elapsed() < RECOVERED, "the inbox does not come back");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(!self.node.log().unwrap().contains("panicked"));
    }

    /// Reads somebody's inbox, and returns the answer's status. If it is one, everything that was acknowledged is there.
    async fn inbox_has_it_all(&self, user: &str) -> u16 {
        let call = self.client.get(self.url("/v1/notifications?limit=1000"));
        let token = self.setup.issuer.token(user, "TECNICO", &[]).unwrap();
        let answer = call.bearer_auth(token).send().await.unwrap();
        let status = answer.status().as_u16();
        if status == 200 {
            let page: Value = answer.json().await.unwrap();
            let items = page["items"].as_array().unwrap();
            for title in &self.acknowledged {
                let found = items
                    .iter()
                    .filter(|item| item["notification"]["title"] == **title);
                assert_eq!(found.count(), 1, "{title}");
            }
        }
        status
    }
}
