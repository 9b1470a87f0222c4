//! Marking one notification.

use std::collections::BTreeSet;
use std::sync::Arc;

use application::ports::{Reader, Store};
use domain::channel::Channel;
use domain::cursor::Position;
use domain::event::{MarkName, Marked, MarkedWhat};
use domain::ids::NotificationId;
use domain::state::{Mark, StateFilter};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::StoreFactory;
use super::scene::{HOUR, Scene, marked, reader, to, user};

pub(crate) async fn each_mark_is_told_to_the_persons_devices_with_the_count(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    scene.store.meet(&ana.user).await.unwrap();
    scene.publish(to(&[user("ana")])).await;
    let (id, _) = scene.place(to(&[Channel::System])).await;
    let steps = [
        (Mark::Read, MarkName::Read, 1),
        (Mark::Unread, MarkName::Unread, 2),
        (Mark::Archive, MarkName::Archived, 1),
        (Mark::Unarchive, MarkName::Unarchived, 2),
        (Mark::Acknowledge, MarkName::Acknowledged, 1),
    ];
    for (place, (mark, name, unread)) in (3..).map(Position).zip(steps) {
        let written = scene.mark(&ana, id, mark).await;
        let [event] = &written.events[..] else {
            panic!("{:?}", written.events)
        };
        let told = Marked {
            what: MarkedWhat::One(id, name),
            unread,
            unread_as_of: scene.cursor(place).await,
        };
        assert_eq!(event.position, place);
        assert_eq!(marked(event), Some((&user("ana"), &told)), "{mark:?}");
        let counted = written.value.unread;
        assert_eq!((counted.unread, counted.as_of), (unread, told.unread_as_of));
        assert_eq!(written.value.state, scene.state(&ana, id).await);
        assert_eq!(scene.store.unread(&ana).await.unwrap(), counted);
    }
}

pub(crate) async fn a_mark_that_changes_nothing_writes_nothing(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let (before, _) = scene.place(to(&[Channel::System])).await;
    let (fresh, _) = scene.place(to(&[user("ana")])).await;
    scene.store.meet(&ana.user).await.unwrap();
    // A group's notification from before is read already, a fresh one is unread and in no archive.
    let untouched = [
        (before, Mark::Read),
        (fresh, Mark::Unread),
        (fresh, Mark::Unarchive),
    ];
    for (id, mark) in untouched {
        let written = scene.mark(&ana, id, mark).await;
        assert!(written.events.is_empty(), "{mark:?}");
        assert_eq!(written.value.state, scene.state(&ana, id).await);
        assert_eq!(
            (written.value.unread.unread, written.value.unread.as_of),
            (1, scene.cursor(Position(2)).await)
        );
    }
    for mark in [Mark::Acknowledge, Mark::Archive, Mark::Unarchive, Mark::Unread] {
        scene.mark(&ana, fresh, mark).await;
        let head = scene.head().await;
        assert!(scene.mark(&ana, fresh, mark).await.events.is_empty(), "{mark:?}");
        assert_eq!(scene.head().await, head);
    }
}

pub(crate) async fn what_is_marked_unread_after_reading_all_is_unread(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let (group, _) = scene.place(to(&[Channel::System])).await;
    let (own, _) = scene.place(to(&[user("ana")])).await;
    scene.read_all(&ana).await;
    assert_eq!(scene.mark(&ana, own, Mark::Unread).await.value.unread.unread, 1);
    assert_eq!(scene.mark(&ana, group, Mark::Unread).await.value.unread.unread, 2);
    assert_eq!(scene.shown(&ana, StateFilter::Unread).await, [own, group]);
    assert_eq!(scene.state(&ana, own).await.read_at, None);
    assert_eq!(scene.read_all(&ana).await, 0);
}

pub(crate) async fn an_acknowledged_notification_is_read_and_stays_acknowledged(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let (id, _) = scene.place(to(&[user("ana")])).await;
    let acknowledged = scene.mark(&ana, id, Mark::Acknowledge).await.value;
    assert_eq!(acknowledged.unread.unread, 0);
    assert_eq!(acknowledged.state.read_at, acknowledged.state.acknowledged_at);
    assert!(acknowledged.state.acknowledged_at.is_some());
    scene.mark(&ana, id, Mark::Unread).await;
    scene.read_all(&ana).await;
    let state = scene.state(&ana, id).await;
    assert_eq!(state.acknowledged_at, acknowledged.state.acknowledged_at);
}

pub(crate) async fn an_archived_notification_counts_as_read(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let (id, _) = scene.place(to(&[user("ana")])).await;
    let archived = scene.mark(&ana, id, Mark::Archive).await.value;
    assert_eq!((archived.unread.unread, archived.state.read_at), (0, None));
    let unarchived = scene.mark(&ana, id, Mark::Unarchive).await.value;
    assert_eq!(unarchived.unread.unread, 1);
}

