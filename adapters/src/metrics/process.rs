//! What this process holds: what a leak shows in first.

use prometheus::{IntGauge, Registry};
use tokio::runtime::Handle;

use super::{MetricsError, gauge, signed, wide};
use crate::vitals::{open_descriptors, resident_bytes};

pub(super) struct Process {
    tasks: IntGauge,
    descriptors: IntGauge,
    resident: IntGauge,
}

impl Process {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        Ok(Self {
            tasks: gauge(r, "tasks", "Tasks of the runtime that have not ended.")?,
            descriptors: gauge(r, "open_descriptors", "Descriptors that this process has open.")?,
            resident: gauge(r, "resident_bytes", "Memory of this process that is resident.")?,
        })
    }

    /// Looks now. What cannot be measured keeps what was last seen.
    pub(super) fn show(&self) {
        if let Ok(runtime) = Handle::try_current() {
            let alive = runtime.metrics().num_alive_tasks();
            self.tasks.set(signed(wide(alive)));
        }
        if let Some(open) = open_descriptors() {
            self.descriptors.set(signed(open));
        }
        if let Some(bytes) = resident_bytes() {
            self.resident.set(signed(bytes));
        }
    }
}
