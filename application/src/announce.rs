//! Ringing the bus for what was written.

use crate::ports::{Bus, Doorbell, Written};

/// Announces the events of a write and returns its value. A hint: nothing depends on its arrival.
pub(crate) async fn announce<T>(bus: &dyn Bus, written: Written<T>) -> T {
    if !written.events.is_empty() {
        bus.announce(Doorbell {
            epoch: written.epoch,
            events: written.events.into(),
        })
        .await;
    }
    written.value
}
