//! Which answers speak against the part that gave them.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{LimiterUnavailable, ReadError, RegistryError, SettingsError, StoreError};
use domain::breaker::{CallOutcome, Refused};

use super::circuit::Circuit;

/// An open breaker closes as soon as the part is back: whoever was refused comes back sooner than it says.
const COME_BACK: Duration = Duration::from_secs(5);
/// A read that was given up may be repeated that soon.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// What can go wrong with a call.
pub(super) trait Trouble: Sized {
    /// What a caller is told whose call was not made: nothing was written.
    fn held(retry_after: Duration) -> Self;

    /// Whether the part did not serve. Whatever else it says proves that it does.
    fn speaks_against_the_part(&self) -> bool;
}

impl Trouble for StoreError {
    fn held(retry_after: Duration) -> Self {
        Self::Unavailable { retry_after }
    }

    fn speaks_against_the_part(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::OutcomeUnknown { .. } => true,
        }
    }
}

impl Trouble for ReadError {
    fn held(retry_after: Duration) -> Self {
        Self::Store(StoreError::held(retry_after))
    }

    fn speaks_against_the_part(&self) -> bool {
        match self {
            Self::Store(error) => error.speaks_against_the_part(),
            Self::Expired { .. } | Self::EpochChanged { .. } => false,
        }
    }
}

impl Trouble for SettingsError {
    fn held(_: Duration) -> Self {
        Self::Unavailable
    }

    fn speaks_against_the_part(&self) -> bool {
        match self {
            Self::Unavailable => true,
            Self::Conflict { .. } => false,
        }
    }
}

impl Trouble for RegistryError {
    fn held(_: Duration) -> Self {
        Self::Unavailable
    }

    fn speaks_against_the_part(&self) -> bool {
        match self {
            Self::Unavailable => true,
            Self::Full => false,
        }
    }
}

impl Trouble for LimiterUnavailable {
    fn held(_: Duration) -> Self {
        Self
    }

    fn speaks_against_the_part(&self) -> bool {
        true
    }
}

/// Says when it is worth coming back to an open breaker.
pub(super) fn come_back(refused: Refused) -> Duration {
    refused.retry_after.clamp(READ_AGAIN, COME_BACK)
}

impl Circuit {
    /// Makes a call where it is permitted, and takes its time.
    pub(super) async fn guard<T, E: Trouble>(
        self: &Arc<Self>,
        name: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let call = self.permit(name).map_err(|refused| E::held(come_back(refused)))?;
        let answer = work.await;
        call.over(match &answer {
            Err(error) if error.speaks_against_the_part() => CallOutcome::Failure,
            _ => CallOutcome::Success,
        });
        answer
    }

    /// The same for a question that leaves no traces: it is given up after the breaker's time.
    pub(super) async fn ask<T, E: Trouble>(
        self: &Arc<Self>,
        name: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let at_most = self.timeout();
        self.guard(name, async {
            let answer = tokio::time::timeout(at_most, work).await;
            answer.unwrap_or_else(|_| Err(E::held(READ_AGAIN)))
        })
        .await
    }
}
