//! Rows of Redis, beside Postgres and as the store: killed, frozen, slow, full, answering errors.

use tests::redis::{Redis, Settings};

use super::slow::SlowLane;
use super::*;

/// A node on Postgres with this Redis beside it.
async fn beside(database: &tests::postgres::Database, redis: &str) -> Scene {
    let setup = Setup::new()
        .on_postgres(&database.url())
        .with("ARAUTO_REDIS_URL", redis);
    let mut scene = Scene::start(setup.with("ARAUTO_RATE_LIMIT_ENABLED", "true"));
    assert_eq!(scene.publish().await.status, 201);
    scene.health("well", |health| health["status"] == "up").await;
    scene
}

/// Without Redis everything goes on, and health, breaker and level say that it is away.
async fn missed(scene: &mut Scene, row: &str) {
    let mut slowest = Duration::ZERO;
    let started = now();
    while scene.breaker("redis").await == "closed" {
        let answer = scene.publish().await;
        assert_eq!(answer.status, 201, "{row}");
        slowest = slowest.max(answer.took);
        assert!(started.elapsed() < NOTICED, "{row}: the breaker stays closed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..10 {
        let answer = scene.publish().await;
        assert_eq!(answer.status, 201, "{row}");
        slowest = slowest.max(answer.took);
    }
    println!("{row}: every publish was taken, the slowest in {slowest:?}");
    scene.stream_opens().await;
    assert_eq!(scene.node.status("/health/ready"), Some(200));
    let degraded = |health: &Value| health["status"] == "degraded" && health["level"] != "normal";
    scene.health("degraded, and a level above normal", degraded).await;
}

async fn found(scene: &mut Scene, row: &str) {
    let started = now();
    scene.health("well", |health| health["status"] == "up").await;
    println!("{row}: used again after {:?}", started.elapsed());
    assert_eq!(scene.breaker("redis").await, "closed");
    assert_eq!(scene.publish().await.status, 201);
    scene.nothing_is_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed() {
    let database = tests::postgres::database().await.unwrap();
    let mut redis = Redis::start(Settings::default()).unwrap();
    let mut scene = beside(&database, &redis.url()).await;
    redis.kill_9().unwrap();
    missed(&mut scene, "redis killed").await;
    redis.restart().unwrap();
    found(&mut scene, "redis killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_frozen() {
    let database = tests::postgres::database().await.unwrap();
    let redis = Redis::start(Settings::default()).unwrap();
    let mut scene = beside(&database, &redis.url()).await;
    redis.freeze().unwrap();
    missed(&mut scene, "redis frozen").await;
    redis.thaw().unwrap();
    found(&mut scene, "redis frozen").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_slow() {
    let database = tests::postgres::database().await.unwrap();
    let redis = Redis::start(Settings::default()).unwrap();
    let lane = SlowLane::to(redis.address()).unwrap();
    let mut scene = beside(&database, &format!("redis://{}", lane.address())).await;
    lane.delay(Duration::from_secs(5));
    missed(&mut scene, "redis slow").await;
    lane.delay(Duration::ZERO);
    found(&mut scene, "redis slow").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_full() {
    let database = tests::postgres::database().await.unwrap();
    let redis = Redis::start(Settings::default()).unwrap();
    let mut scene = beside(&database, &redis.url()).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    missed(&mut scene, "redis full").await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    found(&mut scene, "redis full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_answering_errors() {
    let database = tests::postgres::database().await.unwrap();
    let mut redis = Redis::start(Settings::default()).unwrap();
    let mut scene = beside(&database, &redis.url()).await;
    redis.restart_with("requirepass", "unknown").unwrap();
    missed(&mut scene, "redis answering errors").await;
    redis.restart_with("requirepass", "").unwrap();
    found(&mut scene, "redis answering errors").await;
}

async fn on(redis: &Redis) -> Scene {
    let setup = Setup::new()
        .with("ARAUTO_STORE", "redis")
        .with("ARAUTO_REDIS_URL", &redis.url());
    let mut scene = Scene::start(setup);
    assert_eq!(scene.publish().await.status, 201);
    scene.stream_opens().await;
    scene
}

async fn back(scene: &mut Scene, row: &str) {
    scene.taken_again(row).await;
    scene
        .health("ready", |health| health["parts"]["store"] == "up")
        .await;
    scene.nothing_is_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_as_the_store_killed() {
    let mut redis = Redis::start(Settings::default()).unwrap();
    let mut scene = on(&redis).await;
    redis.kill_9().unwrap();
    scene.refused_at_once("redis as the store killed").await;
    scene
        .health("down", |health| health["parts"]["store"] == "down")
        .await;
    redis.restart().unwrap();
    back(&mut scene, "redis as the store killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_as_the_store_frozen() {
    let redis = Redis::start(Settings::default()).unwrap();
    let mut scene = on(&redis).await;
    redis.freeze().unwrap();
    scene.refused_at_once("redis as the store frozen").await;
    scene
        .health("down", |health| health["parts"]["store"] == "down")
        .await;
    redis.thaw().unwrap();
    back(&mut scene, "redis as the store frozen").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_as_the_store_full() {
    let redis = Redis::start(Settings::default()).unwrap();
    let mut scene = on(&redis).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    scene.refused_at_once("redis as the store full").await;
    scene.stream_opens().await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    back(&mut scene, "redis as the store full").await;
}
