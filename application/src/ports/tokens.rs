//! Tokens: who is calling.

use std::time::Duration;

use async_trait::async_trait;
use domain::capability::Principal;

/// Why a token does not count. `Display` is fit for the caller: it names no key and no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no JWT, or a claim has the wrong shape.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Its algorithm is not the one that its key is for; `none` is never one.
    #[error("the token's algorithm is not accepted")]
    AlgorithmNotAccepted,
    /// No configured key made it.
    #[error("the token was not signed by a known key")]
    UnknownKey,
    /// Its signature is wrong.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It was taken back.
    #[error("the token was revoked")]
    Revoked,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Somebody else issued it.
    #[error("the token's issuer is not accepted")]
    WrongIssuer,
    /// It is meant for another service.
    #[error("the token's audience is not this service")]
    WrongAudience,
    /// Its subject cannot stand inside a channel name.
    #[error("the token's subject is not 1 to 64 of A-Z a-z 0-9 _ -")]
    SubjectNotAddressable,
    /// It names more units and benefits than a stream can carry.
    #[error("the token names too many units and benefits")]
    TooManyMemberships,
    /// The keys cannot be fetched just now.
    #[error("the token's key cannot be fetched just now")]
    KeysUnavailable,
}

/// Verifies tokens.
///
/// An adapter MUST pin the algorithm by the key, MUST verify before it believes any claim, and MUST NOT take an
/// address or a key from the token.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Verifies a token and says who is calling.
    async fn verify(&self, token: &str) -> Result<Principal, TokenError>;
}

/// Makes tokens, for development and scripts.
pub trait Mint: Send + Sync {
    /// Makes a token for a person that counts for `ttl`; the principal's own expiry is not looked at.
    fn mint(&self, principal: &Principal, ttl: Duration) -> Result<String, TokenError>;
}
