//! How one person sees one channel: which items count as read, and which are archived.

use std::collections::BTreeMap;
use std::iter;
use std::ops::Bound;

use domain::cursor::Position;
use domain::standing::{Outlook, OwnMark};
use domain::state::{ItemState, StateFilter};

use super::inbox::Entry;
use super::runs::Runs;

const EVERYTHING: Position = Position(u64::MAX);

/// How one person sees one channel: items with a mark are as the mark says, all others as their place says.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) outlook: Outlook<'a>,
    pub(super) rows: Option<&'a BTreeMap<Position, OwnMark>>,
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
        row.map_or_else(
            || self.outlook.by_place(position),
            |row| self.outlook.by_mark(row),
        )
    }

    /// Counts the unread among a channel's items without walking them.
    pub(super) fn unread(&self, entries: &Runs<Entry>) -> usize {
        let read_through = self.outlook.read_through();
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
        let (low, high) = self.outlook.stretch(filter);
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
                    let state = self.outlook.by_place(entry.position);
                    return Some(Seen { entry, state });
                }
                by_place.next_if(|entry| Some(entry.position) == row_place);
                let (position, row) = by_row.next()?;
                let state = self.outlook.by_mark(row);
                if filter.shows(&state)
                    && let Some(entry) = entries.get(*position)
                {
                    return Some(Seen { entry, state });
                }
            }
        })
    }
}
