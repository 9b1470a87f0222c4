//! How the database answers people: by its indexes, however much there is. The plans are those of the very statements
//! that the store sends, as the server logs them.

use std::sync::Arc;

use adapters::postgres::{PgAudit, PgStore, PgStoreConfig, migrate};
use application::ports::{ChannelsQuery, InboxQuery, PublishTrail as _, Reader, Store};
use application::testing::{SeededEntropy, Unobserved};
use domain::cursor::Position;
use domain::event::Control;
use domain::state::StateFilter;
use tests::postgres::{Postgres, Settings, connect};
use tests::seed::{NEVER_READ, Scale, seed};
use tokio_util::task::TaskTracker;

use super::on_postgres::PgStores;
use super::scene::{Scene, key, reader, to, unit, user};

/// Enough for the planner to prefer an index wherever there is one.
const SCALE: Scale = Scale {
    notifications: 60_000,
    people: 3_000,
    units: 10,
};

/// The tables that grow. `bounds`, `epochs` and sets of parameters are read whole.
const LARGE: [&str; 5] = ["notifications", "events", "marks", "people", "idempotency_keys"];

fn logging() -> Settings {
    Settings::default()
        .set("session_preload_libraries", "auto_explain")
        .set("auto_explain.log_min_duration", "0")
        .set("auto_explain.log_nested_statements", "on")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn people_are_answered_from_indexes() {
    let server = Postgres::start(logging()).unwrap();
    let place = server.url().parse().unwrap();
    migrate(&place).await.unwrap();
    let (config, tasks) = (PgStoreConfig::default(), TaskTracker::new());
    let entropy = Arc::new(SeededEntropy::new(7));
    let store = PgStore::open(&place, config, entropy, Arc::new(Unobserved), &tasks)
        .await
        .unwrap();
    seed(&connect(&server.url()).await.unwrap(), SCALE).await.unwrap();
    let before = server.log().unwrap().len();

    let never_read = reader(NEVER_READ, &[unit("u-1")]);
    // Each statement often enough that its plan is no longer made for its parameters.
    for round in 0..8 {
        ask_everything(&store, &never_read, round).await;
    }

    let log = server.log().unwrap().split_off(before);
    assert!(log.matches("Query Text:").count() > 50, "plans are logged");
    for table in LARGE {
        let scan = format!("Seq Scan on {table} ");
        let plan = log.lines().position(|line| line.contains(&scan));
        let around = plan.map(|at| {
            let lines: Vec<&str> = log.lines().collect();
            lines[at.saturating_sub(60)..(at + 6).min(lines.len())].join("\n")
        });
        assert!(around.is_none(), "{}", around.unwrap_or_default());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_plan_that_was_made_when_there_was_nothing_is_good_when_there_is_much() {
    // The rows were counted when there were none, as after a quiet night, and nobody counts them again meanwhile.
    let server = Postgres::start(logging().set("autovacuum", "off")).unwrap();
    let place = server.url().parse().unwrap();
    migrate(&place).await.unwrap();
    let admin = connect(&server.url()).await.unwrap();
    admin.batch_execute("ANALYZE").await.unwrap();
    let (config, tasks) = (PgStoreConfig::default(), TaskTracker::new());
    let entropy = Arc::new(SeededEntropy::new(7));
    let store = PgStore::open(&place, config, entropy, Arc::new(Unobserved), &tasks)
        .await
        .unwrap();
    let trail = PgAudit::open(&place).unwrap();
    let beginning = store.head().await.unwrap().cursor;
    // Often enough that plans are no longer made for their parameters.
    for _ in 0..8 {
        assert!(trail.unrecorded().await.unwrap().is_none());
        assert!(store.read(beginning, 100).await.unwrap().events.is_empty());
    }
    let changed = Control::Changed {
        document: "rollout".into(),
        version: 1,
    };
    store.control(changed.clone()).await.unwrap();
    let elsewhere = PgStores::begin().await;
    let scene = Scene::open(&elsewhere).await;
    for (audience, keys) in [(&["ana"][..], 0..40), (&["ana", "rui"], 40..80)] {
        let people: Vec<_> = audience.iter().map(|name| user(name)).collect();
        for n in keys {
            // The first goes a fast way, the repeat the careful one.
            for _ in 0..2 {
                let keyed = to(&people).key(key("p", &n.to_string(), 1));
                store.accept(vec![scene.acceptance(keyed).await]).await.unwrap();
            }
        }
    }
    assert!(trail.unrecorded().await.unwrap().is_some());
    store.control(changed).await.unwrap();
    assert_eq!(store.read(beginning, 200).await.unwrap().events.len(), 122);
    let log = server.log().unwrap();
    for statement in [
        "Stores a batch",
        "SELECT e.position, e.bytes_through",
        "SELECT v.position, v.bytes_through",
        "SELECT k.serial FROM idempotency_keys AS k WHERE k.until > moment",
        "FROM idempotency_keys AS k",
        "INSERT INTO idempotency_keys (publisher",
        "FROM audit_published AS p",
        "(SELECT oldest FROM bounds) AS oldest",
        "FROM events e WHERE e.position > $1",
        "WHERE n.id IN (",
        "FROM (VALUES (1)) AS one",
    ] {
        let plan = last_plan(&log, statement);
        for table in LARGE {
            assert!(!plan.contains(&format!("Seq Scan on {table} ")), "{plan}");
        }
        assert!(!walks(plan), "{plan}");
    }
}

/// Whether all of a table is gone through by the index of its key: a look-up says what it looks for, or takes the first
/// that there is.
fn walks(plan: &str) -> bool {
    let lines: Vec<&str> = plan.lines().collect();
    let through_all = |at: usize| {
        let says = |line: Option<&&str>, what| line.is_some_and(|line| line.contains(what));
        lines[at].contains(" using ")
            && lines[at].contains("_pkey on ")
            && !says(lines.get(at + 1), "Index Cond:")
            && !says(at.checked_sub(1).and_then(|before| lines.get(before)), "Limit")
    };
    (0..lines.len()).any(through_all)
}

/// The last plan of a statement that the log shows; statements stand there without one when they fail.
fn last_plan<'a>(log: &'a str, statement: &str) -> &'a str {
    let plans = log
        .split("duration:")
        .filter(|entry| entry.contains("Query Text:"));
    let of_it = |plan: &&str| {
        plan.split("ERROR:")
            .next()
            .is_some_and(|plan| plan.contains(statement))
    };
    plans.filter(of_it).last().expect("plans are logged")
}

async fn ask_everything(store: &PgStore, person: &Reader, round: u64) {
    let unread = store.unread(person).await.unwrap();
    assert!(unread.unread > 1_000);
    for filter in [
        StateFilter::Unarchived,
        StateFilter::All,
        StateFilter::Unread,
        StateFilter::Read,
        StateFilter::Archived,
    ] {
        let query = InboxQuery {
            limit: 50,
            filter,
            ..InboxQuery::default()
        };
        let page = store.inbox(person, &query).await.unwrap();
        if let Some(item) = page.items.first() {
            store.item(person, item.notification.id).await.unwrap().unwrap();
        }
    }
    let head = store.head().await.unwrap();
    let query = ChannelsQuery {
        channels: vec![user(NEVER_READ), unit("u-1")],
        after: domain::cursor::Cursor {
            position: Position(head.cursor.position.0 / 2),
            ..head.cursor
        },
        up_to: head.cursor.position,
        limit: 64,
    };
    store.read_channels(&query).await.unwrap();
    store.read(query.after, 100).await.unwrap();
    let other = reader(&format!("p-{}", 100 + round), &[unit("u-2")]);
    store.read_all(&other, Some(Position(55_000))).await.unwrap();
}
