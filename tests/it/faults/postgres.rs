//! Rows of Postgres: killed, frozen, slow, out of connections, read-only.

use tests::postgres::{Postgres, Settings, connect};

use super::slow::SlowLane;
use super::*;

async fn on(url: &str) -> Scene {
    let mut scene = Scene::start(Setup::new().on_postgres(url));
    assert_eq!(scene.publish().await.status, 201);
    scene.stream_opens().await;
    scene
}

/// A database that does not answer at all: publishes are refused at once, streams open from the ring, and readiness,
/// breakers and level say so.
async fn away(scene: &mut Scene, row: &str) {
    scene.refused_at_once(row).await;
    assert_eq!(scene.node.status("/health/live"), Some(200));
    assert_eq!(scene.node.status("/health/ready"), Some(503));
    scene.stream_opens().await;
    assert_ne!(scene.breaker("postgres").await, "closed");
    scene
        .health("a level above normal", |health| health["level"] != "normal")
        .await;
}

async fn back(scene: &mut Scene, row: &str) {
    scene.taken_again(row).await;
    scene
        .health("ready", |health| health["parts"]["store"] == "up")
        .await;
    scene.nothing_is_lost().await;
    assert_eq!(scene.breaker("postgres").await, "closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_killed() {
    let mut database = Postgres::start(Settings::default()).unwrap();
    let mut scene = on(&database.url()).await;
    database.kill_9().unwrap();
    away(&mut scene, "postgres killed").await;
    database.restart().unwrap();
    back(&mut scene, "postgres killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_frozen() {
    let database = Postgres::start(Settings::default()).unwrap();
    let mut scene = on(&database.url()).await;
    database.freeze().unwrap();
    away(&mut scene, "postgres frozen").await;
    database.thaw().unwrap();
    back(&mut scene, "postgres frozen").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_slow() {
    let database = Postgres::start(Settings::default()).unwrap();
    let lane = SlowLane::to(database.address()).unwrap();
    let url = database
        .url()
        .replace(&database.address().to_string(), &lane.address().to_string());
    let mut scene = on(&url).await;
    // Slow enough to be seen, and faster than any deadline: everything goes on, at that pace.
    lane.delay(Duration::from_millis(150));
    for _ in 0..5 {
        assert_eq!(scene.publish().await.status, 201);
    }
    scene.stream_opens().await;
    assert_eq!(scene.node.status("/health/ready"), Some(200));
    assert_eq!(scene.breaker("postgres").await, "closed");
    // As slow as if it were away.
    lane.delay(Duration::from_secs(20));
    away(&mut scene, "postgres slow").await;
    lane.delay(Duration::ZERO);
    back(&mut scene, "postgres slow").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_out_of_connections() {
    let database = Postgres::start(Settings::default().set("max_connections", "40")).unwrap();
    let mut scene = on(&database.url()).await;
    let keeper = connect(&database.url()).await.unwrap();
    let mut taken = Vec::new();
    for _ in 0..10 {
        keeper
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'arauto%'",
                &[],
            )
            .await
            .unwrap();
        while let Ok(client) = connect(&database.url()).await {
            taken.push(client);
        }
    }
    scene.refused_at_once("postgres out of connections").await;
    assert_eq!(scene.node.status("/health/live"), Some(200));
    scene.stream_opens().await;
    drop(taken);
    back(&mut scene, "postgres out of connections").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_read_only() {
    let database = Postgres::start(Settings::default()).unwrap();
    let mut scene = on(&database.url()).await;
    let keeper = connect(&database.url()).await.unwrap();
    let set = async |value: &str| {
        let system = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        keeper
            .batch_execute("SET default_transaction_read_only = off")
            .await
            .unwrap();
        keeper.batch_execute(&system).await.unwrap();
        keeper.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    };
    set("on").await;
    // Somebody who has never asked, and of whom nothing can be noted, has what was sent to them.
    assert_eq!(scene.inbox_has_it_all("u-1").await, 200);
    scene.refused_at_once("postgres read-only").await;
    // It answers, and the node is ready.
    assert_eq!(scene.node.status("/health/ready"), Some(200));
    assert_eq!(scene.inbox_has_it_all("u-0").await, 200);
    scene.stream_opens().await;
    assert_ne!(scene.breaker("postgres-writes").await, "closed");
    assert_eq!(scene.breaker("postgres").await, "closed");
    scene
        .health("a level above normal", |health| health["level"] != "normal")
        .await;
    set("off").await;
    back(&mut scene, "postgres read-only").await;
}
