//! What each event's `data` looks like. Fields stand in the order in which they are written.

use std::fmt::{self, Display};

use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch};
use domain::event::{Change, Event, MarkName, Marked, MarkedWhat};
use domain::ids::{ConnectionId, NotificationId};
use domain::notification::Notification;
use domain::stream::Reset;
use domain::time::Timestamp;
use serde::{Serialize, Serializer};

use application::ports::{Message, Ready};

use super::json::Raw;

/// An event before it has a format.
pub(super) struct Parts<'a> {
    pub(super) event: &'static str,
    pub(super) id: Option<Cursor>,
    pub(super) data: Data<'a>,
}

impl<'a> Parts<'a> {
    /// Takes a message apart; `None` for what clients are not sent as an event.
    pub(super) fn of(message: &Message<'a>) -> Option<Self> {
        let (event, id, data) = match *message {
            Message::Retry(_) => return None,
            Message::Event(epoch, event) => return Self::of_event(epoch, event),
            Message::Ready(ready) => ("ready", Some(ready.cursor), Data::Ready(ready.into())),
            Message::Heartbeat {
                cursor,
                sequence,
                sent_at,
            } => {
                let sent_at = Moment(sent_at);
                ("heartbeat", Some(cursor), Data::Heartbeat { sequence, sent_at })
            }
            Message::Reset(reset) => ("reset", Some(reset.to), Data::Reset(reset.into())),
            Message::Session {
                expires_at,
                renew_before,
            } => {
                let (expires_at, renew_before) = (Moment(expires_at), Moment(renew_before));
                let data = Data::Session {
                    expires_at,
                    renew_before,
                };
                ("session", None, data)
            }
            Message::Closing { reason, after } => {
                let data = Data::Closing {
                    reason: reason.as_str(),
                    reconnect: reason.reconnect(),
                    after_ms: after.as_millis(),
                };
                ("closing", None, data)
            }
        };
        Some(Self { event, id, data })
    }

    /// Takes an event of the log apart; `None` for what no client ever gets.
    pub(super) fn of_event(epoch: Epoch, event: &'a Event) -> Option<Self> {
        let position = event.position;
        let id = Cursor { epoch, position };
        let cursor = Text(id);
        let (name, data) = match &event.change {
            Change::Published {
                channel,
                notification,
            } => {
                let (channel, notification) = (Text(channel), NotificationShape::from(&**notification));
                let data = Data::Notification {
                    cursor,
                    channel,
                    notification,
                };
                ("notification", data)
            }
            Change::Retracted { channel, id } => {
                let (channel, notification_id) = (Text(channel), Text(*id));
                let data = Data::Retracted {
                    cursor,
                    channel,
                    notification_id,
                };
                ("retracted", data)
            }
            Change::Marked { channel, marks } => {
                ("state", Data::State(StateShape::new(cursor, channel, marks)))
            }
            Change::Erased | Change::Control(_) => return None,
        };
        Some(Self {
            event: name,
            id: Some(id),
            data,
        })
    }
}

/// The `data` of an event.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Data<'a> {
    Notification {
        cursor: Text<Cursor>,
        channel: Text<&'a Channel>,
        notification: NotificationShape<'a>,
    },
    Retracted {
        cursor: Text<Cursor>,
        channel: Text<&'a Channel>,
        notification_id: Text<NotificationId>,
    },
    State(StateShape<'a>),
    Ready(ReadyShape<'a>),
    Heartbeat {
        sequence: u64,
        sent_at: Moment,
    },
    Reset(ResetShape),
    Session {
        expires_at: Moment,
        renew_before: Moment,
    },
    Closing {
        reason: &'static str,
        reconnect: bool,
        after_ms: u128,
    },
}

/// A notification as everybody is sent it, on streams and in inboxes. Written by [`super::to_json`].
#[derive(Serialize)]
pub struct NotificationShape<'a> {
    id: Text<NotificationId>,
    #[serde(rename = "type")]
    kind: &'a str,
    priority: &'static str,
    title: &'a str,
    body: &'a str,
    link: Option<&'a str>,
    data: Raw<'a>,
    requires_ack: bool,
    published_at: Moment,
    expires_at: Option<Moment>,
}

