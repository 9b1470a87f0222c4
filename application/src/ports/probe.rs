//! Probes: whether a part that the service can do without serves.

use async_trait::async_trait;

/// A part that the service may be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The database.
    Postgres,
    /// Redis.
    Redis,
    /// Ably.
    Ably,
}

impl Part {
    /// Returns the name in addresses and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Ably => "ably",
        }
    }
}

/// The part does not do what it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not serve")]
pub struct NotServing;

/// Tries a part that the service can do without.
///
/// The store is none of these: without it there is no service, and its head is the probe.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Probe: Send + Sync {
    /// Says what is tried.
    fn part(&self) -> Part;

    /// Has the part do a little of what it is there for. MUST answer within a second, whatever the part does; a part
    /// that failed may be left alone for two seconds before it is tried again.
    async fn probe(&self) -> Result<(), NotServing>;
}
