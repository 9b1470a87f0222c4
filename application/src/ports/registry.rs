//! The registry: who is connected, and which tickets were spent.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::capability::Principal;
use domain::ids::{ConnectionId, UserId};
use domain::time::Timestamp;

/// The random identity of a ticket.
pub type TicketId = u128;

/// One open stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The stream.
    pub connection: ConnectionId,
    /// Whose it is.
    pub user: UserId,
    /// Since when.
    pub opened_at: Timestamp,
}

/// What a ticket has been through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// This is its first use; it counts as spent from here on.
    First,
    /// It has been used before.
    Again,
    /// Its stream was closed for good.
    Ended,
}

/// Why the registry did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached.
    #[error("the registry is unavailable")]
    Unavailable,
    /// It holds as much as it may.
    #[error("the registry is full")]
    Full,
}

/// Who is connected in the whole cluster, and which tickets were spent.
///
/// An adapter MUST spend a ticket exactly once, atomically across nodes, and MUST forget a dead node's
/// connections within one lease. Contract suite: `tests/it/contract/registry.rs`.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Registry: Send + Sync {
    /// Enters a stream and returns which older streams of the same user go beyond `limit`, oldest first. They
    /// stay entered until they leave.
    async fn enter(&self, presence: Presence, limit: usize) -> Result<Vec<ConnectionId>, RegistryError>;

    /// Waits for streams beyond their person's limit that nobody was told of when they were entered, because the
    /// registry could not be asked then. An adapter across a network MUST find them when it is back, each at most
    /// until it is returned here. Cancelling loses none.
    async fn surplus(&self) -> Vec<ConnectionId>;

    /// Takes a stream out. Never waits: an adapter across a network writes behind.
    fn leave(&self, user: &UserId, connection: ConnectionId);

    /// Counts the streams in the cluster.
    async fn count(&self) -> Result<usize, RegistryError>;

    /// Lists up to `limit` streams of the cluster by connection, beginning after one.
    async fn list(&self, after: Option<ConnectionId>, limit: usize) -> Result<Vec<Presence>, RegistryError>;

    /// Says whose a stream is, on whichever node; `None` when there is no such stream.
    async fn owner(&self, connection: ConnectionId) -> Result<Option<UserId>, RegistryError>;

    /// Uses a ticket and says what it had been through. The mark is kept for `keep`.
    async fn spend(&self, ticket: TicketId, keep: Duration) -> Result<Spent, RegistryError>;

    /// Lets a ticket's session go on as this person until the person's token expires. Never waits.
    fn renew(&self, ticket: TicketId, principal: Arc<Principal>);

    /// Says as whom a ticket's session goes on, if it was renewed.
    async fn renewed(&self, ticket: TicketId) -> Result<Option<Arc<Principal>>, RegistryError>;

    /// Marks a ticket's stream as closed for good. The mark is kept for `keep`. Never waits.
    fn end(&self, ticket: TicketId, keep: Duration);
}
