//! The log: every event that is still held, in contiguous places.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use application::ports::{ChannelsQuery, EventPage, Head, ReadError, Written};
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch, Position};
use domain::event::{Change, Event};
use domain::ids::NotificationId;
use domain::time::Timestamp;

use super::merge::merge;
use super::posted::{Posted, event_bytes};
use super::runs::{Placed, Runs};

/// The events from `oldest` on.
#[derive(Debug)]
pub(super) struct Log {
    epoch: Epoch,
    /// The place of the first event held.
    oldest: Position,
    events: VecDeque<Arc<Event>>,
    /// Where each channel's events are. What was erased is not among them.
    channels: HashMap<Channel, Runs<Position>>,
    /// The notifications that events held here carry.
    carried: BTreeMap<NotificationId, Carried>,
    bytes: usize,
}

/// A notification, and how many events held here carry it.
#[derive(Debug)]
struct Carried {
    posted: Arc<Posted>,
    events: usize,
}

impl Log {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            oldest: Position(1),
            events: VecDeque::new(),
            channels: HashMap::new(),
            carried: BTreeMap::new(),
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns when the oldest event was accepted.
    pub(super) fn oldest_at(&self) -> Option<Timestamp> {
        self.events.front().map(|event| event.at)
    }

    pub(super) fn head(&self) -> Head {
        Head {
            cursor: self.cursor(self.next().prior()),
            oldest: self.oldest,
        }
    }

    /// Returns the place that the next event gets.
    pub(super) fn next(&self) -> Position {
        Position(self.oldest.0 + self.events.len() as u64)
    }

    pub(super) fn cursor(&self, position: Position) -> Cursor {
        Cursor {
            epoch: self.epoch,
            position,
        }
    }

    /// Joins a value with the events that were appended on its behalf.
    pub(super) fn written<T>(&self, value: T, events: Vec<Arc<Event>>) -> Written<T> {
        Written {
            value,
            epoch: self.epoch,
            events,
        }
    }

    /// Appends an event that carries no notification.
    pub(super) fn append(&mut self, change: Change, at: Timestamp) -> Arc<Event> {
        let event = Arc::new(Event {
            position: self.next(),
            at,
            change,
        });
        if let Some(channel) = event.channel() {
            self.channels
                .entry(channel.clone())
                .or_default()
                .push(event.position);
        }
        self.bytes += event_bytes(&event);
        self.events.push_back(Arc::clone(&event));
        event
    }

    /// Appends one event for each channel of a notification whose first place is [`Log::next`].
    pub(super) fn publish(&mut self, posted: &Arc<Posted>) -> Vec<Arc<Event>> {
        debug_assert_eq!(posted.first, self.next());
        if posted.channels.is_empty() {
            return Vec::new();
        }
        self.bytes += posted.bytes;
        let carried = Carried {
            posted: Arc::clone(posted),
            events: posted.channels.len(),
        };
        self.carried.insert(posted.notification.id, carried);
        let published = |channel: &Channel| Change::Published {
            channel: channel.clone(),
            notification: Arc::clone(&posted.notification),
        };
        let channels = posted.channels.iter();
        channels
            .map(|channel| self.append(published(channel), posted.at))
            .collect()
    }

    pub(super) fn posted(&self, id: NotificationId) -> Option<&Arc<Posted>> {
        self.carried.get(&id).map(|carried| &carried.posted)
    }

    /// Takes a notification's content out; the places of its events remain.
    pub(super) fn erase(&mut self, id: NotificationId) {
        let Some(Carried { posted, .. }) = self.carried.remove(&id) else {
            return;
        };
        self.bytes -= posted.bytes;
        for (position, channel) in posted.places() {
            let Some(slot) = self.slot(position) else {
                continue;
            };
            self.events[slot] = Arc::new(Event {
                position,
                at: posted.at,
                change: Change::Erased,
            });
            unlist(&mut self.channels, channel, position);
        }
    }

