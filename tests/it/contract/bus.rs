//! What a bus owes tails. The same cases run for each adapter.
//!
//! A bus may lose, repeat and reorder, so a case never asks for a doorbell alone: it asks that whoever listens
//! hears it, or hears that something was missed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use adapters::memory::MemoryBus;
use application::ports::{Bus, Doorbell, Listener, Reply, Rung};
use async_trait::async_trait;
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch, Position};
use domain::event::{Change, Event};
use domain::ids::{ConnectionId, NodeId, NotificationId};
use domain::notification::{Content, Notification, NotificationType, Priority};
use domain::time::Timestamp;
use futures_util::FutureExt;

/// Opens buses of one adapter.
#[async_trait]
pub(crate) trait BusFactory: Send + Sync {
    /// Opens a bus as two nodes see it.
    async fn open(&self) -> [Arc<dyn Bus>; 2];
}

/// Runs every case against an adapter, in a module of its name. `$make` returns a future of its factory.
macro_rules! bus_suite {
    ($adapter:ident, $make:path) => {
        mod $adapter {
            bus_suite! { @cases $make;
                every_node_hears_what_one_announces
                a_doorbell_arrives_as_it_was_rung
                whoever_lags_behind_hears_that_something_was_missed
                a_listener_that_stands_still_holds_nobody_up
                a_doorbell_that_nobody_listens_to_is_no_trouble
                giving_up_a_wait_loses_nothing
                a_listener_that_goes_takes_nobody_along
                a_large_doorbell_rings_too
                doorbells_of_several_nodes_are_all_heard
                a_reply_reaches_the_other_nodes
                replies_of_many_streams_arrive_whole_and_once
                replies_and_doorbells_do_not_displace_one_another
            }
        }
    };
    (@cases $make:path; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::in_time(super::$case(&$make().await)).await;
            }
        )*
    };
}

bus_suite!(memory, super::in_memory);
bus_suite!(postgres, crate::contract::over_postgres::over_postgres);
bus_suite!(redis, crate::contract::over_redis::over_redis);
bus_suite!(several, crate::contract::several::several);

struct InMemory;

async fn in_memory() -> InMemory {
    InMemory
}

#[async_trait]
impl BusFactory for InMemory {
    async fn open(&self) -> [Arc<dyn Bus>; 2] {
        let bus = Arc::new(MemoryBus::new());
        [bus.clone(), bus]
    }
}

/// A case that waits for what never comes fails instead of hanging.
async fn in_time<T>(case: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(Duration::from_secs(60), case).await;
    outcome.expect("the case came to its end in time")
}

fn event(position: u64, body: &str) -> Arc<Event> {
    let content = Content {
        kind: NotificationType::parse("sistema.comunicado").unwrap(),
        priority: Priority::Normal,
        title: "Aviso".into(),
        body: body.into(),
        link: None,
        data: "{}".into(),
        requires_ack: false,
        expires_at: None,
    };
    let at = Timestamp::from_millis(1_767_225_600_000);
    let id: NotificationId = "018f6a3e-7d1c-7c2b-9a51-000000000001".parse().unwrap();
    let notification = Arc::new(Notification {
        id,
        content,
        published_at: at,
    });
    Arc::new(Event {
        position: Position(position),
        at,
        change: Change::Published {
            channel: Channel::System,
            notification,
        },
    })
}

fn doorbell(positions: impl IntoIterator<Item = u64>) -> Doorbell {
    Doorbell {
        epoch: Epoch(7),
        events: positions
            .into_iter()
            .map(|position| event(position, "corpo"))
            .collect(),
    }
}

/// Listens until something was missed or all of these positions were heard, and fails where later ones were. Earlier
/// ones may be repeated.
async fn hears(listener: &mut Box<dyn Listener>, positions: impl IntoIterator<Item = u64>) {
    let mut open: BTreeSet<u64> = positions.into_iter().collect();
    let last = open.last().copied().unwrap_or_default();
    while !open.is_empty() {
        match listener.next().await {
            Rung::Doorbell(rung) => {
                for event in rung.events.iter() {
                    assert!(event.position.0 <= last, "never rung: {event:?}");
                    open.remove(&event.position.0);
                }
            }
            // Whoever reads the log up to there has them all.
            Rung::Head(head) | Rung::Ours(head) => open.retain(|position| *position > head.position.0),
            Rung::Missed => return,
            Rung::Replies(replies) => panic!("nobody replied: {replies:?}"),
        }
    }
}

async fn every_node_hears_what_one_announces(factory: &dyn BusFactory) {
    let [one, other] = factory.open().await;
    let mut listeners = [one.listen(), one.listen(), other.listen()];
    one.announce(doorbell([1])).await;
    other.announce(doorbell([2, 3])).await;
    for listener in &mut listeners {
        hears(listener, 1..=3).await;
    }
}

async fn a_doorbell_arrives_as_it_was_rung(factory: &dyn BusFactory) {
    let [one, other] = factory.open().await;
    let mut listener = other.listen();
    let rung = doorbell([41, 42]);
    one.announce(rung.clone()).await;
    let head = Rung::Head(Cursor {
        epoch: rung.epoch,
        position: Position(42),
    });
    let first = listener.next().await;
    assert!(
        [Rung::Missed, head, Rung::Doorbell(rung)].contains(&first),
        "{first:?}"
    );
}

async fn whoever_lags_behind_hears_that_something_was_missed(factory: &dyn BusFactory) {
    let [one, other] = factory.open().await;
    let mut listener = other.listen();
    for position in 1..=20_000 {
        one.announce(doorbell([position])).await;
    }
    hears(&mut listener, 1..=20_000).await;
}

