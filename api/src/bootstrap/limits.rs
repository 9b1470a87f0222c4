//! What holds everybody to the limits.

use std::sync::Arc;

use adapters::guarded::{Circuit, GuardedLimiter};
use adapters::limiters::Limiters;
use adapters::memory::MemoryLimiter;
use adapters::redis::{RedisLimiter, Server};
use application::abuse::BlocksInForce;
use application::limits::Limits;
use application::ports::{Limiter, Observer};

use super::backends::Surroundings;
use crate::config::Config;

/// Opens a limiter of this node alone.
pub(super) fn own(around: &Surroundings<'_>) -> Arc<dyn Limiter> {
    Arc::new(MemoryLimiter::new(
        Arc::clone(around.clock),
        Arc::clone(around.observer),
    ))
}

/// Opens the limiter that all nodes share in Redis, with this node's own behind it.
pub(super) fn shared(server: &Server, answers: Arc<Circuit>, around: &Surroundings<'_>) -> Arc<dyn Limiter> {
    let limiter = Arc::new(RedisLimiter::new(server, around.node));
    Limiters::start(
        Arc::new(GuardedLimiter::new(limiter, answers)),
        own(around),
        Arc::clone(around.observer),
        (around.tasks, around.cancel),
    )
}

/// Wires the limits as they are built in; what the settings say comes with the follower.
pub(super) fn limits(
    config: &Config,
    limiter: Arc<dyn Limiter>,
    observer: &Arc<dyn Observer>,
    blocks: &Arc<BlocksInForce>,
) -> Arc<Limits> {
    let limiter = config.limits.rate_limit_enabled.then_some(limiter);
    Arc::new(Limits::new(limiter, Arc::clone(observer)).and_blocks(Arc::clone(blocks)))
}
