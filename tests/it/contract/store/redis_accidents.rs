//! What a store in Redis owes when Redis is restarted, full, frozen, replaced or cut off.

use std::sync::Arc;
use std::time::Duration;

use adapters::redis::{RedisStore, RedisStoreConfig, Server};
use application::ports::{Acceptance, Accepted, ReadError, Refusal, Store, StoreError};
use application::testing::{SeededEntropy, Unobserved};
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch, Position};
use domain::event::{Change, Event};
use domain::state::Mark;
use tests::redis::{Redis, Settings};
use tests::wire_cut::WireCut;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::on_redis::RedisStores;
use super::scene::{Item, Scene, key, positions, reader, to, user};

/// Nobody waits longer for an answer, whatever Redis does.
const BOUNDED: Duration = Duration::from_secs(12);

fn keeping_nothing() -> Redis {
    Redis::start(Settings::default().set("appendonly", "no")).unwrap()
}

async fn try_open(url: &str) -> Result<RedisStore, adapters::redis::OpenError> {
    let server: Server = url.parse().unwrap();
    let config = RedisStoreConfig::default();
    RedisStore::open(
        &server,
        config,
        Arc::new(SeededEntropy::new(7)),
        Arc::new(Unobserved),
    )
    .await
}

async fn node(url: &str) -> Arc<RedisStore> {
    Arc::new(try_open(url).await.unwrap())
}

/// Makes things to publish, with ids of their own.
async fn made(url: &str, items: Vec<Item>) -> Vec<Acceptance> {
    let factory = RedisStores::at(url).await;
    let scene = Scene::open(&factory).await;
    let mut made = Vec::new();
    for item in items {
        let mut acceptance = scene.acceptance(item).await;
        let id = (u128::from(tests::port::random()) << 64) | made.len() as u128;
        acceptance.notification.id = domain::ids::NotificationId::new(uuid::Uuid::from_u128(id));
        made.push(acceptance);
    }
    made
}

async fn one(store: &RedisStore, acceptance: &Acceptance) -> Result<Accepted, Refusal> {
    let written = store.accept(vec![acceptance.clone()]).await.unwrap();
    written.value.into_iter().next().unwrap()
}

async fn log_of(store: &RedisStore) -> Vec<Arc<Event>> {
    let head = store.head().await.unwrap();
    let after = Cursor {
        position: head.oldest.prior(),
        ..head.cursor
    };
    store.read(after, usize::MAX).await.unwrap().events
}

