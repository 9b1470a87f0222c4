//! Gathering: whether a commit waits for those who were answered by the last one.
//!
//! Publishers that wait for their answers split into two halves: while one half's commit is under way the other half
//! arrives, and each commit takes only half of them. Whoever was just answered comes back in a fraction of a
//! millisecond, so a commit that waits that long takes all of them. Known as the group commit delay.
//!
//! Which is better depends on the disk. Where a commit takes longer than answering everybody and hearing from them
//! again, one commit for all is; where it takes less, two halves are, because the database then works on one while the
//! node works on the other, and has the next one at hand when it is done. So both ways are tried in turn, and what has
//! answered more is kept for a while. Nobody waits who has never been seen to come in company.

use std::time::Duration;

use tokio::time::Instant;

/// No commit waits longer.
const WAIT_MAX: Duration = Duration::from_millis(1);
/// A trial of one way takes this many commits; the first of them, while publishers fall into step, do not count. Of fewer
/// one that was slow by chance decides.
const TRIAL: u32 = 64;
const SETTLING: u32 = 8;
/// The better way is kept for this many commits: trials of the worse one are three in a hundred.
const KEPT: u32 = 2_000;
/// Waiting makes the slowest answers later, so it must answer this many times as much. Where it pays, on a slow disk or
/// among several nodes, it is a third more and beyond.
const GAIN_MIN: f64 = 1.2;

/// What to do with a request that could be committed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Go,
    Wait,
}

/// What is being learned.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Going,
    /// How many requests a second were answered while nobody waited.
    Waiting {
        going: f64,
    },
    Kept(Way),
}

/// What the last commits have taught.
#[derive(Debug)]
pub(super) struct Gathering {
    /// How long the last commit took.
    commit: Duration,
    /// Requests that were answered by it, or waited or were under way when it was over.
    company: usize,
    phase: Phase,
    /// Commits since the phase began.
    commits: u32,
    /// When its first commit that counts began, and requests answered since.
    counted_from: Option<Instant>,
    answered: u32,
}

impl Default for Gathering {
    fn default() -> Self {
        Self {
            commit: Duration::ZERO,
            company: 0,
            phase: Phase::Going,
            commits: 0,
            counted_from: None,
            answered: 0,
        }
    }
}

impl Gathering {
    /// Notes that a commit is over, how many requests it answered, and how many wait or are under way.
    pub(super) fn committed(&mut self, now: Instant, took: Duration, answered: usize, others: usize) {
        self.commit = took;
        self.company = answered + others;
        if self.company == 1 {
            // Alone: there is nothing to learn, and what was being learned begins anew. What is known stays.
            if !matches!(self.phase, Phase::Kept(_)) {
                self.begin(self.phase);
            }
            return;
        }
        self.commits += 1;
        match self.counted_from {
            Some(_) => self.answered += u32::try_from(answered).unwrap_or(u32::MAX),
            None if self.commits == SETTLING => self.counted_from = Some(now),
            None => {}
        }
        match self.phase {
            Phase::Going if self.commits == TRIAL => {
                let going = self.rate(now);
                self.begin(Phase::Waiting { going });
            }
            Phase::Waiting { going } if self.commits == TRIAL => {
                let wait = self.rate(now) > going * GAIN_MIN;
                self.begin(Phase::Kept(if wait { Way::Wait } else { Way::Go }));
            }
            Phase::Kept(_) if self.commits == KEPT => self.begin(Phase::Going),
            _ => {}
        }
    }

    /// Whether a batch may go while another is under way, not all of them in one.
    pub(super) const fn overlaps(&self) -> bool {
        !matches!(self.phase, Phase::Waiting { .. } | Phase::Kept(Way::Wait))
    }

    /// How many requests are worth waiting for, and how long, when this many are there.
    pub(super) fn worth(&self, there: usize) -> Option<(usize, Duration)> {
        (!self.overlaps() && there < self.company).then(|| (self.company, (self.commit / 2).min(WAIT_MAX)))
    }

