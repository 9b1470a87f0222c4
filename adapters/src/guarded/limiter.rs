//! The shared limiter behind a circuit breaker.

use std::num::NonZeroU32;
use std::sync::Arc;

use application::ports::{Budget, Limiter, LimiterUnavailable, Reach};
use async_trait::async_trait;
use domain::limit::Verdict;

use super::circuit::Circuit;
use crate::limiters::Census;

/// The limiter that all nodes share, behind a breaker. While that is open each node keeps to its share, as it does
/// whenever the shared one is away: nobody is let through uncounted.
pub struct GuardedLimiter {
    inner: Arc<dyn Census>,
    answers: Arc<Circuit>,
}

impl GuardedLimiter {
    /// Stands in front of a limiter.
    pub fn new(inner: Arc<dyn Census>, answers: Arc<Circuit>) -> Self {
        Self { inner, answers }
    }
}

#[async_trait]
impl Limiter for GuardedLimiter {
    async fn take(&self, budgets: &[Budget]) -> Result<Verdict, LimiterUnavailable> {
        self.answers.guard("limiter.take", self.inner.take(budgets)).await
    }

    fn reach(&self) -> Reach {
        self.inner.reach()
    }
}

#[async_trait]
impl Census for GuardedLimiter {
    async fn census(&self) -> Result<NonZeroU32, LimiterUnavailable> {
        self.answers.ask("limiter.census", self.inner.census()).await
    }
}
