//! Which problem each error is.

use application::error::Error;
use application::limits::{Limited, Of};
use application::ports::{Refusal, StoreError, TokenError};
use application::rollout::RolloutError;
use application::settings::ChangeError;
use application::tickets::TicketError;
use poem::http::StatusCode;

use std::time::Duration;

use super::{Kind, Problem};

/// Keys come back with the next fetch; their cache asks no sooner.
pub(in crate::http) const KEYS_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Whoever holds the marks of spent tickets comes back within its breaker's time.
const TICKETS_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Settings that did not answer are asked for again that soon, here as by the nodes that follow them.
const SETTINGS_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A document that another version of the service wrote is readable when this node was replaced.
const UPGRADE_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The protection space of RFC 7235.
const REALM: &str = "Bearer realm=\"arauto\"";

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Forbidden(_) => Self::new(Kind::Forbidden, detail),
            Error::NotFound(what) | Error::Foreign(what) => Self::not_found(what),
            Error::Invalid(errors) => Self::fields(errors),
            Error::OtherHistory(_) => Self::new(Kind::CursorOfAnotherHistory, detail),
            Error::TooLarge { .. } => Self::new(Kind::NotificationTooLarge, detail),
            Error::Refused(refusal) => refusal.into(),
            Error::Store(error) => error.into(),
            Error::SessionOver => TokenError::Expired.into(),
            Error::Limited { limit, retry_after } => {
                Self::new(Kind::RateLimited, detail).limited(limit, retry_after)
            }
            Error::Unavailable { retry_after, .. } => {
                Self::new(Kind::Unavailable, detail).retry_after(retry_after)
            }
        }
    }
}

impl From<Limited> for Problem {
    fn from(limited: Limited) -> Self {
        let left = limited.0;
        let kind = if left.of == Of::Block {
            Kind::Blocked
        } else {
            Kind::RateLimited
        };
        Self::new(kind, limited.to_string()).limited(left.limit, left.reset)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::KeyReused => Self::new(Kind::IdempotencyKeyReused, detail),
            Refusal::Full { retry_after, .. } => {
                Self::new(Kind::CapacityReached, detail).retry_after(retry_after)
            }
            Refusal::Unstorable => Self::new(Kind::InternalError, detail),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Unavailable { retry_after } => {
                Self::new(Kind::StoreUnavailable, detail).retry_after(retry_after)
            }
            StoreError::OutcomeUnknown { retry_after } => {
                Self::new(Kind::OutcomeUnknown, detail).retry_after(retry_after)
            }
        }
    }
}

impl From<RolloutError> for Problem {
    fn from(error: RolloutError) -> Self {
        let detail = error.to_string();
        match error {
            RolloutError::Conflict { .. } => Self::new(Kind::SettingsChanged, detail),
            RolloutError::Unreadable(_) => {
                Self::new(Kind::Unavailable, detail).retry_after(UPGRADE_RETRY_AFTER)
            }
            RolloutError::Contended
            | RolloutError::Change(ChangeError::Settings(_) | ChangeError::NotTold(_)) => {
                Self::new(Kind::Unavailable, detail).retry_after(SETTINGS_RETRY_AFTER)
            }
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let detail = error.to_string();
        let kind = match error {
            TokenError::KeysUnavailable => {
                return Self::new(Kind::Unavailable, detail).retry_after(KEYS_RETRY_AFTER);
            }
            TokenError::Expired => Kind::TokenExpired,
            TokenError::Revoked => Kind::TokenRevoked,
            TokenError::SubjectNotAddressable => Kind::SubjectNotAddressable,
            TokenError::TooManyMemberships => Kind::TooManyMemberships,
            TokenError::Malformed(_)
            | TokenError::AlgorithmNotAccepted
            | TokenError::UnknownKey
            | TokenError::BadSignature
            | TokenError::NotYetValid
            | TokenError::WrongIssuer
            | TokenError::WrongAudience => Kind::TokenInvalid,
        };
        let quotable: String = detail.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
        let challenge = format!("{REALM}, error=\"invalid_token\", error_description=\"{quotable}\"");
        Self::new(kind, detail).challenge(&challenge)
    }
}

/// Nobody said who is calling.
pub(in crate::http) fn token_missing() -> Problem {
    let detail = "the header Authorization: Bearer is missing";
    Problem::new(Kind::TokenMissing, detail).challenge(REALM)
}

/// Tickets cannot be checked just now.
pub(in crate::http) fn tickets_unavailable() -> Problem {
    Problem::new(Kind::Unavailable, TicketError::Unavailable.to_string()).retry_after(TICKETS_RETRY_AFTER)
}

/// What a refused ticket means for the request that showed it.
pub(in crate::http) enum TicketRefusal {
    /// The caller is told by a status.
    Problem(Problem),
    /// The stream was closed for good: 204, which ends a native `EventSource`.
    Ended,
    /// It cannot be checked now.
    Later,
}

impl From<TicketError> for TicketRefusal {
    fn from(error: TicketError) -> Self {
        let problem = |kind| Self::Problem(Problem::new(kind, error.to_string()).challenge(REALM));
        match error {
            TicketError::Invalid => problem(Kind::TicketInvalid),
            TicketError::CookieMismatch => problem(Kind::TicketReplayed),
            TicketError::Expired => problem(Kind::TicketExpired),
            TicketError::Revoked => problem(Kind::TokenRevoked),
            TicketError::Ended => Self::Ended,
            TicketError::Unavailable => Self::Later,
        }
    }
}

/// Names why a token was refused, for operators.
pub(in crate::http) const fn token_refusal(error: &TokenError) -> &'static str {
    match error {
        TokenError::Malformed(_) => "malformed",
        TokenError::AlgorithmNotAccepted => "algorithm",
        TokenError::UnknownKey => "unknown-key",
        TokenError::BadSignature => "signature",
        TokenError::Expired => "expired",
        TokenError::Revoked => "revoked",
        TokenError::NotYetValid => "not-yet-valid",
        TokenError::WrongIssuer => "issuer",
        TokenError::WrongAudience => "audience",
        TokenError::SubjectNotAddressable => "subject",
        TokenError::TooManyMemberships => "memberships",
        TokenError::KeysUnavailable => "keys-unavailable",
    }
}

impl From<poem::Error> for Problem {
    /// Takes what the web framework says: an unknown address, a body that was cut off.
    fn from(error: poem::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(problem) => return problem,
            Err(error) => error,
        };
        match error.status() {
            StatusCode::NOT_FOUND => Self::not_found("address"),
            status if status.is_client_error() => Self::new(Kind::InvalidRequest, error.to_string()),
            _ => Self::internal(&error),
        }
    }
}

impl Problem {
    /// States that something went wrong here. The caller learns nothing of it; the log does.
    pub(in crate::http) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request could not be answered");
        Self::new(Kind::InternalError, "the request could not be answered")
    }
}
