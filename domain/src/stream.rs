//! What a stream says about itself: how it opened, why it ends, when to come back.

use std::time::Duration;

use crate::cursor::Cursor;
use crate::time::Timestamp;

/// Why a stream is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The token's time is over and it was not renewed.
    TokenExpired,
    /// The right to be here was taken away.
    Revoked,
    /// This node is going.
    ShuttingDown,
    /// Too many requests.
    RateLimited,
    /// This node cannot take or serve it now.
    Overloaded,
    /// A newer stream of the same person took its place.
    Replaced,
    /// The peer stopped answering heartbeats. It is told in case it still reads.
    Unresponsive,
}

impl CloseReason {
    /// Returns the name on the wire. A peer that went silent is told that the node gave it up as overloaded
    /// would: come back and resume.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenExpired => "token_expired",
            Self::Revoked => "revoked",
            Self::ShuttingDown => "shutting_down",
            Self::RateLimited => "rate_limited",
            Self::Overloaded | Self::Unresponsive => "overloaded",
            Self::Replaced => "replaced",
        }
    }

    /// Tells whether the client should come back by itself.
    pub const fn reconnect(self) -> bool {
        match self {
            Self::ShuttingDown | Self::RateLimited | Self::Overloaded | Self::Unresponsive => true,
            Self::TokenExpired | Self::Revoked | Self::Replaced => false,
        }
    }
}

/// Why history cannot be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResetReason {
    /// The history between is gone.
    Expired,
    /// The cursor belongs to another history.
    EpochChanged,
    /// The cursor is none of ours.
    Unknown,
}

impl ResetReason {
    /// Returns the name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::EpochChanged => "epoch_changed",
            Self::Unknown => "unknown",
        }
    }
}

/// Tells a client that history between two cursors cannot be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// Why.
    pub reason: ResetReason,
    /// What the client knew; absent when it could not be read.
    pub from: Option<Cursor>,
    /// Where the stream goes on.
    pub to: Cursor,
    /// How long to wait before the inbox is loaded again, so that not everybody does so at once.
    pub reload_after: Duration,
}

/// Where a client stands when it opens a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// It is new: it starts from the live position.
    Live,
    /// It has everything up to here.
    After(Cursor),
    /// It showed a cursor that cannot be read.
    Unreadable,
}

/// A draw between 0 and 1, made by the `Entropy` port.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter(f64);

impl Jitter {
    /// No jitter: the earliest moment.
    pub const NONE: Self = Self(0.0);

    /// Takes the top 53 bits of a random word, as many as an `f64` tells apart.
    pub fn from_bits(bits: u64) -> Self {
        // 53 bits fit an f64 exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
        let share = (bits >> 11) as f64 / (1_u64 << 53) as f64;
        Self(share)
    }

    /// Returns a moment spread evenly over the window.
    pub fn of(self, window: Duration) -> Duration {
        window.mul_f64(self.0)
    }
}

/// A renewal should arrive this long before the end, whatever the network does to it.
const RENEWAL_MARGIN: Duration = Duration::from_secs(10);

/// Returns the moment before which a session is to be renewed, for sessions warned this long before their end.
pub fn renew_before(expires_at: Timestamp, warning: Duration) -> Timestamp {
    expires_at.minus(RENEWAL_MARGIN.min(warning / 2))
}

/// How clients are spread when they come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconnectSpread {
    /// Nobody comes back sooner.
    pub floor: Duration,
    /// The window is never shorter.
    pub window_min: Duration,
    /// The window is never longer: people wait behind it.
    pub window_max: Duration,
    /// The window grows so that about this many come back in a second.
    pub per_second: u32,
}

impl Default for ReconnectSpread {
    /// 10,000 streams come back over five seconds; a node accepts several times that.
    fn default() -> Self {
        Self {
            floor: Duration::from_secs(1),
            window_min: Duration::from_secs(2),
            window_max: Duration::from_secs(60),
            per_second: 2_000,
        }
    }
}

impl ReconnectSpread {
    /// Returns when one of `connections` clients should come back.
    pub fn delay(&self, connections: usize, jitter: Jitter) -> Duration {
        let seconds = u64::try_from(connections).unwrap_or(u64::MAX) / u64::from(self.per_second.max(1));
        let window =
            Duration::from_secs(seconds).clamp(self.window_min, self.window_max.max(self.window_min));
        self.floor + jitter.of(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_spread_over_a_window_that_grows_with_the_connections() {
        let spread = ReconnectSpread::default();
        let latest = Jitter::from_bits(u64::MAX);
        assert_eq!(spread.delay(0, Jitter::NONE), Duration::from_secs(1));
        assert!(spread.delay(0, latest) <= Duration::from_secs(3));
        assert!(spread.delay(100_000, latest) > Duration::from_secs(50));
        assert!(spread.delay(usize::MAX, latest) <= Duration::from_secs(61));
    }

    #[test]
    fn only_streams_that_may_come_back_are_told_to() {
        use CloseReason::{
            Overloaded, RateLimited, Replaced, Revoked, ShuttingDown, TokenExpired, Unresponsive,
        };
        assert!(
            [ShuttingDown, RateLimited, Overloaded, Unresponsive]
                .iter()
                .all(|reason| reason.reconnect())
        );
        assert!(
            ![TokenExpired, Revoked, Replaced]
                .iter()
                .any(|reason| reason.reconnect())
        );
    }

    #[test]
    fn jitter_stays_within_its_window() {
        assert!(Jitter::from_bits(u64::MAX).of(Duration::from_secs(10)) <= Duration::from_secs(10));
        assert_eq!(Jitter::from_bits(0).of(Duration::from_secs(10)), Duration::ZERO);
    }
}
