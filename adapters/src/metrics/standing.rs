//! How Ably is, what is used of it, what waits and what it costs.

use std::time::Duration;

use application::ports::Host;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::{MetricsError, count, counters, gauge, registered, set, signed};

pub(super) struct Standing {
    probes: IntCounterVec,
    probe_duration: Histogram,
    health: IntGaugeVec,
    host: IntGaugeVec,
    refused: IntCounterVec,
    pub(super) channels: IntGaugeVec,
    pub(super) holders: IntGauge,
    backlog: IntGauge,
    backlog_age: Gauge,
    dead: IntGauge,
    cost: GaugeVec,
}

/// What a person notices lies between these; the last is beyond what a probe waits for.
const PROBE_SECONDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0];
const HEALTHS: [&str; 3] = ["up", "degraded", "down"];

/// The codes with which Ably refuses a publish for good, by its own list. Others share one label, so that labels stay
/// bounded.
const CODES: [u32; 20] = [
    40_000, 40_001, 40_003, 40_009, 40_010, 40_012, 40_013, 40_030, 40_031, 40_034, 40_100, 40_101, 40_102,
    40_111, 40_112, 40_114, 40_115, 40_160, 40_300, 40_400,
];

impl Standing {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        Ok(Self {
            probes: counters(
                r,
                "ably_probes_total",
                "Probes of Ably, by what became of them.",
                "outcome",
            )?,
            probe_duration: registered(
                r,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "arauto_ably_probe_seconds",
                        "Time from publishing a probe to its receipt over Ably.",
                    )
                    .buckets(PROBE_SECONDS.to_vec()),
                ),
            )?,
            health: registered(
                r,
                IntGaugeVec::new(
                    Opts::new("arauto_ably_health", "1 for how Ably is, as probes find it."),
                    &["health"],
                ),
            )?,
            host: registered(
                r,
                IntGaugeVec::new(
                    Opts::new(
                        "arauto_ably_host",
                        "1 for the host of Ably that is asked first, the primary or a fallback.",
                    ),
                    &["host"],
                ),
            )?,
            refused: counters(
                r,
                "ably_refused_total",
                "Events that Ably refused for good, by its code.",
                "code",
            )?,
            channels: registered(
                r,
                IntGaugeVec::new(
                    Opts::new(
                        "arauto_ably_channels",
                        "Channels of Ably that this node published to within five minutes, by class.",
                    ),
                    &["class"],
                ),
            )?,
            holders: gauge(
                r,
                "ably_token_holders",
                "People whom this node gave a token for Ably within an hour.",
            )?,
            backlog: gauge(
                r,
                "ably_backlog",
                "Deliveries over Ably that have not ended, of all nodes.",
            )?,
            backlog_age: registered(
                r,
                Gauge::new(
                    "arauto_ably_backlog_age_seconds",
                    "How long the oldest delivery over Ably that has not ended has been due.",
                ),
            )?,
            dead: gauge(
                r,
                "ably_dead",
                "Deliveries over Ably that are dead, of all nodes.",
            )?,
            cost: registered(
                r,
                GaugeVec::new(
                    Opts::new(
                        "arauto_ably_cost_per_month",
                        "What Ably is estimated to cost in 30 days at this node's rate, by what for.",
                    ),
                    &["of"],
                ),
            )?,
        })
    }

    pub(super) fn probed(&self, outcome: &str, took: Option<Duration>) {
        count(&self.probes, outcome);
        if let Some(took) = took {
            self.probe_duration.observe(took.as_secs_f64());
        }
    }

    pub(super) fn is(&self, health: &str) {
        for known in HEALTHS {
            set(&self.health, known, (known == health).into());
        }
    }

    pub(super) fn asks(&self, host: &str) {
        for known in Host::ALL.map(Host::as_str) {
            set(&self.host, known, (known == host).into());
        }
    }

    pub(super) fn refused(&self, code: u32) {
        if CODES.contains(&code) {
            count(&self.refused, &code.to_string());
        } else {
            count(&self.refused, "other");
        }
    }

    pub(super) fn waits(&self, open: u64, age: Duration, dead: u64) {
        self.backlog.set(signed(open));
        self.backlog_age.set(age.as_secs_f64());
        self.dead.set(signed(dead));
    }

    pub(super) fn costs(&self, of: &str, micros: u64) {
        if let Ok(gauge) = self.cost.get_metric_with_label_values(&[of]) {
            #[expect(clippy::cast_precision_loss, reason = "an estimate, shown to a few digits")]
            gauge.set(micros as f64 / 1_000_000.0);
        }
    }
}
