//! How often a stream is asked whether it still lives, and when it counts as dead.

use std::time::Duration;

use crate::time::Timestamp;

/// The mean is taken over this many round trips.
const ROUND_TRIPS_KEPT: usize = 10;
/// A mean below this shortens the interval.
const FAST: Duration = Duration::from_millis(100);
/// A mean above this lengthens the interval.
const SLOW: Duration = Duration::from_secs(1);
/// What a fast peer's interval is multiplied with.
const SHORTEN: f64 = 0.9;
/// What a slow peer's interval is multiplied with.
const LENGTHEN: f64 = 1.5;
/// A peer that had been replying is dead after this many misses in a row.
const MISSES_MAX: u8 = 3;
/// A peer that had been replying is not dead for silence sooner than this.
const SILENCE_MIN: Duration = Duration::from_secs(180);
/// A reply counts as missed after this long.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Intervals are held in this many shared classes: each is one timer, whatever the number of connections.
const CLASSES: u32 = 12;

/// The bounds within which an interval moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceLimits {
    /// Where every connection starts.
    pub base: Duration,
    /// The shortest interval.
    pub min: Duration,
    /// The longest interval.
    pub max: Duration,
}

impl Default for PaceLimits {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(30),
            min: Duration::from_secs(10),
            max: Duration::from_secs(120),
        }
    }
}

/// Bounds that no interval can satisfy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPaceLimits;

impl std::fmt::Display for InvalidPaceLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("heartbeats need 1 s <= min <= base <= max <= 1 h")
    }
}

impl std::error::Error for InvalidPaceLimits {}

impl PaceLimits {
    /// Takes bounds that hold `1 s <= min <= base <= max <= 1 h`.
    pub fn try_new(base: Duration, min: Duration, max: Duration) -> Result<Self, InvalidPaceLimits> {
        let ordered = Duration::from_secs(1) <= min && min <= base && base <= max;
        if ordered && max <= Duration::from_secs(3_600) {
            Ok(Self { base, min, max })
        } else {
            Err(InvalidPaceLimits)
        }
    }

    /// Returns the shared classes in whole seconds, shortest first, evenly spaced in ratio, with the base among
    /// them so that a connection which never replies gets exactly what `ready` promised.
    pub fn classes(&self) -> Vec<u32> {
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1);
        let (min, max) = (self.min.as_secs_f64(), self.max.as_secs_f64());
        let step = |index: u32| min * (max / min).powf(f64::from(index) / f64::from(CLASSES - 1));
        let mut classes: Vec<u32> = (0..CLASSES)
            .map(|index| seconds(Duration::from_secs_f64(step(index).round())))
            .chain([seconds(self.base)])
            .collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }
}

/// How often one connection is asked, and how it has answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    interval_ms: u32,
    round_trips_ms: [u16; ROUND_TRIPS_KEPT],
    round_trips: u8,
    next: u8,
    misses: u8,
    has_replied: bool,
    last_heard: Timestamp,
}

/// What a pace says about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It lives, or has never replied: then only the socket can tell.
    Alive,
    /// It had been replying and missed three in a row.
    Missed,
    /// It had been replying and has been silent for too long.
    Silent,
}

impl Pace {
    /// Starts at the base interval.
    pub fn start(limits: &PaceLimits, now: Timestamp) -> Self {
        Self {
            interval_ms: millis_u32(limits.base),
            round_trips_ms: [0; ROUND_TRIPS_KEPT],
            round_trips: 0,
            next: 0,
            misses: 0,
            has_replied: false,
            last_heard: now,
        }
    }

    /// Returns the exact target interval.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.into())
    }

    /// Tells whether the peer has ever replied.
    pub const fn has_replied(&self) -> bool {
        self.has_replied
    }

    /// Returns the mean of the last round trips; `None` before the first reply.
    pub fn mean_round_trip(&self) -> Option<Duration> {
        let kept = usize::from(self.round_trips);
        let sum: u32 = self.round_trips_ms[..kept].iter().map(|ms| u32::from(*ms)).sum();
        let count = u32::from(self.round_trips);
        (count > 0).then(|| Duration::from_millis((sum / count).into()))
    }

    /// Takes a reply and moves the interval.
    #[must_use]
    pub fn replied(mut self, round_trip: Duration, limits: &PaceLimits, now: Timestamp) -> Self {
        let slot = usize::from(self.next);
        self.round_trips_ms[slot] = u16::try_from(round_trip.as_millis()).unwrap_or(u16::MAX);
        self.next = (self.next + 1) % 10;
        self.round_trips = (self.round_trips + 1).min(10);
        self.misses = 0;
        self.has_replied = true;
        self.last_heard = now;
        let mean = self.mean_round_trip().unwrap_or_default();
        let target = match mean {
            mean if mean < FAST => self.interval().mul_f64(SHORTEN),
            mean if mean > SLOW => self.interval().mul_f64(LENGTHEN),
            _ => self.interval(),
        };
        self.interval_ms = millis_u32(target.clamp(limits.min, limits.max));
        self
    }

    /// Takes a heartbeat that was not replied to within [`REPLY_TIMEOUT`]. A peer that never replied is not
    /// counted: a plain `EventSource` cannot reply.
    #[must_use]
    pub fn missed(mut self) -> Self {
        if self.has_replied {
            self.misses = self.misses.saturating_add(1);
        }
        self
    }

    /// Says whether the peer still counts as alive.
    pub fn verdict(&self, now: Timestamp) -> Verdict {
        if !self.has_replied {
            return Verdict::Alive;
        }
        if self.misses >= MISSES_MAX {
            return Verdict::Missed;
        }
        let silence_max = SILENCE_MIN.max(self.interval() * 3 + REPLY_TIMEOUT);
        if now.since(self.last_heard) > silence_max {
            Verdict::Silent
        } else {
            Verdict::Alive
        }
    }
}

