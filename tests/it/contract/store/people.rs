//! Since when somebody is known, and reading everything.

use domain::channel::Channel;
use domain::cursor::Position;
use domain::event::{Marked, MarkedWhat};
use domain::ids::NotificationId;
use domain::state::{Mark, StateFilter};

use super::StoreFactory;
use super::scene::{HOUR, Scene, marked, reader, to, unit, user};

const NOBODYS: &str = "00000000-0000-7000-8000-ffffffffffff";

pub(crate) async fn groups_begin_to_count_at_the_first_request(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[unit("norte")]);
    let (before, _) = scene.place(to(&[unit("norte")])).await;
    scene.publish(to(&[Channel::System])).await;
    let met = scene.now().await;
    scene.store.meet(&ana.user).await.unwrap();
    assert_eq!(scene.unread(&ana).await, 0);
    let state = scene.state(&ana, before).await;
    assert!(state.read_at.is_some_and(|at| at >= met));
    let (after, _) = scene.place(to(&[unit("norte")])).await;
    scene.advance(HOUR).await;
    scene.store.meet(&ana.user).await.unwrap();
    assert_eq!(scene.unread(&ana).await, 1, "meeting again changes nothing");
    assert_eq!(scene.state(&ana, before).await, state);
    assert_eq!(scene.shown(&ana, StateFilter::Unread).await, [after]);
    assert_eq!(scene.shown(&ana, StateFilter::Unarchived).await.len(), 3);
}

pub(crate) async fn ones_own_notifications_count_from_the_beginning(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let (own, _) = scene.place(to(&[user("ana")])).await;
    scene.publish(to(&[Channel::System])).await;
    assert_eq!(scene.unread(&ana).await, 1);
    assert_eq!(scene.shown(&ana, StateFilter::Unread).await, [own]);
}

pub(crate) async fn every_question_of_a_reader_is_a_first_request(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let nobodys: NotificationId = NOBODYS.parse().unwrap();
    scene.publish(to(&[Channel::System])).await;
    let readers: Vec<_> = (0..5).map(|n| reader(&format!("u{n}"), &[])).collect();
    scene.shown(&readers[0], StateFilter::All).await;
    scene.item(&readers[1], nobodys).await;
    scene.unread(&readers[2]).await;
    scene.store.mark(&readers[3], nobodys, Mark::Read).await.unwrap();
    scene
        .store
        .read_all(&readers[4], Some(Position(0)))
        .await
        .unwrap();
    scene.publish(to(&[Channel::System])).await;
    for reader in &readers {
        assert_eq!(scene.unread(reader).await, 1, "{}", reader.user);
    }
}

pub(crate) async fn reading_all_reads_up_to_a_place(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    scene.store.meet(&ana.user).await.unwrap();
    let (first, _) = scene.place(to(&[user("ana")])).await;
    let (second, place) = scene.place(to(&[Channel::System])).await;
    let (third, _) = scene.place(to(&[user("ana")])).await;
    let before = scene.now().await;
    let written = scene.store.read_all(&ana, Some(place)).await.unwrap();
    assert_eq!(written.value.unread, 1);
    assert_eq!(scene.shown(&ana, StateFilter::Unread).await, [third]);
    for id in [first, second] {
        let read_at = scene.state(&ana, id).await.read_at.unwrap();
        assert!((before..=scene.now().await).contains(&read_at));
    }
    assert_eq!(scene.read_all(&ana).await, 0);
    scene.publish(to(&[user("ana")])).await;
    assert_eq!(scene.unread(&ana).await, 1, "what comes later is unread");
}

