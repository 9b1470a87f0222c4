//! What happens on the way to Ably.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

use super::standing::Standing;
use super::{MetricsError, REQUEST_SECONDS, counters, registered};

pub(super) struct Ably {
    pub(super) tokens: IntCounterVec,
    pub(super) tokens_refused: IntCounterVec,
    pub(super) transports: IntCounterVec,
    pub(super) revocations: IntCounterVec,
    pub(super) publishes: IntCounterVec,
    pub(super) publish_duration: Histogram,
    pub(super) deliveries_ended: IntCounterVec,
    pub(super) fallbacks: IntCounterVec,
    pub(super) guard_looks: IntCounterVec,
    pub(super) standing: Standing,
}

impl Ably {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        Ok(Self {
            tokens: counters(
                r,
                "ably_tokens_total",
                "Tokens for Ably given out, by form.",
                "form",
            )?,
            tokens_refused: counters(
                r,
                "ably_tokens_refused_total",
                "Tokens for Ably refused, by reason.",
                "reason",
            )?,
            transports: transports(r)?,
            revocations: counters(
                r,
                "ably_revocations_total",
                "Times that Ably was told of revoked tokens, by what it came to.",
                "outcome",
            )?,
            publishes: counters(
                r,
                "ably_publishes_total",
                "Events sent to Ably, by what it came to.",
                "outcome",
            )?,
            publish_duration: registered(
                r,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "arauto_ably_publish_duration_seconds",
                        "Time that Ably took for the request with an event.",
                    )
                    .buckets(REQUEST_SECONDS.to_vec()),
                ),
            )?,
            deliveries_ended: counters(
                r,
                "ably_deliveries_ended_total",
                "Deliveries over Ably that ended, by how.",
                "status",
            )?,
            fallbacks: counters(
                r,
                "ably_fallbacks_total",
                "Events for Ably that were left to the streams, by reason.",
                "reason",
            )?,
            guard_looks: counters(
                r,
                "ably_guard_looks_total",
                "Looks of the rollout's guard on the node that leads it, by what it decided.",
                "decision",
            )?,
            standing: Standing::new(r)?,
        })
    }
}

fn transports(r: &Registry) -> Result<IntCounterVec, MetricsError> {
    let help =
        "Clients told which transport to listen on, by transport, reason and whether to call the replay.";
    let options = Opts::new("arauto_transport_answers_total", help);
    registered(r, IntCounterVec::new(options, &["transport", "reason", "replay"]))
}