/// Returns the place of the class nearest to an interval.
pub fn nearest_class(classes: &[u32], interval: Duration) -> usize {
    let distance = |class: &u32| Duration::from_secs(u64::from(*class)).abs_diff(interval);
    classes
        .iter()
        .enumerate()
        .min_by_key(|(_, class)| distance(class))
        .map_or(0, |(index, _)| index)
}

fn millis_u32(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(0);

    fn replies(round_trip_ms: u64, count: usize) -> Pace {
        let limits = PaceLimits::default();
        (0..count).fold(Pace::start(&limits, START), |pace, _| {
            pace.replied(Duration::from_millis(round_trip_ms), &limits, START)
        })
    }

    #[test]
    fn a_fast_peer_is_asked_more_often_down_to_the_minimum() {
        assert_eq!(replies(50, 1).interval(), Duration::from_secs(27));
        assert_eq!(replies(50, 40).interval(), Duration::from_secs(10));
    }

    #[test]
    fn a_slow_peer_is_asked_less_often_up_to_the_maximum() {
        assert_eq!(replies(1_500, 1).interval(), Duration::from_secs(45));
        assert_eq!(replies(1_500, 40).interval(), Duration::from_secs(120));
    }

    #[test]
    fn a_peer_in_between_keeps_its_interval() {
        for edge in [100, 500, 1_000] {
            assert_eq!(replies(edge, 20).interval(), Duration::from_secs(30), "{edge} ms");
        }
    }

    #[test]
    fn the_mean_forgets_all_but_the_last_ten() {
        let limits = PaceLimits::default();
        let recovered = (0..10).fold(replies(60_000, 10), |pace, _| {
            pace.replied(Duration::from_millis(200), &limits, START)
        });
        assert_eq!(recovered.mean_round_trip(), Some(Duration::from_millis(200)));
    }

    #[test]
    fn a_peer_that_never_replied_is_never_judged() {
        let silent = (0..50).fold(Pace::start(&PaceLimits::default(), START), |pace, _| {
            pace.missed()
        });
        assert_eq!(silent.verdict(Timestamp::MAX), Verdict::Alive);
    }

    #[test]
    fn a_peer_that_had_been_replying_is_dead_after_three_misses_in_a_row() {
        let two = replies(200, 1).missed().missed();
        assert_eq!(two.verdict(START), Verdict::Alive);
        assert_eq!(two.missed().verdict(START), Verdict::Missed);
        let back = two.replied(Duration::from_millis(200), &PaceLimits::default(), START);
        assert_eq!(back.missed().missed().verdict(START), Verdict::Alive);
    }

    #[test]
    fn silence_is_death_after_three_minutes_or_three_intervals_and_a_reply() {
        let at = |seconds: u64| START.plus(Duration::from_secs(seconds));
        let usual = replies(200, 1);
        assert_eq!(usual.verdict(at(180)), Verdict::Alive);
        assert_eq!(usual.verdict(at(181)), Verdict::Silent);
        let slow = replies(1_500, 40);
        assert_eq!(slow.verdict(at(370)), Verdict::Alive);
        assert_eq!(slow.verdict(at(371)), Verdict::Silent);
    }

    #[test]
    fn the_base_is_a_class_of_its_own() {
        let classes = PaceLimits::default().classes();
        assert_eq!(classes.first(), Some(&10));
        assert_eq!(classes.last(), Some(&120));
        assert_eq!(classes[nearest_class(&classes, Duration::from_secs(30))], 30);
        assert!(classes.len() <= 13);
    }

    #[test]
    fn limits_out_of_order_are_refused() {
        let s = Duration::from_secs;
        assert_eq!(PaceLimits::try_new(s(30), s(40), s(120)), Err(InvalidPaceLimits));
        assert_eq!(PaceLimits::try_new(s(30), s(0), s(120)), Err(InvalidPaceLimits));
        assert_eq!(PaceLimits::try_new(s(30), s(10), s(20)), Err(InvalidPaceLimits));
        assert!(PaceLimits::try_new(s(1), s(1), s(1)).is_ok());
    }

    proptest! {
        #[test]
        fn the_interval_never_leaves_its_bounds(round_trips in prop::collection::vec(0_u64..100_000, 0..200)) {
            let limits = PaceLimits::default();
            let mut pace = Pace::start(&limits, START);
            for ms in round_trips {
                pace = pace.replied(Duration::from_millis(ms), &limits, START);
                prop_assert!(pace.interval() >= limits.min && pace.interval() <= limits.max);
            }
        }

        #[test]
        fn the_nearest_class_is_never_far(seconds in 10_u64..=120) {
            let classes = PaceLimits::default().classes();
            let class = classes[nearest_class(&classes, Duration::from_secs(seconds))];
            let ratio = f64::from(class) / Duration::from_secs(seconds).as_secs_f64();
            prop_assert!((0.87..=1.15).contains(&ratio), "{} for {}", class, seconds);
        }
    }
}
