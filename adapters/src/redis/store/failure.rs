//! Why something could not be done, and what that means to whoever asked.

use std::time::Duration;

use application::ports::StoreError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::fitness::Unfit;
use crate::record::Unreadable;

/// A Redis that is away is often back by then.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Whether what is asked leaves traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Reads,
    Writes,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Failure {
    #[error("Redis does not do what it is asked")]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("what Redis says cannot be read")]
    Unreadable(#[from] Unreadable),
    #[error("Redis does not answer in time")]
    Late,
}

impl Failure {
    /// Tells whether Redis itself said no: then nothing was written, because a script is run whole or not at all.
    pub(in super::super) fn is_refusal(&self) -> bool {
        match self {
            Self::Redis(error) => {
                !error.is_io_error() && matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
            }
            Self::Unfit(_) => true,
            Self::Unreadable(_) | Self::Late => false,
        }
    }

    /// Tells whether the same may succeed in a moment: Redis is away, starting, or no longer the primary.
    pub(in super::super) fn passes(&self) -> bool {
        match self {
            Self::Redis(error) => {
                !self.is_refusal()
                    || matches!(
                        error.kind(),
                        ErrorKind::Server(
                            ServerErrorKind::BusyLoading
                                | ServerErrorKind::MasterDown
                                | ServerErrorKind::ReadOnly
                                | ServerErrorKind::TryAgain
                        )
                    )
            }
            Self::Late => true,
            Self::Unfit(_) | Self::Unreadable(_) => false,
        }
    }

    /// Says it once in the log, and what it means to whoever is told no more than whether it can be done. `sent` says
    /// whether the question went out, so that it may have been answered.
    pub(in super::super) fn said(&self, kind: Kind, sent: bool) -> StoreError {
        self.log();
        if kind == Kind::Writes && sent && !self.is_refusal() {
            outcome_unknown()
        } else {
            unavailable()
        }
    }

    /// Says it once in the log, where it is handled.
    pub(in super::super) fn log(&self) {
        let cause = std::error::Error::source(self).map(ToString::to_string);
        tracing::warn!(error = %self, cause, store = "redis", "Redis was asked in vain");
    }
}

pub(in super::super) const fn unavailable() -> StoreError {
    StoreError::Unavailable {
        retry_after: RETRY_AFTER,
    }
}

pub(in super::super) const fn outcome_unknown() -> StoreError {
    StoreError::OutcomeUnknown {
        retry_after: RETRY_AFTER,
    }
}
