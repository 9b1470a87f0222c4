//! The inbox: what was published, by channel, until it expires or falls out of its own bounds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::size_of;
use std::sync::Arc;

use domain::channel::Channel;
use domain::cursor::Position;
use domain::ids::{ID_MAX_CHARS, NotificationId};
use domain::notification::Priority;
use domain::time::Timestamp;

use super::log::unlist;
use super::posted::{Posted, kind_mark};
use super::runs::{Placed, Runs};

/// What an item holds beside its notification: its entry, and a channel id of the longest kind.
const ITEM_BYTES: usize = size_of::<Entry>() + size_of::<Channel>() + ID_MAX_CHARS + 16;

/// A notification on one channel. What a page filters by is at hand without a look at the notification.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) position: Position,
    pub(super) kind: u32,
    pub(super) priority: Priority,
    pub(super) posted: Arc<Posted>,
}

impl Placed for Entry {
    fn position(&self) -> Position {
        self.position
    }
}

/// Published notifications by id, by channel, by age and by the moment at which they expire.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Ids ascend with time: new ones go in at one end and old ones leave at the other.
    by_id: BTreeMap<NotificationId, Arc<Posted>>,
    channels: HashMap<Channel, Runs<Entry>>,
    /// By the place of the first event.
    by_age: BTreeMap<Position, Arc<Posted>>,
    expiries: BTreeSet<(Timestamp, Position)>,
    items: usize,
    bytes: usize,
}

impl Inbox {
    /// Returns how many items there are: one for each channel that carries a notification.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn oldest(&self) -> Option<&Arc<Posted>> {
        self.by_age.first_key_value().map(|(_, posted)| posted)
    }

    /// Returns the notification that expires next.
    pub(super) fn first_to_expire(&self) -> Option<&Arc<Posted>> {
        self.expiries
            .first()
            .and_then(|(_, first)| self.by_age.get(first))
    }

    pub(super) fn posted(&self, id: NotificationId) -> Option<&Arc<Posted>> {
        self.by_id.get(&id)
    }

    /// Returns a channel's items; `None` when there are none.
    pub(super) fn channel(&self, channel: &Channel) -> Option<&Runs<Entry>> {
        self.channels.get(channel)
    }

    /// Finds the item that a notification is on one of these channels. An audience is people, a unit, a benefit
    /// type or everyone, so that it is on one of a person's channels at most.
    pub(super) fn find<'a>(
        &self,
        id: NotificationId,
        channels: &'a [Channel],
    ) -> Option<(&'a Channel, &Entry)> {
        let (before, last) = self.by_id.get(&id)?.span();
        let on = |channel: &Channel| self.channels.get(channel)?.descending(before, last).next();
        channels
            .iter()
            .find_map(|channel| on(channel).map(|entry| (channel, entry)))
    }

    pub(super) fn add(&mut self, posted: &Arc<Posted>) {
        if posted.channels.is_empty() {
            return;
        }
        let notification = &posted.notification;
        for (position, channel) in posted.places() {
            let entry = Entry {
                position,
                kind: kind_mark(&notification.content.kind),
                priority: notification.content.priority,
                posted: Arc::clone(posted),
            };
            self.channels.entry(channel.clone()).or_default().push(entry);
        }
        self.items += posted.channels.len();
        self.bytes += weight(posted);
        self.by_id.insert(notification.id, Arc::clone(posted));
        self.by_age.insert(posted.first, Arc::clone(posted));
        let expiry = notification.content.expires_at;
        self.expiries.extend(expiry.map(|at| (at, posted.first)));
    }

    pub(super) fn remove(&mut self, id: NotificationId) -> Option<Arc<Posted>> {
        let posted = self.by_id.remove(&id)?;
        for (position, channel) in posted.places() {
            unlist(&mut self.channels, channel, position);
        }
        self.items -= posted.channels.len();
        self.bytes -= weight(&posted);
        self.by_age.remove(&posted.first);
        if let Some(at) = posted.notification.content.expires_at {
            self.expiries.remove(&(at, posted.first));
        }
        Some(posted)
    }

    /// Counts what is held in each place.
    #[cfg(test)]
    pub(super) fn held(&self) -> [usize; 6] {
        let trees = [self.by_id.len(), self.by_age.len(), self.expiries.len()];
        let [ids, ages, expiries] = trees;
        [ids, ages, expiries, self.channels.len(), self.items, self.bytes]
    }
}

fn weight(posted: &Posted) -> usize {
    posted.bytes + posted.channels.len() * ITEM_BYTES
}
