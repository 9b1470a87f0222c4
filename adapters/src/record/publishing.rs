//! What the log says of a publish beside its content: who, and what came of it.

use domain::audit::{Entry, Kind, Note};
use domain::ids::{NotificationId, UserId};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Unreadable, parse};

/// It stays when the notification is taken back, and says nothing of what it said.
#[derive(Serialize, Deserialize)]
pub(crate) struct PublishingRecord {
    by: String,
    id: String,
    events: usize,
}

impl PublishingRecord {
    pub(crate) fn new(by: &UserId, id: NotificationId, events: usize) -> Self {
        Self {
            by: by.to_string(),
            id: id.to_string(),
            events,
        }
    }

    /// What the audit trail is told.
    pub(crate) fn entry(&self, at: Timestamp) -> Result<Entry, Unreadable> {
        Ok(Entry {
            at,
            kind: Kind::Publish,
            who: Some(parse(&self.by, "publisher")?),
            target: Note::new(&format!("notification {} events {}", self.id, self.events)),
            outcome: Note::new("published"),
            request: Note::default(),
        })
    }
}
