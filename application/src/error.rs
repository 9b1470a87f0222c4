//! What can go wrong in a use case.

use std::time::Duration;

use domain::notification::FieldError;

use crate::ports::{Refusal, StoreError};

/// What can go wrong in a use case. The edge turns it into a problem; nothing else knows status codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The capability matrix does not give it.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing, or it is none of the caller's business.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It is somebody else's. The caller is told the same as where there is none.
    #[error("there is no such {0}")]
    Foreign(&'static str),
    /// Fields of the request are wrong.
    #[error("{} of the request cannot be taken", fields_phrase(.0.len()))]
    Invalid(Vec<FieldError>),
    /// A cursor belongs to another history than the one in force.
    #[error("{0}: the cursor belongs to an earlier history; begin again without it")]
    OtherHistory(&'static str),
    /// The notification is larger than may be sent.
    #[error("the notification takes {actual} bytes as sent, at most {limit} are taken")]
    TooLarge {
        /// What is taken.
        limit: usize,
        /// What it takes.
        actual: usize,
    },
    /// One item of a batch was refused by the store.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller's token ends before anything could come of the request.
    #[error("the token has expired")]
    SessionOver,
    /// The caller asked more often than anybody may.
    #[error("at most {limit} a minute are answered")]
    Limited {
        /// How many a minute.
        limit: u32,
        /// When to ask again.
        retry_after: Duration,
    },
    /// A part other than the store failed.
    #[error("the {part} is unavailable")]
    Unavailable {
        /// Which part.
        part: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
}

impl Error {
    /// Names one field and says what is wrong with it.
    pub fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, detail)])
    }
}

fn fields_phrase(count: usize) -> String {
    if count == 1 {
        "one field".to_owned()
    } else {
        format!("{count} fields")
    }
}
