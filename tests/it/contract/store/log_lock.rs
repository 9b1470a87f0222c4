//! The log's lock: whoever waited for it goes on from what its last holder wrote, and nobody holds it for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use application::ports::Store as _;
use domain::event::Control;
use tests::forwarder::Forwarder;
use tests::postgres::database;
use tests::server::now;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::durable::{Desk, client, log_of, node, one};
use super::scene::{positions, to, user};

/// The advisory lock under which positions are given out, as operators see it in `pg_locks`.
const LOG_LOCK: i64 = 0x6172_6175_746f_0000;
const HOLD: &str = "SELECT pg_advisory_xact_lock($1)";

/// How many wait for it.
const WAITING: &str = "
SELECT count(*)
FROM pg_locks
WHERE locktype = 'advisory'
  AND NOT granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Ends the sessions that publish.
const END_WRITERS: &str = "
SELECT count(pg_terminate_backend(pid))
FROM pg_stat_activity
WHERE application_name = 'arauto-writer' AND datname = current_database()";

const PUBLISHERS: usize = 4;
const EACH: usize = 200;

/// A statement waits for two seconds at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// A database whose default keeps one snapshot for a whole transaction: it is taken before the log's lock is waited for.
/// Beside that it counts how often something began to be stored, in vain or not: sequences are never rolled back.
const STUBBORN: &str = "
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database());
END $$;
CREATE SEQUENCE attempts;
CREATE FUNCTION attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('attempts');
    RETURN NULL;
END $$;
CREATE TRIGGER attempt BEFORE INSERT ON notifications FOR EACH STATEMENT EXECUTE FUNCTION attempt();";

async fn number(client: &Client, question: &str) -> i64 {
    client.query_one(question, &[]).await.unwrap().get(0)
}

async fn wait_behind(holder: &Client, waiting: i64) {
    let since = now();
    while number(holder, WAITING).await < waiting {
        assert!(since.elapsed() < PATIENCE, "nobody waits for the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_waited_for_the_log_goes_on_from_what_was_written_meanwhile_whatever_the_databases_default() {
    let database = database().await.unwrap();
    let holder = client(&database).await;
    holder.batch_execute(STUBBORN).await.unwrap();
    let nodes = [node(&database.url()).await, node(&database.url()).await];
    let desk = Desk::open().await;
    let items = desk.items(vec![to(&[user("ana")]), to(&[user("bia")])]).await;

    holder.batch_execute("BEGIN").await.unwrap();
    holder.execute(HOLD, &[&LOG_LOCK]).await.unwrap();
    let mut accepting = JoinSet::new();
    for (waiting, (store, item)) in (1..).zip(nodes.clone().into_iter().zip(items)) {
        accepting.spawn(async move { one(&store, item).await });
        wait_behind(&holder, waiting).await;
    }
    let mut telling = JoinSet::new();
    let store = nodes[0].clone();
    telling.spawn(async move {
        let changed = Control::Changed {
            document: "rollout".into(),
            version: 1,
        };
        store.control(changed).await
    });
    wait_behind(&holder, 3).await;
    holder.batch_execute("COMMIT").await.unwrap();

    for accepted in accepting.join_all().await {
        accepted.expect("it is stored");
    }
    for told in telling.join_all().await {
        told.expect("it is written");
    }
    assert_eq!(positions(&log_of(&nodes[0]).await), [1, 2, 3]);
    let attempts = number(&holder, "SELECT last_value FROM attempts").await;
    assert_eq!(attempts, 2, "nobody began in vain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_sent_over_a_connection_that_ends_is_stored_once() {
    let database = database().await.unwrap();
    let (holder, other) = (client(&database).await, client(&database).await);
    let store = node(&database.url()).await;
    let desk = Desk::open().await;
    let people = ["ana", "bia", "caio", "davi"];
    let items = desk.items(people.map(|name| to(&[user(name)])).to_vec()).await;

    holder.batch_execute("BEGIN").await.unwrap();
    holder.execute(HOLD, &[&LOG_LOCK]).await.unwrap();
    let mut accepting = JoinSet::new();
    // The first waits for the log, the second behind it on the same connection, and the others in the node.
    for item in items {
        let store = store.clone();
        accepting.spawn(async move { one(&store, item).await });
        wait_behind(&holder, 1).await;
    }
    let ended = number(&other, END_WRITERS).await;
    assert_eq!(ended, 1, "one connection");
    holder.batch_execute("COMMIT").await.unwrap();

    for accepted in accepting.join_all().await {
        accepted.expect("it is stored");
    }
    assert_eq!(positions(&log_of(&store).await), [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_fell_silent_is_left_in_time_by_all_who_wait() {
    let database = database().await.unwrap();
    let server = database.address();
    let way = Forwarder::to(server).unwrap();
    let url = database
        .url()
        .replace(&server.to_string(), &way.address().to_string());
    let store = node(&url).await;
    let desk = Desk::open().await;
    let items = vec![to(&[user("ana")]); PUBLISHERS * EACH];
    let mut items = desk.items(items).await.into_iter();
    let through = Arc::new(AtomicUsize::new(0));
    let mut publishing = JoinSet::new();
    for _ in 0..PUBLISHERS {
        let (store, through) = (store.clone(), Arc::clone(&through));
        let items: Vec<_> = items.by_ref().take(EACH).collect();
        publishing.spawn(async move {
            for item in items {
                one(&store, item).await.expect("it is stored");
                through.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    // By now batches overlap all the time.
    while through.load(Ordering::SeqCst) < PUBLISHERS * EACH / 4 {
        tokio::task::yield_now().await;
    }
    way.silence();
    publishing.join_all().await;
    let all = u64::try_from(PUBLISHERS * EACH).unwrap();
    let other = node(&database.url()).await;
    assert_eq!(positions(&log_of(&other).await), (1..=all).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_frozen_node_that_holds_the_log_is_shaken_off() {
    let database = database().await.unwrap();
    let store = node(&database.url()).await;
    let desk = Desk::open().await;
    let frozen = client(&database).await;
    // As each connection of a store does for itself.
    frozen
        .batch_execute("SET idle_in_transaction_session_timeout = '2s'; BEGIN")
        .await
        .unwrap();
    frozen.execute(HOLD, &[&LOG_LOCK]).await.unwrap();
    let item = desk.items(vec![to(&[user("ana")])]).await.remove(0);
    assert!(
        one(&store, item).await.is_ok(),
        "the others wait a moment, and are served"
    );
    assert!(frozen.is_closed());
}
