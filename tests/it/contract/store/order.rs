//! The order of the log, and that each write is in it whole or not at all.

use std::sync::Arc;

use application::ports::{ChannelsQuery, ReadError};
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch, Position};
use domain::event::{Change, Control, Event};
use domain::ids::{ConnectionId, NodeId};
use domain::state::Mark;
use domain::stream::CloseReason;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::StoreFactory;
use super::scene::{Scene, positions, published, reader, to, unit, user};

const WRITERS: usize = 8;
const WRITES: usize = 60;

fn closed() -> Control {
    Control::Closed {
        connection: ConnectionId {
            node: NodeId(1),
            serial: 2,
        },
        reason: CloseReason::Replaced,
    }
}

pub(crate) async fn an_empty_log_stands_before_its_first_event(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let head = scene.store.head().await.unwrap();
    assert_eq!((head.cursor.position, head.oldest), (Position(0), Position(1)));
    let page = scene.store.read(head.cursor, 10).await.unwrap();
    assert_eq!(
        (page.events.len(), page.scanned_to, page.head),
        (0, Position(0), head)
    );
}

pub(crate) async fn positions_begin_at_one_and_have_no_gaps(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let first = scene.publish(to(&[user("ana")])).await;
    assert_eq!(first.cursor.unwrap().position, Position(1));
    scene.store.control(closed()).await.unwrap();
    scene.mark(&ana, first.id, Mark::Read).await;
    scene.publish(to(&[user("bia"), user("caio")])).await;
    scene.store.retract(first.id).await.unwrap();
    scene.read_all(&ana).await;
    let events = scene.log().await;
    assert_eq!(positions(&events), (1..=7).collect::<Vec<_>>());
    assert_eq!(scene.head().await, Position(7));
}

pub(crate) async fn one_acceptance_gets_contiguous_places_in_the_order_of_its_channels(
    make: &dyn StoreFactory,
) {
    let scene = Scene::open(make).await;
    scene.publish(to(&[Channel::System])).await;
    let channels = [user("z"), user("a"), user("m")];
    let receipt = scene.publish(to(&channels)).await;
    let events = &scene.log().await[1..];
    assert_eq!(positions(events), [2, 3, 4]);
    let carried: Vec<_> = events.iter().filter_map(|event| event.channel()).collect();
    assert_eq!(carried, channels.iter().collect::<Vec<_>>());
    assert!(events.iter().all(|event| published(event) == Some(receipt.id)));
}

pub(crate) async fn a_batch_is_in_the_log_in_its_own_order(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let items = (0..20).map(|n| to(&[user(&format!("u{n}"))])).collect();
    let written = scene.accept(items).await;
    let receipts: Vec<_> = written
        .value
        .into_iter()
        .map(|result| result.unwrap().receipt)
        .collect();
    let events = scene.log().await;
    assert_eq!(events.len(), 20);
    for (receipt, event) in receipts.iter().zip(&events) {
        assert_eq!(published(event), Some(receipt.id));
        assert_eq!(receipt.cursor.unwrap().position, event.position);
    }
}

pub(crate) async fn what_a_write_returns_is_what_the_log_holds(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let mut returned = Vec::new();
    let accepted = scene
        .accept(vec![to(&[user("ana"), user("bia")]), to(&[Channel::System])])
        .await;
    let id = accepted.value[0].as_ref().unwrap().receipt.id;
    let epoch = accepted.epoch;
    returned.extend(accepted.events);
    returned.extend(scene.store.control(closed()).await.unwrap().events);
    returned.extend(scene.mark(&ana, id, Mark::Archive).await.events);
    returned.extend(scene.store.read_all(&ana, None).await.unwrap().events);
    let before_erasure = scene.log().await;
    assert_eq!(returned, before_erasure);
    let retracted = scene.store.retract(id).await.unwrap();
    assert_eq!(retracted.events, scene.log().await[before_erasure.len()..]);
    assert_eq!(
        (epoch, retracted.epoch),
        (scene.cursor(Position(0)).await.epoch, epoch)
    );
}

/// Starts writers that accept three channels at a time, each its own. They begin together.
async fn start_writers(scene: &Scene<'_>) -> JoinSet<()> {
    let mut writers = JoinSet::new();
    let begin = Arc::new(Barrier::new(WRITERS));
    for writer in 0..WRITERS {
        let mut batches = Vec::new();
        for _ in 0..WRITES {
            let channels = ["a", "b", "c"].map(|suffix| unit(&format!("w{writer}{suffix}")));
            batches.push(vec![scene.acceptance(to(&channels)).await]);
        }
        let (store, begin) = (Arc::clone(&scene.store), Arc::clone(&begin));
        writers.spawn(async move {
            begin.wait().await;
            for batch in batches {
                let written = store.accept(batch).await.unwrap();
                assert_eq!(written.events.len(), 3);
                tokio::task::yield_now().await;
            }
        });
    }
    writers
}

