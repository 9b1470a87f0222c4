//! What a socket calls. The routes implement these with the use cases.

use std::sync::Arc;
use std::time::Duration;

use application::ports::Subscription;
use async_trait::async_trait;
use domain::ids::NotificationId;
use domain::state::Mark;
use domain::stream::CloseReason;
use domain::time::Timestamp;

use super::close::CloseCode;
use super::op::{Hello, Token};
use super::problem::Problem;

/// The way in: who is calling, and their stream.
///
/// A call MUST end by itself in bounded time: while it is in flight nothing is read. Dropping its future MUST leave
/// nothing open.
#[async_trait]
pub trait Door: Send + Sync {
    /// Verifies who is calling and opens their stream. Without a `hello` a header or a ticket has said who it is.
    async fn open(&self, hello: Option<Hello>) -> Result<Opened, NotOpened>;
}

/// An open stream and what its owner may do.
pub struct Opened {
    /// The stream.
    pub subscription: Box<dyn Subscription>,
    /// The operations of whoever it belongs to.
    pub session: Arc<dyn Session>,
}

/// Why a stream is not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotOpened {
    /// Who is calling, or what they ask for, is refused: an `error` event and a code that says so.
    Refused {
        /// What is wrong.
        problem: Problem,
        /// [`CloseCode::Unauthorised`], [`CloseCode::Forbidden`] or [`CloseCode::BadProtocol`].
        code: CloseCode,
    },
    /// The node cannot serve it now: a `closing` event and the code of its reason.
    Closing {
        /// Why.
        reason: CloseReason,
        /// When to come back.
        after: Duration,
    },
}

/// The operations of one open stream's owner. Each MUST end by itself in bounded time.
#[async_trait]
pub trait Session: Send + Sync {
    /// Takes the reply to a heartbeat.
    async fn heartbeat(&self, sequence: u64) -> Result<(), Problem>;

    /// Marks a notification; the change comes on the stream.
    async fn mark(&self, id: NotificationId, mark: Mark) -> Result<(), Problem>;

    /// Lets the session live on with a fresh token of the same person.
    async fn renew(&self, token: Token) -> Result<SessionTimes, Problem>;
}

/// How long a session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimes {
    /// When it ends.
    pub expires_at: Timestamp,
    /// Renew before this moment.
    pub renew_before: Timestamp,
}
