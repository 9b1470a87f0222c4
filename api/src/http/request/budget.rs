//! How much memory all bodies together may take while they are read.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Observation, Observer};
use tokio::sync::{Semaphore, TryAcquireError};

use crate::http::problem::{Kind, Problem};

/// The name of a full budget among the metrics.
const FULL: &str = "request_bodies";
/// Bodies are read within seconds.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Enough for several thousand notifications, or sixteen of the largest batches, at a time.
const DEFAULT: usize = 64 << 20;

/// The memory that all bodies together may take while they are read. A thousand clients that each begin a batch and
/// never end it would take gigabytes otherwise.
#[derive(Debug, Clone)]
pub struct BodyBudget(Arc<Semaphore>);

impl Default for BodyBudget {
    fn default() -> Self {
        Self::new(DEFAULT)
    }
}

impl BodyBudget {
    /// Begins with so many bytes to give out.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// Begins to read one body.
    pub(super) fn share<'a>(&'a self, observer: &'a Arc<dyn Observer>) -> Share<'a> {
        Share {
            budget: &self.0,
            observer,
            taken: 0,
        }
    }
}

/// What one body has taken of the budget, given back when it is dropped.
pub(super) struct Share<'a> {
    budget: &'a Semaphore,
    observer: &'a Arc<dyn Observer>,
    taken: usize,
}

impl Share<'_> {
    /// Takes so many bytes more, or says that there are none left.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Problem> {
        let full = || {
            self.observer.saw(&Observation::Full(FULL));
            let detail = "the service reads as many bodies as it may";
            Problem::new(Kind::CapacityReached, detail).retry_after(RETRY_AFTER)
        };
        let permits = u32::try_from(bytes).map_err(|_| full())?;
        match self.budget.try_acquire_many(permits) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => return Err(full()),
        }
        self.taken += bytes;
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.add_permits(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use application::testing::Unobserved;

    use super::*;

    #[test]
    fn bodies_share_a_budget_and_give_it_back() {
        let observer: Arc<dyn Observer> = Arc::new(Unobserved);
        let budget = BodyBudget::new(100);
        let mut first = budget.share(&observer);
        first.take(60).unwrap();
        let mut second = budget.share(&observer);
        second.take(40).unwrap();
        assert_eq!(second.take(1).unwrap_err().kind(), Kind::CapacityReached);
        drop(first);
        second.take(60).unwrap();
        drop(second);
        budget.share(&observer).take(100).unwrap();
    }
}
