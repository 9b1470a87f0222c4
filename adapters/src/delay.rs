//! Delays between attempts at something that others provide.

use std::time::Duration;

/// A delay that doubles from one attempt to the next.
#[derive(Debug, Clone)]
pub(crate) struct Delay {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Delay {
    /// Begins at `first` and stays at `last`.
    pub(crate) const fn new(first: Duration, last: Duration) -> Self {
        Self {
            first,
            last,
            next: first,
        }
    }

    /// Returns how long to wait now; the next time it will be longer.
    pub(crate) fn next(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.last);
        delay
    }

    /// Begins anew, after a success.
    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_doubles_up_to_its_last_and_begins_anew_after_a_success() {
        let millis = Duration::from_millis;
        let mut delay = Delay::new(millis(100), millis(350));
        let delays: Vec<_> = (0..4).map(|_| delay.next()).collect();
        assert_eq!(delays, [100, 200, 350, 350].map(millis));
        delay.reset();
        assert_eq!(delay.next(), millis(100));
    }
}
