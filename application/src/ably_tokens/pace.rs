//! How often one person gets a token: so many at once, then one at a time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::ids::UserId;

use super::PER_MINUTE;

/// A turn comes back after this long.
const TURN: Duration = Duration::from_millis(60_000 / PER_MINUTE as u64);

/// Everybody's turns are back after this long.
const WHOLE: Duration = Duration::from_secs(60);

/// About 8 MiB. Whoever has all turns is forgotten, so that is how many people ask within seconds.
pub(super) const PEOPLE_MAX: usize = 65_536;

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// A turn was taken.
    Turn,
    /// There is no room to count one more person.
    Uncounted,
    /// All turns are taken; one is back after this long.
    Later(Duration),
}

/// Turns of people, by the moment at which each has all of them back (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// No await is held under it.
    whole_at: Mutex<HashMap<UserId, Duration>>,
}

impl Pace {
    /// Takes a turn at the moment `now`, which never goes back.
    pub(super) fn take(&self, user: &UserId, now: Duration) -> Taken {
        let mut people = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        let whole_at = people.get(user).map_or(now, |known| (*known).max(now)) + TURN;
        let wait = whole_at.saturating_sub(now).saturating_sub(WHOLE);
        if wait > Duration::ZERO {
            return Taken::Later(wait);
        }
        if people.len() >= PEOPLE_MAX && !people.contains_key(user) {
            people.retain(|_, known| *known > now);
            if people.len() >= PEOPLE_MAX {
                return Taken::Uncounted;
            }
        }
        people.insert(user.clone(), whole_at);
        Taken::Turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().unwrap()
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn ten_at_once_and_then_one_every_six_seconds() {
        let pace = Pace::default();
        for _ in 0..10 {
            assert_eq!(pace.take(&user("ana"), at(0)), Taken::Turn);
        }
        assert_eq!(pace.take(&user("ana"), at(0)), Taken::Later(at(6_000)));
        assert_eq!(pace.take(&user("ana"), at(5_999)), Taken::Later(at(1)));
        assert_eq!(pace.take(&user("ana"), at(6_000)), Taken::Turn);
        assert_eq!(pace.take(&user("ana"), at(6_000)), Taken::Later(at(6_000)));
        assert_eq!(pace.take(&user("bia"), at(6_000)), Taken::Turn);
        for _ in 0..10 {
            assert_eq!(pace.take(&user("ana"), at(70_000)), Taken::Turn);
        }
    }

    #[test]
    fn when_there_is_no_room_newcomers_are_not_counted_and_the_idle_are_forgotten() {
        let pace = Pace::default();
        for n in 0..PEOPLE_MAX {
            assert_eq!(pace.take(&user(&format!("u-{n}")), at(0)), Taken::Turn);
        }
        assert_eq!(pace.take(&user("late"), at(1)), Taken::Uncounted);
        assert_eq!(pace.take(&user("u-0"), at(1)), Taken::Turn);
        assert_eq!(pace.take(&user("late"), at(6_000)), Taken::Turn);
        assert_eq!(pace.whole_at.lock().unwrap().len(), 2);
    }
}
