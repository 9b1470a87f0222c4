//! Sums over the last stretch of time.

use std::ops::AddAssign;
use std::time::Duration;

use crate::time::Timestamp;

/// A window is this many slots; they fall out of it one by one, so it covers its length to a tenth.
const SLOTS: usize = 10;

/// The sum of what was added during the last `length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window<T> {
    slot_ms: i64,
    newest: i64,
    slots: [T; SLOTS],
}

impl<T: Copy + Default + AddAssign> Window<T> {
    /// Starts empty.
    pub(crate) fn new(length: Duration) -> Self {
        let length_ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
        Self {
            // There are ten slots, so that the division is by a small constant.
            slot_ms: (length_ms / 10).max(1),
            newest: i64::MIN,
            slots: [T::default(); SLOTS],
        }
    }

    /// Returns the window with `what` added at `now`.
    #[must_use]
    pub(crate) fn add(self, what: T, now: Timestamp) -> Self {
        let mut slid = self.at(now);
        let slot = slot(slid.newest);
        slid.slots[slot] += what;
        slid
    }

    /// Returns the sum of what lies within the window at `now`.
    pub(crate) fn total(&self, now: Timestamp) -> T {
        let mut sum = T::default();
        for slot in self.at(now).slots {
            sum += slot;
        }
        sum
    }

    /// Slides to `now`. A clock that was set back a little goes on in the newest slot; one that was set back
    /// further than the window is long begins anew, or nothing would ever fall out.
    fn at(mut self, now: Timestamp) -> Self {
        let number = now.as_millis().div_euclid(self.slot_ms);
        let ahead = number.saturating_sub(self.newest);
        if ahead >= 10 || ahead <= -10 {
            self.slots = [T::default(); SLOTS];
            self.newest = number;
        } else {
            while self.newest < number {
                self.newest += 1;
                let slot = slot(self.newest);
                self.slots[slot] = T::default();
            }
        }
        self
    }
}

fn slot(number: i64) -> usize {
    usize::try_from(number.rem_euclid(10)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn what_is_older_than_the_window_has_fallen_out() {
        let window = Window::<u32>::new(Duration::from_secs(10))
            .add(3, at(0))
            .add(4, at(5_500));
        assert_eq!(window.total(at(9_999)), 7);
        assert_eq!(window.total(at(10_000)), 4);
        assert_eq!(window.total(at(15_000)), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_the_window() {
        let window = Window::<u32>::new(Duration::from_secs(10)).add(3, at(100_000));
        assert_eq!(window.add(1, at(99_000)).total(at(99_000)), 4);
        let far = window.add(1, at(10_000));
        assert_eq!(far.total(at(10_000)), 1);
        assert_eq!(far.total(at(20_000)), 0);
    }

    proptest! {
        #[test]
        fn sums_agree_with_a_list_to_one_slot(
            steps in prop::collection::vec((0_i64..3_000, 1_u32..10), 1..80), start in -10_000_i64..10_000,
        ) {
            let mut now = start;
            let mut list = Vec::new();
            let mut window = Window::<u32>::new(Duration::from_secs(10));
            for (pause, count) in steps {
                now += pause;
                list.push((now, count));
                window = window.add(count, at(now));
                let since = |age: i64| list.iter().filter(|(when, _)| now - when < age).map(|(_, n)| n).sum::<u32>();
                let total = window.total(at(now));
                prop_assert!(since(9_000) <= total && total <= since(10_000));
            }
        }
    }
}
