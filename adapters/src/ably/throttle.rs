//! How many requests go out: fewer than Ably takes, and none for a while after it said that it was too many.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The smallest account may make 50 REST calls a second; what is left is for health checks and other nodes.
const PER_SECOND: u32 = 40;

const REFILL: Duration = Duration::from_millis(1_000 / PER_SECOND as u64);

/// The first wait after 429. Each further one in a row doubles it.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Whether a request may go out.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// No await is held under it.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The uptime at which every call that was taken is back.
    whole_at: Duration,
    paused_until: Duration,
    refusals_in_a_row: u32,
}

impl Throttle {
    /// Takes one request, or says when to ask again.
    pub(super) fn take(&self, now: Duration) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now < state.paused_until {
            return Err(state.paused_until.saturating_sub(now));
        }
        let whole_at = state.whole_at.max(now) + REFILL;
        let wait = whole_at.saturating_sub(now).saturating_sub(REFILL * PER_SECOND);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        state.whole_at = whole_at;
        Ok(())
    }

    /// Takes note of a 429, and says how long nothing goes out: twice as long as the last time, with jitter from
    /// a half to the whole of that, and at least as long as Ably asks for.
    pub(super) fn refused(&self, now: Duration, asked: Duration, bits: u64) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let doubled = PAUSE_MIN * 2_u32.saturating_pow(state.refusals_in_a_row.min(10));
        let longest = doubled.min(PAUSE_MAX);
        let part = u32::try_from(bits % 1_000).unwrap_or_default();
        let pause = (longest / 2 + longest / 2 * part / 1_000).max(asked);
        state.refusals_in_a_row = state.refusals_in_a_row.saturating_add(1);
        state.paused_until = state.paused_until.max(now + pause);
        pause
    }

    /// Takes note of an answer that was none.
    pub(super) fn taken(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.refusals_in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn forty_requests_a_second_go_out() {
        let throttle = Throttle::default();
        for _ in 0..40 {
            assert_eq!(throttle.take(at(0)), Ok(()));
        }
        assert_eq!(throttle.take(at(0)), Err(at(25)));
        assert_eq!(throttle.take(at(25)), Ok(()));
        assert_eq!(throttle.take(at(25)), Err(at(25)));
    }

    #[test]
    fn each_refusal_in_a_row_doubles_the_pause_up_to_half_a_minute() {
        let throttle = Throttle::default();
        let pauses: Vec<Duration> = (0..7)
            .map(|_| throttle.refused(at(0), Duration::ZERO, 999))
            .collect();
        assert!(
            pauses.is_sorted() && pauses[0] > at(990) && pauses[0] <= at(1_000),
            "{pauses:?}"
        );
        assert!(pauses[4] > at(15_000) && pauses[5..].iter().all(|pause| *pause <= PAUSE_MAX));
        assert!(throttle.take(at(20_000)).is_err());
        assert_eq!(throttle.take(at(30_000)), Ok(()));
        throttle.taken();
        assert_eq!(throttle.refused(at(40_000), Duration::ZERO, 0), at(500));
        assert_eq!(
            throttle.refused(at(40_000), at(60_000), 0),
            at(60_000),
            "Ably asked for more"
        );
    }
}