pub(crate) async fn reading_all_tells_the_persons_devices(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    scene.publish(to(&[user("ana")])).await;
    scene.publish(to(&[user("ana")])).await;
    let written = scene.store.read_all(&ana, Some(Position(1))).await.unwrap();
    let [event] = &written.events[..] else {
        panic!("{:?}", written.events)
    };
    let told = Marked {
        what: MarkedWhat::ReadAll {
            up_to: scene.cursor(Position(1)).await,
        },
        unread: 1,
        unread_as_of: scene.cursor(Position(3)).await,
    };
    assert_eq!(marked(event), Some((&user("ana"), &told)));
    assert_eq!(event.position, Position(3));
    assert_eq!(
        (written.value.unread, written.value.as_of),
        (1, told.unread_as_of)
    );
    // Reading the same stretch again changes nothing and tells nobody.
    let again = scene.store.read_all(&ana, Some(Position(1))).await.unwrap();
    assert_eq!((again.events.len(), again.value.unread), (0, 1));
    assert_eq!(again.value.as_of, told.unread_as_of);
}

pub(crate) async fn reading_all_reaches_the_head_at_most(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    scene.publish(to(&[user("ana")])).await;
    let written = scene.store.read_all(&ana, Some(Position(1_000))).await.unwrap();
    let (_, told) = marked(&written.events[0]).unwrap();
    let up_to = scene.cursor(Position(1)).await;
    assert_eq!(told.what, MarkedWhat::ReadAll { up_to });
    scene.publish(to(&[user("ana")])).await;
    assert_eq!(scene.unread(&ana).await, 1);
}

pub(crate) async fn reading_all_again_keeps_the_first_moment(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let (group, _) = scene.place(to(&[Channel::System])).await;
    let (first, _) = scene.place(to(&[user("ana")])).await;
    scene.read_all(&ana).await;
    let states = [scene.state(&ana, group).await, scene.state(&ana, first).await];
    scene.advance(HOUR).await;
    let (second, _) = scene.place(to(&[user("ana")])).await;
    let between = scene.now().await;
    scene.read_all(&ana).await;
    assert_eq!(
        states,
        [scene.state(&ana, group).await, scene.state(&ana, first).await]
    );
    assert!(
        scene
            .state(&ana, second)
            .await
            .read_at
            .is_some_and(|at| at >= between)
    );
}

pub(crate) async fn reading_all_includes_what_was_marked_by_itself(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let (first, _) = scene.place(to(&[user("ana")])).await;
    let (archived, _) = scene.place(to(&[user("ana")])).await;
    let (last, _) = scene.place(to(&[user("ana")])).await;
    scene.read_all(&ana).await;
    scene.mark(&ana, archived, Mark::Unread).await;
    scene.mark(&ana, archived, Mark::Archive).await;
    for id in [first, last] {
        scene.mark(&ana, id, Mark::Unread).await;
    }
    assert_eq!(scene.unread(&ana).await, 2);
    let written = scene.store.read_all(&ana, Some(Position(2))).await.unwrap();
    assert_eq!((written.value.unread, written.events.len()), (1, 1));
    assert_eq!(scene.shown(&ana, StateFilter::Unread).await, [last]);
    // What was in the archive was read with the rest, and comes back as read.
    let state = scene.mark(&ana, archived, Mark::Unarchive).await.value.state;
    assert!(state.read_at.is_some() && state.archived_at.is_none());
}

pub(crate) async fn reading_all_leaves_other_people_alone(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let readers = [reader("ana", &[]), reader("bia", &[])];
    for reader in &readers {
        scene.store.meet(&reader.user).await.unwrap();
    }
    scene.publish(to(&[Channel::System])).await;
    scene.publish(to(&[user("ana"), user("bia")])).await;
    assert_eq!(scene.read_all(&readers[0]).await, 0);
    assert_eq!(scene.unread(&readers[1]).await, 2);
}

pub(crate) async fn a_hundred_readings_are_all_remembered(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let mut all = Vec::new();
    for _ in 0..100 {
        all.push(scene.publish(to(&[user("ana")])).await.id);
        assert_eq!(scene.read_all(&ana).await, 0);
        scene.advance(HOUR).await;
    }
    assert_eq!(scene.shown(&ana, StateFilter::Unread).await, []);
    all.reverse();
    assert_eq!(scene.shown(&ana, StateFilter::Read).await, all);
}
