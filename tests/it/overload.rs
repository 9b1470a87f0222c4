//! A herd that comes back all at once: everybody gets in, in turn, and the neighbours are served meanwhile.

#![expect(
    clippy::print_stdout,
    reason = "what a neighbour felt is printed, not asserted"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tests::postgres::{Postgres, Settings};
use tests::server::now;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cluster::{Setup, http};

/// Sessions that wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";

const CLIENTS: usize = 3_000;
/// What is promised.
const ALL_BACK: Duration = Duration::from_secs(60);

/// Opens a stream and reads until it is open, or says when to come back.
async fn knock(address: std::net::SocketAddr, token: &str) -> Result<TcpStream, Duration> {
    const LATER: Duration = Duration::from_secs(1);
    let Ok(mut socket) = TcpStream::connect(address).await else {
        return Err(LATER);
    };
    let request = format!(
        "GET /v1/stream HTTP/1.1\r\nhost: node\r\nauthorization: Bearer {token}\r\nlast-event-id: 0-0\r\n\r\n"
    );
    if socket.write_all(request.as_bytes()).await.is_err() {
        return Err(LATER);
    }
    let mut heard = String::new();
    let mut buffer = vec![0; 4_096];
    loop {
        let read = match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => return Err(LATER),
            Ok(read) => read,
        };
        heard.push_str(&String::from_utf8_lossy(&buffer[..read]));
        assert!(!heard.starts_with("HTTP/1.1 4"), "{heard}");
        if heard.contains("event: ready") {
            return Ok(socket);
        }
        if heard.contains("event: closing") {
            assert!(heard.contains("\"reason\":\"overloaded\""), "{heard}");
            let retry = heard.split("retry: ").nth(1).expect("a moment of its own");
            let digits: String = retry.chars().take_while(char::is_ascii_digit).collect();
            return Err(Duration::from_millis(digits.parse().unwrap()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_clients_that_come_back_at_once_are_all_back_within_a_minute() {
    // One at a time: whoever meets somebody in the door has to come back.
    all_come_back(Setup::new().with("ARAUTO_HANDSHAKES", "1"), CLIENTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_back_at_once_to_a_node_over_postgres_are_all_back_within_a_minute() {
    let postgres = Postgres::start(Settings::default()).unwrap();
    let setup = Setup::new()
        .on_postgres(&postgres.url())
        .with("ARAUTO_HANDSHAKES", "2");
    all_come_back(setup, CLIENTS / 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_the_registry_keeps_nobody_out() {
    let postgres = Postgres::start(Settings::default()).unwrap();
    let setup = Setup::new()
        .on_postgres(&postgres.url())
        .with("ARAUTO_HANDSHAKES", "1")
        .with("ARAUTO_HANDSHAKE_QUEUE", "0");
    let node = setup.node();
    let token = |user: &str| setup.issuer.token(user, "CIDADAO", &[]).unwrap();
    let (mut holder, driver) = tokio_postgres::connect(&postgres.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    let driver = JoinSet::from_iter([driver]);
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE registry_streams").await.unwrap();
    let mut first = JoinSet::new();
    let (address, first_token) = (node.address(), token("first"));
    first.spawn(async move { knock(address, &first_token).await });
    while lock.query_one(WAITING, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // It is served when the registry's time is over, or turned away at once.
    knock(address, &token("second")).await.expect("there is room");
    lock.rollback().await.unwrap();
    first.join_all().await.remove(0).expect("nobody was before it");
    drop((holder, driver));
}

/// Nobody waits.
async fn all_come_back(setup: Setup, clients: usize) {
    let setup = setup
        .with("ARAUTO_HANDSHAKE_QUEUE", "0")
        .with("ARAUTO_RECONNECT_PER_SECOND", "300")
        .with("ARAUTO_HEARTBEAT_BASE", "30s")
        .with("ARAUTO_HEARTBEAT_MAX", "120s");
    let node = setup.node();
    let (address, turned_away) = (node.address(), Arc::new(AtomicUsize::new(0)));

    let quiet = Arc::new(AtomicBool::new(false));
    let mut neighbours = JoinSet::new();
    neighbours.spawn(neighbour(
        setup.issuer.token("back-end", "SERVICE", &[]).unwrap(),
        node.url(),
        Arc::clone(&quiet),
    ));

    let started = now();
    let mut herd = JoinSet::new();
    for n in 0..clients {
        let token = setup.issuer.token(&format!("u-{n}"), "CIDADAO", &[]).unwrap();
        let turned_away = Arc::clone(&turned_away);
        herd.spawn(async move {
            loop {
                match knock(address, &token).await {
                    Ok(open) => return open,
                    Err(after) => {
                        turned_away.fetch_add(1, Ordering::Relaxed);
                        assert!(
                            after >= Duration::from_secs(1),
                            "nobody comes back at once: {after:?}"
                        );
                        tokio::time::sleep(after).await;
                    }
                }
            }
        });
    }
    let open = tokio::time::timeout(ALL_BACK, herd.join_all())
        .await
        .expect("not all are back");
    let took = started.elapsed();
    quiet.store(true, Ordering::Relaxed);
    let mut waits = neighbours.join_all().await.remove(0);
    waits.sort_unstable();
    let p95 = waits[waits.len() * 95 / 100];
    println!(
        "{} clients were back in {took:?}, after {} refusals; a neighbour's p95 meanwhile was {p95:?} over {} publishes",
        open.len(),
        turned_away.load(Ordering::Relaxed),
        waits.len()
    );
    assert_eq!(open.len(), clients);
    let metrics = http(ALL_BACK)
        .get(format!("{}/metrics", node.url()))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    let connections = format!("arauto_connections {clients}");
    assert!(metrics.contains(&connections), "{metrics}");
    if turned_away.load(Ordering::Relaxed) > 0 {
        assert!(
            metrics.contains("arauto_full_total{bound=\"handshake_"),
            "{metrics}"
        );
    }
}

/// Publishes one notification after the other until it is told to stop; returns how long each took.
async fn neighbour(token: String, url: String, quiet: Arc<AtomicBool>) -> Vec<Duration> {
    let client = http(ALL_BACK);
    let mut waits = Vec::new();
    let draft = json!({ "audience": { "users": ["somebody"] }, "type": "a", "title": "b" });
    while !quiet.load(Ordering::Relaxed) || waits.is_empty() {
        let started = now();
        let call = client.post(format!("{url}/v1/notifications")).bearer_auth(&token);
        assert_eq!(call.json(&draft).send().await.unwrap().status(), 201);
        waits.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    waits
}
