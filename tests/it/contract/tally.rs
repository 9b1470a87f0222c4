//! What a tally of publishes owes its callers. The same cases run for each adapter, as two nodes see it.

use std::sync::Arc;
use std::time::Duration;

use adapters::memory::MemoryTally;
use application::ports::{TALLY_KEPT, Tally};
use application::testing::SimClock;
use async_trait::async_trait;
use domain::guard::{Published, Publishes};
use domain::ids::NodeId;
use futures_util::future::join_all;

/// Opens tallies of one adapter and moves their time.
#[async_trait]
pub(crate) trait TallyFactory: Send + Sync {
    /// Opens an empty tally as two nodes see it.
    async fn open(&self) -> [Arc<dyn Tally>; 2];

    /// Moves the tally's clock on.
    async fn advance(&self, by: Duration);

    /// How many of the things that were told are kept, where that can be looked up.
    async fn kept(&self) -> usize;
}

/// Runs every case against an adapter, in a module of its name. `$make` returns a future of its factory.
macro_rules! tally_suite {
    ($adapter:ident, $make:path) => {
        mod $adapter {
            tally_suite! { @cases $make;
                what_any_node_told_adds_up_for_all
                what_is_told_again_counts_once_and_keeps_its_moment
                what_is_older_than_the_window_is_not_looked_at
                what_nobody_looks_back_to_is_forgotten
                at_most_one_node_leads_a_task_until_its_term_is_over
                of_many_who_ask_at_once_exactly_one_leads
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

tally_suite!(memory, super::in_memory);
tally_suite!(postgres, crate::contract::over_postgres::over_postgres);
tally_suite!(redis, crate::contract::over_redis::over_redis);

struct InMemory {
    clock: Arc<SimClock>,
}

async fn in_memory() -> InMemory {
    let clock = Arc::new(SimClock::new());
    InMemory { clock }
}

#[async_trait]
impl TallyFactory for InMemory {
    async fn open(&self) -> [Arc<dyn Tally>; 2] {
        let tally = Arc::new(MemoryTally::new(self.clock.clone()));
        [tally.clone(), tally]
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn kept(&self) -> usize {
        0
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const ONE: NodeId = NodeId(1);
/// As large as nodes are.
const TWO: NodeId = NodeId(u32::MAX);

fn seen(accepted: u32, failed: u32) -> Publishes {
    let mut sum = Publishes::default();
    for _ in 0..accepted {
        sum += Publishes::one(Published::Accepted, Duration::from_millis(30));
    }
    for _ in 0..failed {
        sum += Publishes::one(Published::Failed, Duration::from_secs(60));
    }
    sum
}

async fn what_any_node_told_adds_up_for_all(factory: &impl TallyFactory) {
    let [one, two] = factory.open().await;
    assert_eq!(two.recent(MINUTE).await, Ok(Publishes::default()));
    one.tell(ONE, 1, seen(3, 1)).await.unwrap();
    two.tell(TWO, 1, seen(0, 2)).await.unwrap();
    two.tell(TWO, u32::MAX, seen(1, 0)).await.unwrap();
    for node in [one, two] {
        assert_eq!(node.recent(MINUTE).await, Ok(seen(4, 3)));
    }
}

async fn what_is_told_again_counts_once_and_keeps_its_moment(factory: &impl TallyFactory) {
    let [one, two] = factory.open().await;
    one.tell(ONE, 7, seen(3, 1)).await.unwrap();
    factory.advance(MINUTE).await;
    one.tell(ONE, 7, seen(3, 1)).await.unwrap();
    assert_eq!(two.recent(MINUTE * 2).await, Ok(seen(3, 1)));
    assert_eq!(two.recent(MINUTE / 2).await, Ok(Publishes::default()));
}

async fn what_is_older_than_the_window_is_not_looked_at(factory: &impl TallyFactory) {
    let [one, two] = factory.open().await;
    one.tell(ONE, 1, seen(0, 5)).await.unwrap();
    factory.advance(MINUTE).await;
    one.tell(ONE, 2, seen(2, 0)).await.unwrap();
    assert_eq!(two.recent(MINUTE).await, Ok(seen(2, 0)));
    assert_eq!(two.recent(MINUTE * 2).await, Ok(seen(2, 5)));
    assert_eq!(two.recent(Duration::ZERO).await, Ok(Publishes::default()));
}

async fn what_nobody_looks_back_to_is_forgotten(factory: &impl TallyFactory) {
    let [one, two] = factory.open().await;
    for number in 1..=8 {
        one.tell(ONE, number, seen(1, 0)).await.unwrap();
    }
    factory.advance(TALLY_KEPT).await;
    two.tell(TWO, 1, seen(2, 0)).await.unwrap();
    assert_eq!(two.recent(TALLY_KEPT).await, Ok(seen(2, 0)));
    assert!(factory.kept().await <= 1);
}

async fn at_most_one_node_leads_a_task_until_its_term_is_over(factory: &impl TallyFactory) {
    let [one, two] = factory.open().await;
    assert_eq!(one.lead("guard", ONE, MINUTE).await, Ok(true));
    assert_eq!(two.lead("guard", TWO, MINUTE).await, Ok(false));
    assert_eq!(two.lead("other", TWO, MINUTE).await, Ok(true));
    factory.advance(MINUTE / 2).await;
    assert_eq!(one.lead("guard", ONE, MINUTE).await, Ok(true), "it keeps it");
    factory.advance(MINUTE / 2).await;
    assert_eq!(
        two.lead("guard", TWO, MINUTE).await,
        Ok(false),
        "its term was renewed"
    );
    factory.advance(MINUTE / 2).await;
    assert_eq!(two.lead("guard", TWO, MINUTE).await, Ok(true));
    assert_eq!(one.lead("guard", ONE, MINUTE).await, Ok(false));
}

async fn of_many_who_ask_at_once_exactly_one_leads(factory: &impl TallyFactory) {
    let nodes = factory.open().await;
    for round in 0..10 {
        let task = format!("task-{round}");
        let asking = (0..20_u32).map(|number| {
            let (node, task) = (Arc::clone(&nodes[usize::from(number % 2 == 0)]), task.clone());
            async move { node.lead(&task, NodeId(number), MINUTE).await.unwrap() }
        });
        let led = join_all(asking).await;
        assert_eq!(led.into_iter().filter(|led| *led).count(), 1);
    }
}
