//! Work that nobody asks for: schedules and bounds.

use std::sync::Arc;

use domain::time::Timestamp;

use crate::announce::announce;
use crate::ports::{Bus, Observation, Observer, Pruned, Store, StoreError};

/// So many scheduled notifications are published in one step; a step holds the log.
const PROMOTED_AT_ONCE: usize = 100;

/// Publishes what is due and drops what is over.
pub struct Housekeeping {
    /// Where it is stored.
    pub store: Arc<dyn Store>,
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
                return Ok(());
            }
            self.observer.saw(&Observation::Pruned {
                events: pruned.events,
            });
            // Others get their turn between steps.
            tokio::task::yield_now().await;
        }
    }
}
