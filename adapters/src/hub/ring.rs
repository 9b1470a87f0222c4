//! The ring: recent events of this node, each encoded once.
//!
//! One writer, the tail, appends in position order; every connection reads at its own pace. A reader needs no lock
//! on the ring: it looks at its own channels' *lanes*, and three rules make what it sees whole.
//!
//! 1. An event stands in its lane before `tip` reaches it, and a reader takes nothing beyond the `tip` that it
//!    read first. So it never sees a later event of one channel while an earlier one of another is on its way.
//! 2. A lane notes what it evicts before it lets it go, and a reader looks at that note after it looked for news. So
//!    what it took for "nothing there" was not "just gone". The note counts for readers that have held the lane since
//!    they were within the ring; others go by `first`, which moves before anything leaves.
//! 3. Each entry knows its epoch, so nothing of a new history passes for the old one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use application::boundary::bounded_now;
use application::ports::{Encoder, Format, Message, Observer};
use bytes::Bytes;
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch, Position};
use domain::event::{Change, Event};
use domain::ids::NotificationId;
use domain::time::Timestamp;

/// What an event costs beside its payload: the entry, its places in lane and order, the event itself.
const ENTRY_BYTES: usize = 360;

/// One event that clients can receive.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) epoch: Epoch,
    pub(super) event: Arc<Event>,
    frames: [OnceLock<Bytes>; Format::COUNT],
}

impl Entry {
    pub(super) fn new(epoch: Epoch, event: Arc<Event>) -> Self {
        Self {
            epoch,
            event,
            frames: [const { OnceLock::new() }; Format::COUNT],
        }
    }

    pub(super) fn position(&self) -> Position {
        self.event.position
    }

    /// Returns the frame, written by whichever connection needs it first.
    /// An event that cannot be written has an empty one: it is left out, or every connection would end at it again
    /// and again.
    pub(super) fn frame(&self, format: Format, encoder: &dyn Encoder, observer: &dyn Observer) -> Bytes {
        let encode = || encoder.encode(format, &Message::Event(self.epoch, &self.event));
        self.frames[format.index()]
            .get_or_init(|| bounded_now(observer, "encode", encode).unwrap_or_default())
            .clone()
    }

    /// Tells whether it may still be sent. Most events never expire, and then the clock is not asked.
    pub(super) fn sendable(&self, now: impl FnOnce() -> Timestamp) -> bool {
        sendable(&self.event, now)
    }
}

/// Tells whether an event may still be sent.
pub(super) fn sendable(event: &Event, now: impl FnOnce() -> Timestamp) -> bool {
    match &event.change {
        Change::Published { notification, .. } if notification.content.expires_at.is_some() => {
            !notification.expired(now())
        }
        Change::Erased | Change::Control(_) => false,
        _ => true,
    }
}

/// The recent events of one channel.
#[derive(Debug)]
pub(super) struct Lane {
    channel: Channel,
    /// The last event's position, so that a reader without news takes no lock.
    last: AtomicU64,
    /// The last event that was evicted from here: whoever stands at or after it has missed nothing of this channel.
    evicted: AtomicU64,
    /// Held for a search or a push, never over an await.
    entries: Mutex<VecDeque<Arc<Entry>>>,
}

