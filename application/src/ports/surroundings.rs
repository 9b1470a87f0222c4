//! Time, ids, chance and small translations.

use std::time::Duration;

use domain::breaker::BreakerState;
use domain::degrade::{Level, Signals};
use domain::ids::NotificationId;
use domain::time::Timestamp;

use super::streams::StreamsReport;

/// Time, so that tests can move it.
pub trait Clock: Send + Sync {
    /// Returns the moment.
    fn now(&self) -> Timestamp;

    /// Returns the time since some fixed moment of this process. It never goes back.
    fn uptime(&self) -> Duration;
}

/// Ids of notifications, in the order in which they were made.
pub trait Ids: Send + Sync {
    /// Makes one.
    fn notification(&self) -> NotificationId;
}

/// Chance that nobody can guess.
pub trait Entropy: Send + Sync {
    /// Draws 64 random bits.
    fn bits(&self) -> u64;
}

/// Reduces HTML to what a notification may hold.
pub trait Sanitizer: Send + Sync {
    /// Keeps `b i em strong br p ul ol li code a[href]` with https and path links, and nothing else. Cleaning
    /// twice changes nothing.
    fn clean(&self, html: &str) -> String;
}

/// Seals small texts so that only this service can read or make them.
pub trait Seal: Send + Sync {
    /// Encrypts and authenticates; the result holds only `[A-Za-z0-9_-]`. `purpose` is bound into it.
    fn seal(&self, purpose: &str, plain: &[u8]) -> String;

    /// Opens what was sealed for the same purpose; `None` for anything else.
    fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>>;
}

/// Something that operators count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Observation {
    /// Notifications were accepted, with this many events.
    Published {
        /// How many events.
        events: u32,
    },
    /// A publish was refused; the name of the reason.
    PublishRefused(&'static str),
    /// Events entered this node's ring.
    Tailed {
        /// How many.
        events: usize,
    },
    /// The tail found a gap and read the log.
    TailGap,
    /// Frames were handed to connections.
    Delivered {
        /// How many.
        frames: usize,
    },
    /// Something that goes to clients was compressed.
    Compressed {
        /// The name of what.
        what: &'static str,
        /// Its bytes before.
        plain: usize,
        /// Its bytes as they are sent.
        sent: usize,
    },
    /// A stream was opened.
    StreamOpened,
    /// A stream ended; the name of the reason.
    StreamClosed(&'static str),
    /// A stream was refused; the name of the reason.
    StreamRefused(&'static str),
    /// A reset was sent; the name of the reason.
    Reset(&'static str),
    /// A connection was served from the store because the ring no longer reached.
    StoreReplay,
    /// A heartbeat was replied to after this long.
    HeartbeatReplied {
        /// The round trip.
        round_trip: Duration,
    },
    /// A heartbeat was not replied to in time.
    HeartbeatMissed,
    /// A bound was reached; its name.
    Full(&'static str),
    /// A part that others stand in for does not serve; its name.
    Degraded(&'static str),
    /// A part that others stood in for serves again; its name.
    Recovered(&'static str),
    /// A circuit breaker does something else with calls from now on.
    Breaker {
        /// Its name.
        name: &'static str,
        /// What it does.
        state: BreakerState,
    },
    /// The level of this node was judged.
    Level {
        /// The level in force.
        level: Level,
        /// What was measured.
        signals: Signals,
    },
    /// Something panicked within a boundary; its name.
    Panicked(&'static str),
    /// A circuit breaker refused a call; its name.
    BreakerRefused(&'static str),
    /// Somebody asked too often.
    Limited {
        /// The name of what for.
        action: &'static str,
        /// The name of whose budget was used up.
        of: &'static str,
    },
    /// A token was refused; the name of the reason.
    TokenRefused(&'static str),
    /// A token for Ably was given out; its form.
    AblyTokenIssued(&'static str),
    /// A token for Ably was refused; the name of the reason.
    AblyTokenRefused(&'static str),
    /// A client was told which transport to listen on.
    TransportSelected {
        /// The name of the transport.
        transport: &'static str,
        /// The name of the reason.
        reason: &'static str,
        /// Whether it was sent to the replay.
        replay: bool,
    },
    /// Ably was told of tokens that were taken back; what it came to.
    AblyRevoked(&'static str),
    /// An event was sent over a pushed transport.
    Pushed {
        /// The name of the outcome.
        outcome: &'static str,
        /// How long the transport took.
        took: Duration,
    },
    /// An event that was to go over a pushed transport was left to the streams; the name of the reason.
    Fallback(&'static str),
    /// A probe went out over a pushed transport.
    Probed {
        /// The name of what became of it.
        outcome: &'static str,
        /// How long it took; nothing where it did not come back.
        took: Option<Duration>,
    },
    /// How Ably is; the name of its health.
    AblyHealth(&'static str),
    /// Which host of Ably is asked first; its name.
    AblyHost(&'static str),
    /// Ably refused an event for good; its own code.
    AblyRefused(u32),
    /// Channels in use at Ably, of one class.
    AblyChannels {
        /// The name of the class.
        class: &'static str,
        /// How many.
        count: usize,
    },
    /// People who hold a token for Ably, of this node.
    AblyHolders(usize),
    /// What waits for Ably.
    AblyBacklog {
        /// Deliveries that have not ended.
        open: u64,
        /// How long the oldest of them has been due.
        age: Duration,
        /// Deliveries that are dead.
        dead: u64,
    },
    /// What Ably is estimated to cost in a month at this rate, in millionths of the currency.
    AblyCost {
        /// The name of what for.
        of: &'static str,
        /// How much.
        micros: u64,
    },
    /// The guard of the rollout looked; what it decided.
    GuardLooked(&'static str),
    /// A delivery ended; the name of its status.
    DeliveryEnded(&'static str),
    /// Pruning dropped events.
    Pruned {
        /// How many.
        events: usize,
    },
    /// Records of the audit trail were written.
    Audited {
        /// How many.
        records: usize,
    },
    /// The audit trail could not be written, and is tried again.
    AuditLate,
    /// Somebody tried what they have no right to; its name.
    Suspicious(&'static str),
    /// Somebody tried it too often; whether they were blocked.
    Blocked(&'static str),
    /// A request was answered.
    Request {
        /// The status.
        status: u16,
        /// How long it took.
        duration: Duration,
    },
}

/// Sees what happens, for metrics. MUST be cheap and MUST NOT block.
pub trait Observer: Send + Sync {
    /// Takes note.
    fn saw(&self, observation: &Observation);
}

/// Shows the metrics to whoever scrapes them.
pub trait Exposition: Send + Sync {
    /// Writes every metric in the Prometheus text format, `text/plain; version=0.0.4`, with the hub as `streams`
    /// describes it at this moment. Every name begins `arauto_`.
    fn render(&self, streams: &StreamsReport) -> String;
}
