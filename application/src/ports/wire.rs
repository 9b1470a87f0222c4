//! What goes to clients, before it has a format.

use std::time::Duration;

use bytes::Bytes;
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch};
use domain::event::Event;
use domain::ids::ConnectionId;
use domain::notification::Notification;
use domain::stream::{CloseReason, Reset};
use domain::time::Timestamp;

/// A wire format of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `text/event-stream`
    Sse,
    /// The same in gzip: pieces that are compressed once for all streams. What a piece is, the edge alone knows.
    SseGzip,
    /// `arauto.v1`: one JSON text frame each.
    WebSocket,
}

impl Format {
    /// How many formats there are.
    pub const COUNT: usize = 3;

    /// Returns the format's place, below [`Format::COUNT`].
    pub const fn index(self) -> usize {
        match self {
            Self::Sse => 0,
            Self::SseGzip => 1,
            Self::WebSocket => 2,
        }
    }
}

/// How a stream opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The stream's own id, for heartbeat replies and renewal.
    pub connection: ConnectionId,
    /// The position that the stream starts from.
    pub cursor: Cursor,
    /// Whether it goes on from the client's own cursor.
    pub resumed: bool,
    /// How often heartbeats come at first.
    pub heartbeat_interval: Duration,
    /// The channels it carries.
    pub channels: Vec<Channel>,
    /// When the session ends unless it is renewed.
    pub expires_at: Timestamp,
}

/// Something that a client is sent.
#[derive(Debug, Clone, Copy)]
pub enum Message<'a> {
    /// How long to wait before coming back. Only event streams have it.
    Retry(Duration),
    /// The stream is open.
    Ready(&'a Ready),
    /// An event of the log that clients can receive.
    Event(Epoch, &'a Event),
    /// Are you there? And: you have everything up to this cursor.
    Heartbeat {
        /// The position up to which the connection has been sent everything.
        cursor: Cursor,
        /// To be replied with.
        sequence: u64,
        /// When it was made.
        sent_at: Timestamp,
    },
    /// History cannot be given.
    Reset(&'a Reset),
    /// The session ends soon.
    Session {
        /// When it ends.
        expires_at: Timestamp,
        /// Renew before this moment.
        renew_before: Timestamp,
    },
    /// The stream ends here. Event streams repeat `after` as a `retry:` line.
    Closing {
        /// Why.
        reason: CloseReason,
        /// When to come back.
        after: Duration,
    },
}

/// An event of the log outside a stream: the same name, id and text as on one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The event's name.
    pub event: &'static str,
    /// The cursor after it.
    pub id: Cursor,
    /// The JSON text of its data, on one line.
    pub data: String,
}

/// Writes messages in a wire format.
pub trait Encoder: Send + Sync {
    /// Writes a message whole: a frame is never split or joined by the caller. Empty when the format has no such
    /// message.
    fn encode(&self, format: Format, message: &Message<'_>) -> Bytes;

    /// Renders an event of the log; `None` for what no client ever gets.
    fn render(&self, epoch: Epoch, event: &Event) -> Option<Rendered>;

    /// Returns the size of a notification as sent, in bytes.
    fn notification_bytes(&self, notification: &Notification) -> usize;
}
