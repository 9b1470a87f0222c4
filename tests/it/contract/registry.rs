//! What a registry owes its callers. The same cases run for each adapter.
//!
//! A case moves time by whole hours and looks half an hour to either side of a moment: a registry whose clock runs
//! on by itself is judged like one whose clock stands.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use adapters::memory::MemoryRegistry;
use application::ports::{Clock, Presence, Registry, Spent};
use application::testing::{SimClock, Unobserved};
use async_trait::async_trait;
use domain::capability::{Principal, Role};
use domain::ids::{ConnectionId, NodeId, UserId};
use domain::time::Timestamp;
use futures_util::FutureExt as _;

/// Opens registries of one adapter and moves their time.
#[async_trait]
pub(crate) trait RegistryFactory: Send + Sync {
    /// Opens an empty registry as two nodes see it.
    async fn open(&self) -> [Arc<dyn Registry>; 2];

    /// Waits until what never waits (`leave`, `renew`, `end`) has been written.
    async fn settle(&self);

    /// Moves the registry's clock on.
    async fn advance(&self, by: Duration);

    /// Reads that clock.
    async fn now(&self) -> Timestamp;
}

/// Runs every case against an adapter, in a module of its name. `$make` returns a future of its factory.
macro_rules! registry_suite {
    ($adapter:ident, $make:path) => {
        mod $adapter {
            registry_suite! { @cases $make;
                streams_beyond_the_limit_are_named_oldest_first
                streams_that_were_named_count_until_they_leave
                whoever_enters_is_never_named
                entering_twice_counts_once
                whoever_leaves_while_entering_stays_out
                people_do_not_count_against_one_another
                of_many_streams_at_once_as_many_as_the_limit_stay
                whoever_leaves_makes_room
                leaving_takes_the_persons_own_streams_alone
                every_node_knows_whose_a_stream_is
                streams_are_listed_by_connection_in_pages
                a_list_may_begin_after_a_stream_that_is_gone
                a_ticket_is_new_to_exactly_one_of_all_who_spend_it
                tickets_do_not_touch_one_another
                an_ended_ticket_stays_ended_for_every_node
                a_spent_mark_is_kept_for_its_time_and_forgotten_after_it
                a_shorter_time_never_cuts_a_longer_one
                a_ticket_that_was_not_renewed_has_no_successor
                a_renewed_ticket_goes_on_as_its_last_person
                a_renewal_keeps_the_spent_mark_and_ends_with_its_token
                renewing_brings_no_ended_ticket_back
            }
        }
    };
    (@cases $make:path; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&$make().await).await;
            }
        )*
    };
}

registry_suite!(memory, super::in_memory);
registry_suite!(postgres, crate::contract::over_postgres::over_postgres);
registry_suite!(redis, crate::contract::over_redis::over_redis);
registry_suite!(several, crate::contract::several::several);

struct InMemory {
    clock: Arc<SimClock>,
}

async fn in_memory() -> InMemory {
    let clock = Arc::new(SimClock::new());
    InMemory { clock }
}

#[async_trait]
impl RegistryFactory for InMemory {
    async fn open(&self) -> [Arc<dyn Registry>; 2] {
        let registry = Arc::new(MemoryRegistry::new(self.clock.clone(), Arc::new(Unobserved)));
        [registry.clone(), registry]
    }

    async fn settle(&self) {}

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const HALF_AN_HOUR: Duration = Duration::from_secs(1_800);

fn connection(serial: u64) -> ConnectionId {
    ConnectionId {
        node: NodeId(u32::try_from(serial % 2).unwrap()),
        serial,
    }
}

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

/// Enters streams of one person, each a second after the last, on both nodes in turn.
struct Entering<'a> {
    nodes: &'a [Arc<dyn Registry>; 2],
    began: Timestamp,
}

impl Entering<'_> {
    async fn enter(&self, name: &str, serial: u64, limit: usize) -> Vec<u64> {
        let presence = Presence {
            connection: connection(serial),
            user: user(name),
            opened_at: self.began.plus(Duration::from_secs(serial)),
        };
        let node = &self.nodes[usize::try_from(serial % 2).unwrap()];
        let beyond = node.enter(presence, limit).await.unwrap();
        beyond.iter().map(|connection| connection.serial).collect()
    }
}

async fn streams_beyond_the_limit_are_named_oldest_first(factory: &dyn RegistryFactory) {
    let nodes = factory.open().await;
    let streams = Entering {
        nodes: &nodes,
        began: factory.now().await,
    };
    for serial in 1..=5 {
        assert!(streams.enter("u-1", serial, 5).await.is_empty());
    }
    assert_eq!(streams.enter("u-1", 6, 5).await, [1]);
    assert_eq!(streams.enter("u-1", 7, 2).await, [1, 2, 3, 4, 5]);
}

