//! Transports that are pushed to, beside the streams.

use std::sync::Arc;

use async_trait::async_trait;
use domain::breaker::BreakerState;
use domain::channel::Channel;
use domain::outbox::Outcome;
use domain::transport::Transport as Kind;

/// One event on its way over a transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// The event's own id, of `A-Z a-z 0-9 _ -`. It is the same with every attempt, on every node and after every
    /// restart: by it a transport drops a repeat.
    pub id: String,
    /// Where it goes.
    pub channel: Channel,
    /// The event's name, as on the streams.
    pub event: &'static str,
    /// The event's data as JSON text, as on the streams.
    pub data: Arc<str>,
}

/// Which of a transport's hosts is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// The one that it names first, or the only one.
    Primary,
    /// One that stood in for it lately.
    Fallback,
}

impl Host {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Fallback];

    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Fallback => "fallback",
        }
    }
}

/// Carries events to people who listen elsewhere.
///
/// A caller gives each channel at most once in a batch, so that nothing can overtake within it, and has no other
/// batch with the same channel on its way.
///
/// An adapter MUST answer one outcome for each parcel, in order, and MUST NOT take longer than 15 seconds for each
/// request that it makes of a batch. [`Outcome::Accepted`] MUST rest on the transport's own word for that parcel.
/// What cannot be told apart from a failure is [`Outcome::Transient`]: it is sent again with the same id. An adapter
/// MUST refuse by itself what it knows the transport would refuse, such as what is too large.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Transport: Send + Sync {
    /// Says which transport it is.
    fn kind(&self) -> Kind;

    /// Says what becomes of the next call. A transport that stands behind no breaker lets every one through.
    fn breaker(&self) -> BreakerState {
        BreakerState::Closed
    }

    /// Says which host is asked first. A transport with one host has no other.
    fn host(&self) -> Host {
        Host::Primary
    }

    /// Delivers a batch.
    async fn deliver(&self, batch: &[Parcel]) -> Vec<Outcome>;
}
