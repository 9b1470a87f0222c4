//! Notifications whose moment is still to come.

use std::collections::{BTreeMap, HashMap};
use std::mem::size_of;

use application::ports::Refusal;
use domain::channel::Channel;
use domain::ids::{ID_MAX_CHARS, NotificationId};
use domain::notification::Notification;
use domain::time::Timestamp;

use super::config::{RETRY_MAX, RETRY_MIN};
use super::posted::notification_bytes;

#[derive(Debug)]
pub(super) struct Scheduled {
    pub(super) notification: Notification,
    pub(super) channels: Vec<Channel>,
    pub(super) accepted_at: Timestamp,
}

/// What is scheduled, by moment and then by id, which is the order in which it was made.
#[derive(Debug)]
pub(super) struct Schedule {
    max: usize,
    max_bytes: usize,
    by_moment: BTreeMap<(Timestamp, NotificationId), Scheduled>,
    moments: HashMap<NotificationId, Timestamp>,
    bytes: usize,
}

impl Schedule {
    pub(super) fn new(max: usize, max_bytes: usize) -> Self {
        Self {
            max,
            max_bytes,
            by_moment: BTreeMap::new(),
            moments: HashMap::new(),
            bytes: 0,
        }
    }

    pub(super) fn get(&self, id: NotificationId) -> Option<&Scheduled> {
        self.by_moment.get(&(*self.moments.get(&id)?, id))
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.by_moment.first_key_value().map(|((moment, _), _)| *moment)
    }

    pub(super) fn add(&mut self, scheduled: Scheduled, moment: Timestamp) -> Result<(), Refusal> {
        let bytes = self.bytes + weight(&scheduled);
        if self.moments.len() >= self.max || bytes > self.max_bytes {
            let next = self.next_due().unwrap_or(scheduled.accepted_at);
            return Err(Refusal::Full {
                what: "scheduled notifications",
                retry_after: next.since(scheduled.accepted_at).clamp(RETRY_MIN, RETRY_MAX),
            });
        }
        let id = scheduled.notification.id;
        self.bytes = bytes;
        self.moments.insert(id, moment);
        self.by_moment.insert((moment, id), scheduled);
        Ok(())
    }

    pub(super) fn remove(&mut self, id: NotificationId) -> Option<Scheduled> {
        let moment = self.moments.remove(&id)?;
        let scheduled = self.by_moment.remove(&(moment, id))?;
        self.bytes -= weight(&scheduled);
        Some(scheduled)
    }

    /// Counts what is held in each place.
    #[cfg(test)]
    pub(super) fn held(&self) -> [usize; 3] {
        [self.by_moment.len(), self.moments.len(), self.bytes]
    }

    /// Takes out the first whose moment has come.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<Scheduled> {
        let ((moment, id), _) = self.by_moment.first_key_value()?;
        let id = *id;
        if *moment > now { None } else { self.remove(id) }
    }
}

fn weight(scheduled: &Scheduled) -> usize {
    let channels = scheduled.channels.len() * (size_of::<Channel>() + ID_MAX_CHARS + 16);
    notification_bytes(&scheduled.notification) + channels
}
