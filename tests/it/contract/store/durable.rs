//! What only a store that several nodes share can get wrong: each test is an accident that has happened to somebody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use adapters::postgres::{Database as Place, MigrateError, PgStore, PgStoreConfig, migrate};
use application::ports::{Acceptance, Accepted, ReadError, Refusal, Store};
use application::testing::{SeededEntropy, Unobserved};
use domain::channel::Channel;
use domain::cursor::Position;
use domain::event::Change;
use domain::ids::NotificationId;
use domain::notification::Content;
use tests::postgres::{Database, database};
use tests::wire_cut::WireCut;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_util::task::TaskTracker;

use super::on_postgres::PgStores;
use super::scene::{Item, Scene, key, positions, to, user};

pub(super) async fn node(url: &str) -> Arc<PgStore> {
    let place: Place = url.parse().unwrap();
    let tasks = TaskTracker::new();
    let store = PgStore::open(
        &place,
        PgStoreConfig::default(),
        Arc::new(SeededEntropy::new(7)),
        Arc::new(Unobserved),
        &tasks,
    );
    Arc::new(store.await.unwrap())
}

/// Things to publish, with ids of their own.
pub(super) struct Desk {
    scene: PgStores,
}

impl Desk {
    pub(super) async fn open() -> Self {
        Self {
            scene: PgStores::begin().await,
        }
    }

    pub(super) async fn items(&self, items: Vec<Item>) -> Vec<Acceptance> {
        let scene = Scene::open(&self.scene).await;
        let mut made = Vec::new();
        for item in items {
            made.push(scene.acceptance(item).await);
        }
        made
    }
}

fn titled(acceptance: Acceptance, title: &str) -> Acceptance {
    let content = Content {
        title: title.into(),
        ..acceptance.notification.content.clone()
    };
    let mut acceptance = acceptance;
    acceptance.notification.content = content;
    acceptance
}

pub(super) async fn one(store: &PgStore, acceptance: Acceptance) -> Result<Accepted, Refusal> {
    let written = store.accept(vec![acceptance]).await.unwrap();
    written.value.into_iter().next().unwrap()
}

pub(super) async fn log_of(store: &PgStore) -> Vec<Arc<domain::event::Event>> {
    let head = store.head().await.unwrap();
    let after = domain::cursor::Cursor {
        position: head.oldest.prior(),
        ..head.cursor
    };
    store.read(after, usize::MAX).await.unwrap().events
}

