//! What somebody who has shown credentials may do.

use super::ErrorInfo;
use super::capability::Capability;

/// Rights, who has them, and until when.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) key_name: String,
    pub(super) rights: Capability,
    pub(super) client: Client,
    pub(super) life: Life,
    pub(super) revocation_key: Option<String>,
}

/// For how long a grant counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It is a key.
    Key,
    /// It is a token. Both are milliseconds since the Unix epoch.
    Token { issued_ms: i64, expires_ms: i64 },
}

/// Whom a grant is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Client {
    /// Nobody in particular, and nobody may be claimed.
    Anonymous,
    /// Whoever its holder claims to be.
    Any,
    /// Somebody.
    Named(String),
}

impl Client {
    pub(super) fn of(id: Option<String>) -> Self {
        match id {
            None => Self::Anonymous,
            Some(any) if any == "*" => Self::Any,
            Some(name) => Self::Named(name),
        }
    }

    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::Any | Self::Anonymous => None,
        }
    }

    /// Returns under which id its holder acts, given what they claim.
    pub(super) fn acting_as(&self, claimed: Option<&str>) -> Result<Option<String>, ErrorInfo> {
        match (self, claimed) {
            (Self::Named(own), Some(claimed)) if own != claimed => Err(ErrorInfo::new(
                40012,
                400,
                format!("invalid clientId: this token is for {own}"),
            )),
            (Self::Anonymous, Some(_)) => Err(ErrorInfo::new(
                40012,
                400,
                "invalid clientId: an anonymous token may not claim one",
            )),
            (Self::Named(own), _) => Ok(Some(own.clone())),
            (Self::Any | Self::Anonymous, claimed) => Ok(claimed.map(str::to_owned)),
        }
    }
}

impl Grant {
    pub(super) fn demand(&self, operation: &str, channel: &str) -> Result<(), ErrorInfo> {
        if self.rights.allows(operation, channel) {
            Ok(())
        } else {
            Err(ErrorInfo::not_permitted(operation, channel))
        }
    }

    pub(super) fn has_expired(&self, now_ms: i64) -> bool {
        matches!(self.life, Life::Token { expires_ms, .. } if expires_ms <= now_ms)
    }
}
