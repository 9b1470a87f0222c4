//! Everything that the store knows, and each of its steps as a function of what it knows and the moment.

use std::sync::Arc;

use application::ports::{
    Acceptance, Accepted, ChannelsQuery, Durability, EventPage, Head, Idempotency, Promoted, Pruned,
    ReadError, Recalled, Receipt, ReceiptStatus, Refusal, Retraction, Written,
};
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch};
use domain::delivery::Due;
use domain::event::{Change, Control, Event};
use domain::ids::NotificationId;
use domain::notification::Notification;
use domain::time::Timestamp;

use super::config::MemoryStoreConfig;
use super::inbox::Inbox;
use super::keys::Keys;
use super::log::Log;
use super::people::People;
use super::posted::Posted;
use super::schedule::{Schedule, Scheduled};

/// How much one call drops of each kind at most: a few milliseconds for whoever waits behind it.
const DROP_STEP: usize = 2_048;

/// Everything that the store knows.
#[derive(Debug)]
pub(super) struct State {
    pub(super) log: Log,
    pub(super) inbox: Inbox,
    pub(super) people: People,
    keys: Keys,
    schedule: Schedule,
    config: MemoryStoreConfig,
    /// What fell out between two calls of [`State::prune`].
    fallen: Pruned,
}

impl State {
    pub(super) fn new(config: MemoryStoreConfig, epoch: Epoch) -> Self {
        Self {
            log: Log::new(epoch),
            inbox: Inbox::default(),
            people: People::new(config.people_max, config.archive_read_after),
            keys: Keys::new(config.key_ttl, config.keys_max),
            schedule: Schedule::new(config.scheduled_max, config.scheduled_max_bytes),
            config,
            fallen: Pruned::default(),
        }
    }

    pub(super) fn accept(
        &mut self,
        batch: Vec<Acceptance>,
        now: Timestamp,
    ) -> Written<Vec<Result<Accepted, Refusal>>> {
        let mut events = Vec::new();
        let results = batch
            .into_iter()
            .map(|item| self.accept_one(item, &mut events, now))
            .collect();
        self.written(results, events)
    }

    fn accept_one(
        &mut self,
        item: Acceptance,
        events: &mut Vec<Arc<Event>>,
        now: Timestamp,
    ) -> Result<Accepted, Refusal> {
        let Acceptance {
            notification,
            plan,
            idempotency,
            publisher: _,
        } = item;
        if let Some(key) = &idempotency {
            match self.keys.recall(key, now) {
                Some(Recalled::Same(receipt)) => return Ok(replayed(receipt)),
                Some(Recalled::Other) => return Err(Refusal::KeyReused),
                None => self.keys.make_room(now)?,
            }
        }
        // An id is made once, so that whoever shows it again repeats a request whose answer was lost.
        if let Some(receipt) = self.receipt_of(notification.id) {
            return Ok(replayed(receipt));
        }
        let receipt = match plan.due {
            Due::Now => {
                let posted = self.publish(notification, plan.channels, events, now);
                self.published_receipt(&posted)
            }
            Due::At(moment) => {
                let receipt = scheduled_receipt(notification.id, now);
                let scheduled = Scheduled {
                    notification,
                    channels: plan.channels,
                    accepted_at: now,
                };
                self.schedule.add(scheduled, moment)?;
                receipt
            }
        };
        if let Some(key) = idempotency {
            self.keys.remember(key, receipt.clone(), now);
        }
        Ok(Accepted {
            receipt,
            replayed: false,
        })
    }

    fn publish(
        &mut self,
        notification: Notification,
        channels: Vec<Channel>,
        events: &mut Vec<Arc<Event>>,
        now: Timestamp,
    ) -> Arc<Posted> {
        let posted = Posted::new(notification, channels, self.log.next(), now);
        events.extend(self.log.publish(&posted));
        self.inbox.add(&posted);
        posted
    }

    fn published_receipt(&self, posted: &Posted) -> Receipt {
        let (_, last) = posted.span();
        let count = posted.channels.len();
        Receipt {
            id: posted.notification.id,
            status: ReceiptStatus::Published,
            events: u32::try_from(count).unwrap_or(u32::MAX),
            cursor: (count > 0).then(|| self.log.cursor(last)),
            durability: Durability::Memory,
            accepted_at: posted.at,
        }
    }

    fn receipt_of(&self, id: NotificationId) -> Option<Receipt> {
        let scheduled = self.schedule.get(id);
        scheduled
            .map(|scheduled| scheduled_receipt(id, scheduled.accepted_at))
            .or_else(|| self.posted(id).map(|posted| self.published_receipt(posted)))
    }

    /// Finds what was published, in the inbox or, past its time there, in the history.
    fn posted(&self, id: NotificationId) -> Option<&Arc<Posted>> {
        self.inbox.posted(id).or_else(|| self.log.posted(id))
    }

    pub(super) fn recall(&self, key: &Idempotency, now: Timestamp) -> Option<Recalled> {
        self.keys.recall(key, now)
    }

    pub(super) fn control(&mut self, control: Control, now: Timestamp) -> Written<()> {
        let event = self.log.append(Change::Control(control), now);
        self.written((), vec![event])
    }

    pub(super) fn head(&self) -> Head {
        self.log.head()
    }

    pub(super) fn read(&self, after: Cursor, limit: usize) -> Result<EventPage, ReadError> {
        self.log.read(after, limit)
    }

    pub(super) fn read_channels(
        &self,
        query: &ChannelsQuery,
        now: Timestamp,
    ) -> Result<EventPage, ReadError> {
        self.log.read_channels(query, now)
    }

