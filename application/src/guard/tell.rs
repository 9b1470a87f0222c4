//! What a node tells the cluster of its own publishes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::guard::{Published, Publishes};
use domain::ids::NodeId;
use domain::transport::Reason;

use crate::ports::{Observation, Observer, StoreError, Tally};

/// Counts how publishes went on their way to whoever observes, and tells the cluster.
pub struct Counting {
    inner: Arc<dyn Observer>,
    /// Never held across an await.
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    /// Since the last report was closed.
    fresh: Publishes,
    /// What was told under the last number, until the store has said that it took it: it is told again unchanged.
    report: Option<Publishes>,
    number: u32,
}

impl Counting {
    /// Counts in front of another observer.
    pub fn new(inner: Arc<dyn Observer>) -> Self {
        Self {
            inner,
            counted: Mutex::default(),
        }
    }

    /// Tells the cluster what was counted since the last time; nothing where there was nothing.
    pub async fn tell(&self, tally: &dyn Tally, node: NodeId) -> Result<(), StoreError> {
        let Some((number, report)) = self.report() else {
            return Ok(());
        };
        tally.tell(node, number, report).await?;
        self.counted().report = None;
        Ok(())
    }

    fn report(&self) -> Option<(u32, Publishes)> {
        let mut counted = self.counted();
        if counted.report.is_none() && counted.fresh.all() > 0 {
            counted.number += 1;
            counted.report = Some(std::mem::take(&mut counted.fresh));
        }
        counted.report.map(|report| (counted.number, report))
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // Each change is one step.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Counting {
    fn saw(&self, observation: &Observation) {
        if let Some(publish) = publish(observation) {
            self.counted().fresh += publish;
        }
        self.inner.saw(observation);
    }
}

/// Says how a publish went. What the breaker or the health check kept from Ably failed, too: or an Ably that is away
/// would leave nothing to judge it by. What waits for room in a rate limit was not published yet.
fn publish(observation: &Observation) -> Option<Publishes> {
    let failed = |took| Some(Publishes::one(Published::Failed, took));
    match *observation {
        Observation::Pushed { outcome: "held", .. } => None,
        Observation::Pushed {
            outcome: "accepted",
            took,
        } => Some(Publishes::one(Published::Accepted, took)),
        Observation::Pushed { took, .. } => failed(took),
        Observation::Fallback(reason)
            if reason == Reason::BreakerOpen.as_str() || reason == Reason::Unhealthy.as_str() =>
        {
            failed(Duration::ZERO)
        }
        _ => None,
    }
}
