//! A pushed transport behind a circuit breaker.

use std::sync::Arc;

use application::ports::{Host, Parcel, Transport};
use async_trait::async_trait;
use domain::breaker::{BreakerState, CallOutcome, Refused};
use domain::outbox::Outcome;
use domain::transport::{Reason, Transport as Kind};

use super::circuit::Circuit;

/// A transport behind a circuit breaker. What it holds back is [`Outcome::Held`].
pub struct GuardedTransport {
    inner: Arc<dyn Transport>,
    answers: Arc<Circuit>,
}

impl GuardedTransport {
    /// Stands in front of a transport.
    pub fn new(inner: Arc<dyn Transport>, answers: Arc<Circuit>) -> Self {
        Self { inner, answers }
    }
}

#[async_trait]
impl Transport for GuardedTransport {
    fn kind(&self) -> Kind {
        self.inner.kind()
    }

    fn breaker(&self) -> BreakerState {
        self.answers.state()
    }

    fn host(&self) -> Host {
        self.inner.host()
    }

    async fn deliver(&self, batch: &[Parcel]) -> Vec<Outcome> {
        let call = match self.answers.permit("deliver") {
            Ok(call) => call,
            Err(Refused { retry_after }) => {
                let by = Reason::BreakerOpen;
                return vec![Outcome::Held { retry_after, by }; batch.len()];
            }
        };
        let outcomes = self.inner.deliver(batch).await;
        // Whatever it answers, it answers: only what it did not take in time, or could not, counts against it.
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::Transient { .. } | Outcome::Lost);
        call.over(if outcomes.iter().any(failed) {
            CallOutcome::Failure
        } else {
            CallOutcome::Success
        });
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use application::ports::MockTransport;
    use application::testing::{SimClock, Unobserved};
    use domain::breaker::BreakerPolicy;
    use domain::channel::Channel;

    use super::*;

    const NOTHING: Duration = Duration::ZERO;

    fn guarded(outcomes: Vec<Outcome>) -> (GuardedTransport, Arc<SimClock>) {
        let (mut inner, clock) = (MockTransport::new(), Arc::new(SimClock::new()));
        let mut outcomes = outcomes.into_iter();
        inner
            .expect_deliver()
            .returning(move |_| vec![outcomes.next().expect("the breaker lets this call through")]);
        let around = (clock.clone() as _, Arc::new(Unobserved) as _);
        let circuit = Circuit::new("ably", BreakerPolicy::ABLY, around, Vec::new());
        let guarded = GuardedTransport::new(Arc::new(inner), Arc::new(circuit));
        (guarded, clock)
    }

    async fn deliver(guarded: &GuardedTransport) -> Outcome {
        let parcel = Parcel {
            id: "8f3a-1".into(),
            channel: Channel::System,
            event: "notification",
            data: "{}".into(),
        };
        guarded.deliver(&[parcel]).await.remove(0)
    }

    #[tokio::test]
    async fn after_five_failures_nothing_is_sent_until_a_probe_succeeds() {
        let transient = Outcome::Transient { retry_after: NOTHING };
        let mut answers = vec![transient; 5];
        answers.extend([transient, Outcome::Accepted, Outcome::Accepted]);
        let (guarded, clock) = guarded(answers);
        for _ in 0..5 {
            assert_eq!(deliver(&guarded).await, transient);
        }
        let Outcome::Held { retry_after, by } = deliver(&guarded).await else {
            panic!("it was sent")
        };
        assert_eq!((retry_after, by), (Duration::from_secs(60), Reason::BreakerOpen));
        clock.advance(retry_after);
        assert_eq!(deliver(&guarded).await, transient, "a probe");
        assert!(
            matches!(guarded.breaker(), BreakerState::Open { .. }),
            "a failed probe reopens"
        );
        clock.advance(Duration::from_secs(60));
        assert_eq!(deliver(&guarded).await, Outcome::Accepted);
        assert_eq!(deliver(&guarded).await, Outcome::Accepted);
        assert_eq!(guarded.breaker(), BreakerState::Closed);
    }

    #[tokio::test]
    async fn too_many_requests_are_no_failure() {
        let by = Reason::RateLimited;
        let held = Outcome::Held {
            retry_after: NOTHING,
            by,
        };
        let (guarded, _) = guarded(vec![held; 20]);
        for _ in 0..20 {
            assert_eq!(deliver(&guarded).await, held);
        }
        assert_eq!(guarded.breaker(), BreakerState::Closed);
    }

    #[tokio::test]
    async fn what_it_refuses_says_that_it_is_there() {
        let refused = Outcome::Refused { code: 40_009 };
        let (guarded, _) = guarded(vec![refused; 20]);
        for _ in 0..20 {
            assert_eq!(deliver(&guarded).await, refused);
        }
        assert_eq!(guarded.breaker(), BreakerState::Closed);
    }
}
