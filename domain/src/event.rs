//! Events: everything that a client can receive, and the control that only nodes see.

use std::sync::Arc;

use crate::capability::Principal;
use crate::channel::Channel;
use crate::cursor::{Cursor, Position};
use crate::ids::{ConnectionId, NotificationId};
use crate::notification::Notification;
use crate::stream::CloseReason;
use crate::time::Timestamp;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the log.
    pub position: Position,
    /// When it was accepted.
    pub at: Timestamp,
    /// What happened.
    pub change: Change,
}

impl Event {
    /// Returns the channel that carries it; `None` for control, which no client ever gets.
    pub const fn channel(&self) -> Option<&Channel> {
        match &self.change {
            Change::Published { channel, .. }
            | Change::Retracted { channel, .. }
            | Change::Marked { channel, .. } => Some(channel),
            Change::Erased | Change::Control(_) => None,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A notification became visible on a channel.
    Published {
        /// The channel that carries it.
        channel: Channel,
        /// The notification, held once however many events refer to it.
        notification: Arc<Notification>,
    },
    /// A notification is gone from a channel that carried it.
    Retracted {
        /// The channel that had carried it.
        channel: Channel,
        /// Which one.
        id: NotificationId,
    },
    /// A person's own marks changed; goes to all of that person's devices.
    Marked {
        /// The person's own channel.
        channel: Channel,
        /// What changed.
        marks: Marked,
    },
    /// Its content was erased; the place in the log remains, so that positions stay contiguous.
    Erased,
    /// For nodes alone.
    Control(Control),
}

/// How a person's marks changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marked {
    /// What was done, and to what.
    pub what: MarkedWhat,
    /// How many are unread, exact at `unread_as_of`.
    pub unread: u64,
    /// The place in the log at which `unread` was exact.
    pub unread_as_of: Cursor,
}

/// What a person did, and to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkedWhat {
    /// One notification.
    One(NotificationId, MarkName),
    /// Everything up to a cursor was read.
    ReadAll {
        /// The last place that counts as read.
        up_to: Cursor,
    },
}

/// The names of marks in `state` events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkName {
    /// `read`
    Read,
    /// `unread`
    Unread,
    /// `archived`
    Archived,
    /// `unarchived`
    Unarchived,
    /// `acknowledged`
    Acknowledged,
}

impl From<crate::state::Mark> for MarkName {
    fn from(mark: crate::state::Mark) -> Self {
        use crate::state::Mark;
        match mark {
            Mark::Read => Self::Read,
            Mark::Unread => Self::Unread,
            Mark::Archive => Self::Archived,
            Mark::Unarchive => Self::Unarchived,
            Mark::Acknowledge => Self::Acknowledged,
        }
    }
}

/// What nodes tell each other through the log, each once and in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// A stream goes on with a fresh token's rights.
    Renewed {
        /// The stream.
        connection: ConnectionId,
        /// Whose rights it now has.
        principal: Arc<Principal>,
    },
    /// A stream is to be closed.
    Closed {
        /// The stream.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// A settings document was written.
    Changed {
        /// Its name.
        document: Arc<str>,
        /// How often it has been written.
        version: u64,
    },
}
