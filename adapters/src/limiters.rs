//! Two limiters as one: the one that all nodes share, and each node's own for as long as that one is away.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::{Budget, Limiter, LimiterUnavailable, Observation, Observer, Reach};
use async_trait::async_trait;
use domain::limit::Verdict;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The name of the shared limiter among the metrics.
const PART: &str = "limits";

/// Nodes are counted this often, which also finds out that the shared limiter is back.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// A limiter that knows how many nodes share it.
#[async_trait]
pub trait Census: Limiter {
    /// Makes this node known as one that shares it, for some seconds, and counts them all.
    async fn census(&self) -> Result<NonZeroU32, LimiterUnavailable>;
}

/// Limits of the whole cluster, and of this node alone for as long as nobody can be asked.
///
/// While the shared limiter is away each node lets its share through, by the number of nodes that there were when they
/// were last counted; a node that has never counted is alone. The own window begins empty. Nobody waits for a limiter
/// that is known to be away: it is tried once a second in the background, and used again as soon as it answers there.
/// Each change is said once, as [`Observation::Degraded`] and [`Observation::Recovered`] with the name `limits`, and in
/// the log.
pub struct Limiters {
    shared: Arc<dyn Census>,
    own: Arc<dyn Limiter>,
    observer: Arc<dyn Observer>,
    /// Never held across an await.
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    away: bool,
    nodes: NonZeroU32,
}

impl Limiters {
    /// Joins two limiters, and begins to count nodes in the background.
    pub fn start(
        shared: Arc<dyn Census>,
        own: Arc<dyn Limiter>,
        observer: Arc<dyn Observer>,
        (tasks, cancel): (&TaskTracker, &CancellationToken),
    ) -> Arc<Self> {
        let limiters = Arc::new(Self {
            shared,
            own,
            observer,
            state: Mutex::new(State {
                away: false,
                nodes: NonZeroU32::MIN,
            }),
        });
        let counting = Arc::clone(&limiters);
        let until = cancel.clone();
        tasks.spawn(async move {
            let counting = async {
                loop {
                    counting.count().await;
                    tokio::time::sleep(COUNT_EVERY).await;
                }
            };
            until.run_until_cancelled(counting).await
        });
        limiters
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Two values that are right on their own.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn count(&self) {
        match self.shared.census().await {
            Ok(nodes) => {
                let was_away = {
                    let mut state = self.state();
                    state.nodes = nodes;
                    std::mem::replace(&mut state.away, false)
                };
                if was_away {
                    self.observer.saw(&Observation::Recovered(PART));
                    tracing::info!(nodes, "limits hold for the whole cluster again");
                }
            }
            Err(LimiterUnavailable) => self.gone(),
        }
    }

    fn gone(&self) {
        let before = {
            let mut state = self.state();
            let before = *state;
            state.away = true;
            before
        };
        if !before.away {
            self.observer.saw(&Observation::Degraded(PART));
            tracing::warn!(
                nodes = before.nodes,
                "each node keeps to its share of the limits: the shared limiter does not answer"
            );
        }
    }
}

#[async_trait]
impl Limiter for Limiters {
    async fn take(&self, budgets: &[Budget]) -> Result<Verdict, LimiterUnavailable> {
        if !self.state().away {
            if let Ok(verdict) = self.shared.take(budgets).await {
                return Ok(verdict);
            }
            self.gone();
        }
        let nodes = self.state().nodes;
        let share: Vec<Budget> = budgets
            .iter()
            .map(|budget| Budget {
                key: budget.key.clone(),
                allowance: budget.allowance.share(nodes),
            })
            .collect();
        self.own.take(&share).await
    }

    fn reach(&self) -> Reach {
        let State { away, nodes } = *self.state();
        if away {
            Reach::Share { nodes }
        } else {
            Reach::Whole
        }
    }
}
