//! Ably tokens: what a browser shows to Ably instead of a key.

use std::time::Duration;

use async_trait::async_trait;
use domain::channel::Channel;
use domain::ids::UserId;
use domain::outbox::Outcome;
use domain::revocation::Revocation;
use domain::time::Timestamp;

use crate::rights::Past;

/// What somebody may do at Ably, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AblyGrant {
    /// Who it is for. It becomes the client id, which a client cannot change.
    pub person: UserId,
    /// The channels they may subscribe to, and on which of them they may read the history. Never empty.
    pub channels: Vec<(Channel, Past)>,
    /// The name under which tokens of this session can be revoked: at most 80 of `A-Z a-z 0-9 _ - .`.
    pub session: String,
    /// When it is granted.
    pub issued_at: Timestamp,
    /// When it ends: at least a second and at most an hour later.
    pub expires_at: Timestamp,
}

/// The form of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AblyFormat {
    /// A JSON Web Token, which Ably takes as it is.
    Jwt,
    /// A signed request, which Ably exchanges for a token: once, within two minutes.
    Request,
}

/// A token, or the request for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AblyToken {
    /// Signed just now.
    Jwt(String),
    /// Signed earlier, with a fifth of its life or more to go.
    CachedJwt(String),
    /// To be exchanged by the client.
    Request(AblyTokenRequest),
}

impl AblyToken {
    /// Returns the stable label.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Jwt(_) => "jwt",
            Self::CachedJwt(_) => "jwt-cached",
            Self::Request(_) => "request",
        }
    }
}

/// A signed request for a token, as the body that a client sends to Ably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AblyTokenRequest {
    /// The part of the key in front of its secret.
    pub key_name: String,
    /// How long the token is to count.
    pub ttl: Duration,
    /// The rights, as the text that was signed.
    pub capability: String,
    /// Who the token is for.
    pub client_id: String,
    /// When it was signed.
    pub timestamp: Timestamp,
    /// Random, used once.
    pub nonce: String,
    /// The signature, in base64.
    pub mac: String,
}

/// Why there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AblyTokenError {
    /// The grant names no channel. Ably gives a token without rights of its own all rights of its key.
    #[error("a token without any channel is not signed")]
    NoChannel,
    /// It cannot be written.
    #[error("the token cannot be written")]
    Unwritable,
}

/// Signs tokens for Ably.
///
/// An adapter MUST give exactly the rights of the grant: `subscribe`, and `history` where the past is given, never
/// `publish`. It MUST refuse a grant without channels, MUST NOT let a token count beyond the grant's end, MUST sign
/// each request for a token anew, and MAY answer a JWT again that has the same rights, person and session. Where a
/// JWT would be longer than Ably's clients can send, it MUST answer a request instead.
#[cfg_attr(feature = "testing", mockall::automock)]
pub trait AblySigner: Send + Sync {
    /// Signs a token for a grant.
    fn sign(&self, grant: &AblyGrant, format: AblyFormat) -> Result<AblyToken, AblyTokenError>;

    /// Forgets the JWTs that a revocation hits, as far as it can tell, and MUST NOT answer any JWT again that was
    /// signed up to the second in which the revocation settles: Ably takes it for one that was taken back.
    fn forget(&self, revocation: &Revocation);
}

/// Whose tokens are taken back at Ably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AblyTarget {
    /// A person's.
    Client(UserId),
    /// Those of a session, as its grant names it.
    Session(String),
}

/// Takes tokens back at Ably, which closes their connections.
///
/// An adapter MUST answer one outcome for each target, in order, and [`Outcome::Accepted`] MUST rest on Ably's own word
/// for that target.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait AblyRevoker: Send + Sync {
    /// Takes back what was issued before a moment, which lies in the past by less than an hour.
    async fn revoke(&self, targets: &[AblyTarget], issued_before: Timestamp) -> Vec<Outcome>;
}
