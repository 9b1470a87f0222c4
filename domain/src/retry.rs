//! When something that failed is tried again, and when it is given up.

use std::fmt;
use std::time::Duration;

use crate::stream::Jitter;

/// Nobody waits for more attempts than this.
const ATTEMPTS_MAX: u32 = 20;
/// A factor beyond this is a typing error.
const FACTOR_MAX: f64 = 10.0;
/// What is still failing after a day is somebody's work, not a retry's.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How often, how far apart and for how long something is tried.
///
/// The wait before attempt `n + 1` is drawn evenly from zero to `base × factor^(n - 1)`, at most `max` ("full
/// jitter": callers that failed together do not come back together). Whatever is drawn, no attempt begins
/// after the deadline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    attempts: u32,
    base: Duration,
    factor: f64,
    max: Duration,
    deadline: Duration,
}

/// A retry policy that cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidRetryPolicy {
    /// The number at fault.
    pub setting: &'static str,
    /// What it takes.
    pub takes: &'static str,
}

impl fmt::Display for InvalidRetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of a retry policy takes {}", self.setting, self.takes)
    }
}

impl std::error::Error for InvalidRetryPolicy {}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Try again after this wait.
    After(Duration),
    /// Do not try again.
    GiveUp(GiveUp),
}

/// Why something is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GiveUp {
    /// All attempts were made.
    Attempts,
    /// The next attempt would begin after the deadline.
    Deadline,
}

impl GiveUp {
    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts_exhausted",
            Self::Deadline => "deadline",
        }
    }
}

impl RetryPolicy {
    /// For anything that has no policy of its own: 3 attempts, 1 s × 2, at most 10 s apart, all within 30 s.
    pub const DEFAULT: Self = Self {
        attempts: 3,
        base: Duration::from_secs(1),
        factor: 2.0,
        max: Duration::from_secs(10),
        deadline: Duration::from_secs(30),
    };

    /// For the database: as [`DEFAULT`](Self::DEFAULT).
    pub const POSTGRES: Self = Self::DEFAULT;

    /// For Redis: 5 attempts, 0.5 s × 1.5, at most 5 s apart, all within 20 s.
    pub const REDIS: Self = Self {
        attempts: 5,
        base: Duration::from_millis(500),
        factor: 1.5,
        max: Duration::from_secs(5),
        deadline: Duration::from_secs(20),
    };

    /// For Ably: 4 attempts, 2 s × 2.5, at most 30 s apart, all within 100 s.
    ///
    /// Ably forgets the id of a message after two minutes and would then deliver a repeat of it. An attempt
    /// that begins within 100 s and lasts at most 15 s over all of Ably's hosts stays clear of that.
    pub const ABLY: Self = Self {
        attempts: 4,
        base: Duration::from_secs(2),
        factor: 2.5,
        max: Duration::from_secs(30),
        deadline: Duration::from_secs(100),
    };

    /// Takes a policy of 1 to 20 attempts, `1 ms <= base <= max`, a factor from 1 to 10 and a deadline of at
    /// least `base` and at most a day. `attempts` counts the first one; `deadline` counts from its beginning.
    pub fn try_new(
        attempts: u32,
        base: Duration,
        factor: f64,
        max: Duration,
        deadline: Duration,
    ) -> Result<Self, InvalidRetryPolicy> {
        let wrong = |setting, takes| Err(InvalidRetryPolicy { setting, takes });
        if !(1..=ATTEMPTS_MAX).contains(&attempts) {
            return wrong("attempts", "1 to 20");
        }
        if base < Duration::from_millis(1) {
            return wrong("base", "at least 1 ms");
        }
        if !(1.0..=FACTOR_MAX).contains(&factor) {
            return wrong("factor", "1 to 10");
        }
        if max < base {
            return wrong("max", "at least the base");
        }
        if deadline < base || deadline > DEADLINE_MAX {
            return wrong("deadline", "at least the base and at most a day");
        }
        Ok(Self {
            attempts,
            base,
            factor,
            max,
            deadline,
        })
    }

