//! Erasing notifications.

use application::ports::Retraction;
use domain::channel::Channel;
use domain::cursor::Position;
use domain::event::Change;
use domain::ids::NotificationId;
use domain::state::{Mark, StateFilter};

use super::StoreFactory;
use super::scene::{DAY, HALF_HOUR, HOUR, Scene, positions, published, reader, to, unit, user};

const NOBODYS: &str = "00000000-0000-7000-8000-ffffffffffff";

pub(crate) async fn a_retracted_notification_leaves_an_empty_place(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    scene.publish(to(&[user("ana")])).await;
    let (id, _) = scene.place(to(&[user("ana"), user("bia")])).await;
    scene.publish(to(&[user("ana")])).await;
    let retracted = scene.store.retract(id).await.unwrap();
    assert_eq!(retracted.value, Retraction::Retracted);
    let events = scene.log().await;
    assert_eq!(positions(&events), [1, 2, 3, 4, 5, 6]);
    assert_eq!(
        [&events[1].change, &events[2].change],
        [&Change::Erased, &Change::Erased]
    );
    assert!(events.iter().all(|event| published(event) != Some(id)));
    let page = scene
        .read_channels(&[user("ana"), user("bia")], Position(0), 10)
        .await
        .unwrap();
    assert_eq!(positions(&page.events), [1, 4, 5, 6]);
}

pub(crate) async fn each_channel_that_carried_it_is_told_once_in_order(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let channels = [user("z"), user("a"), user("m")];
    let (id, _) = scene.place(to(&channels)).await;
    let retracted = scene.store.retract(id).await.unwrap();
    assert_eq!(positions(&retracted.events), [4, 5, 6]);
    let told: Vec<_> = retracted
        .events
        .iter()
        .map(|event| event.change.clone())
        .collect();
    let expected = channels.map(|channel| Change::Retracted { channel, id });
    assert_eq!(told, expected);
}

pub(crate) async fn a_retracted_notification_is_in_nobodys_inbox(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let readers = [reader("ana", &[unit("norte")]), reader("bia", &[unit("norte")])];
    for reader in &readers {
        scene.store.meet(&reader.user).await.unwrap();
    }
    let (gone, _) = scene.place(to(&[unit("norte")])).await;
    let (kept, _) = scene.place(to(&[unit("norte")])).await;
    assert_eq!(scene.unread(&readers[0]).await, 2);
    scene.store.retract(gone).await.unwrap();
    for reader in &readers {
        assert_eq!(scene.shown(reader, StateFilter::All).await, [kept]);
        assert_eq!(scene.item(reader, gone).await, None);
        assert_eq!(scene.unread(reader).await, 1);
        assert_eq!(scene.store.mark(reader, gone, Mark::Read).await.unwrap(), None);
    }
}

pub(crate) async fn a_retracted_notification_takes_its_marks_along(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[unit("norte")]);
    scene.store.meet(&ana.user).await.unwrap();
    let (own, _) = scene.place(to(&[user("ana")])).await;
    let (group, _) = scene.place(to(&[unit("norte")])).await;
    let (read, _) = scene.place(to(&[unit("norte")])).await;
    scene.read_all(&ana).await;
    for id in [own, group] {
        scene.mark(&ana, id, Mark::Unread).await;
    }
    let (fresh, _) = scene.place(to(&[unit("norte")])).await;
    scene.mark(&ana, fresh, Mark::Read).await;
    assert_eq!(scene.unread(&ana).await, 2);
    for (id, left) in [(own, 1), (fresh, 1), (group, 0), (read, 0)] {
        scene.store.retract(id).await.unwrap();
        assert_eq!(scene.unread(&ana).await, left);
    }
}

pub(crate) async fn a_scheduled_notification_is_cancelled_without_a_word(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let id = scene.publish(to(&[user("ana")]).due_in(HOUR)).await.id;
    let cancelled = scene.store.retract(id).await.unwrap();
    assert_eq!(
        (cancelled.value, cancelled.events.len()),
        (Retraction::Cancelled, 0)
    );
    scene.advance(HOUR + HALF_HOUR).await;
    let promoted = scene.store.promote(10).await.unwrap();
    assert_eq!((promoted.value.published, promoted.value.next_due), (0, None));
    assert_eq!(scene.head().await, Position(0));
    assert_eq!(scene.store.retract(id).await.unwrap().value, Retraction::Unknown);
}

pub(crate) async fn what_is_unknown_or_gone_is_retracted_without_effect(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let (id, _) = scene.place(to(&[user("ana")])).await;
    scene.store.retract(id).await.unwrap();
    let nobodys: NotificationId = NOBODYS.parse().unwrap();
    for id in [id, nobodys] {
        let retracted = scene.store.retract(id).await.unwrap();
        assert_eq!(
            (retracted.value, retracted.events.len()),
            (Retraction::Unknown, 0)
        );
    }
    assert_eq!(scene.head().await, Position(2));
}

pub(crate) async fn what_has_left_the_history_is_retracted_from_inboxes(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let (id, _) = scene.place(to(&[user("ana")])).await;
    scene.advance(DAY * 8).await;
    scene.prune().await;
    assert_eq!(scene.unread(&ana).await, 1);
    let retracted = scene.store.retract(id).await.unwrap();
    assert_eq!(retracted.value, Retraction::Retracted);
    assert_eq!(positions(&retracted.events), [2]);
    assert_eq!(scene.unread(&ana).await, 0);
    assert_eq!(scene.item(&ana, id).await, None);
}

pub(crate) async fn the_channels_of_a_notification_are_known_until_it_is_gone(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let channels = [user("ana"), user("bia")];
    let now = scene.publish(to(&channels)).await.id;
    let later = scene.publish(to(&[Channel::System]).due_in(HOUR)).await.id;
    let of = async |id| scene.store.channels_of(id).await.unwrap();
    assert_eq!(of(now).await, Some(channels.to_vec()));
    assert_eq!(of(later).await, Some(vec![Channel::System]));
    assert_eq!(of(NOBODYS.parse().unwrap()).await, None);
    for id in [now, later] {
        scene.store.retract(id).await.unwrap();
        assert_eq!(of(id).await, None);
    }
}
