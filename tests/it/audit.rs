//! The audit trail of whole nodes: what is done is in it, who may read it, and the command that verifies it.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::time::Timestamp;
use futures_util::future::join_all;
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::node::Node;
use tests::postgres::database;
use tests::redis::{Redis, Settings};
use tests::server::{binary, now};

use crate::cluster::{Setup, http};

/// Another node goes on with what a killed one had not recorded, as soon as its lead is over.
const RECORDED: Duration = Duration::from_secs(30);

struct Site {
    setup: Setup,
    nodes: [Node; 2],
    client: reqwest::Client,
}

impl Site {
    fn open(setup: Setup) -> Self {
        Self {
            nodes: [setup.node(), setup.node()],
            client: http(Duration::from_secs(20)),
            setup,
        }
    }

    async fn call(
        &self,
        node: usize,
        who: (&str, &str),
        method: Method,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let token = self.setup.issuer.token(who.0, who.1, &[]).unwrap();
        let call = self
            .client
            .request(method, format!("{}{path}", self.nodes[node].url()));
        let call = call.bearer_auth(token).header("x-request-id", "asked-1");
        let answer = call.json(&body).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Reads the trail until it holds what a test waits for.
    async fn records(&self, query: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let since = now();
        let path = format!("/v1/admin/audit?limit=1000{query}");
        loop {
            let (status, page) = self
                .call(1, ("eva", "AUDITOR"), Method::GET, &path, Value::Null)
                .await;
            assert_eq!(status, 200, "{page}");
            let records = page["records"].as_array().unwrap().clone();
            if enough(&records) {
                return records;
            }
            assert!(since.elapsed() < RECORDED, "{page}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn verify(&self) -> (bool, String) {
        let output = Command::new(binary().unwrap())
            .args(["audit", "verify"])
            .env_clear()
            .envs(self.setup.environment())
            .output()
            .unwrap();
        let said = if output.status.success() {
            output.stdout
        } else {
            output.stderr
        };
        (output.status.success(), String::from_utf8(said).unwrap())
    }
}

fn said(record: &Value) -> String {
    let text = |field: &str| record[field].as_str().unwrap_or("-").to_owned();
    format!(
        "{} {} {} {}",
        text("kind"),
        text("who"),
        text("target"),
        text("outcome")
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_is_recorded_without_its_content_and_verified_by_a_command() {
    let database = database().await.unwrap();
    let site = Site::open(Setup::new().on_postgres(&database.url()));
    let secret = "Benefício de Ana, CPF 123";
    let draft = json!({ "type": "t", "title": secret, "body": secret, "audience": { "users": ["ana"] } });
    let service = ("back-end", "SERVICE");
    let published = site
        .call(0, service, Method::POST, "/v1/notifications", draft.clone())
        .await;
    assert_eq!(published.0, 201);
    let refused = site
        .call(1, ("ana", "CIDADAO"), Method::POST, "/v1/notifications", draft)
        .await;
    assert_eq!(refused.0, 403);
    let ticket = site
        .call(
            1,
            ("ana", "CIDADAO"),
            Method::POST,
            "/v1/stream/tickets",
            Value::Null,
        )
        .await;
    assert_eq!(ticket.0, 200);
    let foreign = "/v1/stream?channels=private:user:bia:notifications";
    assert_eq!(
        site.call(0, ("ana", "CIDADAO"), Method::GET, foreign, Value::Null)
            .await
            .0,
        403
    );
    let kill = json!({ "why": secret });
    let killed = site
        .call(0, ("boss", "ADMIN"), Method::POST, "/v1/admin/kill-switch", kill)
        .await;
    assert_eq!(killed.0, 200);
    let forged = site
        .client
        .get(format!("{}/v1/notifications", site.nodes[0].url()));
    assert_eq!(forged.bearer_auth("a.b.c").send().await.unwrap().status(), 401);

    let records = site.records("", |records| records.len() >= 6).await;
    let lines: Vec<String> = records.iter().map(said).collect();
    let id = published.1["id"].as_str().unwrap();
    for expected in [
        format!("publish back-end notification {id} events 1 published"),
        "publish ana POST /v1/notifications 403 forbidden".to_owned(),
        "token ana POST /v1/stream/tickets 200".to_owned(),
        "subscribe ana GET /v1/stream 403 forbidden".to_owned(),
        "change boss POST /v1/admin/kill-switch 200".to_owned(),
        "refused - GET /v1/notifications 401 token-invalid".to_owned(),
    ] {
        assert_eq!(
            lines.iter().filter(|line| **line == expected).count(),
            1,
            "{expected}: {lines:#?}"
        );
    }
    let all = json!(records).to_string();
    assert!(!all.contains("CPF") && !all.contains("Benef"), "{all}");
    assert!(records.iter().any(|record| record["request_id"] == "asked-1"));
    let theirs = site
        .records("&who=ana&kind=subscribe", |records| !records.is_empty())
        .await;
    assert_eq!(theirs.len(), 1);
    // An auditor reads it; others do not, and what an auditor may not do is recorded.
    for (who, expected) in [
        (("eva", "AUDITOR"), 200),
        (("boss", "ADMIN"), 200),
        (("ana", "CIDADAO"), 403),
    ] {
        let read = site
            .call(0, who, Method::GET, "/v1/admin/audit", Value::Null)
            .await;
        assert_eq!(read.0, expected, "{who:?}");
    }

    let (whole, told) = site.verify();
    assert!(
        whole && told.contains("records are as they were written"),
        "{told}"
    );
    let client = database.connect().await.unwrap();
    client
        .batch_execute(
            "ALTER TABLE audit_records DISABLE TRIGGER USER; \
             UPDATE audit_records SET who = 'nobody' WHERE who = 'boss' AND kind = 'change'",
        )
        .await
        .unwrap();
    let place = records.iter().find(|record| record["kind"] == "change").unwrap();
    let (whole, told) = site.verify();
    let named = format!("the record at place {}, ", place["place"]);
    assert!(!whole && told.contains(&named), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_asked_to_go_writes_what_it_was_told_first() {
    let database = database().await.unwrap();
    let mut site = Site::open(Setup::new().on_postgres(&database.url()));
    for _ in 0..20 {
        let ticket = site
            .call(
                0,
                ("ana", "CIDADAO"),
                Method::POST,
                "/v1/stream/tickets",
                Value::Null,
            )
            .await;
        assert_eq!(ticket.0, 200);
    }
    site.nodes[0].terminate().unwrap();
    site.nodes[0].wait(Duration::from_secs(30)).unwrap();
    let records = site.records("&kind=token", |records| records.len() >= 20).await;
    assert_eq!(records.len(), 20);
}

/// What a node was answering for when it was killed.
const PUBLISHERS: usize = 4;
const ACKNOWLEDGED: usize = 200;

fn in_an_hour() -> String {
    let second = jsonwebtoken::get_current_timestamp() + 3_600;
    let moment = Timestamp::from_millis(i64::try_from(second).unwrap() * 1_000);
    api::wire::Moment(moment).to_string()
}

/// Publishes until the node is gone, and returns what it acknowledged. Whoever is answered last kills it at once: what was
/// only about to be recorded is lost.
async fn publishes(site: &Site, publisher: usize, acknowledged: &AtomicUsize) -> Vec<String> {
    let pid = Pid::from_raw(i32::try_from(site.nodes[0].pid()).unwrap()).unwrap();
    let mut ids = Vec::new();
    let who = format!("back-end-{publisher}");
    let token = site.setup.issuer.token(&who, "SERVICE", &[]).unwrap();
    let draft = json!({ "type": "t", "title": "t", "audience": { "users": ["ana", "bia"] } });
    loop {
        let call = site
            .client
            .post(format!("{}/v1/notifications", site.nodes[0].url()));
        let mut draft = draft.clone();
        if ids.len() % 5 == 4 {
            draft["deliver_at"] = json!(in_an_hour());
        }
        let answer = call.bearer_auth(&token).json(&draft).send().await;
        let Ok(answer) = answer else { return ids };
        let Ok(receipt) = answer.error_for_status().unwrap().json::<Value>().await else {
            return ids;
        };
        if acknowledged.fetch_add(1, Ordering::SeqCst) + 1 == ACKNOWLEDGED {
            kill_process(pid, Signal::KILL).unwrap();
        }
        ids.push(receipt["id"].as_str().unwrap().to_owned());
    }
}

/// Kills a node right behind an answer; whatever it acknowledged is in the trail once.
async fn is_recorded_once_whoever_is_killed(setup: Setup) {
    let mut site = Site::open(setup);
    let acknowledged = AtomicUsize::new(0);
    let publishing = (0..PUBLISHERS).map(|publisher| publishes(&site, publisher, &acknowledged));
    let ids: Vec<String> = join_all(publishing).await.into_iter().flatten().collect();
    assert!(ids.len() >= ACKNOWLEDGED);
    site.nodes[0].kill_9().unwrap();

    let named = |records: &[Value], id: &String| {
        let names = |record: &&Value| {
            record["target"]
                .as_str()
                .is_some_and(|target| target.contains(id))
        };
        records.iter().filter(names).count()
    };
    let all = |records: &[Value]| ids.iter().all(|id| named(records, id) > 0);
    let records = site.records("&kind=publish", all).await;
    for id in &ids {
        assert_eq!(named(&records, id), 1, "{id}");
    }
    let (whole, told) = site.verify();
    assert!(whole, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_publish_that_a_killed_node_acknowledged_is_in_the_trail_once() {
    let database = database().await.unwrap();
    is_recorded_once_whoever_is_killed(Setup::new().on_postgres(&database.url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_publish_that_a_killed_node_over_redis_acknowledged_is_in_the_trail_once() {
    let redis = Redis::start(Settings::default()).unwrap();
    let setup = Setup::new()
        .with("ARAUTO_STORE", "redis")
        .with("ARAUTO_REDIS_URL", &redis.url());
    is_recorded_once_whoever_is_killed(setup).await;
}
