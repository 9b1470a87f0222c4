//! A published notification and what it weighs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::size_of;
use std::sync::Arc;

use domain::channel::Channel;
use domain::cursor::Position;
use domain::event::{Change, Control, Event};
use domain::ids::ID_MAX_CHARS;
use domain::notification::{Notification, NotificationType};
use domain::time::Timestamp;

/// What an event holds whatever it says: itself, its reference counts, its place in the log and in its
/// channel's list, and a channel id of the longest kind.
pub(super) const EVENT_BYTES: usize = size_of::<Event>() + 4 * size_of::<usize>() + ID_MAX_CHARS + 16;

/// What a notification holds beside its texts: itself and its places in the indexes.
const NOTIFICATION_BYTES: usize = size_of::<Notification>() + size_of::<Posted>() + 256;

/// A published notification, shared by the history and the inbox.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) notification: Arc<Notification>,
    /// The place of its first event.
    pub(super) first: Position,
    /// One event on each, at contiguous places from `first`.
    pub(super) channels: Box<[Channel]>,
    /// When it was published, by the store's clock.
    pub(super) at: Timestamp,
    /// What it holds, however many events refer to it.
    pub(super) bytes: usize,
}

impl Posted {
    pub(super) fn new(
        notification: Notification,
        channels: Vec<Channel>,
        first: Position,
        at: Timestamp,
    ) -> Arc<Self> {
        Arc::new(Self {
            bytes: notification_bytes(&notification),
            notification: Arc::new(notification),
            first,
            channels: channels.into(),
            at,
        })
    }

    /// Returns each channel with the place of the event that it carries.
    pub(super) fn places(&self) -> impl Iterator<Item = (Position, &Channel)> {
        (self.first.0..).map(Position).zip(&self.channels)
    }

    /// Returns the place before the first event and that of the last.
    pub(super) fn span(&self) -> (Position, Position) {
        let before = self.first.prior();
        (before, Position(before.0 + self.channels.len() as u64))
    }
}

/// Says what a notification holds in memory.
pub(super) fn notification_bytes(notification: &Notification) -> usize {
    let content = &notification.content;
    let link = content.link.as_ref().map_or(0, |link| link.len());
    let texts = content.kind.as_str().len() + content.title.len() + content.body.len() + content.data.len();
    NOTIFICATION_BYTES + texts + link
}

/// Says what an event holds beside the notification it may carry.
pub(super) fn event_bytes(event: &Event) -> usize {
    let Change::Control(Control::Renewed { principal, .. }) = &event.change else {
        return EVENT_BYTES;
    };
    let names = principal.roles.len() + principal.units.len() + principal.benefits.len();
    let claims = principal.profile.as_ref().map_or(0, String::len)
        + principal.token_id.as_ref().map_or(0, String::len)
        + size_of_val(principal.as_ref());
    EVENT_BYTES + claims + names * (ID_MAX_CHARS + 48)
}

/// Returns a short mark of a type: other marks are other types, so that a filtered walk through an inbox need
/// not look at every notification.
pub(super) fn kind_mark(kind: &NotificationType) -> u32 {
    let mut hasher = DefaultHasher::new();
    kind.hash(&mut hasher);
    (hasher.finish() >> 32) as u32
}
