//! Delivering over a pushed transport: from the log to deliveries, and from deliveries to the transport.
//!
//! The streams carry every event whatever happens here, so nothing here is ever resent on another way. Every node
//! plans and sends: the [outbox](crate::ports::Outbox) lets exactly one plan a stretch of the log and exactly one send
//! an event. Of each channel only the oldest delivery that has not ended is sent, so that its order holds.

mod plan;
mod send;

use std::sync::Arc;

use domain::policy::Health;
use domain::rollout::Rollout;

use crate::ports::{Clock, Encoder, Entropy, Observer, Outbox, Store, Transport};

pub use self::plan::Planned;
pub use self::send::Pass;

/// Says which rollout is in force.
pub type RolloutNow = Box<dyn Fn() -> Rollout + Send + Sync>;
/// Says what the last health check of the transport found.
pub type HealthNow = Box<dyn Fn() -> Health + Send + Sync>;

/// Plans and sends the deliveries of one transport.
pub struct Deliver {
    /// The log.
    pub store: Arc<dyn Store>,
    /// What became of its events.
    pub outbox: Arc<dyn Outbox>,
    /// What carries them.
    pub transport: Arc<dyn Transport>,
    /// How they are written.
    pub encoder: Arc<dyn Encoder>,
    /// Time, for how long the transport takes.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
    /// Who is on the transport.
    pub rollout: RolloutNow,
    /// Whether it serves.
    pub health: HealthNow,
}
