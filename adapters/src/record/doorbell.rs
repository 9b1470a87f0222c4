//! What nodes carry to one another as records.

use std::collections::HashMap;
use std::sync::Arc;

use application::ports::{Doorbell, Reply};
use domain::cursor::Epoch;
use domain::event::{Change, Event};
use domain::ids::NotificationId;
use domain::notification::Notification;
use serde::{Deserialize, Serialize};

use super::{EventRecord, NotificationRecord, Unreadable, parse};

/// A doorbell with its copies. The content of a notification is carried once, however many events refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DoorbellRecord {
    epoch: String,
    notifications: Vec<NotificationRecord>,
    events: Vec<EventRecord>,
}

impl From<&Doorbell> for DoorbellRecord {
    fn from(doorbell: &Doorbell) -> Self {
        let mut notifications: HashMap<NotificationId, NotificationRecord> = HashMap::new();
        for event in &*doorbell.events {
            if let Change::Published { notification, .. } = &event.change {
                notifications
                    .entry(notification.id)
                    .or_insert_with(|| NotificationRecord::from(&**notification));
            }
        }
        Self {
            epoch: doorbell.epoch.to_string(),
            notifications: notifications.into_values().collect(),
            events: doorbell
                .events
                .iter()
                .map(|event| EventRecord::from(&**event))
                .collect(),
        }
    }
}

impl TryFrom<DoorbellRecord> for Doorbell {
    type Error = Unreadable;

    fn try_from(record: DoorbellRecord) -> Result<Self, Unreadable> {
        let epoch: Epoch = parse(&record.epoch, "epoch")?;
        let mut notifications = HashMap::with_capacity(record.notifications.len());
        for notification in record.notifications {
            let notification: Arc<Notification> = notification.try_into()?;
            notifications.insert(notification.id, notification);
        }
        // A copy without its content is no copy: the log has it.
        let event = |event: EventRecord| -> Result<Arc<Event>, Unreadable> {
            let carried = event.published().is_none_or(|id| {
                parse::<NotificationId>(id, "notification id").is_ok_and(|id| notifications.contains_key(&id))
            });
            if !carried {
                return Err(Unreadable::new("a copy without its content"));
            }
            event.read(|id| notifications.get(&id).cloned()).map(Arc::new)
        };
        Ok(Self {
            epoch,
            events: record.events.into_iter().map(event).collect::<Result<_, _>>()?,
        })
    }
}

/// A reply to a heartbeat, on its way to the node that holds the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplyRecord {
    connection: String,
    user: String,
    sequence: u64,
}

impl From<&Reply> for ReplyRecord {
    fn from(reply: &Reply) -> Self {
        Self {
            connection: reply.connection.to_string(),
            user: reply.user.to_string(),
            sequence: reply.sequence,
        }
    }
}

impl TryFrom<ReplyRecord> for Reply {
    type Error = Unreadable;

    fn try_from(record: ReplyRecord) -> Result<Self, Unreadable> {
        Ok(Self {
            connection: parse(&record.connection, "connection")?,
            user: parse(&record.user, "user")?,
            sequence: record.sequence,
        })
    }
}
