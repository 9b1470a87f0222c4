//! What a breaker learns without a call of its own.

use super::{Breaker, State};
use crate::time::Timestamp;

impl Breaker {
    /// Takes note that the dependency answered somebody who looks after it past the breaker. While it is open that
    /// counts as a probe that succeeded, so that nobody waits for `open_for` to pass once it is back. One that was
    /// opened by hand stays open.
    #[must_use]
    pub fn answered(mut self, now: Timestamp) -> Self {
        let enough = self.policy.0.probes_to_close;
        match &mut self.state {
            State::Open { .. } if enough <= 1 => self.reset(),
            State::Open { .. } => self.enter(State::HalfOpen {
                under_way: 0,
                passed: 1,
                asked: now,
            }),
            State::HalfOpen { passed, .. } => {
                *passed = passed.saturating_add(1);
                if *passed >= enough { self.reset() } else { self }
            }
            State::Closed { .. } | State::ForcedOpen => self,
        }
    }

    /// Lets probes through before `open_for` is over, because what it depends on is back.
    #[must_use]
    pub fn worth_a_probe(self, now: Timestamp) -> Self {
        match self.state {
            State::Open { .. } => self.enter(State::HalfOpen {
                under_way: 0,
                passed: 0,
                asked: now,
            }),
            State::Closed { .. } | State::HalfOpen { .. } | State::ForcedOpen => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{BreakerPolicy, BreakerState, CallOutcome};
    use super::*;

    const POLICY: BreakerPolicy = BreakerPolicy::POSTGRES;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(POLICY);
        for _ in 0..POLICY.settings().failures_in_a_row {
            let (asked, permit) = breaker.before(at(0));
            breaker = asked.after(permit.unwrap(), CallOutcome::Failure, at(0));
        }
        assert!(matches!(breaker.state(at(0)), BreakerState::Open { .. }));
        breaker
    }

    #[test]
    fn what_answers_past_an_open_breaker_closes_it_before_its_time() {
        let once = opened().answered(at(1));
        assert_eq!(once.state(at(1)), BreakerState::HalfOpen);
        assert_eq!(once.answered(at(1)).state(at(1)), BreakerState::Closed);
    }

    #[test]
    fn a_single_answer_lets_probes_through_and_one_that_fails_opens_it_again() {
        let (asked, permit) = opened().answered(at(1)).before(at(1));
        let failed = asked.after(permit.unwrap(), CallOutcome::Failure, at(2));
        let retry_after = Duration::from_secs(30);
        assert_eq!(failed.state(at(2)), BreakerState::Open { retry_after });
    }

    #[test]
    fn no_answer_closes_what_was_opened_by_hand() {
        let forced = Breaker::new(POLICY).force_open();
        let told = forced.answered(at(1)).answered(at(2)).worth_a_probe(at(3));
        assert_eq!(told.state(at(99)), BreakerState::ForcedOpen);
    }

    #[test]
    fn only_an_open_breaker_is_made_to_probe() {
        assert_eq!(opened().worth_a_probe(at(1)).state(at(1)), BreakerState::HalfOpen);
        let closed = Breaker::new(POLICY);
        assert_eq!(closed.worth_a_probe(at(1)), closed);
    }

    #[test]
    fn a_failure_from_before_the_answer_is_no_probe() {
        let (asked, permit) = Breaker::new(POLICY).before(at(0));
        let mut breaker = asked;
        for _ in 0..POLICY.settings().failures_in_a_row {
            let (asked, permit) = breaker.before(at(0));
            breaker = asked.after(permit.unwrap(), CallOutcome::Failure, at(0));
        }
        let probing = breaker.answered(at(1));
        let told = probing.after(permit.unwrap(), CallOutcome::Failure, at(2));
        assert_eq!(told, probing);
    }
}
