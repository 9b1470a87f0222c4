//! The registry over Postgres.

use std::sync::Arc;
use std::time::Duration;

use adapters::postgres::{Database, PgRegistry, migrate};
use application::ports::Registry;
use application::testing::Unobserved;
use domain::ids::NodeId;
use domain::time::Timestamp;
use tests::postgres::{Postgres, Settings, connect};

use super::registry::{HOUR, counts, ended, enters, leave, person, presence, refuses_everything_within};
use super::{Noting, Tasks};

/// What the registry promises.
const BOUND: Duration = Duration::from_secs(4);

async fn postgres() -> Postgres {
    let postgres = Postgres::start(Settings::default()).unwrap();
    migrate(&postgres.url().parse().unwrap()).await.unwrap();
    postgres
}

struct Node {
    registry: PgRegistry,
    _tasks: Tasks,
}

fn node(postgres: &Postgres) -> Node {
    let (tasks, database) = (Tasks::new(), postgres.url().parse::<Database>().unwrap());
    let registry = PgRegistry::start(&database, NodeId(1), &(Arc::new(Unobserved) as _), tasks.parts());
    Node {
        registry: registry.unwrap(),
        _tasks: tasks,
    }
}

#[tokio::test]
async fn a_frozen_postgres_makes_nobody_wait_long_and_is_put_right_when_it_thaws() {
    let postgres = postgres().await;
    let Node { registry, _tasks } = node(&postgres);
    for serial in 1..=3 {
        registry.enter(presence(serial), 5).await.unwrap();
    }
    postgres.freeze().unwrap();
    refuses_everything_within(&registry, BOUND).await;
    leave(&registry, 1);
    assert!(registry.enter(presence(4), 5).await.is_err());
    postgres.thaw().unwrap();
    // 2 and 3 stayed; 4 and the one whose entering was refused came while nobody answered.
    counts(&registry, 4).await;
    let beyond = enters(&registry, presence(5), 3).await;
    assert_eq!(beyond, [2, 3].map(|serial| presence(serial).connection));
}

#[tokio::test]
async fn a_postgres_that_crashed_knows_the_tickets_and_is_told_the_streams_again() {
    let mut postgres = postgres().await;
    let Node { registry, _tasks } = node(&postgres);
    for serial in 1..=700 {
        let mut presence = presence(serial);
        presence.user = format!("u-{}", serial % 300).parse().unwrap();
        registry.enter(presence, 5).await.unwrap();
    }
    registry.spend(1, HOUR).await.unwrap();
    registry.spend(2, HOUR).await.unwrap();
    postgres.kill_9().unwrap();
    refuses_everything_within(&registry, BOUND).await;
    registry.leave(&"u-1".parse().unwrap(), presence(1).connection);
    registry.end(1, HOUR);
    let fresh = person(Timestamp::from_millis(i64::MAX));
    registry.renew(2, fresh.clone());
    postgres.restart().unwrap();
    let lost = connect(&postgres.url()).await.unwrap();
    let lost = lost
        .query_one("SELECT count(*) FROM registry_streams", &[])
        .await
        .unwrap();
    assert!(lost.get::<_, i64>(0) < 700, "a crash forgets who was connected");
    // One left, one came.
    counts(&registry, 700).await;
    assert_eq!(registry.list(None, 2_000).await.unwrap().len(), 700);
    ended(&registry, 1).await;
    registry.flush().await;
    assert_eq!(registry.renewed(2).await, Ok(Some(fresh)));
}

#[tokio::test]
async fn a_node_that_freezes_in_the_middle_holds_nobody_up() {
    let postgres = postgres().await;
    let Node { registry, _tasks } = node(&postgres);
    registry.enter(presence(1), 5).await.unwrap();
    // What a node holds that was stopped between taking the lock and giving it back.
    let frozen = connect(&postgres.url()).await.unwrap();
    frozen
        .batch_execute(
            "SET idle_in_transaction_session_timeout = 2000;
             BEGIN;
             SELECT pg_advisory_xact_lock(x'61726175746f0003'::bit(64)::bigint)",
        )
        .await
        .unwrap();
    counts(&registry, 1).await;
    enters(&registry, presence(2), 5).await;
    counts(&registry, 2).await;
}

#[tokio::test]
async fn what_waits_for_postgres_is_bounded() {
    let postgres = postgres().await;
    let (tasks, observer) = (Tasks::new(), Arc::new(Noting::default()));
    let database: Database = postgres.url().parse().unwrap();
    let registry = PgRegistry::start(&database, NodeId(1), &(observer.clone() as _), tasks.parts()).unwrap();
    registry.enter(presence(1), 5).await.unwrap();
    postgres.freeze().unwrap();
    for ticket in 0..20_000 {
        registry.end(ticket, HOUR);
    }
    assert!(observer.saw_full("postgres_registry"));
}
