//! Time, ids and chance from the operating system. Everything else gets them passed in.

use std::time::{Duration, Instant, SystemTime};

use application::ports::{Clock, Entropy, Ids};
use domain::ids::NotificationId;
use domain::time::Timestamp;
use uuid::Uuid;

/// The wall clock, and the time since it was made.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Starts counting the uptime.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the Clock port's one reading of the system"
    )]
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the Clock port's one reading of the system"
    )]
    fn now(&self) -> Timestamp {
        let since = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        // A clock set before 1970 reads as a negative moment, not as zero.
        let millis = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or_else(|before| -since(before.duration()), since);
        Timestamp::from_millis(millis)
    }

    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// UUIDs of version 7 (RFC 9562): in one process each is greater than the one before, also within a millisecond
/// and after the clock was set back.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "this is the Ids port's one source")]
    fn notification(&self) -> NotificationId {
        NotificationId::new(Uuid::now_v7())
    }
}

/// The cryptographic generator of AWS-LC, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// When the operating system gives no randomness. Nobody may then be handed a key, a ticket or a connection
    /// id: a guessable one is worse than a request that fails.
    #[expect(clippy::disallowed_methods, reason = "this is the Entropy port's one source")]
    fn bits(&self) -> u64 {
        let mut bytes = [0; 8];
        let filled = aws_lc_rs::rand::fill(&mut bytes);
        assert!(filled.is_ok(), "the operating system gives no randomness");
        u64::from_ne_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn uptime_never_goes_back() {
        let clock = SystemClock::start();
        let readings: Vec<Duration> = (0..1_000).map(|_| clock.uptime()).collect();
        assert!(readings.is_sorted());
    }

    #[test]
    fn the_wall_clock_reads_a_moment_of_this_century() {
        let year_2026 = Timestamp::from_millis(1_767_225_600_000);
        let year_2100 = Timestamp::from_millis(4_102_444_800_000);
        let now = SystemClock::start().now();
        assert!(year_2026 < now && now < year_2100, "{now:?}");
    }

    #[test]
    fn ids_sort_in_the_order_in_which_they_were_made() {
        let ids: Vec<NotificationId> = (0..10_000).map(|_| SystemIds.notification()).collect();
        assert!(ids.is_sorted_by(|earlier, later| earlier < later));
        assert!(ids.iter().all(|id| id.to_string().as_bytes()[14] == b'7'));
    }

    #[test]
    fn chance_does_not_repeat_itself() {
        let draws: HashSet<u64> = (0..10_000).map(|_| SystemEntropy.bits()).collect();
        assert_eq!(draws.len(), 10_000);
        // Every bit is drawn: 10,000 draws leave one out with a probability of 2^-10000.
        assert_eq!(draws.iter().fold(0, |all, bits| all | bits), u64::MAX);
        assert_eq!(draws.iter().fold(u64::MAX, |all, bits| all & bits), 0);
    }
}