pub(super) async fn client(database: &Database) -> Client {
    database.connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_nodes_give_contiguous_places_that_appear_in_order() {
    let database = database().await.unwrap();
    let nodes = [node(&database.url()).await, node(&database.url()).await];
    let desk = Desk::open().await;
    let items = desk
        .items(
            (0..400)
                .map(|n| to(&[user(&format!("u{}", n % 7)), Channel::System]))
                .collect(),
        )
        .await;
    // Whoever follows the log while it is written sees each place once and in order.
    let follower = Arc::clone(&nodes[1]);
    let follow = TaskTracker::new().spawn(async move {
        let mut cursor = domain::cursor::Cursor {
            position: Position(0),
            ..follower.head().await.unwrap().cursor
        };
        while cursor.position < Position(800) {
            let page = follower.read(cursor, 50).await.unwrap();
            for event in &page.events {
                assert_eq!(event.position, cursor.position.next());
                cursor.position = event.position;
            }
        }
    });
    let mut writers = JoinSet::new();
    for (n, acceptance) in items.into_iter().enumerate() {
        let store = Arc::clone(&nodes[n % 2]);
        writers.spawn(async move { one(&store, acceptance).await.unwrap() });
    }
    let accepted = writers.join_all().await;
    assert!(accepted.iter().all(|accepted| accepted.receipt.events == 2));
    follow.await.unwrap();
    let log = log_of(&nodes[0]).await;
    assert_eq!(positions(&log), (1..=800).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_key_used_on_two_nodes_at_once_publishes_once() {
    let database = database().await.unwrap();
    let nodes = [node(&database.url()).await, node(&database.url()).await];
    let desk = Desk::open().await;
    for round in 0..20 {
        let keyed = || to(&[user("ana")]).key(key("svc", &format!("k{round}"), 1));
        let items = desk.items((0..8).map(|_| keyed()).collect()).await;
        let mut asking = JoinSet::new();
        for (n, acceptance) in items.into_iter().enumerate() {
            let mut acceptance = acceptance;
            acceptance.notification.id = NotificationId::new(uuid::Uuid::from_u128(round * 100 + n as u128));
            let store = Arc::clone(&nodes[n % 2]);
            asking.spawn(async move { one(&store, acceptance).await.unwrap() });
        }
        let accepted = asking.join_all().await;
        let fresh = accepted.iter().filter(|accepted| !accepted.replayed).count();
        assert_eq!(fresh, 1);
        assert!(accepted.iter().all(|other| other.receipt == accepted[0].receipt));
    }
    assert_eq!(log_of(&nodes[0]).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_taken_in_opposite_order_lock_nobody_out() {
    let database = database().await.unwrap();
    let nodes = [node(&database.url()).await, node(&database.url()).await];
    let desk = Desk::open().await;
    for round in 0..20_u128 {
        let batch = |order: Vec<u128>, node: u128| {
            let desk = &desk;
            async move {
                let keyed = |n: &u128| to(&[user("ana")]).key(key("svc", &format!("{round}-{n}"), 1));
                let mut items = desk.items(order.iter().map(keyed).collect()).await;
                for (n, item) in items.iter_mut().enumerate() {
                    let id = round * 1_000 + node * 100 + n as u128;
                    item.notification.id = NotificationId::new(uuid::Uuid::from_u128(id));
                }
                items
            }
        };
        let up = batch((0..30).collect(), 1).await;
        let down = batch((0..30).rev().collect(), 2).await;
        let (one, other) = tokio::join!(nodes[0].accept(up), nodes[1].accept(down));
        let (one, other) = (one.unwrap().value, other.unwrap().value);
        let fresh = one
            .iter()
            .chain(&other)
            .flatten()
            .filter(|accepted| !accepted.replayed);
        assert_eq!(fresh.count(), 30);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_poison_item_fails_alone() {
    let database = database().await.unwrap();
    client(&database)
        .await
        .batch_execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF NEW.title = 'poison' THEN RAISE EXCEPTION 'no'; END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON notifications FOR EACH ROW EXECUTE FUNCTION refuse();",
        )
        .await
        .unwrap();
    let store = node(&database.url()).await;
    let desk = Desk::open().await;
    let mut items = desk.items((0..9).map(|_| to(&[user("ana")])).collect()).await;
    items[4] = titled(items[4].clone(), "poison");
    // A NUL is nothing that the database can hold as text, whatever let it through.
    items[7] = titled(items[7].clone(), "nul \0");
    let results = store.accept(items).await.unwrap().value;
    let held: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(held, [true, true, true, true, false, true, true, false, true]);
    assert_eq!(results[4], Err(Refusal::Unstorable));
    assert_eq!(log_of(&store).await.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_whose_answer_is_lost_counts_once() {
    let database = database().await.unwrap();
    let server = database.address();
    let cut = WireCut::before(server, b"answer-").unwrap();
    let url = database
        .url()
        .replace(&server.to_string(), &cut.address().to_string());
    let store = node(&url).await;
    let desk = Desk::open().await;
    let mut items = desk
        .items(
            (0..3)
                .map(|n| to(&[user("ana")]).key(key("svc", &format!("answer-{n}"), 1)))
                .collect(),
        )
        .await
        .into_iter();
    one(&store, items.next().unwrap()).await.unwrap();
    cut.arm();
    let accepted = one(&store, items.next().unwrap()).await.unwrap();
    assert!(!cut.armed(), "an answer was lost");
    assert!(
        !accepted.replayed,
        "it is the first answer that this publisher gets"
    );
    assert_eq!(accepted.receipt.cursor.unwrap().position, Position(2));
    one(&store, items.next().unwrap()).await.unwrap();
    let mut times: BTreeMap<NotificationId, usize> = BTreeMap::new();
    for event in log_of(&store).await {
        if let Change::Published { notification, .. } = &event.change {
            *times.entry(notification.id).or_default() += 1;
        }
    }
    assert_eq!(times.into_values().collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_is_not_what_it_was_begins_a_new_epoch() {
    let database = database().await.unwrap();
    let before = node(&database.url()).await;
    let desk = Desk::open().await;
    let item = desk.items(vec![to(&[user("ana")])]).await.remove(0);
    let receipt = one(&before, item).await.unwrap().receipt;
    drop(before);
    // A restore from elsewhere, or a promoted standby.
    let admin = client(&database).await;
    admin
        .execute("UPDATE epochs SET timeline = timeline + 1", &[])
        .await
        .unwrap();
    let after = node(&database.url()).await;
    let head = after.head().await.unwrap();
    assert!(head.cursor.epoch > receipt.cursor.unwrap().epoch);
    assert_eq!(head.cursor.position, Position(1), "numbering goes on");
    let resumed = after.read(receipt.cursor.unwrap(), 10).await;
    assert_eq!(resumed, Err(ReadError::EpochChanged { head }));
    // Asked again, it is still the same one.
    assert_eq!(node(&database.url()).await.head().await.unwrap(), head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_head_below_what_was_seen_begins_a_new_epoch() {
    let database = database().await.unwrap();
    let store = node(&database.url()).await;
    let desk = Desk::open().await;
    for item in desk.items(vec![to(&[user("ana")]), to(&[user("bia")])]).await {
        one(&store, item).await.unwrap();
    }
    let seen = store.head().await.unwrap();
    let admin = client(&database).await;
    admin
        .execute("DELETE FROM events WHERE position = 2", &[])
        .await
        .unwrap();
    let head = store.head().await.unwrap();
    assert!(head.cursor.epoch > seen.cursor.epoch);
    assert_eq!(head.cursor.position, Position(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_epoch_begun_by_hand_resets_everybody() {
    let database = database().await.unwrap();
    let store = node(&database.url()).await;
    let before = store.head().await.unwrap();
    let begun = store.begin_epoch().await.unwrap();
    assert!(begun.epoch > before.cursor.epoch);
    assert!(matches!(
        store.read(before.cursor, 1).await,
        Err(ReadError::EpochChanged { .. })
    ));
}

#[tokio::test]
async fn a_schema_from_the_future_is_refused_by_name() {
    let database = database().await.unwrap();
    let admin = client(&database).await;
    admin
        .execute(
            "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
             VALUES (9999, 'later', '2030-01-01T00:00:00Z', '1')",
            &[],
        )
        .await
        .unwrap();
    let error = migrate(&database.url().parse().unwrap()).await.unwrap_err();
    assert!(
        matches!(error, MigrateError::Future { found: 9999, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("9999"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_goes_and_comes_back_is_served_again_in_bounded_time() {
    let mut server = tests::postgres::Postgres::start(tests::postgres::Settings::default()).unwrap();
    migrate(&server.url().parse().unwrap()).await.unwrap();
    let store = node(&server.url()).await;
    let desk = Desk::open().await;
    let mut items = desk
        .items((0..3).map(|_| to(&[user("ana")])).collect())
        .await
        .into_iter();
    one(&store, items.next().unwrap()).await.unwrap();
    server.kill_9().unwrap();
    let lost = items.next().unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(20), store.accept(vec![lost.clone()])).await;
    assert!(refused.expect("an answer in bounded time").is_err());
    server.restart().unwrap();
    assert!(one(&store, lost).await.is_ok());
    assert!(one(&store, items.next().unwrap()).await.is_ok());
    assert_eq!(positions(&log_of(&store).await), [1, 2, 3]);
}
