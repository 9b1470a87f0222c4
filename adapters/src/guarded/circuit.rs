//! A breaker that many calls share, and all of them by name.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use application::ports::{BreakerReport, Breakers, CallFailure, Clock, Observation, Observer};
use domain::breaker::{Breaker, BreakerPolicy, BreakerState, CallOutcome, Permit, Refused};
use domain::time::Timestamp;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// While a breaker is open, the part behind it is asked this often whether it is back.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// A breaker that many calls share.
pub struct Circuit {
    name: &'static str,
    policy: BreakerPolicy,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    /// What is worth trying again as soon as this one closes.
    behind: Vec<Arc<Circuit>>,
    /// Never held across an await, nor while anybody is told.
    kept: Mutex<Kept>,
}

struct Kept {
    breaker: Breaker,
    /// What it was last known to do, and since when.
    state: BreakerState,
    since: Timestamp,
    opened: u64,
    refused: u64,
    latency: Option<Duration>,
    last_failure: Option<CallFailure>,
}

impl Circuit {
    /// Makes a closed one. What is `behind` it is tried again as soon as it closes.
    pub fn new(
        name: &'static str,
        policy: BreakerPolicy,
        (clock, observer): (Arc<dyn Clock>, Arc<dyn Observer>),
        behind: Vec<Arc<Self>>,
    ) -> Self {
        let kept = Kept {
            breaker: Breaker::new(policy),
            state: BreakerState::Closed,
            since: clock.now(),
            opened: 0,
            refused: 0,
            latency: None,
            last_failure: None,
        };
        let state = BreakerState::Closed;
        observer.saw(&Observation::Breaker { name, state });
        Self {
            name,
            policy,
            clock,
            observer,
            behind,
            kept: Mutex::new(kept),
        }
    }

    /// Says what becomes of the next call.
    pub fn state(&self) -> BreakerState {
        self.kept().breaker.state(self.clock.now())
    }

    /// Returns how long a call may take.
    pub(super) const fn timeout(&self) -> Duration {
        self.policy.settings().timeout
    }

    /// Refuses where it is open, without taking a turn of its own.
    pub(super) fn pass(&self) -> Result<(), Refused> {
        let retry_after = match self.state() {
            BreakerState::Closed | BreakerState::HalfOpen => return Ok(()),
            BreakerState::Open { retry_after } => retry_after,
            BreakerState::ForcedOpen => self.policy.settings().open_for,
        };
        self.kept().refused += 1;
        self.observer.saw(&Observation::BreakerRefused(self.name));
        Err(Refused { retry_after })
    }

    /// Permits a call, or refuses it.
    pub(super) fn permit(self: &Arc<Self>, call: &'static str) -> Result<Call, Refused> {
        let now = self.clock.now();
        let permit = self.change(now, |kept| {
            let (breaker, permit) = kept.breaker.before(now);
            kept.breaker = breaker;
            kept.refused += u64::from(permit.is_err());
            permit
        });
        let permit = permit.inspect_err(|_| self.observer.saw(&Observation::BreakerRefused(self.name)))?;
        Ok(Call {
            circuit: Arc::clone(self),
            asked: call,
            began: self.clock.uptime(),
            permit: Some(permit),
        })
    }