impl Lane {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            last: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            entries: Mutex::new(VecDeque::new()),
        }
    }

    pub(super) const fn channel(&self) -> &Channel {
        &self.channel
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, entry: Arc<Entry>) {
        let position = entry.position().0;
        self.entries().push_back(entry);
        self.last.store(position, Ordering::Release);
    }

    /// Returns the first event after a position.
    pub(super) fn next_after(&self, position: Position) -> Option<Arc<Entry>> {
        if self.last.load(Ordering::Acquire) <= position.0 {
            return None;
        }
        let entries = self.entries();
        // Nearly every reader stands at the end.
        let at = match entries
            .len()
            .checked_sub(2)
            .map(|index| entries[index].position() <= position)
        {
            Some(true) => entries.len() - 1,
            _ => entries.partition_point(|entry| entry.position() <= position),
        };
        entries
            .get(at)
            .filter(|entry| entry.position() > position)
            .cloned()
    }

    /// Tells whether an event after the position was evicted from here.
    fn lost_after(&self, position: Position) -> bool {
        self.evicted.load(Ordering::Acquire) > position.0
    }

    fn drop_up_to(&self, position: Position) {
        let mut entries = self.entries();
        while let Some(first) = entries
            .front()
            .map(|entry| entry.position())
            .filter(|first| *first <= position)
        {
            self.evicted.store(first.0, Ordering::Release);
            entries.pop_front();
        }
        if entries.is_empty() {
            entries.shrink_to_fit();
        }
    }

    /// Forgets a retracted notification: nobody is sent it any more, and its content leaves the memory.
    fn forget(&self, id: NotificationId) {
        let carries = |entry: &Arc<Entry>| matches!(&entry.event.change, Change::Published { notification, .. } if notification.id == id);
        self.entries().retain(|entry| !carries(entry));
    }
}

/// The place of one event in the order of eviction.
#[derive(Debug)]
struct Slot {
    lane: Option<Arc<Lane>>,
    bytes: u32,
}

#[derive(Debug)]
struct Order {
    slots: VecDeque<Slot>,
    lanes: HashMap<Channel, Arc<Lane>>,
}

/// Recent events of this node.
#[derive(Debug)]
pub(super) struct Ring {
    epoch: AtomicU64,
    /// The first position still held; one past `tip` when none is.
    first: AtomicU64,
    /// The last position held.
    tip: AtomicU64,
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Held by the tail while it appends, and by streams while they look their lanes up; never over an await.
    order: Mutex<Order>,
}

/// Whether a reader's lanes know what it may have missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// It came with a cursor, or fell out of its lanes: only the ring's first position, or the store, can tell.
    Adrift,
    /// It has been within the ring while it held its lanes.
    Anchored,
}

/// What a reader finds after its position.
#[derive(Debug)]
pub(super) enum Found {
    /// An event to be sent, or skipped if it may not be.
    Entry(Arc<Entry>),
    /// Nothing up to this position.
    NothingUpTo(Position),
    /// The ring no longer reaches back to the position.
    Gone,
    /// Another history is in force.
    EpochChanged,
}