async fn streams_that_were_named_count_until_they_leave(factory: &dyn RegistryFactory) {
    let nodes = factory.open().await;
    let streams = Entering {
        nodes: &nodes,
        began: factory.now().await,
    };
    for serial in 1..=3 {
        streams.enter("u-1", serial, 2).await;
    }
    assert_eq!(nodes[0].count().await, Ok(3));
    assert_eq!(streams.enter("u-1", 4, 2).await, [1, 2]);
    nodes[1].leave(&user("u-1"), connection(1));
    nodes[0].leave(&user("u-1"), connection(2));
    factory.settle().await;
    assert_eq!(nodes[1].count().await, Ok(2));
    assert_eq!(streams.enter("u-1", 5, 2).await, [3]);
}

async fn whoever_enters_is_never_named(factory: &dyn RegistryFactory) {
    let nodes = factory.open().await;
    let streams = Entering {
        nodes: &nodes,
        began: factory.now().await,
    };
    assert!(streams.enter("u-1", 1, 0).await.is_empty());
    assert_eq!(streams.enter("u-1", 2, 1).await, [1]);
}

async fn entering_twice_counts_once(factory: &dyn RegistryFactory) {
    let nodes = factory.open().await;
    let streams = Entering {
        nodes: &nodes,
        began: factory.now().await,
    };
    for _ in 0..2 {
        assert!(streams.enter("u-1", 1, 1).await.is_empty());
    }
    assert_eq!(nodes[1].count().await, Ok(1));
}

async fn whoever_leaves_while_entering_stays_out(factory: &dyn RegistryFactory) {
    let nodes = factory.open().await;
    let streams = Entering {
        nodes: &nodes,
        began: factory.now().await,
    };
    assert!(streams.enter("u-1", 2, 5).await.is_empty());
    for serial in 3..=50 {
        // Asked once and given up, as by a client that has gone.
        let _ = streams.enter("u-1", serial, 5).now_or_never();
        nodes[usize::try_from(serial % 2).unwrap()].leave(&user("u-1"), connection(serial));
    }
    factory.settle().await;
    assert_eq!(nodes[0].count().await, Ok(1));
    assert_eq!(streams.enter("u-1", 51, 1).await, [2]);
}

async fn people_do_not_count_against_one_another(factory: &dyn RegistryFactory) {
    let nodes = factory.open().await;
    let streams = Entering {
        nodes: &nodes,
        began: factory.now().await,
    };
    for (serial, name) in (1..).zip(["u-1", "u-2", "U-1", "u_1"]) {
        assert!(streams.enter(name, serial, 1).await.is_empty(), "{name}");
    }
    assert_eq!(nodes[0].count().await, Ok(4));
}

async fn of_many_streams_at_once_as_many_as_the_limit_stay(factory: &dyn RegistryFactory) {
    let nodes = Arc::new(factory.open().await);
    let began = factory.now().await;
    let mut entering = tokio::task::JoinSet::new();
    for serial in 1..=12 {
        let nodes = Arc::clone(&nodes);
        entering.spawn(async move {
            let streams = Entering { nodes: &nodes, began };
            streams.enter("u-1", serial, 5).await
        });
    }
    let named: BTreeSet<u64> = entering.join_all().await.into_iter().flatten().collect();
    assert_eq!(named.len(), 7, "{named:?}");
}

async fn whoever_leaves_makes_room(factory: &dyn RegistryFactory) {
    let nodes = factory.open().await;
    let streams = Entering {
        nodes: &nodes,
        began: factory.now().await,
    };
    streams.enter("u-1", 1, 2).await;
    streams.enter("u-1", 2, 2).await;
    nodes[0].leave(&user("u-1"), connection(1));
    nodes[0].leave(&user("u-1"), connection(1));
    factory.settle().await;
    assert_eq!(nodes[1].count().await, Ok(1));
    assert!(streams.enter("u-1", 3, 2).await.is_empty());
}

async fn leaving_takes_the_persons_own_streams_alone(factory: &dyn RegistryFactory) {
    let nodes = factory.open().await;
    let streams = Entering {
        nodes: &nodes,
        began: factory.now().await,
    };
    streams.enter("u-1", 1, 5).await;
    nodes[0].leave(&user("u-2"), connection(1));
    nodes[0].leave(&user("u-1"), connection(9));
    factory.settle().await;
    assert_eq!(nodes[0].count().await, Ok(1));
    assert_eq!(nodes[0].owner(connection(1)).await, Ok(Some(user("u-1"))));
    assert!(streams.enter("u-2", 2, 1).await.is_empty());
    assert_eq!(streams.enter("u-1", 3, 1).await, [1]);
}