    const fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.commits = 0;
        self.counted_from = None;
        self.answered = 0;
    }

    /// Requests answered a second.
    fn rate(&self, now: Instant) -> f64 {
        let elapsed = self.counted_from.map_or(Duration::MAX, |from| now - from);
        f64::from(self.answered) / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Publishers that publish again as soon as they are answered, through a node that takes them one after the other.
    struct Loop {
        start: Instant,
        now: Instant,
        /// When the node is done with whom it has answered so far.
        free: Instant,
        arrivals: VecDeque<Instant>,
        /// How long the node takes for one, and the database for a commit.
        handling: Duration,
        commit: Duration,
    }

    impl Loop {
        fn of(publishers: usize, handling: Duration, commit: Duration) -> Self {
            let start = Instant::now();
            Self {
                start,
                now: start,
                free: start,
                arrivals: std::iter::repeat_n(start, publishers).collect(),
                handling,
                commit,
            }
        }

        fn there(&self, at: Instant) -> usize {
            self.arrivals.iter().filter(|arrival| **arrival <= at).count()
        }

        /// One commit of whoever is there, after waiting as long as `worth` says.
        fn turn(&mut self, worth: impl Fn(usize) -> Option<(usize, Duration)>) -> (usize, usize) {
            self.now = self.now.max(self.arrivals[0]);
            if let Some((enough, wait)) = worth(self.there(self.now)) {
                let complete = self.arrivals.get(enough - 1).copied();
                self.now = complete.map_or(self.now + wait, |complete| {
                    complete.min(self.now + wait).max(self.now)
                });
            }
            let answered = self.there(self.now);
            self.now += self.commit;
            self.arrivals.drain(..answered);
            let waiting = self.there(self.now);
            self.free = self.free.max(self.now);
            for _ in 0..answered {
                self.free += self.handling;
                self.arrivals.push_back(self.free);
            }
            (answered, waiting)
        }

        fn run(mut self, mut gathering: Gathering, learns: impl Fn(&mut Gathering)) -> f64 {
            let mut total = 0;
            for _ in 0..5_000 {
                let (answered, waiting) = self.turn(|there| gathering.worth(there));
                gathering.committed(self.now, self.commit, answered, waiting);
                learns(&mut gathering);
                total += u32::try_from(answered).unwrap();
            }
            f64::from(total) / (self.now - self.start).as_secs_f64()
        }

        fn always(self, way: Way) -> f64 {
            self.run(Gathering::default(), |gathering| {
                gathering.begin(Phase::Kept(way));
            })
        }
    }

    #[test]
    fn whoever_comes_alone_waits_for_nobody() {
        let mut alone = Loop::of(1, Duration::from_micros(50), Duration::from_millis(1));
        let mut gathering = Gathering::default();
        for _ in 0..1_000 {
            let (answered, waiting) = alone.turn(|there| {
                assert_eq!(gathering.worth(there), None);
                None
            });
            gathering.committed(alone.now, alone.commit, answered, waiting);
        }
    }

    #[test]
    fn the_better_way_is_found_whatever_the_disk_takes() {
        let (mut waits, mut goes) = (0, 0);
        for publishers in [2, 4, 16, 64] {
            for handling in [5, 20, 60, 200].map(Duration::from_micros) {
                for commit in [80, 250, 1_000, 4_000].map(Duration::from_micros) {
                    let on = || Loop::of(publishers, handling, commit);
                    let (going, waiting) = (on().always(Way::Go), on().always(Way::Wait));
                    let learned = on().run(Gathering::default(), |_| {});
                    let best = going.max(waiting);
                    let case =
                        format!("{publishers} publishers, {handling:?}, {commit:?}: {going:.0} {waiting:.0}");
                    assert!(learned > best * 0.93, "{case}: {learned:.0}");
                    waits += u32::from(waiting > going * 1.1);
                    goes += u32::from(going > waiting * 1.1);
                }
            }
        }
        assert!(
            waits > 5 && goes > 0,
            "both ways have their place: {waits}, {goes}"
        );
    }

    #[test]
    fn what_was_learned_outlasts_a_moment_alone() {
        let mut gathering = Gathering::default();
        gathering.begin(Phase::Kept(Way::Wait));
        let (now, commit) = (Instant::now(), Duration::from_millis(1));
        gathering.committed(now, commit, 1, 0);
        assert_eq!(gathering.worth(1), None);
        gathering.committed(now, commit, 1, 1);
        assert_eq!(gathering.worth(1), Some((2, commit / 2)));
        assert!(!gathering.overlaps());
    }

    #[test]
    fn a_slow_disk_makes_nobody_wait_long() {
        let mut gathering = Gathering::default();
        gathering.begin(Phase::Kept(Way::Wait));
        let slow = Loop::of(16, Duration::from_micros(20), Duration::from_secs(1));
        gathering.committed(slow.now, slow.commit, 8, 8);
        assert_eq!(gathering.worth(8), Some((16, WAIT_MAX)));
        assert_eq!(gathering.worth(16), None);
    }
}
