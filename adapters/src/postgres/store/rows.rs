//! Rows as domain values, and back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use domain::channel::Channel;
use domain::cursor::Position;
use domain::event::{Change, Event, Marked};
use domain::ids::NotificationId;
use domain::notification::{Content, Notification, NotificationType, Priority};
use tokio_postgres::Row;
use uuid::Uuid;

use super::super::connect::Failure;
pub(super) use super::super::moment::{moment, timestamp};
use crate::record::{ControlRecord, MarksRecord, Unreadable, from_text, to_text};

/// The kinds of events, as they are kept.
pub(super) mod kind {
    pub(crate) const PUBLISHED: i16 = 1;
    pub(crate) const RETRACTED: i16 = 2;
    pub(crate) const MARKED: i16 = 3;
    pub(crate) const ERASED: i16 = 4;
    pub(crate) const CONTROL: i16 = 5;
}

/// What a row of the log takes whatever it says, its place in the indexes included.
pub(super) const EVENT_BYTES: i32 = 200;
/// What a notification takes beside its texts.
const NOTIFICATION_BYTES: usize = 200;

/// The columns of a notification, under the name `n`.
pub(super) const NOTIFICATION: &str = "n.id, n.kind AS type, n.priority, n.title, n.body, n.link, n.data, \
                                       n.requires_ack, n.expires_at, n.published_at";

/// Positions are counted from 1 by this service alone, so that they fit.
pub(super) const fn place(position: Position) -> i64 {
    if position.0 > i64::MAX as u64 {
        i64::MAX
    } else {
        position.0.cast_signed()
    }
}

pub(super) const fn position(place: i64) -> Position {
    Position(place.cast_unsigned())
}

pub(super) const fn priority_rank(priority: Priority) -> i16 {
    match priority {
        Priority::Low => 1,
        Priority::Normal => 2,
        Priority::High => 3,
        Priority::Urgent => 4,
    }
}

fn priority(rank: i16) -> Result<Priority, Unreadable> {
    Ok(match rank {
        1 => Priority::Low,
        2 => Priority::Normal,
        3 => Priority::High,
        4 => Priority::Urgent,
        _ => return Err(Unreadable::new("priority")),
    })
}

pub(super) const fn uuid(id: NotificationId) -> Uuid {
    id.uuid()
}

pub(super) fn channel(text: &str) -> Result<Channel, Unreadable> {
    text.parse().map_err(|_| Unreadable::new("channel"))
}

pub(super) fn texts<'a>(channels: impl IntoIterator<Item = &'a Channel>) -> Vec<String> {
    channels.into_iter().map(ToString::to_string).collect()
}

pub(super) fn notification_bytes(notification: &Notification) -> i32 {
    let content = &notification.content;
    let link = content.link.as_ref().map_or(0, |link| link.len());
    let texts = content.kind.as_str().len() + content.title.len() + content.body.len() + content.data.len();
    i32::try_from(NOTIFICATION_BYTES + texts + link).unwrap_or(i32::MAX)
}

/// Reads [`NOTIFICATION`].
pub(super) fn notification(row: &Row) -> Result<Notification, Failure> {
    let kind: &str = row.try_get("type")?;
    let link: Option<&str> = row.try_get("link")?;
    let expires_at: Option<SystemTime> = row.try_get("expires_at")?;
    Ok(Notification {
        id: NotificationId::new(row.try_get("id")?),
        content: Content {
            kind: NotificationType::parse(kind).ok_or_else(|| Unreadable::new("type"))?,
            priority: priority(row.try_get("priority")?)?,
            title: row.try_get::<_, &str>("title")?.into(),
            body: row.try_get::<_, &str>("body")?.into(),
            link: link.map(Into::into),
            data: row.try_get::<_, &str>("data")?.into(),
            requires_ack: row.try_get("requires_ack")?,
            expires_at: expires_at.map(timestamp),
        },
        published_at: timestamp(row.try_get("published_at")?),
    })
}

/// The notifications that some events carry.
pub(super) type Contents = HashMap<Uuid, Arc<Notification>>;

pub(super) fn contents(rows: &[Row]) -> Result<Contents, Failure> {
    let pairs = rows.iter().map(|row| {
        let notification = notification(row)?;
        Ok((uuid(notification.id), Arc::new(notification)))
    });
    pairs.collect()
}

/// The columns of an event, under the name `e`.
pub(super) const EVENT: &str = "e.position, e.at, e.kind, e.channel, e.notification, e.detail";

/// Reads [`EVENT`]. What cannot be read keeps its place and says nothing: one poison row stops nobody's tail.
pub(super) fn event(row: &Row, contents: &Contents) -> Result<Event, Failure> {
    let position = position(row.try_get("position")?);
    let change = match change(row, contents) {
        Ok(change) => change,
        Err(Failure::Unreadable(error)) => {
            tracing::error!(%error, %position, "an event of the log cannot be read");
            Change::Erased
        }
        Err(error) => return Err(error),
    };
    Ok(Event {
        position,
        at: timestamp(row.try_get("at")?),
        change,
    })
}

fn change(row: &Row, contents: &Contents) -> Result<Change, Failure> {
    let of = || -> Result<Channel, Failure> {
        let text: Option<&str> = row.try_get("channel")?;
        Ok(channel(text.unwrap_or_default())?)
    };
    let id = || -> Result<Uuid, Failure> {
        let id: Option<Uuid> = row.try_get("notification")?;
        Ok(id.ok_or_else(|| Unreadable::new("notification id"))?)
    };
    let detail = || -> Result<&str, Failure> {
        let detail: Option<&str> = row.try_get("detail")?;
        Ok(detail.ok_or_else(|| Unreadable::new("detail"))?)
    };
    Ok(match row.try_get("kind")? {
        kind::PUBLISHED => match contents.get(&id()?) {
            Some(notification) => Change::Published {
                channel: of()?,
                notification: Arc::clone(notification),
            },
            None => Change::Erased,
        },
        kind::RETRACTED => Change::Retracted {
            channel: of()?,
            id: NotificationId::new(id()?),
        },
        kind::MARKED => Change::Marked {
            channel: of()?,
            marks: Marked::try_from(from_text::<MarksRecord>(detail()?)?)?,
        },
        kind::CONTROL => from_text::<ControlRecord>(detail()?)?.read()?,
        // What a newer node writes keeps its place.
        _ => Change::Erased,
    })
}

/// An event's own columns: kind, channel, notification, detail.
pub(super) fn columns(change: &Change) -> (i16, Option<String>, Option<Uuid>, Option<String>) {
    match change {
        Change::Published {
            channel,
            notification,
        } => (
            kind::PUBLISHED,
            Some(channel.to_string()),
            Some(uuid(notification.id)),
            None,
        ),
        Change::Retracted { channel, id } => {
            (kind::RETRACTED, Some(channel.to_string()), Some(uuid(*id)), None)
        }
        Change::Marked { channel, marks } => (
            kind::MARKED,
            Some(channel.to_string()),
            None,
            Some(to_text(&MarksRecord::from(marks))),
        ),
        Change::Erased => (kind::ERASED, None, None, None),
        Change::Control(control) => (
            kind::CONTROL,
            None,
            None,
            Some(to_text(&ControlRecord::from(control))),
        ),
    }
}