impl Ring {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            epoch: AtomicU64::new(0),
            first: AtomicU64::new(1),
            tip: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            bytes_max,
            order: Mutex::new(Order {
                slots: VecDeque::new(),
                lanes: HashMap::new(),
            }),
        }
    }

    fn order(&self) -> std::sync::MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins at a place of a history, empty: the next event is the one after it.
    pub(super) fn begin(&self, at: Cursor) {
        let mut order = self.order();
        self.first.store(at.position.next().0, Ordering::Release);
        for lane in order.lanes.values() {
            lane.drop_up_to(Position(u64::MAX));
            lane.last.store(0, Ordering::Release);
            // Whatever lay between was never here: nobody who stands before it may take its absence for nothing.
            lane.evicted.store(at.position.0, Ordering::Release);
        }
        order.slots.clear();
        self.bytes.store(0, Ordering::Release);
        self.epoch.store(at.epoch.0, Ordering::Release);
        self.tip.store(at.position.0, Ordering::Release);
    }

    /// Returns where the ring stands.
    pub(super) fn cursor(&self) -> Cursor {
        let epoch = Epoch(self.epoch.load(Ordering::Acquire));
        Cursor {
            epoch,
            position: self.tip(),
        }
    }

    pub(super) fn tip(&self) -> Position {
        Position(self.tip.load(Ordering::Acquire))
    }

    pub(super) fn first(&self) -> Position {
        Position(self.first.load(Ordering::Acquire))
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn events(&self) -> usize {
        self.order().slots.len()
    }

    /// Appends events that follow the tip without a gap, then lets readers see them.
    pub(super) fn append(&self, epoch: Epoch, events: &[Arc<Event>]) {
        let Some(last) = events.last().map(|event| event.position) else {
            return;
        };
        let mut order = self.order();
        for event in events {
            self.push(&mut order, epoch, event);
        }
        self.tip.store(last.0, Ordering::Release);
        self.evict(&mut order);
    }

    fn push(&self, order: &mut Order, epoch: Epoch, event: &Arc<Event>) {
        let lane = event.channel().map(|channel| lane_of(&mut order.lanes, channel));
        if let (Some(lane), Change::Retracted { id, .. }) = (&lane, &event.change) {
            lane.forget(*id);
        }
        let bytes = weight(event);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(lane) = &lane {
            lane.push(Arc::new(Entry::new(epoch, Arc::clone(event))));
        }
        order.slots.push_back(Slot {
            lane,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        });
    }

    fn evict(&self, order: &mut Order) {
        // The last event stays whatever its size: a ring that holds nothing would send everybody to the store.
        while self.bytes() > self.bytes_max && order.slots.len() > 1 {
            let Some(slot) = order.slots.pop_front() else {
                return;
            };
            let gone = Position(self.first.fetch_add(1, Ordering::AcqRel));
            self.bytes.fetch_sub(slot.bytes as usize, Ordering::Relaxed);
            if let Some(lane) = slot.lane {
                lane.drop_up_to(gone);
                forget_unused(&mut order.lanes, &lane);
            }
        }
    }

    /// Returns the lanes of channels, made where they do not exist.
    pub(super) fn lanes<'a>(&self, channels: impl Iterator<Item = &'a Channel>) -> Vec<Arc<Lane>> {
        let mut order = self.order();
        channels
            .map(|channel| lane_of(&mut order.lanes, channel))
            .collect()
    }

    /// Gives lanes back. A lane that nobody reads and that holds nothing goes.
    pub(super) fn release(&self, lanes: impl Iterator<Item = Arc<Lane>>) {
        let mut order = self.order();
        for lane in lanes {
            forget_unused(&mut order.lanes, &lane);
        }
    }

    /// Says whether a reader at a position, which holds its lanes already, is within the ring.
    pub(super) fn anchor(&self, at: Cursor) -> Anchor {
        let within = at.epoch == self.cursor().epoch && at.position.next() >= self.first();
        if within { Anchor::Anchored } else { Anchor::Adrift }
    }

    /// Finds the first event after a reader's position on its lanes; each lane has a floor of its own.
    ///
    /// A reader that has once been within the ring is `Anchored`: from there on its lanes know what was evicted from
    /// them. It may fall behind the ring's first event, as every quiet reader does between two heartbeats, and has
    /// still missed nothing.
    pub(super) fn find<'a>(
        &self,
        after: Cursor,
        anchor: &mut Anchor,
        lanes: impl Iterator<Item = (&'a Arc<Lane>, Position)> + Clone,
    ) -> Found {
        let tip = self.tip();
        let epoch = Epoch(self.epoch.load(Ordering::Acquire));
        if epoch != after.epoch {
            return Found::EpochChanged;
        }
        if tip <= after.position {
            return Found::NothingUpTo(after.position);
        }
        let next = lanes
            .clone()
            .filter_map(|(lane, floor)| lane.next_after(after.position.max(floor)))
            .min_by_key(|entry| entry.position())
            .filter(|entry| entry.position() <= tip);
        if *anchor == Anchor::Adrift {
            *anchor = self.anchor(after);
        }
        let mut lost = lanes.map(|(lane, floor)| lane.lost_after(after.position.max(floor)));
        if *anchor == Anchor::Adrift || lost.any(|lost| lost) {
            *anchor = Anchor::Adrift;
            return Found::Gone;
        }
        match next {
            Some(entry) if entry.epoch != after.epoch => Found::EpochChanged,
            Some(entry) => Found::Entry(entry),
            // The tip was read before the epoch: if a new history began in between, the next look sees it.
            None => Found::NothingUpTo(tip),
        }
    }
}

fn lane_of(lanes: &mut HashMap<Channel, Arc<Lane>>, channel: &Channel) -> Arc<Lane> {
    if let Some(lane) = lanes.get(channel) {
        return Arc::clone(lane);
    }
    let lane = Arc::new(Lane::new(channel.clone()));
    lanes.insert(channel.clone(), Arc::clone(&lane));
    lane
}