    /// Asks the part itself while the breaker is not closed, until `cancel`, so that it closes as soon as the part is
    /// back. One that was opened by hand is left alone.
    pub fn look_after<P>(
        self: &Arc<Self>,
        mut answers: impl FnMut() -> P + Send + 'static,
        (tasks, cancel): (&TaskTracker, &CancellationToken),
    ) where
        P: Future<Output = bool> + Send,
    {
        let circuit = Arc::clone(self);
        let looking = async move {
            let mut look = tokio::time::interval(PROBE_EVERY);
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                look.tick().await;
                let away = matches!(
                    circuit.state(),
                    BreakerState::Open { .. } | BreakerState::HalfOpen
                );
                if away && answers().await {
                    circuit.answered();
                }
            }
        };
        tasks.spawn(cancel.clone().run_until_cancelled_owned(looking));
    }

    fn answered(&self) {
        let now = self.clock.now();
        self.change(now, |kept| kept.breaker = kept.breaker.answered(now));
    }

    fn worth_a_probe(&self) {
        let now = self.clock.now();
        self.change(now, |kept| kept.breaker = kept.breaker.worth_a_probe(now));
    }

    fn force_open(&self) -> BreakerReport {
        let now = self.clock.now();
        self.change(now, |kept| kept.breaker = kept.breaker.force_open());
        self.report()
    }

    fn reset(&self) -> BreakerReport {
        let now = self.clock.now();
        self.change(now, |kept| kept.breaker = kept.breaker.reset());
        self.report()
    }

    fn report(&self) -> BreakerReport {
        let now = self.clock.now();
        let kept = self.kept();
        BreakerReport {
            name: self.name,
            state: kept.breaker.state(now),
            since: kept.since,
            opened: kept.opened,
            refused: kept.refused,
            latency: kept.latency,
            last_failure: kept.last_failure,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A value that is replaced in one step, and numbers.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the breaker in one step and says so where it does something else from here on.
    fn change<T>(&self, now: Timestamp, change: impl FnOnce(&mut Kept) -> T) -> T {
        let mut kept = self.kept();
        let answer = change(&mut kept);
        let (before, state) = (kept.state, kept.breaker.state(now));
        kept.state = state;
        if before.as_str() == state.as_str() {
            return answer;
        }
        kept.since = now;
        let opens = matches!(state, BreakerState::Open { .. } | BreakerState::ForcedOpen);
        kept.opened += u64::from(opens);
        drop(kept);
        let name = self.name;
        self.observer.saw(&Observation::Breaker { name, state });
        let (before, state) = (before.as_str(), state.as_str());
        if opens {
            tracing::warn!(name, before, state, "circuit breaker");
        } else {
            tracing::info!(name, before, state, "circuit breaker");
        }
        if state == BreakerState::Closed.as_str() {
            self.behind.iter().for_each(|behind| behind.worth_a_probe());
        }
        answer
    }
}

/// A permitted call. One that is dropped was given up by its caller.
pub(super) struct Call {
    circuit: Arc<Circuit>,
    asked: &'static str,
    began: Duration,
    permit: Option<Permit>,
}

impl Call {
    pub(super) fn over(mut self, outcome: CallOutcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: CallOutcome) {
        let Some(permit) = self.permit.take() else { return };
        let (circuit, call, began) = (&self.circuit, self.asked, self.began);
        let now = circuit.clock.now();
        let took = circuit.clock.uptime().saturating_sub(began);
        circuit.change(now, |kept| {
            kept.breaker = kept.breaker.after(permit, outcome, now);
            match outcome {
                CallOutcome::Success => kept.latency = Some(took),
                CallOutcome::Failure => kept.last_failure = Some(CallFailure { call, at: now }),
                CallOutcome::Abandoned => {}
            }
        });
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.tell(CallOutcome::Abandoned);
    }
}

/// The breakers of this node.
pub struct Circuits {
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    /// They are added at the start.
    all: RwLock<Vec<Arc<Circuit>>>,
}

impl Circuits {
    /// Begins with none.
    pub const fn new(clock: Arc<dyn Clock>, observer: Arc<dyn Observer>) -> Self {
        Self {
            clock,
            observer,
            all: RwLock::new(Vec::new()),
        }
    }

    /// Adds one. What is `behind` it is tried again as soon as it closes.
    pub fn add(&self, name: &'static str, policy: BreakerPolicy, behind: Vec<Arc<Circuit>>) -> Arc<Circuit> {
        let around = (Arc::clone(&self.clock), Arc::clone(&self.observer));
        let circuit = Arc::new(Circuit::new(name, policy, around, behind));
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&circuit));
        all.sort_unstable_by_key(|circuit| circuit.name);
        circuit
    }

    fn named(&self, name: &str) -> Option<Arc<Circuit>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|circuit| circuit.name == name).cloned()
    }
}

impl Breakers for Circuits {
    fn list(&self) -> Vec<BreakerReport> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|circuit| circuit.report()).collect()
    }

    fn force_open(&self, name: &str) -> Option<BreakerReport> {
        self.named(name).map(|circuit| circuit.force_open())
    }

    fn reset(&self, name: &str) -> Option<BreakerReport> {
        self.named(name).map(|circuit| circuit.reset())
    }
}