impl<'a> From<&'a Notification> for NotificationShape<'a> {
    fn from(notification: &'a Notification) -> Self {
        let content = &notification.content;
        Self {
            id: Text(notification.id),
            kind: content.kind.as_str(),
            priority: content.priority.as_str(),
            title: &content.title,
            body: &content.body,
            link: content.link.as_deref(),
            data: Raw(&content.data),
            requires_ack: content.requires_ack,
            published_at: Moment(notification.published_at),
            expires_at: content.expires_at.map(Moment),
        }
    }
}

#[derive(Serialize)]
pub(super) struct StateShape<'a> {
    cursor: Text<Cursor>,
    channel: Text<&'a Channel>,
    notification_id: Option<Text<NotificationId>>,
    change: &'static str,
    up_to: Option<Text<Cursor>>,
    unread: u64,
    unread_as_of: Text<Cursor>,
}

impl<'a> StateShape<'a> {
    fn new(cursor: Text<Cursor>, channel: &'a Channel, marks: &Marked) -> Self {
        let (notification_id, change, up_to) = match marks.what {
            MarkedWhat::One(id, mark) => (Some(Text(id)), change(mark), None),
            MarkedWhat::ReadAll { up_to } => (None, "read_all", Some(Text(up_to))),
        };
        Self {
            cursor,
            channel: Text(channel),
            notification_id,
            change,
            up_to,
            unread: marks.unread,
            unread_as_of: Text(marks.unread_as_of),
        }
    }
}

const fn change(mark: MarkName) -> &'static str {
    match mark {
        MarkName::Read => "read",
        MarkName::Unread => "unread",
        MarkName::Archived => "archived",
        MarkName::Unarchived => "unarchived",
        MarkName::Acknowledged => "acknowledged",
    }
}

#[derive(Serialize)]
pub(super) struct ReadyShape<'a> {
    connection_id: Text<ConnectionId>,
    cursor: Text<Cursor>,
    resumed: bool,
    heartbeat_interval_ms: u128,
    channels: Texts<'a, Channel>,
    expires_at: Moment,
}

impl<'a> From<&'a Ready> for ReadyShape<'a> {
    fn from(ready: &'a Ready) -> Self {
        Self {
            connection_id: Text(ready.connection),
            cursor: Text(ready.cursor),
            resumed: ready.resumed,
            heartbeat_interval_ms: ready.heartbeat_interval.as_millis(),
            channels: Texts(&ready.channels),
            expires_at: Moment(ready.expires_at),
        }
    }
}

/// A reset, on streams and as the answer of replay.
#[derive(Serialize)]
pub struct ResetShape {
    reason: &'static str,
    from: Option<Text<Cursor>>,
    to: Text<Cursor>,
    reload_after_ms: u128,
}

impl From<&Reset> for ResetShape {
    fn from(reset: &Reset) -> Self {
        Self {
            reason: reset.reason.as_str(),
            from: reset.from.map(Text),
            to: Text(reset.to),
            reload_after_ms: reset.reload_after.as_millis(),
        }
    }
}

/// A value that is written as its text.
#[derive(Clone, Copy)]
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Values that are each written as their text.
pub(super) struct Texts<'a, T>(&'a [T]);

impl<T: Display> Serialize for Texts<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Text))
    }
}

/// A moment as RFC 3339 in UTC with milliseconds: `2026-01-01T00:00:00.000Z`.
#[derive(Debug, Clone, Copy)]
pub struct Moment(pub Timestamp);

impl Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const EPOCH: jiff::civil::DateTime = jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
        // A civil time reaches the last millisecond of the year 9999, which an instant of that crate does not.
        let since = jiff::SignedDuration::from_millis(self.0.as_millis());
        let civil = EPOCH.checked_add(since).map_err(|_| fmt::Error)?;
        write!(f, "{civil:.3}Z")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_three_digits_and_a_z_from_the_first_to_the_last() {
        let text = |millis| Moment(Timestamp::from_millis(millis)).to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(text(1_767_225_600_120), "2026-01-01T00:00:00.120Z");
        assert_eq!(text(i64::MIN), "0000-01-01T00:00:00.000Z");
        assert_eq!(text(i64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