/// The map's own reference and the caller's are the only two: nobody reads it and no slot refers to it.
fn forget_unused(lanes: &mut HashMap<Channel, Arc<Lane>>, lane: &Arc<Lane>) {
    if Arc::strong_count(lane) == 2 {
        lanes.remove(&lane.channel);
    }
}

/// What an event costs in memory, frames included: each format writes about the payload once.
fn weight(event: &Event) -> usize {
    let payload = match &event.change {
        Change::Published { notification, .. } => {
            let content = &notification.content;
            content.title.len() + content.body.len() + content.data.len() + content.kind.as_str().len()
        }
        _ => 0,
    };
    ENTRY_BYTES + payload * (1 + Format::COUNT)
}

#[cfg(test)]
mod tests {
    use application::ports::{Clock as _, Ids as _};
    use application::testing::{CountingIds, SimClock};
    use domain::notification::{AudienceFields, Draft, DraftFields, Notification};

    use super::*;

    const EPOCH: Epoch = Epoch(7);

    fn channel(user: &str) -> Channel {
        Channel::User(user.parse().unwrap())
    }

    fn published(position: u64, user: &str, ids: &CountingIds) -> Arc<Event> {
        let audience = AudienceFields {
            everyone: Some(true),
            ..AudienceFields::default()
        };
        let fields = DraftFields {
            audience,
            kind: "t".into(),
            title: "t".into(),
            ..DraftFields::default()
        };
        let content = Draft::check(fields).unwrap().content;
        let now = SimClock::new().now();
        let notification = Arc::new(Notification {
            id: ids.notification(),
            content,
            published_at: now,
        });
        let change = Change::Published {
            channel: channel(user),
            notification,
        };
        Arc::new(Event {
            position: Position(position),
            at: now,
            change,
        })
    }

    fn at(position: u64) -> Cursor {
        Cursor {
            epoch: EPOCH,
            position: Position(position),
        }
    }

    fn ring(bytes_max: usize) -> Ring {
        let ring = Ring::new(bytes_max);
        ring.begin(at(0));
        ring
    }

    fn find(ring: &Ring, after: u64, users: &[&str]) -> Found {
        let channels: Vec<Channel> = users.iter().map(|user| channel(user)).collect();
        let lanes = ring.lanes(channels.iter());
        ring.find(
            at(after),
            &mut Anchor::Adrift,
            lanes.iter().map(|lane| (lane, Position(0))),
        )
    }

    fn found(ring: &Ring, after: u64, users: &[&str]) -> Option<u64> {
        match find(ring, after, users) {
            Found::Entry(entry) => Some(entry.position().0),
            _ => None,
        }
    }

    #[test]
    fn a_reader_finds_its_own_channels_in_position_order() {
        let (ring, ids) = (ring(1 << 20), CountingIds::default());
        let events: Vec<_> = [(1, "a"), (2, "b"), (3, "c"), (4, "a")]
            .map(|(p, user)| published(p, user, &ids))
            .into();
        ring.append(EPOCH, &events);
        assert_eq!(found(&ring, 0, &["c", "b"]), Some(2));
        assert_eq!(found(&ring, 2, &["c", "b"]), Some(3));
        assert!(matches!(
            find(&ring, 3, &["c", "b"]),
            Found::NothingUpTo(Position(4))
        ));
        assert!(matches!(find(&ring, 9, &["a"]), Found::NothingUpTo(Position(9))));
    }

    #[test]
    fn a_lane_gives_nothing_at_or_below_its_floor() {
        let (ring, ids) = (ring(1 << 20), CountingIds::default());
        ring.append(EPOCH, &[published(1, "a", &ids), published(2, "a", &ids)]);
        let lanes = ring.lanes([channel("a")].iter());
        let next = ring.find(
            at(0),
            &mut Anchor::Adrift,
            lanes.iter().map(|lane| (lane, Position(1))),
        );
        assert!(matches!(next, Found::Entry(entry) if entry.position() == Position(2)));
    }