    pub(super) fn channels_of(&self, id: NotificationId) -> Option<Vec<Channel>> {
        let scheduled = self.schedule.get(id).map(|scheduled| &scheduled.channels[..]);
        let published = || self.posted(id).map(|posted| &posted.channels[..]);
        scheduled.or_else(published).map(<[Channel]>::to_vec)
    }

    pub(super) fn retract(&mut self, id: NotificationId, now: Timestamp) -> Written<Retraction> {
        if self.schedule.remove(id).is_some() {
            return self.log.written(Retraction::Cancelled, Vec::new());
        }
        let Some(posted) = self.posted(id).map(Arc::clone) else {
            return self.log.written(Retraction::Unknown, Vec::new());
        };
        self.log.erase(id);
        self.drop_item(id);
        let retracted = |channel: &Channel| Change::Retracted {
            channel: channel.clone(),
            id,
        };
        let channels = posted.channels.iter();
        let events = channels
            .map(|channel| self.log.append(retracted(channel), now))
            .collect();
        self.written(Retraction::Retracted, events)
    }

    pub(super) fn promote(&mut self, limit: usize, now: Timestamp) -> Written<Promoted> {
        let mut events = Vec::new();
        let mut promoted = Promoted {
            published: 0,
            expired: 0,
            next_due: None,
        };
        while promoted.published + promoted.expired < limit
            && let Some(scheduled) = self.schedule.take_due(now)
        {
            if scheduled.notification.expired(now) {
                promoted.expired += 1;
                continue;
            }
            let notification = Notification {
                published_at: now,
                ..scheduled.notification
            };
            self.publish(notification, scheduled.channels, &mut events, now);
            promoted.published += 1;
        }
        promoted.next_due = self.schedule.next_due();
        self.written(promoted, events)
    }

    /// Drops what is too old, and reports it with what writes have dropped. One call does a step; another
    /// follows until nothing is reported.
    pub(super) fn prune(&mut self, now: Timestamp) -> Pruned {
        let too_old = |at: Timestamp, ttl| at.plus(ttl) <= now;
        let mut left = DROP_STEP;
        while left > 0
            && let Some(at) = self.log.oldest_at()
            && too_old(at, self.config.history_ttl)
        {
            left -= 1;
            self.drop_event();
        }
        let mut left = DROP_STEP;
        while left > 0
            && let Some(oldest) = self.inbox.oldest()
            && too_old(oldest.at, self.config.inbox_ttl)
        {
            left = left.saturating_sub(self.drop_oldest_item().unwrap_or(usize::MAX));
        }
        self.fallen.keys += self.keys.drop_over(now, DROP_STEP);
        self.drop_expired(now);
        std::mem::take(&mut self.fallen)
    }

    /// Drops a step of what has expired; tells whether nothing expired is left.
    pub(super) fn drop_expired(&mut self, now: Timestamp) -> bool {
        let mut left = DROP_STEP;
        while let Some(posted) = self.inbox.first_to_expire()
            && posted.notification.expired(now)
        {
            if left == 0 {
                return false;
            }
            let id = posted.notification.id;
            let Some(channels) = self.drop_item(id) else {
                break;
            };
            left = left.saturating_sub(channels);
        }
        true
    }

    /// Ends a write: what it pushed past a bound goes. That is about as much as it appended, so that nobody waits
    /// long.
    pub(super) fn written<T>(&mut self, value: T, events: Vec<Arc<Event>>) -> Written<T> {
        while self.history_is_over() {
            self.drop_event();
        }
        while self.inbox_is_over() && self.drop_oldest_item().is_some() {}
        self.log.written(value, events)
    }

    fn history_is_over(&self) -> bool {
        self.log.len() > self.config.history_max_events
            || (self.log.len() > 0 && self.log.bytes() > self.config.history_max_bytes)
    }

    fn inbox_is_over(&self) -> bool {
        self.inbox.items() > self.config.inbox_max_items
            || (self.inbox.items() > 0
                && self.inbox.bytes() + self.people.row_bytes() > self.config.inbox_max_bytes)
    }

    /// Counts what is held in each place.
    #[cfg(test)]
    pub(super) fn held(&self) -> Vec<usize> {
        let (log, inbox) = (self.log.held(), self.inbox.held());
        let (people, keys) = (self.people.held(), self.keys.held());
        [&log[..], &inbox, &people, &keys, &self.schedule.held()].concat()
    }

    fn drop_event(&mut self) {
        self.log.drop_oldest();
        self.fallen.events += 1;
    }

    /// Drops the oldest notification from the inbox; returns on how many channels it was, if there was one.
    fn drop_oldest_item(&mut self) -> Option<usize> {
        let id = self.inbox.oldest()?.notification.id;
        self.fallen.items += 1;
        self.drop_item(id)
    }

    fn drop_item(&mut self, id: NotificationId) -> Option<usize> {
        let posted = self.inbox.remove(id)?;
        for (position, channel) in posted.places() {
            self.people.drop_rows(channel, position);
        }
        Some(posted.channels.len())
    }
}

fn replayed(receipt: Receipt) -> Accepted {
    Accepted {
        receipt,
        replayed: true,
    }
}

fn scheduled_receipt(id: NotificationId, accepted_at: Timestamp) -> Receipt {
    Receipt {
        id,
        status: ReceiptStatus::Scheduled,
        events: 0,
        cursor: None,
        durability: Durability::Memory,
        accepted_at,
    }
}