async fn a_listener_that_stands_still_holds_nobody_up(factory: &dyn BusFactory) {
    let [one, other] = factory.open().await;
    let _still = [one.listen(), other.listen()];
    let mut listener = other.listen();
    for position in 1..=2_000 {
        one.announce(doorbell([position])).await;
        hears(&mut listener, [position]).await;
    }
}

async fn a_doorbell_that_nobody_listens_to_is_no_trouble(factory: &dyn BusFactory) {
    let [one, other] = factory.open().await;
    one.announce(doorbell([1])).await;
    let mut listener = other.listen();
    one.announce(doorbell([2])).await;
    // The first may still be under way when listening begins.
    loop {
        match listener.next().await {
            Rung::Doorbell(rung) if rung.events[0].position == Position(1) => {}
            Rung::Doorbell(rung) => break assert_eq!(rung.events[0].position, Position(2)),
            Rung::Head(head) | Rung::Ours(head) if head.position < Position(2) => {}
            Rung::Head(_) | Rung::Ours(_) | Rung::Missed => break,
            Rung::Replies(replies) => panic!("nobody replied: {replies:?}"),
        }
    }
}

async fn giving_up_a_wait_loses_nothing(factory: &dyn BusFactory) {
    let [one, other] = factory.open().await;
    let mut listener = other.listen();
    for position in 1..=500 {
        // Polled once and dropped. What is there already repeats what was heard.
        match listener.next().now_or_never() {
            None | Some(Rung::Missed) => {}
            Some(Rung::Doorbell(rung)) => assert!(rung.events[0].position.0 < position),
            Some(Rung::Head(head) | Rung::Ours(head)) => assert!(head.position.0 < position),
            Some(Rung::Replies(replies)) => panic!("nobody replied: {replies:?}"),
        }
        one.announce(doorbell([position])).await;
        hears(&mut listener, [position]).await;
    }
}

async fn a_listener_that_goes_takes_nobody_along(factory: &dyn BusFactory) {
    let [one, other] = factory.open().await;
    let mut stays = other.listen();
    drop([one.listen(), other.listen()]);
    one.announce(doorbell([1])).await;
    hears(&mut stays, [1]).await;
}

async fn a_large_doorbell_rings_too(factory: &dyn BusFactory) {
    let [one, other] = factory.open().await;
    let mut listener = other.listen();
    let body = "ç".repeat(5_000);
    for round in 0..20 {
        let events = (1..=1_000).map(|n| event(round * 1_000 + n, &body)).collect();
        one.announce(Doorbell {
            epoch: Epoch(7),
            events,
        })
        .await;
    }
    hears(&mut listener, 1..=20_000).await;
}

async fn doorbells_of_several_nodes_are_all_heard(factory: &dyn BusFactory) {
    let [one, other] = factory.open().await;
    let mut listener = other.listen();
    let ring = |bus: Arc<dyn Bus>, positions: std::ops::Range<u64>| async move {
        for position in positions {
            bus.announce(doorbell([position])).await;
        }
    };
    let mut announcers = tokio::task::JoinSet::new();
    announcers.spawn(ring(one, 0..200));
    announcers.spawn(ring(other, 200..400));
    hears(&mut listener, 0..400).await;
    announcers.join_all().await;
}

fn reply(serial: u64) -> Reply {
    Reply {
        connection: ConnectionId {
            node: NodeId(7),
            serial,
        },
        user: format!("u-{serial}").parse().unwrap(),
        sequence: u64::MAX - serial,
    }
}

/// Listens for replies; `None` when some may have been missed.
async fn replies(listener: &mut Box<dyn Listener>) -> Option<Arc<[Reply]>> {
    match listener.next().await {
        Rung::Replies(replies) => Some(replies),
        Rung::Missed => None,
        Rung::Doorbell(_) | Rung::Head(_) | Rung::Ours(_) => panic!("nobody rang"),
    }
}

async fn a_reply_reaches_the_other_nodes(factory: &dyn BusFactory) {
    let [one, other] = factory.open().await;
    let mut listeners = [other.listen(), other.listen()];
    one.forward(reply(1));
    for listener in &mut listeners {
        let heard = replies(listener).await.expect("one reply is not too much");
        assert_eq!(*heard, [reply(1)]);
    }
}

async fn replies_of_many_streams_arrive_whole_and_once(factory: &dyn BusFactory) {
    let [one, other] = factory.open().await;
    let mut listener = other.listen();
    let mut open: BTreeSet<u64> = (0..2_000).collect();
    for serial in open.clone() {
        one.forward(reply(serial));
    }
    while !open.is_empty() {
        let Some(heard) = replies(&mut listener).await else {
            return;
        };
        for reply in heard.iter() {
            let serial = reply.connection.serial;
            assert_eq!(*reply, self::reply(serial));
            assert!(open.remove(&serial), "{serial} came twice");
        }
    }
}

async fn replies_and_doorbells_do_not_displace_one_another(factory: &dyn BusFactory) {
    let [one, other] = factory.open().await;
    let mut listener = other.listen();
    one.announce(doorbell([1])).await;
    one.forward(reply(1));
    one.announce(doorbell([2])).await;
    let (mut replied, mut head) = (false, 0);
    while !replied || head < 2 {
        match listener.next().await {
            Rung::Doorbell(rung) => head = head.max(rung.events[0].position.0),
            Rung::Head(cursor) | Rung::Ours(cursor) => head = head.max(cursor.position.0),
            Rung::Replies(all) => {
                assert_eq!(*all, [reply(1)]);
                replied = true;
            }
            Rung::Missed => panic!("three messages are not too many"),
        }
    }
}