    /// Drops the oldest event, after `oldest` has moved past it.
    pub(super) fn drop_oldest(&mut self) {
        let Some(event) = self.events.pop_front() else {
            return;
        };
        self.oldest = event.position.next();
        self.bytes -= event_bytes(&event);
        if let Some(channel) = event.channel() {
            unlist(&mut self.channels, channel, event.position);
        }
        if let Change::Published { notification, .. } = &event.change
            && let Some(carried) = self.carried.get_mut(&notification.id)
        {
            carried.events -= 1;
            if carried.events == 0 {
                self.bytes -= carried.posted.bytes;
                self.carried.remove(&notification.id);
            }
        }
    }

    /// Reads every event after a cursor. A cursor ahead of the head gets an empty page that ends where the
    /// cursor is: whether it can be true is for those to judge who know other nodes.
    pub(super) fn read(&self, after: Cursor, limit: usize) -> Result<EventPage, ReadError> {
        let head = self.readable(after)?;
        let from = self.slot(after.position.next()).unwrap_or(self.events.len());
        let events: Vec<_> = self.events.range(from..).take(limit).map(Arc::clone).collect();
        let scanned_to = events.last().map_or(after.position, |event| event.position);
        Ok(EventPage {
            events,
            scanned_to,
            head,
        })
    }

    /// Reads the events of some channels: the cost is that of the page, not of the log.
    pub(super) fn read_channels(
        &self,
        query: &ChannelsQuery,
        now: Timestamp,
    ) -> Result<EventPage, ReadError> {
        let head = self.readable(query.after)?;
        let after = query.after.position;
        let up_to = query.up_to.min(head.cursor.position);
        let lists = distinct(&query.channels)
            .filter_map(|channel| self.channels.get(channel))
            .map(|list| list.after(after))
            .collect();
        let mut found = merge(lists, |position: &&Position| **position)
            .take_while(|position| **position <= up_to)
            .filter_map(|position| self.slot(*position).map(|slot| &self.events[slot]))
            .filter(|event| !expired(event, now));
        let events: Vec<_> = found.by_ref().take(query.limit).map(Arc::clone).collect();
        let scanned_to = if found.next().is_some() {
            events.last().map_or(after, |event| event.position)
        } else {
            up_to.max(after)
        };
        Ok(EventPage {
            events,
            scanned_to,
            head,
        })
    }

    /// Tells whether what follows a cursor can be read.
    fn readable(&self, after: Cursor) -> Result<Head, ReadError> {
        let head = self.head();
        if after.epoch != self.epoch {
            return Err(ReadError::EpochChanged { head });
        }
        if after.position.next() < self.oldest {
            return Err(ReadError::Expired { head });
        }
        Ok(head)
    }

    /// Counts what is held in each place.
    #[cfg(test)]
    pub(super) fn held(&self) -> [usize; 4] {
        [
            self.events.len(),
            self.channels.len(),
            self.carried.len(),
            self.bytes,
        ]
    }

    fn slot(&self, position: Position) -> Option<usize> {
        let slot = usize::try_from(position.0.checked_sub(self.oldest.0)?).ok()?;
        (slot < self.events.len()).then_some(slot)
    }
}

/// Returns each channel once.
pub(super) fn distinct(channels: &[Channel]) -> impl Iterator<Item = &Channel> {
    let mut channels: Vec<_> = channels.iter().collect();
    channels.sort_unstable();
    channels.dedup();
    channels.into_iter()
}

/// Takes a place out of a channel's list, and the list away when it was the last.
pub(super) fn unlist<T: Placed>(
    lists: &mut HashMap<Channel, Runs<T>>,
    channel: &Channel,
    position: Position,
) {
    if let Some(list) = lists.get_mut(channel) {
        list.remove(position);
        if list.is_empty() {
            lists.remove(channel);
        }
    }
}

fn expired(event: &Event, now: Timestamp) -> bool {
    matches!(&event.change, Change::Published { notification, .. } if notification.expired(now))
}
