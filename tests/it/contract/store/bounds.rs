//! What falls out, and what is refused, when there is too much.

use std::time::Duration;

use application::ports::{ReadError, Refusal};
use domain::channel::Channel;
use domain::cursor::Position;
use domain::state::{Mark, StateFilter};

use super::scene::{DAY, HOUR, Scene, key, positions, reader, to, unit, user};
use super::{Bounds, StoreFactory};

pub(crate) async fn an_empty_store_prunes_nothing(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    assert_eq!(scene.prune().await, (0, 0, 0));
    scene.publish(to(&[user("ana")]).key(key("svc", "k", 1))).await;
    assert_eq!(scene.prune().await, (0, 0, 0));
}

pub(crate) async fn events_leave_at_their_age(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    scene.publish(to(&[user("ana"), user("bia")])).await;
    scene.advance(HOUR * 2).await;
    scene.publish(to(&[user("ana")])).await;
    scene.advance(HOUR * (7 * 24 - 3)).await;
    assert_eq!(scene.prune().await.0, 0);
    scene.advance(HOUR * 2).await;
    assert_eq!(scene.prune().await.0, 2);
    let head = scene.store.head().await.unwrap();
    assert_eq!((head.oldest, head.cursor.position), (Position(3), Position(3)));
    assert_eq!(positions(&scene.log().await), [3]);
}

pub(crate) async fn events_leave_beyond_their_number(make: &dyn StoreFactory) {
    let bounds = Bounds {
        history_max_events: 5,
        ..Bounds::default()
    };
    let scene = Scene::within(make, bounds).await;
    for _ in 0..4 {
        scene.publish(to(&[user("ana"), user("bia")])).await;
    }
    assert_eq!(scene.prune().await.0, 3);
    assert_eq!(positions(&scene.log().await), [4, 5, 6, 7, 8]);
    let page = scene
        .read_channels(&[user("ana")], Position(3), 10)
        .await
        .unwrap();
    assert_eq!(positions(&page.events), [5, 7]);
}

pub(crate) async fn events_leave_beyond_their_bytes(make: &dyn StoreFactory) {
    const KIB: usize = 1 << 10;
    let bounds = Bounds {
        history_max_bytes: 64 * KIB,
        ..Bounds::default()
    };
    let scene = Scene::within(make, bounds).await;
    for _ in 0..40 {
        scene.publish(to(&[user("ana")]).body("x".repeat(4 * KIB))).await;
    }
    scene.prune().await;
    let left = scene.log().await;
    assert!((4..=16).contains(&left.len()), "{} events of 4 KiB", left.len());
    assert_eq!(left.last().unwrap().position, Position(40));
    // A payload that many events share is held once.
    let many: Vec<_> = (0..8).map(|n| user(&format!("u{n}"))).collect();
    for _ in 0..3 {
        scene.publish(to(&many).body("x".repeat(16 * KIB))).await;
    }
    scene.prune().await;
    assert!(
        scene.log().await.len() >= 16,
        "two payloads fit, and their events"
    );
}

pub(crate) async fn history_that_is_gone_is_expired_never_a_shorter_page(make: &dyn StoreFactory) {
    let bounds = Bounds {
        history_max_events: 3,
        ..Bounds::default()
    };
    let scene = Scene::within(make, bounds).await;
    for _ in 0..6 {
        scene.publish(to(&[user("ana")])).await;
    }
    scene.prune().await;
    let head = scene.store.head().await.unwrap();
    assert_eq!(head.oldest, Position(4));
    let expired = Err(ReadError::Expired { head });
    for gone in 0..3 {
        let after = scene.cursor(Position(gone)).await;
        assert_eq!(scene.store.read(after, 10).await, expired);
        assert_eq!(
            scene.read_channels(&[user("ana")], Position(gone), 10).await,
            expired
        );
        assert_eq!(
            scene.read_channels(&[user("bia")], Position(gone), 10).await,
            expired
        );
    }
    let after = scene.cursor(Position(3)).await;
    assert_eq!(
        positions(&scene.store.read(after, 10).await.unwrap().events),
        [4, 5, 6]
    );
}

pub(crate) async fn positions_go_on_after_everything_was_pruned(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    scene.publish(to(&[user("ana"), user("bia")])).await;
    scene.advance(DAY * 8).await;
    scene.prune().await;
    let head = scene.store.head().await.unwrap();
    assert_eq!((head.cursor.position, head.oldest), (Position(2), Position(3)));
    let page = scene.store.read(head.cursor, 10).await.unwrap();
    assert_eq!((page.events.len(), page.scanned_to), (0, Position(2)));
    let (_, place) = scene.place(to(&[user("ana")])).await;
    assert_eq!(place, Position(3));
    assert_eq!(positions(&scene.log().await), [3]);
}

pub(crate) async fn a_notification_outlives_its_events_in_the_inbox(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let (id, place) = scene.place(to(&[user("ana")])).await;
    scene.advance(DAY * 60).await;
    assert_eq!(scene.prune().await, (1, 0, 0));
    let item = scene.item(&ana, id).await.unwrap();
    assert_eq!(
        (item.position, item.channel, item.notification.id),
        (place, user("ana"), id)
    );
    assert_eq!(scene.unread(&ana).await, 1);
    let marked = scene.mark(&ana, id, Mark::Read).await;
    assert_eq!(marked.value.unread.unread, 0);
}

