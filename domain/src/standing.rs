//! Where one person stands with what was published: since when they are known, and what they have read through.

use std::time::Duration;

use crate::cursor::Position;
use crate::state::{ItemState, Mark, StateFilter};
use crate::time::Timestamp;

/// How often a person's "read all" is remembered by itself. Beyond that, the two that lie closest in time become
/// one: nothing becomes unread, some read moments move to the later of the two.
pub const READ_THROUGHS_MAX: usize = 32;

/// The place after every other.
const EVERYTHING: Position = Position(u64::MAX);

/// Everything up to a place counts as read since a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// The last place that counts as read.
    pub position: Position,
    /// Since when.
    pub moment: Timestamp,
}

/// What a person has done with one item by itself. It stands above every watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnMark {
    /// What they have done.
    pub state: ItemState,
    /// When it was last taken out of the archive: it goes back by itself no sooner than if it were read then.
    pub unarchived_at: Option<Timestamp>,
}

impl OwnMark {
    /// Returns what stands after a mark that led to this state.
    #[must_use]
    pub fn after(known: Option<Self>, state: ItemState, mark: Mark, now: Timestamp) -> Self {
        let unarchived_at = if mark == Mark::Unarchive {
            Some(now)
        } else {
            known.and_then(|known| known.unarchived_at)
        };
        Self { state, unarchived_at }
    }
}

/// Where one person stands: known from one place on, and having read through others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Group notifications up to here were there before them.
    pub first_seen: Watermark,
    /// Each "read all", ascending in place and moment; at most [`READ_THROUGHS_MAX`].
    pub read_throughs: Vec<Watermark>,
}

impl Standing {
    /// Begins for somebody who was never seen before.
    pub const fn begin(here: Watermark) -> Self {
        Self {
            first_seen: here,
            read_throughs: Vec::new(),
        }
    }

    /// Moves on to another "read all"; tells whether it moved.
    pub fn read_through(&mut self, position: Position, now: Timestamp) -> bool {
        let last = self.read_throughs.last();
        if position <= last.map_or(Position(0), |last| last.position) {
            return false;
        }
        // A clock that was set back does not put a later reading before an earlier one.
        let moment = now.max(last.unwrap_or(&self.first_seen).moment);
        self.read_throughs.push(Watermark { position, moment });
        if self.read_throughs.len() > READ_THROUGHS_MAX {
            let pairs = self.read_throughs.windows(2).enumerate();
            let gap = |pair: &[Watermark]| pair[1].moment.since(pair[0].moment);
            let closest = pairs.min_by_key(|(_, pair)| gap(pair)).map_or(0, |(at, _)| at);
            self.read_throughs.remove(closest);
        }
        true
    }
}

/// How one person sees the items of one channel that have no mark of their own.
///
/// The place decides: from old to new they are archived, read, unread, so that every filter shows one stretch of
/// them and nothing else need be looked at.
#[derive(Debug, Clone, Copy)]
pub struct Outlook<'a> {
    /// For group channels of a person who is known.
    pub first_seen: Option<Watermark>,
    /// Each "read all".
    pub read_throughs: &'a [Watermark],
    /// What was read this long ago is archived.
    pub archive_read_after: Duration,
    /// The present.
    pub now: Timestamp,
}

