//! Work that nobody asks for, done in the background until the node goes.

use std::sync::Arc;
use std::time::Duration;

use application::boundary::{Panicked, bounded};
use application::housekeeping::Housekeeping;
use application::ports::Clock;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// A schedule is looked at this often even when nothing is known to be due: another node may have taken something in.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Ages are counted in days; a minute more or less does not matter to them.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// Publishes what is due and drops what is over.
pub(crate) async fn run(housekeeping: Housekeeping, clock: Arc<dyn Clock>, cancel: CancellationToken) {
    let mut prune = tokio::time::interval(PRUNE_EVERY);
    prune.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look_at = Instant::now();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep_until(look_at) => {
                look_at = Instant::now() + promote(&housekeeping, &*clock).await;
            }
            _ = prune.tick() => {
                let pruned = bounded(&*housekeeping.observer, "prune", housekeeping.prune()).await;
                if let Ok(Err(error)) = pruned {
                    tracing::warn!(%error, "nothing was pruned");
                }
            }
        }
    }
}

/// Publishes what is due and returns when to look again.
async fn promote(housekeeping: &Housekeeping, clock: &dyn Clock) -> Duration {
    match bounded(&*housekeeping.observer, "promote", housekeeping.promote()).await {
        Ok(Ok(next)) => next.map_or(LOOK_EVERY, |due| due.since(clock.now()).min(LOOK_EVERY)),
        Err(Panicked(_)) => LOOK_EVERY,
        Ok(Err(error)) => {
            tracing::warn!(%error, "nothing that was scheduled could be published");
            LOOK_EVERY
        }
    }
}
