//! Notifications whose moment is still to come.

use domain::channel::Channel;
use domain::cursor::Position;
use domain::state::StateFilter;

use super::StoreFactory;
use super::scene::{HALF_HOUR, HOUR, Scene, positions, published, reader, to, user};

pub(crate) async fn nothing_is_visible_before_its_moment(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let id = scene.publish(to(&[user("ana")]).due_in(HOUR)).await.id;
    scene.advance(HALF_HOUR).await;
    let promoted = scene.store.promote(10).await.unwrap();
    assert_eq!((promoted.value.published, promoted.events.len()), (0, 0));
    assert!(promoted.value.next_due.is_some());
    assert_eq!(scene.head().await, Position(0));
    assert_eq!(scene.item(&ana, id).await, None);
    assert_eq!(scene.unread(&ana).await, 0);
    scene.advance(HOUR).await;
    assert_eq!(
        scene.head().await,
        Position(0),
        "nothing enters the log by itself"
    );
    assert_eq!(scene.store.promote(10).await.unwrap().value.published, 1);
    assert_eq!(scene.unread(&ana).await, 1);
}

pub(crate) async fn what_is_due_is_published_oldest_first(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let mut ids = Vec::new();
    for hours in [3, 1, 2, 1] {
        let item = to(&[user("ana"), user("bia")]).due_in(HOUR * hours);
        ids.push(scene.publish(item).await.id);
    }
    scene.advance(HOUR * 4).await;
    let promoted = scene.store.promote(10).await.unwrap();
    let order: Vec<_> = promoted
        .events
        .iter()
        .filter_map(|event| published(event))
        .collect();
    let twice = |of: usize| [ids[of], ids[of]];
    assert_eq!(order, [twice(1), twice(3), twice(2), twice(0)].concat());
    assert_eq!(promoted.events, scene.log().await);
}

pub(crate) async fn a_promotion_is_cut_at_its_limit_and_says_what_is_next(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let start = scene.now().await;
    for hours in 1..=4 {
        scene.publish(to(&[Channel::System]).due_in(HOUR * hours)).await;
    }
    scene.advance(HOUR * 3 + HALF_HOUR).await;
    let promote = async |limit| {
        let promoted = scene.store.promote(limit).await.unwrap();
        let due_in = promoted.value.next_due.map(|due| due.since(start));
        let hours = due_in.map(|due| (due + HALF_HOUR).as_secs() / HOUR.as_secs());
        (positions(&promoted.events), hours)
    };
    assert_eq!(promote(2).await, (vec![1, 2], Some(3)));
    assert_eq!(promote(2).await, (vec![3], Some(4)));
    assert_eq!(promote(2).await, (vec![], Some(4)));
    scene.advance(HOUR).await;
    assert_eq!(promote(2).await, (vec![4], None));
}

pub(crate) async fn what_expired_before_its_moment_is_dropped_and_counted(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let late = to(&[user("ana")]).due_in(HOUR).expires_in(HOUR * 2);
    let late = scene.publish(late).await.id;
    let lasting = to(&[user("ana")]).due_in(HOUR).expires_in(HOUR * 9);
    let lasting = scene.publish(lasting).await.id;
    scene.advance(HOUR * 3).await;
    let promoted = scene.store.promote(10).await.unwrap();
    assert_eq!((promoted.value.published, promoted.value.expired), (1, 1));
    assert_eq!(scene.shown(&ana, StateFilter::All).await, [lasting]);
    assert_eq!(scene.store.channels_of(late).await.unwrap(), None);
}

pub(crate) async fn a_promoted_notification_was_published_when_it_was_promoted(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let id = scene.publish(to(&[user("ana")]).due_in(HOUR)).await.id;
    scene.advance(HOUR * 2).await;
    let before = scene.now().await;
    let promoted = scene.store.promote(10).await.unwrap();
    let after = scene.now().await;
    let item = scene.item(&ana, id).await.unwrap();
    assert!((before..=after).contains(&item.notification.published_at));
    assert!((before..=after).contains(&promoted.events[0].at));
}
