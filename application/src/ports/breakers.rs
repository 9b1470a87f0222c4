//! Circuit breakers, as operators see them.

use std::time::Duration;

use domain::breaker::BreakerState;
use domain::time::Timestamp;

/// What one breaker of this node does, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerReport {
    /// Its name: `postgres`, `postgres-writes`, `redis`, `redis-writes`, `ably`.
    pub name: &'static str,
    /// What it does with the next call.
    pub state: BreakerState,
    /// Since when.
    pub since: Timestamp,
    /// How often it has opened.
    pub opened: u64,
    /// How many calls it has refused.
    pub refused: u64,
    /// How long the last call took that was answered.
    pub latency: Option<Duration>,
    /// The last call that failed.
    pub last_failure: Option<CallFailure>,
}

/// A call that was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallFailure {
    /// What was asked.
    pub call: &'static str,
    /// When it had failed.
    pub at: Timestamp,
}

/// The circuit breakers of this node.
///
/// They are this node's own: a breaker is one node's view of a part, and opening one MUST work while the part that would
/// tell the other nodes is the one in trouble.
pub trait Breakers: Send + Sync {
    /// Lists them, always in the same order.
    fn list(&self) -> Vec<BreakerReport>;

    /// Opens one by hand, until it is reset; `None` where there is none of that name.
    fn force_open(&self, name: &str) -> Option<BreakerReport>;

    /// Closes one and forgets its failures; `None` where there is none of that name.
    fn reset(&self, name: &str) -> Option<BreakerReport>;
}
