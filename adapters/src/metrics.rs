//! Metrics, counted in memory and written in the Prometheus text format.

mod ably;
mod breakers;
mod compression;
mod load;
mod process;
mod security;
mod standing;
#[cfg(test)]
mod tests;

use application::ports::{Exposition, Observation, Observer, StreamsReport};
use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use self::ably::Ably;
use self::breakers::Breakers;
use self::compression::Compression;
use self::load::Load;
use self::process::Process;
use self::security::Security;

/// Most answers take a millisecond or two; the last bucket is beyond every deadline of ours.
const REQUEST_SECONDS: [f64; 13] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// 100 ms and 1 s are where the pace of heartbeats changes, 10 s is how long a reply may take.
const ROUND_TRIP_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// A metric that cannot be registered: its name is taken or malformed. A fault of this module.
#[derive(Debug, thiserror::Error)]
#[error("a metric cannot be registered")]
pub struct MetricsError(#[from] prometheus::Error);

/// What this node has seen since it started.
///
/// Labels take the names of reasons, which come from the code, and HTTP statuses, so their number is bounded.
/// `StreamsReport::store_reads` is not shown again: `arauto_store_replays_total` counts the same.
pub struct Metrics {
    registry: Registry,
    publishes: IntCounter,
    published_events: IntCounter,
    publish_refused: IntCounterVec,
    tailed_events: IntCounter,
    tail_gaps: IntCounter,
    delivered_frames: IntCounter,
    streams_opened: IntCounter,
    streams_closed: IntCounterVec,
    streams_refused: IntCounterVec,
    resets: IntCounterVec,
    store_replays: IntCounter,
    heartbeat_round_trip: Histogram,
    heartbeats_missed: IntCounter,
    full: IntCounterVec,
    degraded: IntGaugeVec,
    limited: IntCounterVec,
    tokens_refused: IntCounterVec,
    pruned_events: IntCounter,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    ably: Ably,
    breakers: Breakers,
    compression: Compression,
    load: Load,
    security: Security,
    hub: Hub,
    process: Process,
}

/// What the hub says about itself, as of the last scrape.
struct Hub {
    connections: IntGauge,
    connections_max: IntGauge,
    ring_position: IntGauge,
    ring_events: IntGauge,
    ring_bytes: IntGauge,
    tail_lag: IntGauge,
    tail_lag_seconds: Gauge,
    tailing: IntGauge,
}

impl Metrics {
    /// Registers every metric, at zero.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let r = &registry;
        Ok(Self {
            publishes: counter(r, "publishes_total", "Publishes that were accepted.")?,
            published_events: counter(r, "published_events_total", "Events of accepted publishes.")?,
            publish_refused: counters(
                r,
                "publish_refused_total",
                "Publishes refused, by reason.",
                "reason",
            )?,
            tailed_events: counter(r, "tailed_events_total", "Events that entered this node's ring.")?,
            tail_gaps: counter(
                r,
                "tail_gaps_total",
                "Gaps that the tail found and read from the log.",
            )?,
            delivered_frames: counter(r, "delivered_frames_total", "Frames handed to connections.")?,
            streams_opened: counter(r, "streams_opened_total", "Streams opened.")?,
            streams_closed: counters(r, "streams_closed_total", "Streams ended, by reason.", "reason")?,
            streams_refused: counters(
                r,
                "streams_refused_total",
                "Streams refused, by reason.",
                "reason",
            )?,
            resets: counters(r, "resets_total", "Resets sent, by reason.", "reason")?,
            store_replays: counter(
                r,
                "store_replays_total",
                "Times a connection was served from the store because the ring no longer reached.",
            )?,
            heartbeat_round_trip: registered(
                r,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "arauto_heartbeat_round_trip_seconds",
                        "Time from a heartbeat to its reply.",
                    )
                    .buckets(ROUND_TRIP_SECONDS.to_vec()),
                ),
            )?,
            heartbeats_missed: counter(
                r,
                "heartbeats_missed_total",
                "Heartbeats without a reply in time.",
            )?,
            full: counters(
                r,
                "full_total",
                "Times a bound was reached, by its name.",
                "bound",
            )?,
            degraded: registered(
                r,
                IntGaugeVec::new(
                    Opts::new(
                        "arauto_degraded",
                        "1 while others stand in for a part, by its name.",
                    ),
                    &["part"],
                ),
            )?,
            limited: limited(r)?,
            tokens_refused: counters(r, "tokens_refused_total", "Tokens refused, by reason.", "reason")?,
            pruned_events: counter(r, "pruned_events_total", "Events dropped from the history.")?,
            requests: counters(
                r,
                "http_requests_total",
                "Requests answered, by status.",
                "status",
            )?,
            request_duration: registered(
                r,
                HistogramVec::new(
                    HistogramOpts::new(
                        "arauto_http_request_duration_seconds",
                        "Time to the answer of a request, by class of status.",
                    )
                    .buckets(REQUEST_SECONDS.to_vec()),
                    &["class"],
                ),
            )?,
            security: Security::new(r)?,
            ably: Ably::new(r)?,
            breakers: Breakers::new(r)?,
            compression: Compression::new(r)?,
            load: Load::new(r)?,
            hub: Hub::new(r)?,
            process: Process::new(r)?,
            registry,
        })
    }
}

