//! Presence in Redis with Postgres behind it, and tickets in Postgres.

use std::sync::Arc;
use std::time::Duration;

use adapters::postgres::PgRegistry;
use adapters::redis::{RedisRegistry, Server};
use adapters::registries::Registries;
use application::ports::{Observation, Observer, Presence, Registry, Spent};
use domain::ids::{ConnectionId, NodeId};
use domain::time::Timestamp;
use tests::postgres::{Database, database};
use tests::redis::{Redis, Settings};
use tests::server::now;

use super::registry::{HOUR, counts};
use super::{Noting, Tasks, in_time};

/// Asking Redis in vain and then Postgres.
const BOUND: Duration = Duration::from_secs(2);

struct Node {
    registry: Registries,
    safe: Arc<PgRegistry>,
    observer: Arc<Noting>,
    _tasks: Tasks,
}

fn node(node: u32, redis: &Redis, database: &Database) -> Node {
    let (tasks, observer) = (Tasks::new(), Arc::new(Noting::default()));
    let server: Server = redis.url().parse().unwrap();
    let place = database.url().parse().unwrap();
    let watching: Arc<dyn Observer> = observer.clone();
    let fast = RedisRegistry::start(&server, NodeId(node), &watching, tasks.parts());
    let safe = PgRegistry::start(&place, NodeId(node), &watching, tasks.parts());
    let safe = Arc::new(safe.unwrap());
    Node {
        registry: Registries::new(Arc::new(fast), safe.clone(), watching),
        safe,
        observer,
        _tasks: tasks,
    }
}

fn presence(node: u32, serial: u64) -> Presence {
    let connection = ConnectionId {
        node: NodeId(node),
        serial,
    };
    Presence {
        connection,
        user: "u-1".parse().unwrap(),
        opened_at: Timestamp::from_millis(1_767_225_600_000).plus(Duration::from_millis(serial)),
    }
}

async fn enter(node: &Node, id: u32, serial: u64, limit: usize) -> Vec<u64> {
    let started = now();
    let beyond = node.registry.enter(presence(id, serial), limit).await.unwrap();
    assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
    beyond.iter().map(|connection| connection.serial).collect()
}

fn changes(node: &Node) -> Vec<Observation> {
    let seen = node.observer.0.lock().unwrap();
    let change = |seen: &&Observation| matches!(seen, Observation::Degraded(_) | Observation::Recovered(_));
    seen.iter().filter(change).copied().collect()
}

#[tokio::test]
async fn postgres_stands_in_for_a_redis_that_is_away_until_it_is_back() {
    let mut redis = Redis::start(Settings::default().set("appendonly", "no")).unwrap();
    let database = database().await.unwrap();
    let (one, other) = (node(1, &redis, &database), node(2, &redis, &database));
    assert!(enter(&one, 1, 1, 2).await.is_empty());
    assert!(enter(&other, 2, 2, 2).await.is_empty());
    one.safe.flush().await;
    other.safe.flush().await;
    assert!(changes(&one).is_empty());

    redis.kill_9().unwrap();
    // What was entered while Redis was there counts, on whichever node it was.
    assert_eq!(enter(&one, 1, 3, 2).await, [1]);
    assert_eq!(one.registry.count().await, Ok(3));
    assert_eq!(one.registry.list(None, 10).await.unwrap().len(), 3);
    let owner = one.registry.owner(presence(2, 2).connection).await;
    assert_eq!(owner, Ok(Some("u-1".parse().unwrap())));
    one.registry
        .leave(&"u-1".parse().unwrap(), presence(1, 1).connection);
    one.safe.flush().await;
    assert_eq!(one.registry.count().await, Ok(2));
    assert!(one.registry.degraded());
    assert_eq!(changes(&one), [Observation::Degraded("registry")], "once");

    redis.restart().unwrap();
    in_time("Redis is used again", async {
        loop {
            let count = one.registry.count().await;
            if !one.registry.degraded() && count == Ok(2) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(enter(&other, 2, 4, 2).await, [2]);
    let change = changes(&one);
    assert_eq!(change[1], Observation::Recovered("registry"));
}

#[tokio::test]
async fn tickets_do_not_notice_that_redis_is_away() {
    let mut redis = Redis::start(Settings::default()).unwrap();
    let database = database().await.unwrap();
    let one = node(1, &redis, &database);
    assert_eq!(one.registry.spend(1, HOUR).await, Ok(Spent::First));
    redis.kill_9().unwrap();
    assert_eq!(one.registry.spend(1, HOUR).await, Ok(Spent::Again));
    one.registry.end(1, HOUR);
    one.safe.flush().await;
    assert_eq!(one.registry.spend(1, HOUR).await, Ok(Spent::Ended));
    assert!(changes(&one).is_empty(), "nobody asked Redis");
}

#[tokio::test]
async fn a_stream_that_only_postgres_knows_has_its_owner() {
    let redis = Redis::start(Settings::default()).unwrap();
    let database = database().await.unwrap();
    let one = node(1, &redis, &database);
    enter(&one, 1, 1, 5).await;
    counts(&one.registry, 1).await;
    one.safe.enter(presence(1, 2), 5).await.unwrap();
    let owner = one.registry.owner(presence(1, 2).connection).await;
    assert_eq!(owner, Ok(Some("u-1".parse().unwrap())));
    let nobody = one.registry.owner(presence(1, 3).connection).await;
    assert_eq!(nobody, Ok(None));
}
