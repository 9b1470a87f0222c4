//! What a limiter owes its callers. The same cases run for each adapter.
//!
//! A case moves time by many seconds and looks at least ten to either side of a moment: a limiter whose clock runs on by
//! itself is judged like one whose clock stands.

mod script;

use std::sync::Arc;
use std::time::Duration;

use adapters::memory::MemoryLimiter;
use application::ports::{Budget, Limiter};
use application::testing::{SimClock, Unobserved};
use async_trait::async_trait;
use domain::limit::{Allowance, Standing, Verdict, WINDOW};
use tokio::task::JoinSet;

/// Opens limiters of one adapter and moves their time.
#[async_trait]
pub(crate) trait LimiterFactory: Send + Sync {
    /// Opens an empty limiter as two nodes see it.
    async fn open(&self) -> [Arc<dyn Limiter>; 2];

    /// Moves the limiter's clock on.
    async fn advance(&self, by: Duration);
}

/// Runs every case against an adapter, in a module of its name. `$make` returns a future of its factory.
macro_rules! limiter_suite {
    ($adapter:ident, $make:path) => {
        mod $adapter {
            limiter_suite! { @cases $make;
                of_a_thousand_calls_at_once_exactly_as_many_are_let_through_as_the_window_allows
                of_a_thousand_calls_at_once_none_takes_half_of_its_budgets
                budgets_in_another_order_are_the_same_budgets
                a_budget_that_refuses_leaves_the_others_untouched
                whoever_is_refused_is_not_kept_out_for_trying
                the_burst_comes_on_top_of_the_limit
                what_leaves_the_window_makes_room_for_as_much
                a_window_has_no_edge_to_wait_for
                the_budget_with_the_least_left_is_said
                whoever_is_refused_is_told_how_long
                a_limit_that_is_changed_holds_for_what_was_let_through_before
                keys_do_not_touch_one_another
                as_many_budgets_as_there_may_be_are_taken_at_once
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

limiter_suite!(memory, super::in_memory);
limiter_suite!(redis, crate::contract::over_redis::over_redis);
limiter_suite!(several, crate::contract::several::limiters);

struct InMemory {
    clock: Arc<SimClock>,
}

async fn in_memory() -> InMemory {
    let clock = Arc::new(SimClock::new());
    InMemory { clock }
}

#[async_trait]
impl LimiterFactory for InMemory {
    async fn open(&self) -> [Arc<dyn Limiter>; 2] {
        let limiter = Arc::new(MemoryLimiter::new(self.clock.clone(), Arc::new(Unobserved)));
        [limiter.clone(), limiter]
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

const CALLS: usize = 1_000;

fn budget(key: &str, limit: u32) -> Budget {
    with_burst(key, limit, 0)
}

fn with_burst(key: &str, limit: u32, burst: u32) -> Budget {
    Budget {
        key: key.to_owned(),
        allowance: Allowance::try_new(limit, burst).unwrap(),
    }
}

async fn takes(limiter: &Arc<dyn Limiter>, budgets: &[Budget]) -> bool {
    matches!(limiter.take(budgets).await.unwrap(), Verdict::Taken(_))
}

/// Takes turns until one is refused, and returns how many were taken.
async fn exhaust(limiter: &Arc<dyn Limiter>, budgets: &[Budget]) -> u32 {
    let mut taken = 0;
    while takes(limiter, budgets).await {
        taken += 1;
        assert!(taken < 100_000, "it lets everything through");
    }
    taken
}

/// Calls a thousand times at once, over both nodes in turn, and returns how many took a turn.
async fn all_at_once(nodes: &[Arc<dyn Limiter>; 2], budgets: impl Fn(usize) -> Vec<Budget>) -> usize {
    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        let (node, budgets) = (nodes[call % 2].clone(), budgets(call));
        calls.spawn(async move { takes(&node, &budgets).await });
    }
    calls.join_all().await.into_iter().filter(|taken| *taken).count()
}

async fn of_a_thousand_calls_at_once_exactly_as_many_are_let_through_as_the_window_allows(
    factory: &dyn LimiterFactory,
) {
    let nodes = factory.open().await;
    let address = |_| vec![with_burst("address", 300, 77)];
    assert_eq!(all_at_once(&nodes, address).await, 377);
    assert_eq!(all_at_once(&nodes, address).await, 0);
    factory.advance(WINDOW + Duration::from_secs(10)).await;
    assert_eq!(
        all_at_once(&nodes, address).await,
        377,
        "as many in the next window"
    );
}

async fn of_a_thousand_calls_at_once_none_takes_half_of_its_budgets(factory: &dyn LimiterFactory) {
    let nodes = factory.open().await;
    // One address and ten people, whose budgets are used up at different moments, in either order.
    let person = |call: usize| format!("person-{}", call % 10);
    let both = |call: usize| {
        let mut both = vec![budget("address", 250), budget(&person(call), 40)];
        both.rotate_left(call / 10 % 2);
        both
    };
    assert_eq!(all_at_once(&nodes, both).await, 250);
    let mut taken_of_people = 0;
    for n in 0..10 {
        taken_of_people += 40 - exhaust(&nodes[n % 2], &[budget(&person(n), 40)]).await;
    }
    assert_eq!(
        taken_of_people, 250,
        "a turn of the person for each turn of the address"
    );
}

async fn budgets_in_another_order_are_the_same_budgets(factory: &dyn LimiterFactory) {
    let nodes = factory.open().await;
    let (one, other) = (budget("one", 60), budget("other", 35));
    let turned = |call: usize| {
        let mut budgets = vec![one.clone(), other.clone()];
        budgets.rotate_left(call % 2);
        budgets
    };
    assert_eq!(all_at_once(&nodes, turned).await, 35);
    assert_eq!(exhaust(&nodes[0], &[one]).await, 25);
    assert_eq!(exhaust(&nodes[1], &[other]).await, 0);
}

async fn a_budget_that_refuses_leaves_the_others_untouched(factory: &dyn LimiterFactory) {
    let [node, other] = factory.open().await;
    let (wide, narrow) = (budget("wide", 10), budget("narrow", 2));
    for budgets in [[wide.clone(), narrow.clone()], [narrow.clone(), wide.clone()]] {
        assert!(takes(&node, &budgets).await);
    }
    for budgets in [[wide.clone(), narrow.clone()], [narrow, wide.clone()]] {
        for _ in 0..20 {
            assert!(!takes(&other, &budgets).await);
        }
    }
    assert_eq!(exhaust(&node, &[wide]).await, 8);
}

async fn whoever_is_refused_is_not_kept_out_for_trying(factory: &dyn LimiterFactory) {
    let [node, other] = factory.open().await;
    let three = [budget("u-1", 3)];
    assert_eq!(exhaust(&node, &three).await, 3);
    for _ in 0..4 {
        factory.advance(Duration::from_secs(12)).await;
        for _ in 0..50 {
            assert!(!takes(&other, &three).await);
        }
    }
    factory.advance(Duration::from_secs(22)).await;
    assert_eq!(exhaust(&other, &three).await, 3);
}

async fn the_burst_comes_on_top_of_the_limit(factory: &dyn LimiterFactory) {
    let [node, other] = factory.open().await;
    assert_eq!(exhaust(&node, &[with_burst("u-1", 10, 15)]).await, 25);
    assert_eq!(exhaust(&other, &[with_burst("u-2", 10, 0)]).await, 10);
    factory.advance(WINDOW + Duration::from_secs(10)).await;
    // Whoever used it is not punished for it.
    assert_eq!(exhaust(&other, &[with_burst("u-1", 10, 15)]).await, 25);
}

async fn what_leaves_the_window_makes_room_for_as_much(factory: &dyn LimiterFactory) {
    let [node, other] = factory.open().await;
    let ten = [budget("u-1", 10)];
    for (count, pause) in [(3, 20), (5, 20), (2, 0)] {
        for _ in 0..count {
            assert!(takes(&node, &ten).await);
        }
        factory.advance(Duration::from_secs(pause)).await;
    }
    assert!(!takes(&other, &ten).await);
    factory.advance(Duration::from_secs(30)).await;
    assert_eq!(
        exhaust(&other, &ten).await,
        3,
        "after 70 seconds the first three have left"
    );
    factory.advance(Duration::from_secs(20)).await;
    assert_eq!(exhaust(&node, &ten).await, 5);
}

async fn a_window_has_no_edge_to_wait_for(factory: &dyn LimiterFactory) {
    let [node, other] = factory.open().await;
    // A fixed window lets twice its limit through here, wherever its edge is.
    let mut taken = 0;
    for _ in 0..6 {
        factory.advance(Duration::from_secs(8)).await;
        taken += exhaust(&node, &[budget("u-1", 5)]).await;
        taken += exhaust(&other, &[budget("u-1", 5)]).await;
    }
    assert_eq!(taken, 5, "in forty seconds");
}

async fn the_budget_with_the_least_left_is_said(factory: &dyn LimiterFactory) {
    let [node, other] = factory.open().await;
    let budgets = [with_burst("wide", 100, 20), with_burst("narrow", 8, 2)];
    let standing = |verdict: Verdict| {
        let Standing {
            budget,
            limit,
            remaining,
            reset,
        } = *verdict.standing();
        assert!(reset <= WINDOW && reset > WINDOW / 2, "{reset:?}");
        (budget, limit, remaining)
    };
    assert_eq!(standing(node.take(&budgets).await.unwrap()), (1, 10, 9));
    assert_eq!(standing(other.take(&budgets).await.unwrap()), (1, 10, 8));
    assert_eq!(exhaust(&node, &budgets[..1]).await, 118);
    let refused = other.take(&budgets).await.unwrap();
    assert!(matches!(refused, Verdict::Refused(_)));
    assert_eq!(standing(refused), (0, 120, 0));
}

async fn whoever_is_refused_is_told_how_long(factory: &dyn LimiterFactory) {
    let [node, other] = factory.open().await;
    let two = [budget("u-1", 2)];
    assert!(takes(&node, &two).await);
    factory.advance(Duration::from_secs(25)).await;
    assert!(takes(&node, &two).await);
    let told = |verdict: Verdict| {
        let Verdict::Refused(standing) = verdict else {
            panic!("{verdict:?}")
        };
        standing.reset
    };
    let first = told(other.take(&two).await.unwrap());
    assert!(first <= Duration::from_secs(35), "{first:?}");
    assert!(first > Duration::from_secs(25), "{first:?}");
    factory.advance(first + Duration::from_millis(1)).await;
    assert!(takes(&other, &two).await, "then it is let through");
    let second = told(node.take(&two).await.unwrap());
    assert!(second <= Duration::from_secs(35), "{second:?}");
}

async fn a_limit_that_is_changed_holds_for_what_was_let_through_before(factory: &dyn LimiterFactory) {
    let [node, other] = factory.open().await;
    assert_eq!(exhaust(&node, &[budget("u-1", 10)]).await, 10);
    assert_eq!(exhaust(&other, &[budget("u-1", 14)]).await, 4);
    assert_eq!(exhaust(&other, &[budget("u-1", 3)]).await, 0);
    factory.advance(WINDOW + Duration::from_secs(10)).await;
    assert_eq!(exhaust(&node, &[budget("u-1", 3)]).await, 3);
}

async fn keys_do_not_touch_one_another(factory: &dyn LimiterFactory) {
    let [node, other] = factory.open().await;
    for key in [
        "stream:u-1",
        "stream:U-1",
        "stream:u_1",
        "publish:u-1",
        "address:2001:db8::",
        "address:2001:db8:0:1::",
    ] {
        assert_eq!(exhaust(&node, &[budget(key, 2)]).await, 2, "{key}");
        assert!(!takes(&other, &[budget(key, 2)]).await, "{key}");
    }
}

async fn as_many_budgets_as_there_may_be_are_taken_at_once(factory: &dyn LimiterFactory) {
    let [node, other] = factory.open().await;
    let budgets: Vec<Budget> = (1..=4).map(|n| budget(&format!("b-{n}"), 5 * n)).collect();
    assert_eq!(exhaust(&node, &budgets).await, 5);
    for (n, left) in [(0, 0), (1, 5), (2, 10), (3, 15)] {
        assert_eq!(exhaust(&other, &budgets[n..=n]).await, left, "{n}");
    }
}