impl Observer for Metrics {
    fn saw(&self, observation: &Observation) {
        match *observation {
            Observation::Published { events } => {
                self.publishes.inc();
                self.published_events.inc_by(events.into());
            }
            Observation::PublishRefused(reason) => count(&self.publish_refused, reason),
            Observation::Tailed { events } => self.tailed_events.inc_by(wide(events)),
            Observation::TailGap => self.tail_gaps.inc(),
            Observation::Delivered { frames } => self.delivered_frames.inc_by(wide(frames)),
            Observation::Compressed { what, plain, sent } => self.compression.saw(what, plain, sent),
            Observation::StreamOpened => self.streams_opened.inc(),
            Observation::StreamClosed(reason) => count(&self.streams_closed, reason),
            Observation::StreamRefused(reason) => count(&self.streams_refused, reason),
            Observation::Reset(reason) => count(&self.resets, reason),
            Observation::StoreReplay => self.store_replays.inc(),
            Observation::HeartbeatReplied { round_trip } => {
                self.heartbeat_round_trip.observe(round_trip.as_secs_f64());
            }
            Observation::HeartbeatMissed => self.heartbeats_missed.inc(),
            Observation::Full(bound) => count(&self.full, bound),
            Observation::Degraded(part) => set(&self.degraded, part, 1),
            Observation::Recovered(part) => set(&self.degraded, part, 0),
            Observation::Breaker { name, state } => self.breakers.does(name, state),
            Observation::Level { level, signals } => self.load.show(level, &signals),
            Observation::Panicked(what) => count(&self.load.panics, what),
            Observation::BreakerRefused(name) => self.breakers.refused(name),
            Observation::Limited { action, of } => {
                if let Ok(counter) = self.limited.get_metric_with_label_values(&[action, of]) {
                    counter.inc();
                }
            }
            Observation::TokenRefused(reason) => count(&self.tokens_refused, reason),
            Observation::AblyTokenIssued(form) => count(&self.ably.tokens, form),
            Observation::AblyRevoked(outcome) => count(&self.ably.revocations, outcome),
            Observation::AblyTokenRefused(reason) => count(&self.ably.tokens_refused, reason),
            Observation::TransportSelected {
                transport,
                reason,
                replay,
            } => {
                let labels = [transport, reason, if replay { "true" } else { "false" }];
                if let Ok(counter) = self.ably.transports.get_metric_with_label_values(&labels) {
                    counter.inc();
                }
            }
            Observation::Pushed { outcome, took } => {
                count(&self.ably.publishes, outcome);
                self.ably.publish_duration.observe(took.as_secs_f64());
            }
            Observation::Fallback(reason) => count(&self.ably.fallbacks, reason),
            Observation::Probed { outcome, took } => self.ably.standing.probed(outcome, took),
            Observation::AblyHealth(health) => self.ably.standing.is(health),
            Observation::AblyHost(host) => self.ably.standing.asks(host),
            Observation::AblyRefused(code) => self.ably.standing.refused(code),
            Observation::AblyChannels { class, count } => {
                set(&self.ably.standing.channels, class, signed(wide(count)));
            }
            Observation::AblyHolders(count) => self.ably.standing.holders.set(signed(wide(count))),
            Observation::AblyBacklog { open, age, dead } => self.ably.standing.waits(open, age, dead),
            Observation::AblyCost { of, micros } => self.ably.standing.costs(of, micros),
            Observation::GuardLooked(decision) => count(&self.ably.guard_looks, decision),
            Observation::DeliveryEnded(status) => count(&self.ably.deliveries_ended, status),
            Observation::Audited { .. }
            | Observation::AuditLate
            | Observation::Suspicious(_)
            | Observation::Blocked(_) => self.security.saw(observation),
            Observation::Pruned { events } => self.pruned_events.inc_by(wide(events)),
            Observation::Request { status, duration } => {
                let (class, name) = status_names(status);
                count(&self.requests, &name);
                if let Ok(histogram) = self.request_duration.get_metric_with_label_values(&[class]) {
                    histogram.observe(duration.as_secs_f64());
                }
            }
        }
    }
}

