//! Reading the events of some channels, page by page.

use application::ports::{ChannelsQuery, ReadError};
use domain::channel::Channel;
use domain::cursor::Position;

use super::StoreFactory;
use super::scene::{HOUR, Scene, positions, published, to, unit, user};

/// Publishes on three channels in turn: the system, Ana, and a unit.
async fn published_in_turn(make: &dyn StoreFactory, rounds: usize) -> Scene<'_> {
    let scene = Scene::open(make).await;
    for _ in 0..rounds {
        for channel in [Channel::System, user("ana"), unit("norte")] {
            scene.publish(to(&[channel])).await;
        }
    }
    scene
}

pub(crate) async fn a_person_gets_the_events_of_their_channels_alone(make: &dyn StoreFactory) {
    let scene = published_in_turn(make, 3).await;
    scene.publish(to(&[user("ana"), user("bia")])).await;
    let read = async |channels: &[Channel]| {
        let page = scene.read_channels(channels, Position(0), 100).await.unwrap();
        let allowed = |channel: &Channel| channels.contains(channel);
        assert!(
            page.events
                .iter()
                .all(|event| event.channel().is_some_and(allowed))
        );
        positions(&page.events)
    };
    assert_eq!(
        read(&[user("ana"), Channel::System]).await,
        [1, 2, 4, 5, 7, 8, 10]
    );
    assert_eq!(read(&[user("bia")]).await, [11]);
    assert_eq!(read(&[user("an")]).await, [0_u64; 0]);
    assert_eq!(read(&[]).await, [0_u64; 0]);
}

pub(crate) async fn pages_join_without_gap_or_repeat(make: &dyn StoreFactory) {
    let scene = published_in_turn(make, 10).await;
    let channels = [Channel::System, unit("norte")];
    let whole = scene.read_channels(&channels, Position(0), 100).await.unwrap();
    for limit in 1..=7 {
        let mut joined = Vec::new();
        let mut after = Position(0);
        while after < Position(30) {
            let page = scene.read_channels(&channels, after, limit).await.unwrap();
            assert!(page.events.len() <= limit && page.scanned_to > after);
            after = page.scanned_to;
            joined.extend(page.events);
        }
        assert_eq!(joined, whole.events, "by {limit}");
    }
}

pub(crate) async fn an_empty_page_says_where_to_go_on(make: &dyn StoreFactory) {
    let scene = published_in_turn(make, 2).await;
    let page = scene
        .read_channels(&[user("bia")], Position(1), 10)
        .await
        .unwrap();
    assert_eq!((page.events.len(), page.scanned_to), (0, Position(6)));
    assert_eq!(page.head, scene.store.head().await.unwrap());
}

pub(crate) async fn a_page_ends_at_its_bound(make: &dyn StoreFactory) {
    let scene = published_in_turn(make, 4).await;
    let read = async |up_to, limit| {
        let query = ChannelsQuery {
            channels: vec![Channel::System],
            after: scene.cursor(Position(1)).await,
            up_to: Position(up_to),
            limit,
        };
        let page = scene.store.read_channels(&query).await.unwrap();
        (positions(&page.events), page.scanned_to.0)
    };
    assert_eq!(read(9, 10).await, (vec![4, 7], 9));
    assert_eq!(read(7, 10).await, (vec![4, 7], 7));
    assert_eq!(read(6, 10).await, (vec![4], 6));
    assert_eq!(read(9, 1).await, (vec![4], 4));
    assert_eq!(read(99, 10).await, (vec![4, 7, 10], 12));
    assert_eq!(read(1, 10).await, (vec![], 1));
    assert_eq!(read(0, 10).await, (vec![], 1), "a page never leads back");
}

pub(crate) async fn a_channel_named_twice_is_read_once(make: &dyn StoreFactory) {
    let scene = published_in_turn(make, 2).await;
    let twice = [user("ana"), Channel::System, user("ana")];
    let page = scene.read_channels(&twice, Position(0), 10).await.unwrap();
    assert_eq!(positions(&page.events), [1, 2, 4, 5]);
}

pub(crate) async fn pages_join_while_notifications_are_retracted_between_them(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(scene.publish(to(&[user("ana"), user("bia")])).await.id);
    }
    let channels = [user("ana")];
    let first = scene.read_channels(&channels, Position(0), 2).await.unwrap();
    assert_eq!(positions(&first.events), [1, 3]);
    // One that was read and one that was not: at places 3 and 9.
    scene.store.retract(ids[1]).await.unwrap();
    scene.store.retract(ids[4]).await.unwrap();
    let mut rest = Vec::new();
    let mut after = first.scanned_to;
    while after < scene.head().await {
        let page = scene.read_channels(&channels, after, 2).await.unwrap();
        after = page.scanned_to;
        rest.extend(page.events);
    }
    // The two events that say so are at 13 and 15.
    assert_eq!(positions(&rest), [5, 7, 11, 13, 15]);
    let gone = [Some(ids[1]), Some(ids[4])];
    assert!(rest.iter().all(|event| !gone.contains(&published(event))));
}

pub(crate) async fn a_page_that_pruning_has_overtaken_is_expired(make: &dyn StoreFactory) {
    let scene = published_in_turn(make, 2).await;
    let first = scene
        .read_channels(&[Channel::System], Position(0), 1)
        .await
        .unwrap();
    scene.advance(HOUR * (7 * 24 - 1)).await;
    scene.publish(to(&[Channel::System])).await;
    scene.advance(HOUR * 2).await;
    scene.prune().await;
    let next = scene.read_channels(&[Channel::System], first.scanned_to, 1).await;
    let Err(ReadError::Expired { head }) = next else {
        panic!("{next:?}");
    };
    assert_eq!((head.oldest, head.cursor.position), (Position(7), Position(7)));
    let page = scene
        .read_channels(&[Channel::System], head.oldest.prior(), 1)
        .await
        .unwrap();
    assert_eq!(positions(&page.events), [7]);
}