impl Outlook<'_> {
    /// Returns the state of an item without a mark.
    pub fn by_place(&self, position: Position) -> ItemState {
        let first_seen = self.first_seen.filter(|seen| position <= seen.position);
        let watermark = first_seen.or_else(|| {
            let passed = |read: &Watermark| read.position < position;
            let first = self.read_throughs.partition_point(passed);
            self.read_throughs.get(first).copied()
        });
        let read_at = watermark.map(|watermark| watermark.moment);
        ItemState {
            read_at,
            archived_at: read_at.and_then(|at| self.archived_at(at)),
            acknowledged_at: None,
        }
    }

    /// Returns the state of an item with a mark.
    pub fn by_mark(&self, own: &OwnMark) -> ItemState {
        let by_itself = || {
            let read_at = own.state.read_at?;
            self.archived_at(own.unarchived_at.map_or(read_at, |at| at.max(read_at)))
        };
        ItemState {
            archived_at: own.state.archived_at.or_else(by_itself),
            ..own.state
        }
    }

    /// Returns the stretch of places, the first excluded, whose items without a mark a filter shows.
    pub fn stretch(&self, filter: StateFilter) -> (Position, Position) {
        let nothing = Position(0);
        match filter {
            StateFilter::All => (nothing, EVERYTHING),
            StateFilter::Unarchived => (self.archived_through(), EVERYTHING),
            StateFilter::Unread => (self.read_through(), EVERYTHING),
            StateFilter::Read => (self.archived_through(), self.read_through()),
            StateFilter::Archived => (nothing, self.archived_through()),
        }
    }

    /// Returns the last place that counts as read without a mark.
    pub fn read_through(&self) -> Position {
        let last = self.read_throughs.last().copied();
        let places = last.into_iter().chain(self.first_seen);
        places.map(|mark| mark.position).max().unwrap_or_default()
    }

    /// Returns when something read at a moment went to the archive by itself, if it did.
    fn archived_at(&self, read_at: Timestamp) -> Option<Timestamp> {
        let at = read_at.plus(self.archive_read_after);
        (at <= self.now).then_some(at)
    }

    fn archived_through(&self) -> Position {
        let archived = |mark: &Watermark| self.archived_at(mark.moment).is_some();
        let count = self.read_throughs.partition_point(archived);
        let last = self.read_throughs[..count].last().copied();
        let places = last.into_iter().chain(self.first_seen.filter(archived));
        places.map(|mark| mark.position).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    const fn at(position: u64, day: i64) -> Watermark {
        Watermark {
            position: Position(position),
            moment: Timestamp::from_millis(day * 86_400_000),
        }
    }

    fn standing() -> Standing {
        let mut standing = Standing::begin(at(10, 1));
        assert!(standing.read_through(Position(20), at(0, 5).moment));
        assert!(standing.read_through(Position(30), at(0, 50).moment));
        standing
    }

    fn outlook(standing: &Standing, day: i64) -> Outlook<'_> {
        Outlook {
            first_seen: Some(standing.first_seen),
            read_throughs: &standing.read_throughs,
            archive_read_after: DAY * 30,
            now: at(0, day).moment,
        }
    }

    #[test]
    fn the_place_decides_what_is_archived_read_and_unread() {
        let standing = standing();
        let outlook = outlook(&standing, 51);
        let stretch = |filter| {
            let (low, high) = outlook.stretch(filter);
            (low.0, high.0)
        };
        assert_eq!(stretch(StateFilter::Archived), (0, 20));
        assert_eq!(stretch(StateFilter::Read), (20, 30));
        assert_eq!(stretch(StateFilter::Unread), (30, u64::MAX));
        for place in 1..40 {
            let state = outlook.by_place(Position(place));
            for filter in [StateFilter::Archived, StateFilter::Read, StateFilter::Unread] {
                let (low, high) = stretch(filter);
                assert_eq!(
                    filter.shows(&state),
                    low < place && place <= high,
                    "{filter:?} {place}"
                );
            }
        }
    }

    #[test]
    fn going_back_moves_nothing() {
        let mut standing = standing();
        let before = standing.clone();
        assert!(!standing.read_through(Position(30), at(0, 60).moment));
        assert!(!standing.read_through(Position(5), at(0, 60).moment));
        assert_eq!(standing, before);
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_moments_in_order() {
        let mut standing = standing();
        assert!(standing.read_through(Position(40), at(0, 2).moment));
        assert_eq!(standing.read_throughs.last(), Some(&at(40, 50)));
    }

    #[test]
    fn the_number_of_readings_is_bounded_and_none_becomes_unread() {
        let mut standing = Standing::begin(at(0, 0));
        for n in 1..=100 {
            assert!(standing.read_through(Position(n), at(0, i64::try_from(n * n).unwrap()).moment));
        }
        assert_eq!(standing.read_throughs.len(), READ_THROUGHS_MAX);
        assert_eq!(outlook(&standing, 0).read_through(), Position(100));
    }

    #[test]
    fn what_is_taken_out_of_the_archive_goes_back_a_month_later() {
        let standing = standing();
        let read = ItemState::default().after(Mark::Read, at(0, 1).moment);
        let out = OwnMark::after(None, read, Mark::Unarchive, at(0, 40).moment);
        assert_eq!(outlook(&standing, 60).by_mark(&out).archived_at, None);
        assert!(outlook(&standing, 71).by_mark(&out).archived_at.is_some());
        let again = OwnMark::after(Some(out), read, Mark::Read, at(0, 60).moment);
        assert_eq!(again.unarchived_at, out.unarchived_at);
    }
}
