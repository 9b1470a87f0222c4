//! Streams: what the edge sees of the hub.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::capability::Principal;
use domain::channel::Channel;
use domain::ids::{ConnectionId, UserId};
use domain::stream::{CloseReason, Resume};

use super::registry::TicketId;
use super::store::StoreError;
use super::wire::Format;

/// Which channels a stream carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// The person's default set, which follows their rights.
    Default,
    /// These alone, as far as the rights go.
    Named(Vec<Channel>),
}

/// A stream to be opened. The rights have been checked.
#[derive(Debug, Clone)]
pub struct OpenStream {
    /// The stream's id.
    pub connection: ConnectionId,
    /// Whose it is.
    pub principal: Arc<Principal>,
    /// Which channels it carries.
    pub selection: Selection,
    /// Where the client stands.
    pub resume: Resume,
    /// How it is written.
    pub format: Format,
    /// The ticket that opened it, marked as ended when the stream is closed for good.
    pub ticket: Option<TicketId>,
}

/// Why a stream was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The node holds as many streams as it may, or is going.
    #[error("this node takes no more streams ({})", reason.as_str())]
    Refused {
        /// Why.
        reason: CloseReason,
        /// When to come back.
        after: Duration,
    },
    /// Where the client stands could not be looked up.
    #[error("the stream's start cannot be looked up")]
    Store(#[from] StoreError),
}

/// Something to be written to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A whole frame in the stream's format, shared with others where it can be.
    Frame(Bytes),
    /// A sign of life that carries nothing, where heartbeats are slow: an SSE comment, a WebSocket ping.
    KeepAlive,
}

/// One open stream, pulled by whoever writes to the socket. Dropping it closes and unregisters the stream.
pub trait Subscription: Send {
    /// Returns the stream's id.
    fn connection(&self) -> ConnectionId;

    /// Gives the next thing to write, or wakes the task when there is one. After `None` the stream is to be
    /// ended; its `closing` has been given before.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Outgoing>>;

    /// Returns why the stream was closed, once it was.
    fn closed(&self) -> Option<CloseReason>;
}

/// A stream that does not exist, or is somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such connection")]
pub struct Unsubscribed;

/// What the hub says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamsReport {
    /// Open streams on this node.
    pub connections: usize,
    /// How many it may hold.
    pub connections_max: usize,
    /// The last position in the ring, as a cursor.
    pub cursor: Option<domain::cursor::Cursor>,
    /// The log's head as last read minus the ring's last position.
    pub lag_positions: u64,
    /// How long ago this node last had everything that was in the log; zero while it has.
    pub lag: Duration,
    /// Events in the ring.
    pub ring_events: usize,
    /// Bytes of the ring.
    pub ring_bytes: usize,
    /// How often a connection was served from the store because the ring no longer reached.
    pub store_reads: u64,
    /// Whether the tail follows the log.
    pub tailing: bool,
}

/// The open streams of this node.
#[async_trait]
pub trait Streams: Send + Sync {
    /// Opens a stream. Its first frames are `retry`, `ready` and, where history cannot be given, `reset`.
    async fn open(&self, request: OpenStream) -> Result<Box<dyn Subscription>, OpenError>;

    /// Takes a reply to a heartbeat on a stream of this user.
    fn replied(&self, user: &UserId, connection: ConnectionId, sequence: u64) -> Result<(), Unsubscribed>;

    /// Tells whether a stream of this node belongs to this user.
    fn owns(&self, user: &UserId, connection: ConnectionId) -> bool;

    /// Says how the hub is.
    fn report(&self) -> StreamsReport;
}
