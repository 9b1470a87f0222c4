//! What the registries across a network share: a node's own books, written behind in batches, and its lease.
//!
//! The node itself knows best which streams it holds. [`Books`] keep them, the [`keeper`] writes what changes to a
//! [`Ledger`] that all nodes share, and after any outage it makes the ledger say again what the books say.

mod books;
mod keeper;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use application::ports::{Presence, TicketId};
use async_trait::async_trait;
use domain::capability::Principal;
use domain::ids::{ConnectionId, UserId};

pub(crate) use books::{Books, Bounds};
pub(crate) use keeper::keep;

/// A node that is silent for this long is dead, and its streams with it.
pub(crate) const LEASE: Duration = Duration::from_secs(15);

/// No ticket outlives this, whatever its token says: databases know an end of time.
pub(crate) const TICKET_KEPT_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3_600);

/// Why a ledger did not serve.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// What is to be written at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Streams that ended.
    pub(crate) leaving: Vec<Entry>,
    /// Streams that were opened, in the order in which they were.
    pub(crate) entering: Vec<Arrival>,
    /// What happened to tickets.
    pub(crate) marks: Vec<Mark>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.leaving.is_empty() && self.entering.is_empty() && self.marks.is_empty()
    }
}

/// A stream that enters the ledger.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) presence: Presence,
    /// How many streams its person may have.
    pub(crate) limit: usize,
    pub(crate) standing: Standing,
}

/// Who goes where an arrival is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was opened just now, whatever the clocks of other nodes say: it stays, and the oldest go.
    Newest,
    /// It was opened a while ago, when the ledger could not be asked: the oldest go, perhaps itself.
    Known,
}

/// A stream and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) user: UserId,
    pub(crate) connection: ConnectionId,
}

/// What happened to a ticket.
#[derive(Debug, Clone)]
pub(crate) enum Mark {
    /// Its session goes on as this person.
    Renewed {
        ticket: TicketId,
        principal: Arc<Principal>,
    },
    /// Its stream was closed for good; kept for this long, at most [`TICKET_KEPT_MAX`].
    Ended { ticket: TicketId, keep: Duration },
}

/// How it stands with a node's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    /// It was held without a break.
    Kept,
    /// It is held from now on: what the node had entered before may be gone.
    Taken,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// For each arrival the streams of the same person beyond the limit, oldest first.
    Done(Vec<Vec<ConnectionId>>),
    /// The node has no lease: what it entered does not count.
    NoLease,
}

/// How much is left of dead nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swept {
    /// Nothing.
    All,
    /// Something.
    Some,
}

/// Where presence and tickets are kept for all nodes. Writing twice MUST do no harm. Everything MUST end in bounded
/// time.
#[async_trait]
pub(crate) trait Ledger: Send + Sync + 'static {
    /// Takes this node's lease, or keeps it for another [`LEASE`].
    async fn claim(&self) -> Result<Lease, Failure>;

    /// Writes a batch: first who leaves, then who enters. An error may have written a part.
    async fn write(&self, batch: &Batch) -> Result<Written, Failure>;

    /// Lists what is entered for this node, by connection.
    async fn own(&self, after: Option<ConnectionId>, limit: usize) -> Result<Vec<Entry>, Failure>;

    /// Takes out a part of what dead nodes left, and what is kept no longer.
    async fn sweep(&self) -> Result<Swept, Failure>;

    /// Gives the lease up: this node's streams are gone.
    async fn release(&self) -> Result<(), Failure>;
}
