//! A notification as a record.

use std::sync::Arc;

use domain::ids::NotificationId;
use domain::notification::{Content, Notification, NotificationType, Priority};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Unreadable, millis, parse};

/// A notification. Moments are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotificationRecord {
    id: String,
    kind: String,
    priority: String,
    title: String,
    body: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    link: Option<String>,
    /// Opaque JSON, as text.
    data: String,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    requires_ack: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    expires_at: Option<i64>,
    published_at: i64,
}

impl From<&Notification> for NotificationRecord {
    fn from(notification: &Notification) -> Self {
        let content = &notification.content;
        Self {
            id: notification.id.to_string(),
            kind: content.kind.as_str().to_owned(),
            priority: content.priority.as_str().to_owned(),
            title: content.title.to_string(),
            body: content.body.to_string(),
            link: content.link.as_deref().map(str::to_owned),
            data: content.data.to_string(),
            requires_ack: content.requires_ack,
            expires_at: content.expires_at.map(millis),
            published_at: millis(notification.published_at),
        }
    }
}

impl TryFrom<NotificationRecord> for Arc<Notification> {
    type Error = Unreadable;

    fn try_from(record: NotificationRecord) -> Result<Self, Unreadable> {
        let content = Content {
            kind: NotificationType::parse(&record.kind).ok_or_else(|| Unreadable::new("type"))?,
            priority: Priority::parse(&record.priority).ok_or_else(|| Unreadable::new("priority"))?,
            title: record.title.into(),
            body: record.body.into(),
            link: record.link.map(Into::into),
            data: record.data.into(),
            requires_ack: record.requires_ack,
            expires_at: record.expires_at.map(Timestamp::from_millis),
        };
        Ok(Self::new(Notification {
            id: parse::<NotificationId>(&record.id, "notification id")?,
            content,
            published_at: Timestamp::from_millis(record.published_at),
        }))
    }
}