/// The epoch and the place at which a log stands, as soon as somebody answers.
async fn stands(store: &RedisStore) -> (Epoch, Position) {
    let deadline = tests::server::now() + BOUNDED;
    loop {
        match store.head().await {
            Ok(head) => return (head.cursor.epoch, head.cursor.position),
            Err(error) => assert!(tests::server::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_nodes_give_contiguous_places_that_appear_in_order() {
    let redis = keeping_nothing();
    let nodes = [node(&redis.url()).await, node(&redis.url()).await];
    let items = (0..400).map(|n| to(&[user(&format!("u{}", n % 7)), Channel::System]));
    let items = made(&redis.url(), items.collect()).await;
    let follower = Arc::clone(&nodes[1]);
    let follow = TaskTracker::new().spawn(async move {
        let mut cursor = follower.head().await.unwrap().cursor;
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
        writers.spawn(async move { one(&store, &acceptance).await.unwrap() });
    }
    let accepted = writers.join_all().await;
    assert!(accepted.iter().all(|accepted| accepted.receipt.events == 2));
    follow.await.unwrap();
    assert_eq!(positions(&log_of(&nodes[0]).await), (1..=800).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_key_used_on_two_nodes_at_once_publishes_once() {
    let redis = keeping_nothing();
    let nodes = [node(&redis.url()).await, node(&redis.url()).await];
    for round in 0..20 {
        let keyed = || to(&[user("ana")]).key(key("svc", &format!("k{round}"), 1));
        let mut asking = JoinSet::new();
        for (n, acceptance) in made(&redis.url(), (0..8).map(|_| keyed()).collect())
            .await
            .into_iter()
            .enumerate()
        {
            let store = Arc::clone(&nodes[n % 2]);
            asking.spawn(async move { one(&store, &acceptance).await.unwrap() });
        }
        let accepted = asking.join_all().await;
        assert_eq!(accepted.iter().filter(|accepted| !accepted.replayed).count(), 1);
        assert!(accepted.iter().all(|other| other.receipt == accepted[0].receipt));
    }
    assert_eq!(log_of(&nodes[0]).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_batch_whose_answer_is_lost_counts_once() {
    const MARK: &str = "the batch in question";
    let redis = keeping_nothing();
    let cut = WireCut::before(redis.address(), MARK.as_bytes()).unwrap();
    let store = node(&format!("redis://{}", cut.address())).await;
    let texts = ["before", MARK, "after"];
    let items = texts
        .map(|text| to(&[user("ana")]).body(text.to_owned()))
        .to_vec();
    let items = made(&redis.url(), items).await;
    one(&store, &items[0]).await.unwrap();
    cut.arm();
    let accepted = one(&store, &items[1]).await.unwrap();
    assert!(!cut.armed(), "an answer was lost");
    assert!(
        !accepted.replayed,
        "it is the first answer that this publisher gets"
    );
    assert_eq!(accepted.receipt.cursor.unwrap().position, Position(2));
    one(&store, &items[2]).await.unwrap();
    assert_eq!(positions(&log_of(&store).await), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_that_kept_nothing_begins_a_new_epoch() {
    let mut redis = keeping_nothing();
    let store = node(&redis.url()).await;
    let items = made(&redis.url(), vec![to(&[user("ana")]), to(&[user("ana")])]).await;
    let receipt = one(&store, &items[0]).await.unwrap().receipt;
    let cursor = receipt.cursor.unwrap();
    redis.kill_9().unwrap();
    redis.restart().unwrap();
    let (epoch, position) = stands(&store).await;
    assert!(epoch > cursor.epoch, "later histories compare greater");
    assert_eq!(position, Position(0));
    assert!(matches!(
        store.read(cursor, 10).await,
        Err(ReadError::EpochChanged { .. })
    ));
    let again = one(&store, &items[1]).await.unwrap().receipt.cursor.unwrap();
    assert_eq!((again.epoch, again.position), (epoch, Position(1)));
    // Another node sees the same one.
    assert_eq!(stands(&*node(&redis.url()).await).await, (epoch, Position(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_that_syncs_every_write_loses_nothing_and_keeps_its_epoch() {
    let mut redis = Redis::start(Settings::default()).unwrap();
    let store = node(&redis.url()).await;
    let before = stands(&store).await;
    let items = made(&redis.url(), (0..60).map(|_| to(&[user("ana")])).collect()).await;
    let (mut writers, mut stored) = (JoinSet::new(), Vec::new());
    for acceptance in items {
        let store = Arc::clone(&store);
        writers.spawn(async move { one(&store, &acceptance).await.unwrap().receipt.id });
    }
    while let Some(id) = writers.join_next().await {
        stored.push(id.unwrap());
        if stored.len() == 20 {
            redis.kill_9().unwrap();
            redis.restart().unwrap();
        }
    }
    assert_eq!(stands(&store).await, (before.0, Position(60)));
    let carried: Vec<_> = log_of(&store)
        .await
        .iter()
        .filter_map(|event| match &event.change {
            Change::Published { notification, .. } => Some(notification.id),
            _ => None,
        })
        .collect();
    assert_eq!(carried.len(), 60);
    assert!(stored.iter().all(|id| carried.contains(id)), "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_that_syncs_each_second_begins_a_new_epoch_and_numbering_goes_on() {
    let mut redis = Redis::start(Settings::default().set("appendfsync", "everysec")).unwrap();
    let store = node(&redis.url()).await;
    let before = stands(&store).await;
    let items = made(&redis.url(), vec![to(&[user("ana")])]).await;
    one(&store, &items[0]).await.unwrap();
    redis.restart().unwrap();
    let (epoch, position) = stands(&store).await;
    assert!(epoch > before.0);
    assert_eq!(position, Position(1), "an orderly end loses nothing");
    assert_eq!(positions(&log_of(&store).await), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_promoted_replica_begins_a_new_epoch_however_it_syncs() {
    let mut primary = Redis::start(Settings::default()).unwrap();
    let (host, port) = (primary.address().ip(), primary.address().port());
    let follows = Settings::default().set("replicaof", &format!("{host} {port}"));
    let replica = Redis::start(follows).unwrap();
    let store = node(&primary.url()).await;
    let items = made(&primary.url(), vec![to(&[user("ana")])]).await;
    let cursor = one(&store, &items[0]).await.unwrap().receipt.cursor.unwrap();
    let deadline = tests::server::now() + BOUNDED;
    while replica
        .command(&["HGET", "arauto:store:books", "head"])
        .ok()
        .as_deref()
        != Some("1")
    {
        assert!(tests::server::now() < deadline, "the replica does not follow");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    primary.kill_9().unwrap();
    assert!(
        try_open(&replica.url()).await.is_err(),
        "a replica takes no writes"
    );
    replica.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    let (epoch, position) = stands(&*node(&replica.url()).await).await;
    assert!(epoch > cursor.epoch);
    assert_eq!(position, Position(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_that_was_emptied_under_a_running_node_begins_a_new_epoch() {
    let redis = keeping_nothing();
    let store = node(&redis.url()).await;
    let items = made(&redis.url(), vec![to(&[user("ana")]), to(&[user("ana")])]).await;
    let before = one(&store, &items[0]).await.unwrap().receipt.cursor.unwrap();
    redis.command(&["FLUSHALL"]).unwrap();
    let after = one(&store, &items[1]).await.unwrap().receipt.cursor.unwrap();
    assert!(after.epoch > before.epoch);
    assert_eq!(after.position, Position(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_head_below_what_was_seen_begins_a_new_epoch() {
    let redis = keeping_nothing();
    let store = node(&redis.url()).await;
    let items = made(&redis.url(), vec![to(&[user("ana")]), to(&[user("ana")])]).await;
    for item in &items {
        one(&store, item).await.unwrap();
    }
    let before = stands(&store).await;
    redis
        .command(&["HSET", "arauto:store:books", "head", "1"])
        .unwrap();
    let after = stands(&store).await;
    assert!(after.0 > before.0);
    assert_eq!(after.1, Position(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_epoch_begun_by_hand_resets_everybody() {
    let redis = keeping_nothing();
    let store = node(&redis.url()).await;
    let before = store.head().await.unwrap().cursor;
    let begun = store.begin_epoch().await.unwrap();
    assert!(begun.epoch > before.epoch);
    assert!(matches!(
        store.read(before, 1).await,
        Err(ReadError::EpochChanged { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_that_evicts_is_refused_by_the_name_of_its_policy() {
    let settings = Settings::default().set("maxmemory-policy", "allkeys-lru");
    let redis = Redis::start(settings).unwrap();
    let refused = try_open(&redis.url()).await.map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("maxmemory-policy is allkeys-lru"), "{refused}");
    assert!(
        refused.contains("CONFIG SET maxmemory-policy noeviction"),
        "{refused}"
    );
    assert!(!refused.contains('\n'), "{refused}");
    redis
        .command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
        .unwrap();
    try_open(&redis.url()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_redis_refuses_whole_batches_at_once_and_is_still_read() {
    let redis = keeping_nothing();
    let store = node(&redis.url()).await;
    let ana = reader("ana", &[]);
    let items = made(
        &redis.url(),
        (0..30).map(|_| to(&[user("ana"), Channel::System])).collect(),
    )
    .await;
    let first = one(&store, &items[0]).await.unwrap().receipt;
    store.meet(&ana.user).await.unwrap();
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let refused = tokio::time::timeout(BOUNDED, store.accept(items.clone()))
        .await
        .unwrap();
    assert!(
        matches!(refused, Err(StoreError::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(stands(&store).await.1, Position(2));
    assert_eq!(positions(&log_of(&store).await), [1, 2], "nothing is half there");
    assert_eq!(store.unread(&ana).await.unwrap().unread, 1);
    let marked = store.mark(&ana, first.id, Mark::Read).await;
    assert!(
        matches!(marked, Err(StoreError::Unavailable { .. })),
        "{marked:?}"
    );
    // What makes room is let through.
    store.retract(first.id).await.unwrap();
    assert_eq!(store.unread(&ana).await.unwrap().unread, 0);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    let accepted = store.accept(items[1..].to_vec()).await.unwrap();
    assert!(accepted.value.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_frozen_redis_is_given_up_in_bounded_time_and_settled_by_a_repeat() {
    let redis = keeping_nothing();
    let store = node(&redis.url()).await;
    let items = made(&redis.url(), vec![to(&[user("ana")]), to(&[user("ana")])]).await;
    one(&store, &items[0]).await.unwrap();
    redis.freeze().unwrap();
    let refused = tokio::time::timeout(BOUNDED, store.accept(vec![items[1].clone()]))
        .await
        .unwrap();
    assert!(
        matches!(refused, Err(StoreError::OutcomeUnknown { .. })),
        "it was sent: {refused:?}"
    );
    let head = tokio::time::timeout(BOUNDED, store.head()).await.unwrap();
    assert!(head.is_err());
    redis.thaw().unwrap();
    stands(&store).await;
    let deadline = tests::server::now() + BOUNDED;
    while store.accept(vec![items[1].clone()]).await.is_err() {
        assert!(tests::server::now() < deadline, "it is served again");
    }
    assert_eq!(positions(&log_of(&store).await), [1, 2], "it is there once");
}
