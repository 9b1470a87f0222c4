//! How hard this node is pressed.

use domain::degrade::{Level, Signal, Signals};
use prometheus::{GaugeVec, IntCounterVec, IntGauge, Opts, Registry};

use super::{MetricsError, counters, gauge, registered};

pub(super) struct Load {
    level: IntGauge,
    signals: GaugeVec,
    pub(super) panics: IntCounterVec,
}

impl Load {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        let signals = Opts::new(
            "arauto_degradation_signal",
            "What the level is judged by, as last measured: shares from 0 to 1, or seconds.",
        );
        Ok(Self {
            level: gauge(
                r,
                "degradation_level",
                "How hard this node is pressed: 0 normal, 1 light, 2 moderate, 3 severe, 4 critical.",
            )?,
            signals: registered(r, GaugeVec::new(signals, &["signal"]))?,
            panics: counters(
                r,
                "panics_total",
                "Panics that were caught, by what was being done.",
                "where",
            )?,
        })
    }

    pub(super) fn show(&self, level: Level, signals: &Signals) {
        self.level.set(level.number().into());
        for signal in Signal::ALL {
            let label = [signal.as_str()];
            match signals.of(signal) {
                Some(value) => {
                    if let Ok(gauge) = self.signals.get_metric_with_label_values(&label) {
                        gauge.set(value);
                    }
                }
                // What was not measured is not shown as if it had been.
                None => drop(self.signals.remove_label_values(&label)),
            }
        }
    }
}
