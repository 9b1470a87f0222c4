//! The bell of Postgres.

use std::sync::Arc;

use adapters::postgres::{Database, PgBus};
use application::ports::{Bus as _, Listener, Reply, Rung};
use application::testing::Unobserved;
use domain::cursor::Cursor;
use tests::postgres::{Postgres, Settings, connect};

use super::{Noting, Tasks, hears, in_time};

struct Node {
    bus: PgBus,
    _tasks: Tasks,
}

fn node(postgres: &Postgres) -> Node {
    let (tasks, database) = (Tasks::new(), postgres.url().parse::<Database>().unwrap());
    let bus = PgBus::start(&database, &(Arc::new(Unobserved) as _), tasks.parts());
    Node { bus, _tasks: tasks }
}

async fn becomes(bus: &PgBus, wanted: bool) {
    in_time("whether it hears", async {
        bus.hears().wait_for(|hears| *hears == wanted).await.unwrap();
    })
    .await;
}

/// Rings as the store does when it commits, and listens for it.
async fn hears_a_commit(postgres: &Postgres, listener: &mut Box<dyn Listener>) {
    let store = connect(&postgres.url()).await.unwrap();
    store
        .batch_execute("SELECT pg_notify('arauto', 'h 8f3a-1042')")
        .await
        .unwrap();
    let head: Cursor = "8f3a-1042".parse().unwrap();
    hears(listener, |rung| *rung == Rung::Head(head)).await;
}

fn reply(sequence: u64) -> Reply {
    Reply {
        connection: "00000001-0000000000000001".parse().unwrap(),
        user: "u-1".parse().unwrap(),
        sequence,
    }
}

#[tokio::test]
async fn a_killed_postgres_is_noticed_and_heard_again_when_it_is_back() {
    let mut postgres = Postgres::start(Settings::default()).unwrap();
    let Node { bus, _tasks } = node(&postgres);
    becomes(&bus, true).await;
    let mut listener = bus.listen();
    hears_a_commit(&postgres, &mut listener).await;
    postgres.kill_9().unwrap();
    becomes(&bus, false).await;
    bus.forward(reply(1));
    postgres.restart().unwrap();
    hears(&mut listener, |rung| *rung == Rung::Missed).await;
    hears_a_commit(&postgres, &mut listener).await;
    in_time("a reply", async {
        let mut sequence = 2;
        loop {
            bus.forward(reply(sequence));
            let soon = tokio::time::timeout(std::time::Duration::from_millis(200), listener.next());
            if matches!(soon.await, Ok(Rung::Replies(_))) {
                break;
            }
            sequence += 1;
        }
    })
    .await;
}

#[tokio::test]
async fn a_frozen_postgres_is_noticed_and_heard_again_when_it_thaws() {
    let postgres = Postgres::start(Settings::default()).unwrap();
    let Node { bus, _tasks } = node(&postgres);
    becomes(&bus, true).await;
    let mut listener = bus.listen();
    postgres.freeze().unwrap();
    becomes(&bus, false).await;
    postgres.thaw().unwrap();
    hears(&mut listener, |rung| *rung == Rung::Missed).await;
    hears_a_commit(&postgres, &mut listener).await;
}

#[tokio::test]
async fn a_node_may_start_before_its_postgres() {
    let mut postgres = Postgres::start(Settings::default()).unwrap();
    postgres.kill_9().unwrap();
    let Node { bus, _tasks } = node(&postgres);
    let mut listener = bus.listen();
    postgres.restart().unwrap();
    hears(&mut listener, |rung| *rung == Rung::Missed).await;
    hears_a_commit(&postgres, &mut listener).await;
}

#[tokio::test]
async fn what_nobody_understands_counts_as_missed() {
    let postgres = Postgres::start(Settings::default()).unwrap();
    let Node { bus, _tasks } = node(&postgres);
    becomes(&bus, true).await;
    let mut listener = bus.listen();
    let store = connect(&postgres.url()).await.unwrap();
    for said in ["", "h", "h x", "r [1]", "z 1"] {
        store
            .execute("SELECT pg_notify('arauto', $1)", &[&said])
            .await
            .unwrap();
        let heard = in_time("a ring", listener.next()).await;
        assert_eq!(heard, Rung::Missed, "{said}");
    }
}

#[tokio::test]
async fn replies_that_wait_are_bounded() {
    let postgres = Postgres::start(Settings::default()).unwrap();
    let (tasks, observer) = (Tasks::new(), Arc::new(Noting::default()));
    let database: Database = postgres.url().parse().unwrap();
    let bus = PgBus::start(&database, &(observer.clone() as _), tasks.parts());
    becomes(&bus, true).await;
    postgres.freeze().unwrap();
    for sequence in 0..20_000 {
        bus.forward(reply(sequence));
    }
    assert!(observer.saw_full("postgres_bus_replies"));
}