    /// Returns how many attempts are made, the first included.
    pub const fn attempts(self) -> u32 {
        self.attempts
    }

    /// Returns the time after the beginning of the first attempt within which the last one begins.
    pub const fn deadline(self) -> Duration {
        self.deadline
    }

    /// Says what follows a failure: `attempt` counts the attempts made so far, from one; `elapsed` is the
    /// time since the first began.
    pub fn next(self, attempt: u32, elapsed: Duration, jitter: Jitter) -> Retry {
        self.next_after(attempt, elapsed, jitter, Duration::ZERO)
    }

    /// Says what follows a failure whose answer asked not to be called again for `at_least`.
    pub fn next_after(self, attempt: u32, elapsed: Duration, jitter: Jitter, at_least: Duration) -> Retry {
        if attempt >= self.attempts {
            return Retry::GiveUp(GiveUp::Attempts);
        }
        self.wait(attempt, elapsed, jitter, at_least)
    }

    /// Says when something is tried that was held back before it was sent: no attempt was made, so none
    /// counts.
    pub fn held(self, elapsed: Duration, jitter: Jitter, at_least: Duration) -> Retry {
        self.wait(1, elapsed, jitter, at_least)
    }

    fn wait(self, attempt: u32, elapsed: Duration, jitter: Jitter, at_least: Duration) -> Retry {
        let left = self.deadline.saturating_sub(elapsed);
        if left.is_zero() || at_least > left {
            return Retry::GiveUp(GiveUp::Deadline);
        }
        // The draw ends where the deadline does, so that an unlucky one costs no attempt.
        let window = self.window(attempt).min(left.saturating_sub(at_least));
        Retry::After(at_least + jitter.of(window))
    }

