//! A list in position order that grows at its end and may lose any entry.

use domain::cursor::Position;

/// Entries in one run. A removal moves at most this many; a million entries are two thousand runs, whose lengths
/// are added up in a few microseconds.
const RUN_MAX: usize = 512;

/// Something that has a place in the log.
pub(super) trait Placed {
    /// Returns its place.
    fn position(&self) -> Position;
}

impl Placed for Position {
    fn position(&self) -> Position {
        *self
    }
}

/// A list in position order, cut into runs, so that the busiest channel can lose an entry from its middle
/// without moving all the others, and can tell how many entries lie behind a place without counting them.
#[derive(Debug)]
pub(super) struct Runs<T> {
    /// No run is empty.
    runs: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            len: 0,
        }
    }
}

impl<T: Placed> Runs<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry behind all others.
    pub(super) fn push(&mut self, entry: T) {
        self.len += 1;
        match self.runs.last_mut() {
            Some(run) if run.len() < RUN_MAX => run.push(entry),
            _ => self.runs.push(vec![entry]),
        }
    }

    /// Takes the entry at a place out.
    pub(super) fn remove(&mut self, position: Position) -> Option<T> {
        let (at, index) = self.behind(position.prior());
        let run = self.runs.get_mut(at)?;
        if run.get(index)?.position() != position {
            return None;
        }
        let entry = run.remove(index);
        self.len -= 1;
        self.close_up(at);
        Some(entry)
    }

    /// Joins a run that became short with its neighbours, so that many removals do not leave many runs.
    fn close_up(&mut self, at: usize) {
        if self.runs[at].is_empty() {
            self.runs.remove(at);
            return;
        }
        for left in [at, at.saturating_sub(1)] {
            let pair = self.runs.get(left..left + 2).unwrap_or_default();
            if !pair.is_empty() && pair.iter().map(Vec::len).sum::<usize>() <= RUN_MAX / 2 {
                let right = self.runs.remove(left + 1);
                self.runs[left].extend(right);
            }
        }
    }

    /// Returns the entry at a place.
    pub(super) fn get(&self, position: Position) -> Option<&T> {
        let (at, index) = self.behind(position.prior());
        let entry = self.runs.get(at)?.get(index)?;
        (entry.position() == position).then_some(entry)
    }

    /// Counts the entries behind a place.
    pub(super) fn count_after(&self, position: Position) -> usize {
        let (at, index) = self.behind(position);
        let ahead: usize = self.runs[at..].iter().map(Vec::len).sum();
        ahead - index
    }

    /// Returns the entries behind a place, in order.
    pub(super) fn after(&self, position: Position) -> impl Iterator<Item = &T> {
        let (at, index) = self.behind(position);
        let first = self.runs.get(at).map_or(&[][..], |run| &run[index..]);
        first.iter().chain(self.runs.iter().skip(at + 1).flatten())
    }

    /// Returns the entries behind `low` up to `high`, the last first.
    pub(super) fn descending(&self, low: Position, high: Position) -> impl Iterator<Item = &T> {
        let (at, index) = self.behind(high);
        let last = self.runs.get(at).map_or(&[][..], |run| &run[..index]);
        let earlier = self.runs[..at].iter().rev().flat_map(|run| run.iter().rev());
        last.iter()
            .rev()
            .chain(earlier)
            .take_while(move |entry| entry.position() > low)
    }

    /// Finds the first entry behind a place: its run and its index there. Behind all, the run is one past the
    /// last and the index zero.
    fn behind(&self, position: Position) -> (usize, usize) {
        let at = self
            .runs
            .partition_point(|run| run.last().is_some_and(|entry| entry.position() <= position));
        let index = self
            .runs
            .get(at)
            .map_or(0, |run| run.partition_point(|entry| entry.position() <= position));
        (at, index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn filled(step: u64, count: u64) -> Runs<Position> {
        let mut runs = Runs::default();
        for position in (1..=count).map(|i| i * step) {
            runs.push(Position(position));
        }
        runs
    }

    #[test]
    fn runs_that_lose_most_of_their_entries_are_joined() {
        let mut runs = filled(1, 100_000);
        for position in (1..=100_000).filter(|position| position % 400 != 0) {
            assert_eq!(runs.remove(Position(position)), Some(Position(position)));
        }
        assert_eq!(runs.len, 250);
        assert!(runs.runs.len() <= 4, "{} runs", runs.runs.len());
    }

    #[test]
    fn an_empty_list_has_nothing_anywhere() {
        let mut runs: Runs<Position> = Runs::default();
        assert!(runs.is_empty());
        assert_eq!(runs.remove(Position(1)), None);
        assert_eq!(runs.count_after(Position(0)), 0);
        assert_eq!(runs.after(Position(0)).count(), 0);
        assert_eq!(runs.descending(Position(0), Position(u64::MAX)).count(), 0);
    }

    proptest! {
        #[test]
        fn it_answers_as_a_set_would(
            step in 1_u64..4,
            count in 0_u64..3_000,
            gone in prop::collection::vec((0_u64..12_000, 1_u64..700), 0..8),
            low in 0_u64..12_000,
            high in 0_u64..12_000,
        ) {
            let mut runs = filled(step, count);
            let mut set: BTreeSet<_> = (1..=count).map(|i| Position(i * step)).collect();
            for position in gone.iter().flat_map(|(from, many)| *from..from + many).map(Position) {
                prop_assert_eq!(runs.remove(position), set.take(&position));
            }
            let (low, high) = (Position(low), Position(high));
            prop_assert_eq!(runs.get(high), set.get(&high));
            prop_assert_eq!(runs.len, set.len());
            prop_assert!(runs.runs.iter().all(|run| !run.is_empty()));
            prop_assert_eq!(runs.count_after(low), set.range(low.next()..).count());
            prop_assert!(runs.after(low).eq(set.range(low.next()..)));
            let between = set.iter().rev().filter(|position| (low.next()..=high).contains(position));
            prop_assert!(runs.descending(low, high).eq(between));
        }
    }
}