    #[test]
    fn what_was_evicted_is_gone_and_not_nothing() {
        let (ring, ids) = (ring(ENTRY_BYTES * 3), CountingIds::default());
        for position in 1..=10 {
            ring.append(EPOCH, &[published(position, "a", &ids)]);
        }
        let first = ring.first().0;
        assert!(first > 1 && first <= 10);
        assert!(matches!(find(&ring, first - 2, &["a"]), Found::Gone));
        assert!(matches!(find(&ring, first - 2, &["nobody"]), Found::Gone));
        assert_eq!(found(&ring, first - 1, &["a"]), Some(first));
        assert!(ring.bytes() <= ENTRY_BYTES * 4);
    }

    #[test]
    fn a_quiet_reader_behind_the_ring_has_missed_nothing_until_its_own_lane_lost_something() {
        let (ring, ids) = (ring(ENTRY_BYTES), CountingIds::default());
        let lanes = ring.lanes([channel("quiet")].iter());
        let mut anchor = Anchor::Adrift;
        let mut look = |after| {
            let lanes = lanes.iter().map(|lane| (lane, Position(0)));
            ring.find(at(after), &mut anchor, lanes)
        };
        assert!(matches!(look(0), Found::NothingUpTo(Position(0))));
        ring.append(EPOCH, &[published(1, "busy", &ids)]);
        assert!(matches!(look(0), Found::NothingUpTo(Position(1))));
        for position in 2..=9 {
            ring.append(EPOCH, &[published(position, "busy", &ids)]);
        }
        assert!(ring.first() > Position(2));
        assert!(
            matches!(look(1), Found::NothingUpTo(Position(9))),
            "nothing was for it"
        );
        ring.append(
            EPOCH,
            &[published(10, "quiet", &ids), published(11, "busy", &ids)],
        );
        ring.append(EPOCH, &[published(12, "busy", &ids)]);
        assert!(
            matches!(look(9), Found::Gone),
            "its own event is gone from the ring"
        );
    }

    #[test]
    fn a_retracted_notification_is_found_no_more() {
        let (ring, ids) = (ring(1 << 20), CountingIds::default());
        let event = published(1, "a", &ids);
        let Change::Published { notification, .. } = &event.change else {
            unreachable!()
        };
        let change = Change::Retracted {
            channel: channel("a"),
            id: notification.id,
        };
        let retracted = Arc::new(Event {
            position: Position(2),
            at: event.at,
            change,
        });
        ring.append(EPOCH, &[Arc::clone(&event), retracted]);
        assert_eq!(found(&ring, 0, &["a"]), Some(2));
    }

    #[test]
    fn a_ring_that_began_anew_further_on_has_lost_what_lay_between() {
        let (ring, ids) = (ring(1 << 20), CountingIds::default());
        let lanes = ring.lanes([channel("a")].iter());
        let mut anchor = ring.anchor(at(0));
        ring.append(EPOCH, &[published(1, "a", &ids)]);
        ring.begin(at(9));
        let lanes = lanes.iter().map(|lane| (lane, Position(0)));
        assert!(matches!(ring.find(at(0), &mut anchor, lanes), Found::Gone));
    }

    #[test]
    fn a_new_history_is_told_from_the_old_one() {
        let (ring, ids) = (ring(1 << 20), CountingIds::default());
        ring.append(EPOCH, &[published(1, "a", &ids)]);
        ring.begin(Cursor {
            epoch: Epoch(8),
            position: Position(5),
        });
        assert!(matches!(find(&ring, 1, &["a"]), Found::EpochChanged));
        assert_eq!(ring.first(), Position(6));
    }

    #[test]
    fn lanes_that_nobody_needs_are_let_go() {
        let (ring, ids) = (ring(ENTRY_BYTES), CountingIds::default());
        let lanes = ring.lanes([channel("reader")].iter());
        ring.append(EPOCH, &[published(1, "a", &ids)]);
        ring.append(EPOCH, &[published(2, "b", &ids)]);
        let known = || ring.order().lanes.len();
        assert_eq!(known(), 2, "the reader's and b's; a's was evicted with its event");
        ring.release(lanes.into_iter());
        assert_eq!(known(), 1);
    }
}