async fn every_node_knows_whose_a_stream_is(factory: &dyn RegistryFactory) {
    let nodes = factory.open().await;
    let streams = Entering {
        nodes: &nodes,
        began: factory.now().await,
    };
    streams.enter("u-1", 1, 5).await;
    streams.enter("u-2", u64::MAX, 5).await;
    for node in &nodes {
        assert_eq!(node.owner(connection(1)).await, Ok(Some(user("u-1"))));
        assert_eq!(node.owner(connection(u64::MAX)).await, Ok(Some(user("u-2"))));
        assert_eq!(node.owner(connection(0x10)).await, Ok(None));
        let elsewhere = ConnectionId {
            node: NodeId(0),
            serial: 1,
        };
        assert_eq!(node.owner(elsewhere).await, Ok(None));
    }
    nodes[1].leave(&user("u-1"), connection(1));
    factory.settle().await;
    assert_eq!(nodes[0].owner(connection(1)).await, Ok(None));
}

async fn streams_are_listed_by_connection_in_pages(factory: &dyn RegistryFactory) {
    let nodes = factory.open().await;
    let streams = Entering {
        nodes: &nodes,
        began: factory.now().await,
    };
    assert_eq!(nodes[0].list(None, 10).await, Ok(vec![]));
    // Not in the order of their ids, two of one person, on both nodes.
    for (serial, name) in [
        (7, "u-1"),
        (2, "u-2"),
        (1, "u_1"),
        (64, "U-1"),
        (10, "u-1"),
        (9, "u-3"),
    ] {
        streams.enter(name, serial, 5).await;
    }
    let presence = |(serial, name)| Presence {
        connection: connection(serial),
        user: user(name),
        opened_at: streams.began.plus(Duration::from_secs(serial)),
    };
    let sorted = [
        (2, "u-2"),
        (10, "u-1"),
        (64, "U-1"),
        (1, "u_1"),
        (7, "u-1"),
        (9, "u-3"),
    ]
    .map(presence);
    for limit in [1, 2, 3, 6, 1_000] {
        let mut listed = Vec::new();
        loop {
            let after = listed.last().map(|last: &Presence| last.connection);
            let page = nodes[1].list(after, limit).await.unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        assert_eq!(listed, sorted, "in pages of {limit}");
    }
    assert_eq!(nodes[0].list(None, 0).await, Ok(vec![]));
}

async fn a_list_may_begin_after_a_stream_that_is_gone(factory: &dyn RegistryFactory) {
    let nodes = factory.open().await;
    let streams = Entering {
        nodes: &nodes,
        began: factory.now().await,
    };
    for serial in [2, 4, 6, 1] {
        streams.enter("u-1", serial, 5).await;
    }
    nodes[0].leave(&user("u-1"), connection(4));
    factory.settle().await;
    let listed = nodes[0].list(Some(connection(4)), 10).await.unwrap();
    let serials: Vec<_> = listed.iter().map(|presence| presence.connection.serial).collect();
    assert_eq!(serials, [6, 1]);
    let nobody = ConnectionId {
        node: NodeId(1),
        serial: 1,
    };
    assert_eq!(nodes[0].list(Some(nobody), 10).await, Ok(vec![]));
}

async fn a_ticket_is_new_to_exactly_one_of_all_who_spend_it(factory: &dyn RegistryFactory) {
    let nodes = factory.open().await;
    for ticket in 0..20 {
        let mut spenders = tokio::task::JoinSet::new();
        for spender in 0..16 {
            let node = nodes[spender % 2].clone();
            spenders.spawn(async move { node.spend(ticket, HOUR).await.unwrap() });
        }
        let outcomes = spenders.join_all().await;
        let firsts = outcomes.iter().filter(|spent| **spent == Spent::First).count();
        assert_eq!(firsts, 1, "{outcomes:?}");
        assert!(!outcomes.contains(&Spent::Ended));
    }
}

async fn tickets_do_not_touch_one_another(factory: &dyn RegistryFactory) {
    let [one, other] = factory.open().await;
    for ticket in [0, 1, 1 << 64, u128::MAX - 1, u128::MAX] {
        assert_eq!(one.spend(ticket, HOUR).await, Ok(Spent::First), "{ticket}");
        assert_eq!(other.spend(ticket, HOUR).await, Ok(Spent::Again), "{ticket}");
    }
}

async fn an_ended_ticket_stays_ended_for_every_node(factory: &dyn RegistryFactory) {
    let [one, other] = factory.open().await;
    one.spend(1, HOUR).await.unwrap();
    one.end(1, HOUR);
    other.end(2, HOUR);
    factory.settle().await;
    for ticket in [1, 2] {
        assert_eq!(one.spend(ticket, HOUR).await, Ok(Spent::Ended));
        assert_eq!(other.spend(ticket, HOUR).await, Ok(Spent::Ended));
    }
}

async fn a_spent_mark_is_kept_for_its_time_and_forgotten_after_it(factory: &dyn RegistryFactory) {
    let [one, other] = factory.open().await;
    one.spend(1, HOUR).await.unwrap();
    one.spend(2, HOUR).await.unwrap();
    other.end(3, HOUR);
    factory.settle().await;
    factory.advance(HALF_AN_HOUR).await;
    assert_eq!(
        other.spend(1, HOUR * 2).await,
        Ok(Spent::Again),
        "kept, from here for longer"
    );
    factory.advance(HOUR).await;
    assert_eq!(other.spend(1, HOUR).await, Ok(Spent::Again));
    assert_eq!(other.spend(2, HOUR).await, Ok(Spent::First), "forgotten");
    assert_eq!(other.spend(3, HOUR).await, Ok(Spent::First), "forgotten");
}

async fn a_shorter_time_never_cuts_a_longer_one(factory: &dyn RegistryFactory) {
    let [one, other] = factory.open().await;
    one.spend(1, HOUR * 3).await.unwrap();
    one.spend(1, HOUR).await.unwrap();
    other.end(1, HOUR);
    factory.settle().await;
    factory.advance(HOUR * 2 + HALF_AN_HOUR).await;
    assert_eq!(other.spend(1, HOUR).await, Ok(Spent::Ended));
}

async fn person(factory: &dyn RegistryFactory, role: &str, lives: Duration) -> Arc<Principal> {
    let mut person = Principal::new(user("u-1"), [Role::new(role)])
        .with_memberships(
            vec!["cras-1".parse().unwrap()],
            vec!["natalidade".parse().unwrap()],
        )
        .unwrap();
    person.profile = Some("premium".into());
    person.token_id = Some("jti ç \"1\"".into());
    person.expires_at = factory.now().await.plus(lives);
    Arc::new(person)
}

async fn a_ticket_that_was_not_renewed_has_no_successor(factory: &dyn RegistryFactory) {
    let [one, _] = factory.open().await;
    one.spend(1, HOUR).await.unwrap();
    assert_eq!(one.renewed(1).await, Ok(None));
    assert_eq!(one.renewed(2).await, Ok(None));
}

async fn a_renewed_ticket_goes_on_as_its_last_person(factory: &dyn RegistryFactory) {
    let [one, other] = factory.open().await;
    one.spend(1, HOUR).await.unwrap();
    one.renew(1, person(factory, "CIDADAO", HOUR).await);
    factory.settle().await;
    let last = person(factory, "TECNICO", HOUR * 2).await;
    other.renew(1, last.clone());
    factory.settle().await;
    for node in [&one, &other] {
        assert_eq!(node.renewed(1).await, Ok(Some(last.clone())));
        assert_eq!(node.renewed(2).await, Ok(None));
    }
}

async fn a_renewal_keeps_the_spent_mark_and_ends_with_its_token(factory: &dyn RegistryFactory) {
    let [one, other] = factory.open().await;
    one.spend(1, HOUR).await.unwrap();
    let last = person(factory, "CIDADAO", HOUR * 3).await;
    one.renew(1, last.clone());
    factory.settle().await;
    factory.advance(HOUR * 2 + HALF_AN_HOUR).await;
    assert_eq!(other.renewed(1).await, Ok(Some(last)));
    factory.advance(HOUR).await;
    assert_eq!(other.renewed(1).await, Ok(None));
    assert_eq!(other.spend(1, HOUR).await, Ok(Spent::First), "forgotten");
}

async fn renewing_brings_no_ended_ticket_back(factory: &dyn RegistryFactory) {
    let [one, other] = factory.open().await;
    one.spend(1, HOUR).await.unwrap();
    one.end(1, HOUR);
    factory.settle().await;
    other.renew(1, person(factory, "CIDADAO", HOUR * 3).await);
    factory.settle().await;
    factory.advance(HOUR * 2 + HALF_AN_HOUR).await;
    assert_eq!(one.spend(1, HOUR).await, Ok(Spent::Ended));
}