async fn finish(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

pub(crate) async fn concurrent_acceptances_are_whole_and_leave_no_gap(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    finish(start_writers(&scene).await).await;
    let events = scene.log().await;
    let total = (WRITERS * WRITES * 3) as u64;
    assert_eq!(positions(&events), (1..=total).collect::<Vec<_>>());
    for acceptance in events.chunks(3) {
        let of = |event: &Event| (published(event), event.channel().cloned());
        let first = published(&acceptance[0]).unwrap();
        assert!(
            acceptance.iter().all(|event| of(event).0 == Some(first)),
            "torn apart"
        );
        let suffixes: Vec<_> = acceptance
            .iter()
            .filter_map(|event| event.channel().map(ToString::to_string))
            .map(|name| name.trim_end_matches(":notifications").chars().last())
            .collect();
        assert_eq!(suffixes, [Some('a'), Some('b'), Some('c')]);
    }
}

pub(crate) async fn no_place_ever_appears_behind_a_tail(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let writers = start_writers(&scene).await;
    let mut tails = JoinSet::new();
    for _ in 0..2 {
        let (store, mut after) = (Arc::clone(&scene.store), scene.cursor(Position(0)).await);
        tails.spawn(async move {
            while after.position.0 < (WRITERS * WRITES * 3) as u64 {
                let page = store.read(after, 50).await.unwrap();
                for event in &page.events {
                    assert_eq!(event.position, after.position.next());
                    after.position = event.position;
                }
                assert_eq!(page.scanned_to, after.position);
                assert!(page.head.cursor.position >= after.position);
                tokio::task::yield_now().await;
            }
        });
    }
    finish(writers).await;
    finish(tails).await;
}

pub(crate) async fn no_event_ever_appears_behind_a_person(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let writers = start_writers(&scene).await;
    let channels: Vec<_> = (0..WRITERS).map(|writer| unit(&format!("w{writer}b"))).collect();
    let mut after = scene.cursor(Position(0)).await;
    let mut live = Vec::new();
    while after.position.0 < (WRITERS * WRITES * 3) as u64 {
        let query = ChannelsQuery {
            channels: channels.clone(),
            after,
            up_to: Position(u64::MAX),
            limit: 20,
        };
        let page = scene.store.read_channels(&query).await.unwrap();
        live.extend(positions(&page.events));
        after.position = page.scanned_to;
        tokio::task::yield_now().await;
    }
    finish(writers).await;
    let all = scene
        .read_channels(&channels, Position(0), usize::MAX)
        .await
        .unwrap();
    assert_eq!(all.events.len(), WRITERS * WRITES);
    assert_eq!(live, positions(&all.events));
}

pub(crate) async fn a_page_is_cut_at_its_limit_and_goes_on(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    scene
        .accept((0..7).map(|_| to(&[Channel::System])).collect())
        .await;
    let mut after = scene.cursor(Position(0)).await;
    let mut pages = Vec::new();
    loop {
        let page = scene.store.read(after, 3).await.unwrap();
        if page.events.is_empty() {
            break;
        }
        after.position = page.scanned_to;
        pages.push(positions(&page.events));
    }
    assert_eq!(pages, [vec![1, 2, 3], vec![4, 5, 6], vec![7]]);
}

pub(crate) async fn a_cursor_ahead_of_the_head_gets_an_empty_page(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    scene.publish(to(&[Channel::System])).await;
    for ahead in [2, 100, u64::MAX] {
        let ahead = Position(ahead);
        let page = scene.store.read(scene.cursor(ahead).await, 10).await.unwrap();
        assert_eq!((page.events.len(), page.scanned_to), (0, ahead));
        let page = scene.read_channels(&[Channel::System], ahead, 10).await.unwrap();
        assert_eq!((page.events.len(), page.scanned_to), (0, ahead));
        assert_eq!(page.head.cursor.position, Position(1));
    }
}

pub(crate) async fn a_cursor_of_another_history_is_told_so(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    scene.publish(to(&[Channel::System])).await;
    let head = scene.store.head().await.unwrap();
    for epoch in [head.cursor.epoch.0 - 1, head.cursor.epoch.0 + 1, 0, u64::MAX] {
        let foreign = Cursor {
            epoch: Epoch(epoch),
            position: Position(0),
        };
        let read = scene.store.read(foreign, 10).await;
        assert_eq!(read, Err(ReadError::EpochChanged { head }));
        let query = ChannelsQuery {
            channels: vec![Channel::System],
            after: foreign,
            up_to: Position(1),
            limit: 10,
        };
        let read = scene.store.read_channels(&query).await;
        assert_eq!(read, Err(ReadError::EpochChanged { head }));
    }
}

pub(crate) async fn control_reaches_tails_and_nobody_else(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[unit("norte")]);
    scene.store.control(closed()).await.unwrap();
    assert_eq!(scene.log().await[0].change, Change::Control(closed()));
    let page = scene.read_channels(&ana.channels, Position(0), 10).await.unwrap();
    assert_eq!((page.events.len(), page.scanned_to), (0, Position(1)));
    assert_eq!(scene.unread(&ana).await, 0);
}
