//! What a registry that several processes share owes them when one of them dies, hangs or ends. The same cases run
//! for each adapter.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use application::ports::{Presence, Registry};
use async_trait::async_trait;
use domain::ids::{ConnectionId, NodeId, UserId};
use tests::server::now;
use tokio::runtime::Runtime;

use super::registry::RegistryFactory;

/// A lease is over after this long, and not before the other.
const LEASE_IS_OVER: Duration = Duration::from_secs(16);
const LEASE_HOLDS: Duration = Duration::from_secs(8);

/// A node beats every five seconds: what it does by itself is done by then.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node whose process a test ends.
pub(crate) struct Node {
    pub(crate) registry: Arc<dyn Registry>,
    /// Its tasks run here.
    pub(crate) runtime: Runtime,
    /// Ends them in good order.
    pub(crate) goodbye: tokio_util::sync::CancellationToken,
    pub(crate) tasks: tokio_util::task::TaskTracker,
}

impl Node {
    /// Ends it without a chance to say so, as `kill -9` does.
    fn die(self) {
        self.runtime.shutdown_background();
    }

    /// Ends it in good order.
    async fn end(self) {
        self.goodbye.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.runtime.shutdown_background();
    }
}

/// Opens registries whose nodes die.
#[async_trait]
pub(crate) trait LeaseFactory: RegistryFactory {
    /// Opens the registry of a node that dies by itself.
    async fn node(&self, node: u32) -> Node;

    /// Counts what is kept about streams, whoever they belong to.
    async fn kept(&self) -> usize;
}

/// Runs every case against an adapter, in a module of its name. `$make` returns a future of its factory.
macro_rules! lease_suite {
    ($adapter:ident, $make:path) => {
        mod $adapter {
            lease_suite! { @cases $make;
                a_dead_nodes_streams_vanish_within_one_lease
                a_dead_nodes_streams_take_up_nobodys_room
                what_dead_nodes_leave_is_cleared_up_by_the_living
                a_node_that_ends_takes_its_streams_along_at_once
                a_node_whose_lease_ran_out_enters_its_streams_again
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

lease_suite!(postgres, crate::contract::over_postgres::over_postgres);
lease_suite!(redis, crate::contract::over_redis::over_redis);

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

const fn connection(node: u32, serial: u64) -> ConnectionId {
    ConnectionId {
        node: NodeId(node),
        serial,
    }
}

/// Enters the stream of a node and returns the serials of those beyond the limit.
async fn enter(
    factory: &dyn LeaseFactory,
    (registry, node): (&dyn Registry, u32),
    (serial, name): (u64, &str),
    limit: usize,
) -> Vec<u64> {
    let presence = Presence {
        connection: connection(node, serial),
        user: user(name),
        opened_at: factory.now().await.plus(Duration::from_millis(serial)),
    };
    let beyond = registry.enter(presence, limit).await.unwrap();
    beyond.iter().map(|connection| connection.serial).collect()
}

/// Looks until something is so; every look is a question to the registry, so that it waits by itself.
async fn eventually<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let deadline = now() + PATIENCE;
    while !look().await {
        assert!(now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn serials(registry: &dyn Registry) -> BTreeSet<u64> {
    let listed = registry.list(None, 1_000).await.unwrap();
    listed.iter().map(|presence| presence.connection.serial).collect()
}

async fn a_dead_nodes_streams_vanish_within_one_lease(factory: &dyn LeaseFactory) {
    let (dying, living) = (factory.node(7).await, factory.node(8).await);
    enter(factory, (&*dying.registry, 7), (1, "u-1"), 5).await;
    enter(factory, (&*living.registry, 8), (2, "u-1"), 5).await;
    dying.die();
    factory.advance(LEASE_HOLDS).await;
    assert_eq!(living.registry.count().await, Ok(2), "it may come back");
    assert_eq!(
        living.registry.owner(connection(7, 1)).await,
        Ok(Some(user("u-1")))
    );
    factory.advance(LEASE_IS_OVER).await;
    assert_eq!(living.registry.owner(connection(7, 1)).await, Ok(None));
    assert!(!serials(&*living.registry).await.contains(&1));
    eventually("the living node counts alone", async || {
        living.registry.count().await == Ok(1) && serials(&*living.registry).await == BTreeSet::from([2])
    })
    .await;
    living.end().await;
}

async fn a_dead_nodes_streams_take_up_nobodys_room(factory: &dyn LeaseFactory) {
    let (dying, living) = (factory.node(7).await, factory.node(8).await);
    for serial in 1..=3 {
        enter(factory, (&*dying.registry, 7), (serial, "u-1"), 5).await;
    }
    assert_eq!(enter(factory, (&*living.registry, 8), (4, "u-1"), 3).await, [1]);
    dying.die();
    factory.advance(LEASE_IS_OVER).await;
    assert!(
        enter(factory, (&*living.registry, 8), (5, "u-1"), 2)
            .await
            .is_empty()
    );
    assert_eq!(enter(factory, (&*living.registry, 8), (6, "u-1"), 2).await, [4]);
    living.end().await;
}

async fn what_dead_nodes_leave_is_cleared_up_by_the_living(factory: &dyn LeaseFactory) {
    let (dying, living) = (factory.node(7).await, factory.node(8).await);
    let opened_at = factory.now().await;
    // More than is cleared up at once.
    let mut entering = tokio::task::JoinSet::new();
    for serial in 1..=1_200 {
        let registry = Arc::clone(&dying.registry);
        let presence = Presence {
            connection: connection(7, serial),
            user: user(&format!("u-{}", serial % 400)),
            opened_at,
        };
        entering.spawn(async move { registry.enter(presence, 5).await.unwrap() });
    }
    entering.join_all().await;
    assert!(factory.kept().await >= 1_200);
    dying.die();
    factory.advance(LEASE_IS_OVER).await;
    eventually("nothing is left", async || factory.kept().await == 0).await;
    assert_eq!(living.registry.count().await, Ok(0));
    living.end().await;
}

async fn a_node_that_ends_takes_its_streams_along_at_once(factory: &dyn LeaseFactory) {
    let (ending, living) = (factory.node(7).await, factory.node(8).await);
    enter(factory, (&*ending.registry, 7), (1, "u-1"), 5).await;
    enter(factory, (&*living.registry, 8), (2, "u-1"), 5).await;
    ending.end().await;
    assert_eq!(living.registry.count().await, Ok(1));
    assert_eq!(serials(&*living.registry).await, BTreeSet::from([2]));
    living.end().await;
}

async fn a_node_whose_lease_ran_out_enters_its_streams_again(factory: &dyn LeaseFactory) {
    let (slow, other) = (factory.node(7).await, factory.node(8).await);
    for serial in 1..=2 {
        enter(factory, (&*slow.registry, 7), (serial, "u-1"), 5).await;
    }
    slow.registry.leave(&user("u-1"), connection(7, 1));
    factory.advance(LEASE_IS_OVER).await;
    eventually("the stream is there again", async || {
        serials(&*other.registry).await == BTreeSet::from([2])
    })
    .await;
    assert_eq!(enter(factory, (&*other.registry, 8), (3, "u-1"), 1).await, [2]);
    slow.end().await;
    other.end().await;
}