pub(crate) async fn a_mark_keeps_its_first_moment(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let (id, _) = scene.place(to(&[user("ana")])).await;
    let before = scene.now().await;
    let read = scene.mark(&ana, id, Mark::Read).await.value.state;
    assert!(read.read_at.is_some_and(|at| at >= before));
    scene.advance(HOUR).await;
    let later = scene.now().await;
    let acknowledged = scene.mark(&ana, id, Mark::Acknowledge).await.value.state;
    assert_eq!(acknowledged.read_at, read.read_at);
    assert!(acknowledged.acknowledged_at.is_some_and(|at| at >= later));
}

pub(crate) async fn one_persons_marks_are_not_anothers(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let (ana, bia) = (reader("ana", &[]), reader("bia", &[]));
    for reader in [&ana, &bia] {
        scene.store.meet(&reader.user).await.unwrap();
    }
    let (id, _) = scene.place(to(&[Channel::System])).await;
    let written = scene.mark(&ana, id, Mark::Archive).await;
    assert_eq!(written.events[0].channel(), Some(&user("ana")));
    assert_eq!(scene.unread(&bia).await, 1);
    let untouched = scene.state(&bia, id).await;
    assert!(untouched.archived_at.is_none() && untouched.read_at.is_none());
    let seen = scene.read_channels(&bia.channels, Position(0), 10).await.unwrap();
    assert_eq!(seen.events.len(), 1, "nobody is told what another does");
}

pub(crate) async fn marks_from_many_devices_at_once_end_in_one_exact_count(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    scene.store.meet(&ana.user).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..40 {
        let channel = if n % 2 == 0 { user("ana") } else { Channel::System };
        ids.push(scene.publish(to(&[channel])).await.id);
    }
    let mut devices = JoinSet::new();
    for (n, id) in ids.into_iter().enumerate() {
        let (store, ana) = (Arc::clone(&scene.store), ana.clone());
        let mark = [Mark::Read, Mark::Archive, Mark::Unread, Mark::Acknowledge][n % 4];
        devices.spawn(async move {
            store.mark(&ana, id, mark).await.unwrap().unwrap();
        });
    }
    devices.join_all().await;
    let events = scene.log().await;
    let told = events.iter().filter_map(|event| marked(event));
    let counts: Vec<_> = told.map(|(_, marks)| marks.unread).collect();
    assert_eq!(counts, (10..40).rev().collect::<Vec<_>>());
    assert_eq!(scene.unread(&ana).await, 10);
}

/// What happens to the count, at its place in the log.
enum Step {
    Published(NotificationId),
    Retracted(NotificationId),
    Read { id: NotificationId, unread: u64 },
}

pub(crate) async fn a_count_is_exact_at_its_place_while_others_publish_and_retract(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    scene.store.meet(&ana.user).await.unwrap();
    let mut tasks = JoinSet::new();
    let (written, published) = mpsc::unbounded_channel();
    for writer in 0..4 {
        let mut items = Vec::new();
        for n in 0..60 {
            let channel = if n % 3 == 0 { Channel::System } else { user("ana") };
            items.push(scene.acceptance(to(&[channel])).await);
        }
        let (store, written) = (Arc::clone(&scene.store), written.clone());
        tasks.spawn(async move {
            let mut steps = Vec::new();
            for (n, item) in items.into_iter().enumerate() {
                let id = item.notification.id;
                let accepted = store.accept(vec![item]).await.unwrap().value.remove(0).unwrap();
                steps.push((accepted.receipt.cursor.unwrap().position, Step::Published(id)));
                if writer == 0 && n % 4 == 0 {
                    let gone = store.retract(id).await.unwrap();
                    steps.push((gone.events[0].position, Step::Retracted(id)));
                } else {
                    written.send(id).unwrap();
                }
            }
            steps
        });
    }
    drop(written);
    tasks.spawn(reads_every_second(
        Arc::clone(&scene.store),
        ana.clone(),
        published,
    ));

    let mut steps: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    steps.sort_by_key(|(position, _)| *position);
    let mut unread = BTreeSet::new();
    for (position, step) in steps {
        match step {
            Step::Published(id) => assert!(unread.insert(id)),
            Step::Retracted(id) => assert!(unread.remove(&id)),
            Step::Read { id, unread: told } => {
                assert!(unread.remove(&id));
                assert_eq!(told, unread.len() as u64, "at {position:?}");
            }
        }
    }
    assert_eq!(scene.unread(&ana).await, unread.len() as u64);
}

async fn reads_every_second(
    store: Arc<dyn Store>,
    reader: Reader,
    mut published: mpsc::UnboundedReceiver<NotificationId>,
) -> Vec<(Position, Step)> {
    let mut steps = Vec::new();
    while let (Some(id), Some(_left_unread)) = (published.recv().await, published.recv().await) {
        let written = store.mark(&reader, id, Mark::Read).await.unwrap().unwrap();
        let (_, told) = marked(&written.events[0]).unwrap();
        assert_eq!(told.unread, written.value.unread.unread);
        let unread = told.unread;
        steps.push((written.events[0].position, Step::Read { id, unread }));
    }
    steps
}
