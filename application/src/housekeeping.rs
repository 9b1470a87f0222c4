//! Work that nobody asks for: schedules and bounds.

use std::sync::Arc;

use domain::time::Timestamp;

use crate::announce::announce;
use crate::ports::{Bus, Observation, Observer, Outbox, Pruned, Store, StoreError};

/// So many scheduled notifications are published in one step; a step holds the log.
const PROMOTED_AT_ONCE: usize = 100;
/// So many deliveries are forgotten in one step.
const FORGOTTEN_AT_ONCE: usize = 1_000;

/// Publishes what is due and drops what is over.
pub struct Housekeeping {
    /// Where it is stored.
    pub store: Arc<dyn Store>,
    /// What became of it over pushed transports.
    pub outbox: Arc<dyn Outbox>,
    /// Where nodes hear of it.
    pub bus: Arc<dyn Bus>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
}

impl Housekeeping {
    /// Publishes everything that is due and returns when the next is.
    pub async fn promote(&self) -> Result<Option<Timestamp>, StoreError> {
        loop {
            let written = self.store.promote(PROMOTED_AT_ONCE).await?;
            let promoted = announce(&*self.bus, written).await;
            if promoted.published + promoted.expired < PROMOTED_AT_ONCE {
                return Ok(promoted.next_due);
            }
        }
    }

    /// Drops everything that has fallen out of its bounds.
    pub async fn prune(&self) -> Result<(), StoreError> {
        loop {
            let pruned = self.store.prune().await?;
            if pruned == Pruned::default() {
                return self.forget_deliveries().await;
            }
            self.observer.saw(&Observation::Pruned {
                events: pruned.events,
            });
            // Others get their turn between steps.
            tokio::task::yield_now().await;
        }
    }

    /// Deliveries are kept for as long as the events that they are of.
    async fn forget_deliveries(&self) -> Result<(), StoreError> {
        let oldest = self.store.head().await?.oldest;
        while self.outbox.forget(oldest, FORGOTTEN_AT_ONCE).await? == FORGOTTEN_AT_ONCE {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