    /// Returns the longest wait after attempt number `attempt`, from one.
    fn window(self, attempt: u32) -> Duration {
        let power = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.base.as_secs_f64() * self.factor.powi(power);
        if seconds < self.max.as_secs_f64() {
            Duration::from_secs_f64(seconds)
        } else {
            self.max
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LATEST: u64 = u64::MAX;

    fn latest(policy: RetryPolicy, attempt: u32) -> Retry {
        policy.next(attempt, Duration::ZERO, Jitter::from_bits(LATEST))
    }

    #[test]
    fn waits_grow_by_the_factor_up_to_the_maximum() {
        let table: [(&str, RetryPolicy, &[u64]); 3] = [
            ("default", RetryPolicy::DEFAULT, &[1_000, 2_000]),
            ("redis", RetryPolicy::REDIS, &[500, 750, 1_125, 1_687]),
            ("ably", RetryPolicy::ABLY, &[2_000, 5_000, 12_500]),
        ];
        for (name, policy, windows) in table {
            for (attempt, window) in (1..).zip(windows) {
                let Retry::After(wait) = latest(policy, attempt) else {
                    panic!("{name} gives up after {attempt}");
                };
                let off = wait.abs_diff(Duration::from_millis(*window));
                assert!(off <= Duration::from_millis(1), "{name} {attempt}: {wait:?}");
                let soonest = policy.next(attempt, Duration::ZERO, Jitter::NONE);
                assert_eq!(soonest, Retry::After(Duration::ZERO), "{name} {attempt}");
            }
            assert_eq!(
                latest(policy, policy.attempts()),
                Retry::GiveUp(GiveUp::Attempts),
                "{name}"
            );
        }
        let many = RetryPolicy::try_new(
            20,
            Duration::from_secs(1),
            10.0,
            Duration::from_secs(7),
            DEADLINE_MAX,
        );
        let Retry::After(wait) = latest(many.unwrap(), 19) else {
            panic!("gives up");
        };
        assert!(wait <= Duration::from_secs(7) && wait > Duration::from_millis(6_900));
    }

    #[test]
    fn nothing_begins_after_the_deadline() {
        let policy = RetryPolicy::ABLY;
        let at = |elapsed: u64, at_least: u64| {
            let (elapsed, at_least) = (Duration::from_secs(elapsed), Duration::from_secs(at_least));
            policy.next_after(1, elapsed, Jitter::NONE, at_least)
        };
        assert_eq!(at(99, 0), Retry::After(Duration::ZERO));
        assert_eq!(at(100, 0), Retry::GiveUp(GiveUp::Deadline));
        assert_eq!(at(40, 60), Retry::After(Duration::from_secs(60)));
        assert_eq!(at(40, 61), Retry::GiveUp(GiveUp::Deadline));
    }

    #[test]
    fn what_was_held_back_costs_no_attempt() {
        let policy = RetryPolicy::DEFAULT;
        let held = policy.held(Duration::from_secs(1), Jitter::NONE, Duration::from_secs(20));
        assert_eq!(held, Retry::After(Duration::from_secs(20)));
        let over = policy.held(Duration::from_secs(11), Jitter::NONE, Duration::from_secs(20));
        assert_eq!(over, Retry::GiveUp(GiveUp::Deadline));
    }

    #[test]
    fn policies_that_cannot_be_followed_are_refused() {
        let s = Duration::from_secs;
        let table = [
            (RetryPolicy::try_new(0, s(1), 2.0, s(9), s(9)), Some("attempts")),
            (RetryPolicy::try_new(21, s(1), 2.0, s(9), s(9)), Some("attempts")),
            (RetryPolicy::try_new(1, s(0), 2.0, s(9), s(9)), Some("base")),
            (RetryPolicy::try_new(1, s(1), 0.9, s(9), s(9)), Some("factor")),
            (
                RetryPolicy::try_new(1, s(1), f64::NAN, s(9), s(9)),
                Some("factor"),
            ),
            (
                RetryPolicy::try_new(1, s(1), f64::INFINITY, s(9), s(9)),
                Some("factor"),
            ),
            (RetryPolicy::try_new(1, s(2), 2.0, s(1), s(9)), Some("max")),
            (RetryPolicy::try_new(1, s(2), 2.0, s(2), s(1)), Some("deadline")),
            (
                RetryPolicy::try_new(1, s(2), 2.0, s(2), Duration::MAX),
                Some("deadline"),
            ),
            (RetryPolicy::try_new(1, s(1), 1.0, s(1), s(1)), None),
        ];
        for (index, (made, wrong)) in table.into_iter().enumerate() {
            assert_eq!(made.err().map(|error| error.setting), wrong, "row {index}");
        }
    }

    proptest! {
        #[test]
        fn every_sequence_ends_within_its_attempts_and_its_deadline(
            attempts in 1_u32..=20, base in 1_u64..5_000, factor in 1.0_f64..10.0, max in 1_u64..60_000,
            deadline in 1_u64..300_000, draws in prop::collection::vec(any::<u64>(), 20),
            floors in prop::collection::vec(0_u64..20_000, 20), work in prop::collection::vec(0_u64..15_000, 20),
        ) {
            let ms = Duration::from_millis;
            let (max, deadline) = (max.max(base), deadline.max(base));
            let policy = RetryPolicy::try_new(attempts, ms(base), factor, ms(max), ms(deadline)).unwrap();
            let mut elapsed = Duration::ZERO;
            for attempt in 1..=20_u32 {
                prop_assert!(attempt <= attempts && elapsed <= ms(deadline));
                let index = attempt as usize - 1;
                elapsed += ms(work[index]);
                let floor = ms(floors[index]);
                match policy.next_after(attempt, elapsed, Jitter::from_bits(draws[index]), floor) {
                    Retry::GiveUp(_) => return Ok(()),
                    Retry::After(wait) => {
                        prop_assert!(wait >= floor && wait <= floor + ms(max));
                        elapsed += wait;
                    }
                }
            }
            prop_assert!(false, "twenty attempts and no end");
        }
    }
}
