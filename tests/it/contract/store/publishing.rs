//! Accepting, and recognising repeats.

use std::sync::Arc;

use application::ports::{Accepted, Idempotency, Recalled, ReceiptStatus, Refusal};
use domain::channel::Channel;
use domain::cursor::Position;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::StoreFactory;
use super::scene::{HALF_HOUR, HOUR, Item, Scene, key, published, to, user};

fn keyed(key: Idempotency) -> Item {
    to(&[user("ana")]).key(key)
}

pub(crate) async fn a_receipt_says_what_was_stored(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let before = scene.now().await;
    let accepted = scene.take(to(&[user("ana"), user("bia")])).await;
    let after = scene.now().await;
    let receipt = accepted.receipt;
    assert!(!accepted.replayed);
    assert_eq!(receipt.status, ReceiptStatus::Published);
    assert_eq!(receipt.events, 2);
    assert_eq!(receipt.cursor, Some(scene.cursor(Position(2)).await));
    assert_eq!(receipt.durability, scene.store.durability());
    assert!((before..=after).contains(&receipt.accepted_at));

    let receipt = scene.publish(to(&[Channel::System]).due_in(HOUR)).await;
    assert_eq!(receipt.status, ReceiptStatus::Scheduled);
    assert_eq!((receipt.events, receipt.cursor), (0, None));
}

pub(crate) async fn a_repeat_gets_the_first_receipt_and_writes_nothing(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let first = scene.take(keyed(key("svc", "k", 1))).await;
    scene.advance(HOUR).await;
    let written = scene.accept(vec![keyed(key("svc", "k", 1))]).await;
    let repeat = Accepted {
        receipt: first.receipt,
        replayed: true,
    };
    assert_eq!(written.value, [Ok(repeat)]);
    assert!(written.events.is_empty());
    assert_eq!(scene.head().await, Position(1));
}

pub(crate) async fn a_key_that_stands_for_another_draft_is_refused(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    scene.take(keyed(key("svc", "k", 1))).await;
    let written = scene.accept(vec![keyed(key("svc", "k", 2))]).await;
    assert_eq!(written.value, [Err(Refusal::KeyReused)]);
    assert_eq!(scene.head().await, Position(1));
    // The first draft still has its key.
    assert!(scene.take(keyed(key("svc", "k", 1))).await.replayed);
}

pub(crate) async fn keys_of_two_publishers_never_meet(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    // Joined with a separator, these two would be one.
    for (publisher, name) in [
        ("svc", "k"),
        ("other", "k"),
        ("a", "b:c"),
        ("a-b", "c"),
        ("a", "b-c"),
    ] {
        assert!(!scene.take(keyed(key(publisher, name, 1))).await.replayed);
    }
    assert_eq!(scene.head().await, Position(5));
}

pub(crate) async fn two_items_of_a_batch_with_one_key_follow_one_another(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let same = || keyed(key("svc", "k", 1));
    let written = scene
        .accept(vec![same(), same(), keyed(key("svc", "k", 2))])
        .await;
    let [Ok(first), Ok(second), Err(Refusal::KeyReused)] = &written.value[..] else {
        panic!("{:?}", written.value);
    };
    assert!(!first.replayed && second.replayed);
    assert_eq!(first.receipt, second.receipt);
    assert_eq!(written.events.len(), 1);
}

pub(crate) async fn a_refused_item_changes_nothing_for_the_others(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    scene.take(keyed(key("svc", "k", 1))).await;
    let written = scene
        .accept(vec![
            keyed(key("svc", "new", 1)),
            keyed(key("svc", "k", 9)),
            to(&[user("bia")]),
        ])
        .await;
    let results: Vec<_> = written.value.iter().map(Result::is_ok).collect();
    assert_eq!(results, [true, false, true]);
    let stored: Vec<_> = written
        .events
        .iter()
        .filter_map(|event| published(event))
        .collect();
    let accepted = written.value.iter().flatten();
    assert_eq!(stored, accepted.map(|item| item.receipt.id).collect::<Vec<_>>());
    assert_eq!(scene.head().await, Position(3));
}

pub(crate) async fn a_key_is_forgotten_after_its_day(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let first = scene.take(keyed(key("svc", "k", 1))).await;
    scene.advance(HOUR * 23 + HALF_HOUR).await;
    assert!(scene.take(keyed(key("svc", "k", 1))).await.replayed);
    // The repeat did not prolong it.
    scene.advance(HOUR).await;
    assert_eq!(scene.store.recall(&key("svc", "k", 1)).await.unwrap(), None);
    let anew = scene.take(keyed(key("svc", "k", 2))).await;
    assert!(!anew.replayed && anew.receipt.id != first.receipt.id);
    // What is used anew has a day of its own, whatever pruning does with the old one.
    scene.prune().await;
    assert!(scene.take(keyed(key("svc", "k", 2))).await.replayed);
}

pub(crate) async fn concurrent_repeats_publish_once(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let mut tasks = JoinSet::new();
    let begin = Arc::new(Barrier::new(16));
    for _ in 0..16 {
        let batch = vec![scene.acceptance(keyed(key("svc", "k", 1))).await];
        let (store, begin) = (Arc::clone(&scene.store), Arc::clone(&begin));
        tasks.spawn(async move {
            begin.wait().await;
            store.accept(batch).await.unwrap().value
        });
    }
    let accepted: Vec<_> = tasks.join_all().await.into_iter().flatten().flatten().collect();
    assert_eq!(accepted.len(), 16);
    assert_eq!(accepted.iter().filter(|item| !item.replayed).count(), 1);
    assert!(accepted.iter().all(|item| item.receipt == accepted[0].receipt));
    assert_eq!(scene.head().await, Position(1));
}

pub(crate) async fn looking_a_key_up_writes_nothing(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let recall = async |key| scene.store.recall(&key).await.unwrap();
    assert_eq!(recall(key("svc", "k", 2)).await, None);
    let first = scene.take(keyed(key("svc", "k", 1))).await;
    assert_eq!(
        recall(key("svc", "k", 1)).await,
        Some(Recalled::Same(first.receipt))
    );
    assert_eq!(recall(key("svc", "k", 2)).await, Some(Recalled::Other));
    assert_eq!(recall(key("other", "k", 1)).await, None);
}

pub(crate) async fn a_repeat_after_retraction_gets_the_first_receipt(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let first = scene.take(keyed(key("svc", "k", 1))).await;
    scene.store.retract(first.receipt.id).await.unwrap();
    let head = scene.head().await;
    let repeat = scene.take(keyed(key("svc", "k", 1))).await;
    assert_eq!((repeat.receipt, repeat.replayed), (first.receipt, true));
    assert_eq!(scene.head().await, head);
}

pub(crate) async fn a_repeat_of_what_was_scheduled_gets_the_first_receipt(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let item = || keyed(key("svc", "k", 1)).due_in(HOUR);
    let first = scene.take(item()).await;
    assert_eq!(scene.take(item()).await.receipt, first.receipt);
    scene.advance(HOUR + HALF_HOUR).await;
    assert_eq!(scene.store.promote(10).await.unwrap().value.published, 1);
    let repeat = scene.take(item()).await;
    assert_eq!((repeat.receipt, repeat.replayed), (first.receipt, true));
    assert_eq!(scene.head().await, Position(1));
}
