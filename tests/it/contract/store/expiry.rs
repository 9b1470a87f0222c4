//! Notifications that stop being worth showing.

use domain::channel::Channel;
use domain::cursor::Position;
use domain::state::{Mark, StateFilter};

use super::StoreFactory;
use super::scene::{HALF_HOUR, HOUR, Scene, positions, reader, to, unit, user};

pub(crate) async fn an_expired_notification_leaves_inbox_count_and_pages(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    scene.store.meet(&ana.user).await.unwrap();
    let (first, _) = scene.place(to(&[user("ana")])).await;
    let (brief, _) = scene
        .place(to(&[user("ana"), user("bia")]).expires_in(HOUR))
        .await;
    let (longer, _) = scene.place(to(&[Channel::System]).expires_in(HOUR * 3)).await;
    scene.advance(HALF_HOUR).await;
    assert_eq!(scene.shown(&ana, StateFilter::All).await, [longer, brief, first]);
    assert_eq!(scene.unread(&ana).await, 3);
    scene.advance(HOUR).await;
    assert_eq!(scene.item(&ana, brief).await, None);
    assert_eq!(scene.shown(&ana, StateFilter::All).await, [longer, first]);
    assert_eq!(scene.unread(&ana).await, 2);
    assert_eq!(scene.store.mark(&ana, brief, Mark::Read).await.unwrap(), None);
    let page = scene.read_channels(&ana.channels, Position(0), 10).await.unwrap();
    assert_eq!(positions(&page.events), [1, 4]);
    // Tails still find every place taken.
    assert_eq!(positions(&scene.log().await), [1, 2, 3, 4]);
}

pub(crate) async fn an_expired_notification_takes_its_marks_along(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[unit("norte")]);
    scene.store.meet(&ana.user).await.unwrap();
    let (own, _) = scene.place(to(&[user("ana")]).expires_in(HOUR)).await;
    let (group, _) = scene.place(to(&[unit("norte")]).expires_in(HOUR)).await;
    scene.read_all(&ana).await;
    scene.mark(&ana, own, Mark::Unread).await;
    scene.mark(&ana, group, Mark::Unread).await;
    let (read, _) = scene.place(to(&[unit("norte")]).expires_in(HOUR)).await;
    scene.mark(&ana, read, Mark::Read).await;
    scene.publish(to(&[unit("norte")])).await;
    assert_eq!(scene.unread(&ana).await, 3);
    scene.advance(HOUR + HALF_HOUR).await;
    assert_eq!(scene.unread(&ana).await, 1);
}

pub(crate) async fn a_crowd_that_expires_at_once_is_gone_at_once(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    scene.store.meet(&ana.user).await.unwrap();
    for _ in 0..10 {
        let crowd = (0..500).map(|_| to(&[Channel::System]).expires_in(HOUR));
        scene.accept(crowd.collect()).await;
    }
    scene.publish(to(&[user("ana")])).await;
    assert_eq!(scene.unread(&ana).await, 5_001);
    scene.advance(HOUR + HALF_HOUR).await;
    assert_eq!(scene.unread(&ana).await, 1);
    assert_eq!(scene.shown(&ana, StateFilter::All).await.len(), 1);
}
