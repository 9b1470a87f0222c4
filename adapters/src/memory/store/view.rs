//! How one person sees one channel: which items count as read, and which are archived.

use std::collections::BTreeMap;
use std::iter;
use std::ops::Bound;
use std::time::Duration;

use domain::cursor::Position;
use domain::state::{ItemState, StateFilter};
use domain::time::Timestamp;

use super::inbox::Entry;
use super::people::{Row, Watermark};
use super::runs::Runs;

const EVERYTHING: Position = Position(u64::MAX);

/// How one person sees one channel.
///
/// An item with a row is as the row says. For all others the place decides: from old to new they are archived,
/// read, unread, so that every filter shows one stretch of them and nothing else need be looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// For group channels alone.
    pub(super) first_seen: Option<Watermark>,
    pub(super) read_throughs: &'a [Watermark],
    pub(super) rows: Option<&'a BTreeMap<Position, Row>>,
    pub(super) archive_read_after: Duration,
    pub(super) now: Timestamp,
}

/// An item and what the person has done with it.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) entry: &'a Entry,
    pub(super) state: ItemState,
}

impl<'a> View<'a> {
    /// Returns the state of the item at a place.
    pub(super) fn state(&self, position: Position) -> ItemState {
        let row = self.rows.and_then(|rows| rows.get(&position));
        row.map_or_else(|| self.by_place(position), |row| self.by_row(row))
    }

    /// Counts the unread among a channel's items without walking them.
    pub(super) fn unread(&self, entries: &Runs<Entry>) -> usize {
        let read_through = self.read_through();
        let mut unread = entries.count_after(read_through);
        for (position, row) in self.rows.into_iter().flatten() {
            unread += usize::from(row.state.unread());
            unread -= usize::from(*position > read_through);
        }
        unread
    }

    /// Walks the items before a place that a filter shows, newest first.
    pub(super) fn shown(
        self,
        entries: &'a Runs<Entry>,
        before: Option<Position>,
        filter: StateFilter,
    ) -> impl Iterator<Item = Seen<'a>> {
        let top = before.map_or(EVERYTHING, Position::prior);
        let (low, high) = self.stretch(filter);
        let mut by_place = entries.descending(low, high.min(top)).peekable();
        let rows = self.rows.into_iter();
        let mut by_row = rows
            .flat_map(move |rows| rows.range((Bound::Unbounded, Bound::Included(top))).rev())
            .peekable();
        iter::from_fn(move || {
            loop {
                let row_place = by_row.peek().map(|(position, _)| **position);
                let place = by_place.peek().map(|entry| entry.position);
                if place.is_none() && row_place.is_none() {
                    return None;
                }
                if row_place < place {
                    let entry = by_place.next()?;
                    let state = self.by_place(entry.position);
                    return Some(Seen { entry, state });
                }
                by_place.next_if(|entry| Some(entry.position) == row_place);
                let (position, row) = by_row.next()?;
                let state = self.by_row(row);
                if filter.shows(&state)
                    && let Some(entry) = entries.get(*position)
                {
                    return Some(Seen { entry, state });
                }
            }
        })
    }

    /// Returns the stretch of places, the first excluded, whose items without a row a filter shows.
    fn stretch(&self, filter: StateFilter) -> (Position, Position) {
        let nothing = Position(0);
        match filter {
            StateFilter::All => (nothing, EVERYTHING),
            StateFilter::Unarchived => (self.archived_through(), EVERYTHING),
            StateFilter::Unread => (self.read_through(), EVERYTHING),
            StateFilter::Read => (self.archived_through(), self.read_through()),
            StateFilter::Archived => (nothing, self.archived_through()),
        }
    }

    fn by_place(&self, position: Position) -> ItemState {
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

    fn by_row(&self, row: &Row) -> ItemState {
        let by_itself = || {
            let read_at = row.state.read_at?;
            self.archived_at(row.unarchived_at.map_or(read_at, |at| at.max(read_at)))
        };
        ItemState {
            archived_at: row.state.archived_at.or_else(by_itself),
            ..row.state
        }
    }

    /// Returns when something read at a moment went to the archive by itself, if it did.
    fn archived_at(&self, read_at: Timestamp) -> Option<Timestamp> {
        let at = read_at.plus(self.archive_read_after);
        (at <= self.now).then_some(at)
    }

    fn read_through(&self) -> Position {
        let last = self.read_throughs.last().copied();
        let places = last.into_iter().chain(self.first_seen);
        places.map(|mark| mark.position).max().unwrap_or_default()
    }

    fn archived_through(&self) -> Position {
        let archived = |mark: &Watermark| self.archived_at(mark.moment).is_some();
        let count = self.read_throughs.partition_point(archived);
        let last = self.read_throughs[..count].last().copied();
        let places = last.into_iter().chain(self.first_seen.filter(archived));
        places.map(|mark| mark.position).max().unwrap_or_default()
    }
}