pub(crate) async fn notifications_leave_the_inbox_at_their_age(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[unit("norte")]);
    scene.store.meet(&ana.user).await.unwrap();
    let (old, _) = scene.place(to(&[unit("norte")])).await;
    scene.mark(&ana, old, Mark::Acknowledge).await;
    scene.mark(&ana, old, Mark::Unread).await;
    scene.advance(DAY).await;
    let (young, _) = scene.place(to(&[unit("norte")])).await;
    scene.advance(HOUR * (89 * 24 - 1)).await;
    scene.prune().await;
    assert_eq!(scene.shown(&ana, StateFilter::All).await, [young, old]);
    assert_eq!(scene.unread(&ana).await, 2);
    scene.advance(HOUR * 2).await;
    assert_eq!(scene.prune().await.1, 1);
    assert_eq!(scene.shown(&ana, StateFilter::All).await, [young]);
    assert_eq!(scene.item(&ana, old).await, None);
    assert_eq!(scene.unread(&ana).await, 1);
    assert_eq!(scene.store.channels_of(old).await.unwrap(), None);
}

pub(crate) async fn notifications_leave_the_inbox_beyond_their_number(make: &dyn StoreFactory) {
    let bounds = Bounds {
        inbox_max_items: 4,
        ..Bounds::default()
    };
    let scene = Scene::within(make, bounds).await;
    let ana = reader("ana", &[]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(scene.publish(to(&[user("ana"), user("bia")])).await.id);
    }
    ids.push(scene.publish(to(&[user("ana")])).await.id);
    let (events, items, _) = scene.prune().await;
    assert_eq!((events, items), (0, 2));
    assert_eq!(scene.shown(&ana, StateFilter::All).await, [ids[3], ids[2]]);
    assert_eq!(scene.unread(&ana).await, 2);
    // Whoever follows the log still gets them all.
    let page = scene
        .read_channels(&[user("ana")], Position(0), 10)
        .await
        .unwrap();
    assert_eq!(positions(&page.events), [1, 3, 5, 7]);
}

fn retry_after(result: Result<application::ports::Accepted, Refusal>, full: &str) -> Duration {
    match result {
        Err(Refusal::Full { what, retry_after }) if what == full => retry_after,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn keys_are_refused_beyond_their_number_until_their_day_is_over(make: &dyn StoreFactory) {
    let bounds = Bounds {
        keys_max: 2,
        ..Bounds::default()
    };
    let scene = Scene::within(make, bounds).await;
    let keyed = |name: &str| to(&[user("ana")]).key(key("svc", name, 1));
    let first = scene.publish(keyed("a")).await;
    scene.publish(keyed("b")).await;
    let mut refused = scene
        .accept(vec![keyed("c"), to(&[user("bia")]), keyed("a")])
        .await;
    let repeat = refused.value.pop().unwrap().unwrap();
    assert_eq!((repeat.receipt, repeat.replayed), (first, true));
    assert!(refused.value.pop().unwrap().is_ok(), "it needs no key");
    let wait = retry_after(refused.value.pop().unwrap(), "idempotency keys");
    assert!(wait > Duration::ZERO);
    assert_eq!(scene.head().await, Position(3));
    // What was refused is not remembered, and room comes with the end of the day.
    assert_eq!(scene.store.recall(&key("svc", "c", 1)).await.unwrap(), None);
    scene.advance(DAY + HOUR).await;
    assert_eq!(scene.prune().await.2, 2);
    assert!(!scene.take(keyed("c")).await.replayed);
}

pub(crate) async fn schedules_are_refused_beyond_their_number_until_there_is_room(make: &dyn StoreFactory) {
    let bounds = Bounds {
        scheduled_max: 2,
        ..Bounds::default()
    };
    let scene = Scene::within(make, bounds).await;
    let later = || to(&[user("ana")]).due_in(HOUR);
    let first = scene.publish(later()).await.id;
    scene.publish(later()).await;
    let third = || later().key(key("svc", "third", 1));
    let mut refused = scene.accept(vec![third(), to(&[user("ana")])]).await;
    assert!(refused.value.pop().unwrap().is_ok(), "it is not scheduled");
    let wait = retry_after(refused.value.pop().unwrap(), "scheduled notifications");
    assert!(wait > Duration::ZERO);
    scene.store.retract(first).await.unwrap();
    assert!(
        !scene.take(third()).await.replayed,
        "what was refused is not remembered"
    );
    scene.advance(HOUR * 2).await;
    assert_eq!(scene.store.promote(10).await.unwrap().value.published, 2);
    scene.publish(later()).await;
}

pub(crate) async fn more_people_than_may_be_known_lose_nothing_they_did(make: &dyn StoreFactory) {
    let bounds = Bounds {
        people_max: 10,
        ..Bounds::default()
    };
    let scene = Scene::within(make, bounds).await;
    let ana = reader("ana", &[]);
    let bia = reader("bia", &[]);
    for reader in [&ana, &bia] {
        scene.store.meet(&reader.user).await.unwrap();
    }
    let (own, _) = scene.place(to(&[user("ana")])).await;
    let (everyones, _) = scene.place(to(&[Channel::System])).await;
    scene.read_all(&ana).await;
    scene.mark(&bia, everyones, Mark::Archive).await;
    for n in 0..200 {
        scene.unread(&reader(&format!("u{n}"), &[])).await;
    }
    assert_eq!(scene.unread(&ana).await, 0);
    assert!(scene.state(&ana, own).await.read_at.is_some());
    assert_eq!(scene.unread(&bia).await, 0);
    assert!(scene.state(&bia, everyones).await.archived_at.is_some());
}
