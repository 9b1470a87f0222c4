//! People: since when each is known, and what they did with their notifications.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem::size_of;
use std::time::Duration;

use domain::channel::Channel;
use domain::cursor::Position;
use domain::ids::UserId;
use domain::standing::{Outlook, OwnMark, Standing, Watermark};
use domain::state::{ItemState, Mark};
use domain::time::Timestamp;

use super::view::View;

/// How many people are looked at to find some to forget: a bound on the work of one request.
const FORGET_TRIES: usize = 32;

/// What a mark holds: the row, its place in the person's rows and in the item's list of people.
const ROW_BYTES: usize = size_of::<OwnMark>() + 2 * size_of::<Position>() + size_of::<UserId>() + 48;

#[derive(Debug)]
pub(super) struct Person {
    standing: Standing,
    rows: HashMap<Channel, BTreeMap<Position, OwnMark>>,
    /// Whether they came by since the hand last passed.
    recent: bool,
}

/// Everyone who was ever seen, up to a bound.
#[derive(Debug)]
pub(super) struct People {
    max: usize,
    archive_read_after: Duration,
    known: HashMap<UserId, Person>,
    /// Everyone once. The front is where the hand of the clock (Corbató 1968) points.
    ring: VecDeque<UserId>,
    /// Who has a row for an item that is not on their own channel.
    marked: HashMap<Position, Vec<UserId>>,
    rows: usize,
}

impl People {
    pub(super) fn new(max: usize, archive_read_after: Duration) -> Self {
        Self {
            max,
            archive_read_after,
            known: HashMap::new(),
            ring: VecDeque::new(),
            marked: HashMap::new(),
            rows: 0,
        }
    }

    /// Returns what the marks hold.
    pub(super) fn row_bytes(&self) -> usize {
        self.rows * ROW_BYTES
    }

    /// Remembers a person from here on, unless they are known. Where that is one too many, people are forgotten
    /// who were not seen lately, have no marks, and for whom `owns` says that nothing is on their own channel.
    pub(super) fn meet(&mut self, user: &UserId, here: Watermark, owns: impl Fn(&UserId) -> bool) {
        if let Some(person) = self.known.get_mut(user) {
            person.recent = true;
            return;
        }
        self.make_room(owns);
        let person = Person {
            standing: Standing::begin(here),
            rows: HashMap::new(),
            recent: true,
        };
        self.known.insert(user.clone(), person);
        self.ring.push_back(user.clone());
    }

    /// Whoever is not forgettable is held in by the inbox's own bounds, so that finding nobody is no leak.
    fn make_room(&mut self, owns: impl Fn(&UserId) -> bool) {
        for _ in 0..FORGET_TRIES {
            if self.known.len() < self.max {
                return;
            }
            let Some(user) = self.ring.pop_front() else {
                return;
            };
            let Some(person) = self.known.get_mut(&user) else {
                continue;
            };
            let recent = std::mem::take(&mut person.recent);
            if !recent && person.rows.is_empty() && !owns(&user) {
                self.known.remove(&user);
            } else {
                self.ring.push_back(user);
            }
        }
    }

    /// Returns how a person sees a channel. Someone unknown sees it as if nothing was ever read.
    pub(super) fn view(&self, user: &UserId, channel: &Channel, now: Timestamp) -> View<'_> {
        let person = self.known.get(user);
        let group = !is_own(channel, user);
        View {
            outlook: Outlook {
                first_seen: person.filter(|_| group).map(|person| person.standing.first_seen),
                read_throughs: person.map_or(&[], |person| &person.standing.read_throughs),
                archive_read_after: self.archive_read_after,
                now,
            },
            rows: person.and_then(|person| person.rows.get(channel)),
        }
    }

    /// Records what a person's item is after a mark.
    pub(super) fn mark(
        &mut self,
        user: &UserId,
        channel: &Channel,
        position: Position,
        (state, mark): (ItemState, Mark),
        now: Timestamp,
    ) {
        let Some(person) = self.known.get_mut(user) else {
            return;
        };
        let rows = person.rows.entry(channel.clone()).or_default();
        let known = rows.get(&position).copied();
        rows.insert(position, OwnMark::after(known, state, mark, now));
        if known.is_none() {
            self.rows += 1;
            if !is_own(channel, user) {
                self.marked.entry(position).or_default().push(user.clone());
            }
        }
    }

    /// Records that a person has read everything on their channels up to a place. Tells whether that changes
    /// anything.
    pub(super) fn read_all(
        &mut self,
        user: &UserId,
        channels: &[Channel],
        up_to: Position,
        now: Timestamp,
    ) -> bool {
        let Some(person) = self.known.get_mut(user) else {
            return false;
        };
        let mut changed = person.standing.read_through(up_to, now);
        for channel in channels {
            let Some(rows) = person.rows.get_mut(channel) else {
                continue;
            };
            for (_, row) in rows.range_mut(..=up_to) {
                changed |= row.state.read_at.is_none();
                row.state = row.state.after(Mark::Read, now);
            }
        }
        changed
    }

    /// Forgets what people did with an item.
    pub(super) fn drop_rows(&mut self, channel: &Channel, position: Position) {
        if let Channel::User(owner) = channel {
            self.drop_row(owner, channel, position);
        }
        for user in self.marked.remove(&position).unwrap_or_default() {
            self.drop_row(&user, channel, position);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len().max(self.ring.len())
    }

    #[cfg(test)]
    pub(super) fn knows(&self, user: &UserId) -> bool {
        self.known.contains_key(user)
    }

    /// Counts the marks that are held in each place.
    #[cfg(test)]
    pub(super) fn held(&self) -> [usize; 3] {
        let channels = self.known.values().map(|person| person.rows.len());
        [self.rows, self.marked.len(), channels.sum()]
    }

    fn drop_row(&mut self, user: &UserId, channel: &Channel, position: Position) {
        let Some(person) = self.known.get_mut(user) else {
            return;
        };
        let Some(rows) = person.rows.get_mut(channel) else {
            return;
        };
        self.rows -= usize::from(rows.remove(&position).is_some());
        if rows.is_empty() {
            person.rows.remove(channel);
        }
    }
}

/// Tells whether a channel is this person's own.
fn is_own(channel: &Channel, user: &UserId) -> bool {
    matches!(channel, Channel::User(owner) if owner == user)
}
