//! The bus: a doorbell between nodes.

use std::sync::Arc;

use async_trait::async_trait;
use domain::cursor::{Cursor, Epoch};
use domain::event::Event;
use domain::ids::{ConnectionId, UserId};

/// A hint that the log has grown, with copies of the events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doorbell {
    /// The history that the events belong to.
    pub epoch: Epoch,
    /// The events, in position order. Shared: nodes of one process pass the same copies on.
    pub events: Arc<[Arc<Event>]>,
}

/// A reply to a heartbeat that reached another node than the one that holds the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The stream, which names its node.
    pub connection: ConnectionId,
    /// Who replied.
    pub user: UserId,
    /// Which heartbeat.
    pub sequence: u64,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rung {
    /// The doorbell, with copies.
    Doorbell(Doorbell),
    /// The log has grown up to here: read it.
    Head(Cursor),
    /// The log has grown up to here through this very node, which announces copies as soon as it knows.
    Ours(Cursor),
    /// Replies to heartbeats, for whichever node holds the streams.
    Replies(Arc<[Reply]>),
    /// Some may have been missed: read the log.
    Missed,
}

/// A doorbell between nodes.
///
/// An adapter MUST work in bounded memory and MAY lose, repeat or reorder: tails repair all of that from the log.
/// It MUST NOT make a publisher wait for a listener and MUST NOT fail one. What is announced after `listen`
/// returned is heard, unless [`Rung::Missed`] is. Contract suite: `tests/it/contract/bus.rs`.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Bus: Send + Sync {
    /// Rings. Problems are the adapter's to report, not the caller's.
    async fn announce(&self, doorbell: Doorbell);

    /// Passes a reply to a heartbeat on to the node that holds the stream. Never waits: an adapter across a network
    /// sends several at once. One that is lost counts as a missed reply.
    fn forward(&self, reply: Reply);

    /// Begins to listen.
    fn listen(&self) -> Box<dyn Listener>;
}

/// One listener's end of the bus.
#[async_trait]
pub trait Listener: Send {
    /// Waits for the next ring. Cancelling the wait loses nothing.
    async fn next(&mut self) -> Rung;
}