impl Exposition for Metrics {
    fn render(&self, streams: &StreamsReport) -> String {
        self.hub.show(streams);
        self.process.show();
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|error| {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "metrics cannot be written"
                );
                String::new()
            })
    }
}

impl Hub {
    fn new(r: &Registry) -> Result<Self, MetricsError> {
        Ok(Self {
            connections: gauge(r, "connections", "Open streams on this node.")?,
            connections_max: gauge(r, "connections_max", "Streams that this node may hold.")?,
            ring_position: gauge(
                r,
                "ring_position",
                "Position in the log of the ring's last event.",
            )?,
            ring_events: gauge(r, "ring_events", "Events in the ring.")?,
            ring_bytes: gauge(r, "ring_bytes", "Bytes of the events in the ring.")?,
            tail_lag: gauge(
                r,
                "tail_lag_positions",
                "The log's head as last read minus the ring's last position.",
            )?,
            tail_lag_seconds: registered(
                r,
                Gauge::new(
                    "arauto_tail_lag_seconds",
                    "How long ago this node last had everything that was in the log; 0 while it has.",
                ),
            )?,
            tailing: gauge(r, "tailing", "Whether this node's tail follows the log: 1 or 0.")?,
        })
    }

    fn show(&self, report: &StreamsReport) {
        let position = report.cursor.map_or(0, |cursor| cursor.position.0);
        self.connections.set(signed(wide(report.connections)));
        self.connections_max.set(signed(wide(report.connections_max)));
        self.ring_position.set(signed(position));
        self.ring_events.set(signed(wide(report.ring_events)));
        self.ring_bytes.set(signed(wide(report.ring_bytes)));
        self.tail_lag.set(signed(report.lag_positions));
        self.tail_lag_seconds.set(report.lag.as_secs_f64());
        self.tailing.set(report.tailing.into());
    }
}

fn registered<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> Result<M, MetricsError> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
    registered(registry, IntCounter::new(format!("arauto_{name}"), help))
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> Result<IntCounterVec, MetricsError> {
    let options = Opts::new(format!("arauto_{name}"), help);
    registered(registry, IntCounterVec::new(options, &[label]))
}

fn limited(registry: &Registry) -> Result<IntCounterVec, MetricsError> {
    let help = "Requests refused because there were too many, by action and by whose budget was used up.";
    let options = Opts::new("arauto_rate_limited_total", help);
    registered(registry, IntCounterVec::new(options, &["action", "of"]))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
    registered(registry, IntGauge::new(format!("arauto_{name}"), help))
}

/// Counts one under a label. It fails only for another number of labels than were registered, which is one.
fn count(counters: &IntCounterVec, label: &str) {
    count_by(counters, label, 1);
}

/// Counts so many under a label.
fn count_by(counters: &IntCounterVec, label: &str, by: usize) {
    if let Ok(counter) = counters.get_metric_with_label_values(&[label]) {
        counter.inc_by(wide(by));
    }
}

/// Sets a gauge under a label. It fails only for another number of labels than were registered, which is one.
fn set(gauges: &IntGaugeVec, label: &str, value: i64) {
    if let Ok(gauge) = gauges.get_metric_with_label_values(&[label]) {
        gauge.set(value);
    }
}

/// Names a status and its class. What is no HTTP status gets one name, so that the labels stay bounded.
fn status_names(status: u16) -> (&'static str, String) {
    let class = match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => return ("other", "other".to_owned()),
    };
    (class, status.to_string())
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
