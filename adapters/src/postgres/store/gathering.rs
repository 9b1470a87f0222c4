//! Gathering: how long a commit waits for those who were answered by the last one.
//!
//! Publishers that wait for their answers split into two halves: while one half's commit is under way the other half
//! arrives, and each commit takes only half of them. Whoever was just answered comes back in a fraction of a
//! millisecond, so a commit that waits that long takes all of them. Known as the group commit delay; here it is learned,
//! and nobody waits who has never been seen to come in company.

use std::time::Duration;

use tokio::time::Instant;

/// No commit waits longer.
const WAIT_MAX: Duration = Duration::from_millis(1);
/// Waiting that brought nobody is tried again after twice as many commits as the last time, up to this many.
const REST_MAX: u32 = 256;

/// What the last commits have taught.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// How long the last commit took.
    commit: Duration,
    /// Requests that were answered by it or waited when it was over.
    company: usize,
    /// Commits until waiting is tried again, and how many it will be the next time.
    rest: u32,
    next_rest: u32,
}

impl Gathering {
    /// Notes that a commit is over.
    pub(super) const fn committed(&mut self, took: Duration, answered: usize, waiting: usize) {
        self.commit = took;
        self.company = answered + waiting;
        self.rest = self.rest.saturating_sub(1);
    }

    /// How many requests are worth waiting for, and how long, when this many are there.
    pub(super) fn worth(&self, there: usize) -> Option<(usize, Duration)> {
        (self.rest == 0 && there < self.company).then(|| (self.company, (self.commit / 2).min(WAIT_MAX)))
    }

    /// Notes what waiting brought: `there` were there before and `gathered` are now.
    pub(super) fn waited(&mut self, there: usize, gathered: usize) {
        if (gathered - there) * 2 >= self.company - there {
            self.next_rest = 0;
        } else {
            self.next_rest = (self.next_rest * 2).clamp(1, REST_MAX);
            self.rest = self.next_rest;
        }
    }
}

/// Lets others run until there is nothing more to wait for.
pub(super) async fn until(over: Instant, mut enough: impl FnMut() -> bool) {
    while !enough() && Instant::now() < over {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Duration = Duration::from_micros(600);

    #[test]
    fn whoever_comes_alone_waits_for_nobody() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.worth(1), None);
        gathering.committed(COMMIT, 1, 0);
        assert_eq!(gathering.worth(1), None);
    }

    #[test]
    fn half_a_commit_is_waited_for_those_just_answered() {
        let mut gathering = Gathering::default();
        gathering.committed(COMMIT, 8, 8);
        assert_eq!(gathering.worth(8), Some((16, COMMIT / 2)));
        gathering.waited(8, 16);
        gathering.committed(COMMIT, 16, 0);
        assert_eq!(gathering.worth(1), Some((16, COMMIT / 2)));
        gathering.committed(Duration::from_secs(1), 16, 0);
        assert_eq!(
            gathering.worth(1),
            Some((16, WAIT_MAX)),
            "a slow disk makes nobody wait long"
        );
    }

    #[test]
    fn waiting_in_vain_is_given_up_more_and_more_and_taken_up_when_it_helps() {
        let mut gathering = Gathering::default();
        let mut waits = 0;
        for _ in 0..1_000 {
            gathering.committed(COMMIT, 2, 1);
            if gathering.worth(1).is_some() {
                waits += 1;
                gathering.waited(1, 1);
            }
        }
        assert!((8..=16).contains(&waits), "{waits}");
        while gathering.worth(1).is_none() {
            gathering.committed(COMMIT, 2, 1);
        }
        gathering.waited(1, 3);
        gathering.committed(COMMIT, 3, 0);
        assert!(gathering.worth(1).is_some());
    }
}
