//! Events as records. An event that publishes refers to its notification by id: however many events there are, the
//! content is kept or carried once.

use std::sync::Arc;

use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::event::{Change, Control, Event, MarkName, Marked, MarkedWhat};
use domain::ids::NotificationId;
use domain::notification::Notification;
use domain::stream::CloseReason;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{PrincipalRecord, Unreadable, millis, parse};

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventRecord {
    position: u64,
    at: i64,
    #[serde(flatten)]
    change: ChangeRecord,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
enum ChangeRecord {
    Published {
        channel: String,
        id: String,
    },
    Retracted {
        channel: String,
        id: String,
    },
    Marked {
        channel: String,
        marks: MarksRecord,
    },
    Erased,
    Control {
        control: ControlRecord,
    },
    #[serde(other)]
    Unknown,
}

impl From<&Event> for EventRecord {
    fn from(event: &Event) -> Self {
        let change = match &event.change {
            Change::Published {
                channel,
                notification,
            } => ChangeRecord::Published {
                channel: channel.to_string(),
                id: notification.id.to_string(),
            },
            Change::Retracted { channel, id } => ChangeRecord::Retracted {
                channel: channel.to_string(),
                id: id.to_string(),
            },
            Change::Marked { channel, marks } => ChangeRecord::Marked {
                channel: channel.to_string(),
                marks: marks.into(),
            },
            Change::Erased => ChangeRecord::Erased,
            Change::Control(control) => ChangeRecord::Control {
                control: control.into(),
            },
        };
        Self {
            position: event.position.0,
            at: millis(event.at),
            change,
        }
    }
}

impl EventRecord {
    /// Returns the id of the notification that it publishes, if it does.
    pub(crate) fn published(&self) -> Option<&str> {
        match &self.change {
            ChangeRecord::Published { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Reads the event. `content` gives the notification of an id; where it has none any more, the event is erased.
    pub(crate) fn read(
        self,
        content: impl Fn(NotificationId) -> Option<Arc<Notification>>,
    ) -> Result<Event, Unreadable> {
        let change = match self.change {
            ChangeRecord::Published { channel, id } => match content(parse(&id, "notification id")?) {
                Some(notification) => Change::Published {
                    channel: parse(&channel, "channel")?,
                    notification,
                },
                None => Change::Erased,
            },
            ChangeRecord::Retracted { channel, id } => Change::Retracted {
                channel: parse::<Channel>(&channel, "channel")?,
                id: parse(&id, "notification id")?,
            },
            ChangeRecord::Marked { channel, marks } => Change::Marked {
                channel: parse(&channel, "channel")?,
                marks: marks.try_into()?,
            },
            ChangeRecord::Control { control } => control.read()?,
            ChangeRecord::Erased | ChangeRecord::Unknown => Change::Erased,
        };
        Ok(Event {
            position: Position(self.position),
            at: Timestamp::from_millis(self.at),
            change,
        })
    }
}

/// How a person's marks changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MarksRecord {
    what: WhatRecord,
    unread: u64,
    unread_as_of: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mark", rename_all = "snake_case")]
enum WhatRecord {
    Read { id: String },
    Unread { id: String },
    Archived { id: String },
    Unarchived { id: String },
    Acknowledged { id: String },
    ReadAll { up_to: String },
}

impl From<&Marked> for MarksRecord {
    fn from(marked: &Marked) -> Self {
        let what = match marked.what {
            MarkedWhat::ReadAll { up_to } => WhatRecord::ReadAll {
                up_to: up_to.to_string(),
            },
            MarkedWhat::One(id, name) => {
                let id = id.to_string();
                match name {
                    MarkName::Read => WhatRecord::Read { id },
                    MarkName::Unread => WhatRecord::Unread { id },
                    MarkName::Archived => WhatRecord::Archived { id },
                    MarkName::Unarchived => WhatRecord::Unarchived { id },
                    MarkName::Acknowledged => WhatRecord::Acknowledged { id },
                }
            }
        };
        Self {
            what,
            unread: marked.unread,
            unread_as_of: marked.unread_as_of.to_string(),
        }
    }
}

impl TryFrom<MarksRecord> for Marked {
    type Error = Unreadable;

    fn try_from(record: MarksRecord) -> Result<Self, Unreadable> {
        let one = |id: String, name| Ok(MarkedWhat::One(parse(&id, "notification id")?, name));
        let what = match record.what {
            WhatRecord::Read { id } => one(id, MarkName::Read)?,
            WhatRecord::Unread { id } => one(id, MarkName::Unread)?,
            WhatRecord::Archived { id } => one(id, MarkName::Archived)?,
            WhatRecord::Unarchived { id } => one(id, MarkName::Unarchived)?,
            WhatRecord::Acknowledged { id } => one(id, MarkName::Acknowledged)?,
            WhatRecord::ReadAll { up_to } => MarkedWhat::ReadAll {
                up_to: parse::<Cursor>(&up_to, "cursor")?,
            },
        };
        Ok(Self {
            what,
            unread: record.unread,
            unread_as_of: parse(&record.unread_as_of, "cursor")?,
        })
    }
}

/// What nodes tell each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "control", rename_all = "snake_case")]
pub(crate) enum ControlRecord {
    /// A stream goes on with a fresh token's rights.
    Renewed {
        connection: String,
        principal: PrincipalRecord,
    },
    /// A stream is to be closed.
    Closed { connection: String, reason: Closing },
    /// A settings document was written.
    Changed { document: String, version: u64 },
    /// Something that a newer node says.
    #[serde(other)]
    Unknown,
}

/// The reasons for closing, as they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Closing {
    TokenExpired,
    Revoked,
    ShuttingDown,
    RateLimited,
    Overloaded,
    Replaced,
    Unresponsive,
}

impl From<&Control> for ControlRecord {
    fn from(control: &Control) -> Self {
        match control {
            Control::Renewed {
                connection,
                principal,
            } => Self::Renewed {
                connection: connection.to_string(),
                principal: (&**principal).into(),
            },
            Control::Closed { connection, reason } => Self::Closed {
                connection: connection.to_string(),
                reason: (*reason).into(),
            },
            Control::Changed { document, version } => Self::Changed {
                document: document.to_string(),
                version: *version,
            },
        }
    }
}

impl ControlRecord {
    /// Reads the change that it is in the log.
    pub(crate) fn read(self) -> Result<Change, Unreadable> {
        let control = match self {
            Self::Renewed {
                connection,
                principal,
            } => Control::Renewed {
                connection: parse(&connection, "connection")?,
                principal: Arc::new(principal.try_into()?),
            },
            Self::Closed { connection, reason } => Control::Closed {
                connection: parse(&connection, "connection")?,
                reason: reason.into(),
            },
            Self::Changed { document, version } => Control::Changed {
                document: document.into(),
                version,
            },
            Self::Unknown => return Ok(Change::Erased),
        };
        Ok(Change::Control(control))
    }
}

impl From<CloseReason> for Closing {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::TokenExpired => Self::TokenExpired,
            CloseReason::Revoked => Self::Revoked,
            CloseReason::ShuttingDown => Self::ShuttingDown,
            CloseReason::RateLimited => Self::RateLimited,
            CloseReason::Overloaded => Self::Overloaded,
            CloseReason::Replaced => Self::Replaced,
            CloseReason::Unresponsive => Self::Unresponsive,
        }
    }
}

impl From<Closing> for CloseReason {
    fn from(reason: Closing) -> Self {
        match reason {
            Closing::TokenExpired => Self::TokenExpired,
            Closing::Revoked => Self::Revoked,
            Closing::ShuttingDown => Self::ShuttingDown,
            Closing::RateLimited => Self::RateLimited,
            Closing::Overloaded => Self::Overloaded,
            Closing::Replaced => Self::Replaced,
            Closing::Unresponsive => Self::Unresponsive,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::capability::{Principal, Role};
    use domain::notification::{Content, NotificationType, Priority};

    use super::super::{NotificationRecord, from_text, to_text};
    use super::*;

    const ID: &str = "018f6a3e-7d1c-7c2b-9a51-0123456789ab";

    fn notification() -> Arc<Notification> {
        Arc::new(Notification {
            id: ID.parse().unwrap(),
            content: Content {
                kind: NotificationType::parse("t").unwrap(),
                priority: Priority::Urgent,
                title: "\"Título\"\u{2028}".into(),
                body: "<b>".into(),
                link: Some("/x".into()),
                data: "{\"a\":1.0}".into(),
                requires_ack: true,
                expires_at: Some(Timestamp::from_millis(9)),
            },
            published_at: Timestamp::from_millis(7),
        })
    }

    fn changes() -> Vec<Change> {
        let id: NotificationId = ID.parse().unwrap();
        let as_of: Cursor = "8f3a-3".parse().unwrap();
        let channel: Channel = "private:unit:norte:notifications".parse().unwrap();
        let marked = |what| Change::Marked {
            channel: channel.clone(),
            marks: Marked {
                what,
                unread: 4,
                unread_as_of: as_of,
            },
        };
        let mut person = Principal::new("u-1".parse().unwrap(), [Role::new("TECNICO")]);
        person.units.push("norte".parse().unwrap());
        person.benefits.push("natalidade".parse().unwrap());
        person.profile = Some("admin".to_owned());
        let connection = "000000ab-00000000000000cd".parse().unwrap();
        let names = [
            MarkName::Read,
            MarkName::Unread,
            MarkName::Archived,
            MarkName::Unarchived,
            MarkName::Acknowledged,
        ];
        let reasons = [
            CloseReason::TokenExpired,
            CloseReason::Revoked,
            CloseReason::ShuttingDown,
            CloseReason::RateLimited,
            CloseReason::Overloaded,
            CloseReason::Replaced,
            CloseReason::Unresponsive,
        ];
        let mut changes = vec![
            Change::Published {
                channel: channel.clone(),
                notification: notification(),
            },
            Change::Retracted {
                channel: channel.clone(),
                id,
            },
            marked(MarkedWhat::ReadAll { up_to: as_of }),
            Change::Erased,
            Change::Control(Control::Renewed {
                connection,
                principal: Arc::new(person),
            }),
            Change::Control(Control::Changed {
                document: "capabilities".into(),
                version: 3,
            }),
        ];
        changes.extend(names.map(|name| marked(MarkedWhat::One(id, name))));
        changes.extend(reasons.map(|reason| Change::Control(Control::Closed { connection, reason })));
        changes
    }

    #[test]
    fn every_change_reads_back_as_it_was_written() {
        for change in changes() {
            let event = Event {
                position: Position(u64::MAX),
                at: Timestamp::from_millis(-5),
                change,
            };
            let record: EventRecord = from_text(&to_text(&EventRecord::from(&event))).unwrap();
            assert_eq!(record.read(|_| Some(notification())), Ok(event));
        }
    }

    #[test]
    fn a_notification_reads_back_as_it_was_written() {
        let record: NotificationRecord =
            from_text(&to_text(&NotificationRecord::from(&*notification()))).unwrap();
        assert_eq!(Arc::<Notification>::try_from(record), Ok(notification()));
    }

    #[test]
    fn what_a_newer_node_writes_keeps_its_place_and_says_nothing() {
        for text in [
            r#"{"position":5,"at":1,"change":"folded","channel":"x","more":[1]}"#,
            r#"{"position":5,"at":1,"change":"control","control":{"control":"rollout","percent":5}}"#,
        ] {
            let record: EventRecord = from_text(text).unwrap();
            let event = record.read(|_| None).unwrap();
            assert_eq!((event.position, event.change), (Position(5), Change::Erased));
        }
    }

    #[test]
    fn an_unreadable_record_says_so_without_its_content() {
        let error = from_text::<EventRecord>(r#"{"position":"secret"}"#).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
