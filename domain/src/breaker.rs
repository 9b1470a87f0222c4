//! Circuit breaking as a value: whether a dependency is asked at all.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use crate::time::Timestamp;
use crate::window::Window;

/// The numbers that a breaker follows, unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// A call that takes longer has failed. Whoever makes the call ends it then.
    pub timeout: Duration,
    /// This many failures in a row open it.
    pub failures_in_a_row: u32,
    /// This share of failures within `window` opens it, in percent.
    pub failure_percent: u8,
    /// The share is not judged below this many calls.
    pub calls_min: u32,
    /// The stretch of time that the share is taken over.
    pub window: Duration,
    /// How long it stays open before it lets probes through.
    pub open_for: Duration,
    /// At most this many probes are under way at once while it is half open.
    pub probes: u8,
    /// This many probes have to succeed before it closes.
    pub probes_to_close: u8,
}

/// Numbers that a breaker can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy(BreakerSettings);

/// Numbers that no breaker can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidBreakerPolicy {
    /// The number at fault.
    pub setting: &'static str,
    /// What it takes.
    pub takes: &'static str,
}

impl fmt::Display for InvalidBreakerPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of a breaker takes {}", self.setting, self.takes)
    }
}

impl std::error::Error for InvalidBreakerPolicy {}

impl BreakerPolicy {
    /// For Postgres: calls of 5 s, 5 failures in a row or 50 %, open for 30 s.
    pub const POSTGRES: Self = Self(BreakerSettings {
        timeout: Duration::from_secs(5),
        failures_in_a_row: 5,
        failure_percent: 50,
        calls_min: 10,
        window: Duration::from_secs(30),
        open_for: Duration::from_secs(30),
        probes: 2,
        probes_to_close: 2,
    });

    /// For Redis: calls of 3 s, open for 20 s, otherwise as [`POSTGRES`](Self::POSTGRES).
    pub const REDIS: Self = Self(BreakerSettings {
        timeout: Duration::from_secs(3),
        open_for: Duration::from_secs(20),
        ..Self::POSTGRES.0
    });

    /// For what Postgres is asked to write: open for 15 s, otherwise as [`POSTGRES`](Self::POSTGRES). A database that
    /// answers and takes nothing, because its disk is full or it has become a standby, is found out by trying alone.
    pub const POSTGRES_WRITES: Self = Self(BreakerSettings {
        open_for: Duration::from_secs(15),
        ..Self::POSTGRES.0
    });

    /// For what Redis is asked to write: open for 5 s, otherwise as [`REDIS`](Self::REDIS). One that is full says so at
    /// once, so that trying costs little.
    pub const REDIS_WRITES: Self = Self(BreakerSettings {
        open_for: Duration::from_secs(5),
        ..Self::REDIS.0
    });

    /// For Ably: calls of 5 s, open for 60 s, otherwise as [`POSTGRES`](Self::POSTGRES).
    pub const ABLY: Self = Self(BreakerSettings {
        timeout: Duration::from_secs(5),
        open_for: Duration::from_secs(60),
        ..Self::POSTGRES.0
    });

    /// Takes settings whose durations lie between 1 ms and a day and whose counts are not zero.
    pub fn try_new(settings: BreakerSettings) -> Result<Self, InvalidBreakerPolicy> {
        let sane = |duration| (Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(&duration);
        let checks = [
            ("timeout", "1 ms to a day", sane(settings.timeout)),
            ("window", "1 ms to a day", sane(settings.window)),
            ("open_for", "1 ms to a day", sane(settings.open_for)),
            ("failures_in_a_row", "at least 1", settings.failures_in_a_row >= 1),
            (
                "failure_percent",
                "1 to 100",
                (1..=100).contains(&settings.failure_percent),
            ),
            ("calls_min", "at least 1", settings.calls_min >= 1),
            ("probes", "at least 1", settings.probes >= 1),
            ("probes_to_close", "at least 1", settings.probes_to_close >= 1),
        ];
        match checks.into_iter().find(|(_, _, fits)| !fits) {
            Some((setting, takes, _)) => Err(InvalidBreakerPolicy { setting, takes }),
            None => Ok(Self(settings)),
        }
    }

    /// Returns the numbers.
    pub const fn settings(&self) -> &BreakerSettings {
        &self.0
    }

    /// Returns how long a probe may stay without an outcome. Its caller ends it after `timeout`; as long
    /// again is given to whoever is slow to say so.
    fn patience(&self) -> Duration {
        self.0.timeout * 2
    }
}

/// One permitted call. It is spent with the call's outcome, so no call is counted twice.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that never comes back counts as a lost call"]
pub struct Permit {
    period: u64,
}

/// A call that is not to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When it is worth asking again.
    pub retry_after: Duration,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the circuit breaker is open for another {} ms",
            self.retry_after.as_millis()
        )
    }
}

impl std::error::Error for Refused {}

/// How a permitted call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// The dependency answered, whatever it answered.
    Success,
    /// It did not answer in time, or could not.
    Failure,
    /// The caller went away before there was an answer. It says nothing about the dependency.
    Abandoned,
}

/// What a breaker does with the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// It lets it through.
    Closed,
    /// It refuses it.
    Open {
        /// For how much longer.
        retry_after: Duration,
    },
    /// It lets it through as a probe, unless enough of those are under way.
    HalfOpen,
    /// It refuses it until somebody resets it.
    ForcedOpen,
}

impl BreakerState {
    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Calls {
    all: u32,
    failed: u32,
}

impl AddAssign for Calls {
    fn add_assign(&mut self, other: Self) {
        self.all = self.all.saturating_add(other.all);
        self.failed = self.failed.saturating_add(other.failed);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        in_a_row: u32,
        calls: Window<Calls>,
    },
    Open {
        since: Timestamp,
    },
    HalfOpen {
        under_way: u8,
        passed: u8,
        asked: Timestamp,
    },
    ForcedOpen,
}

/// A circuit breaker: ask [`before`](Self::before) a call, tell it [`after`](Self::after).
///
/// ```text
///          failures                    open_for is over
/// closed ───────────► open ─────────────────────────────► half open
///    ▲                  ▲  a probe fails, or is lost           │
///    │                  └──────────────────────────────────────┤
///    └──────────────────── probes_to_close succeed ────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    policy: BreakerPolicy,
    /// Counts transitions: an outcome counts only in the period that its call was permitted in, so a
    /// straggler from before the breaker opened is no probe.
    period: u64,
    state: State,
}

impl Breaker {
    /// Starts closed.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            period: 0,
            state: State::fresh(&policy),
        }
    }

    /// Returns the numbers that it follows.
    pub const fn policy(&self) -> &BreakerPolicy {
        &self.policy
    }

    /// Says what it would do with a call at `now`.
    pub fn state(&self, now: Timestamp) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::ForcedOpen => BreakerState::ForcedOpen,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::Open { since } => match self.policy.0.open_for.saturating_sub(now.since(since)) {
                Duration::ZERO => BreakerState::HalfOpen,
                retry_after => BreakerState::Open { retry_after },
            },
        }
    }

    /// Permits a call, or refuses it.
    pub fn before(mut self, now: Timestamp) -> (Self, Result<Permit, Refused>) {
        self = self.clock_set_back(now).overdue(now);
        let settings = self.policy.0;
        match &mut self.state {
            State::Closed { .. } => {}
            State::HalfOpen { under_way, asked, .. } if *under_way < settings.probes => {
                *under_way += 1;
                *asked = now;
            }
            State::HalfOpen { .. } => {
                let retry_after = settings.timeout;
                return (self, Err(Refused { retry_after }));
            }
            State::Open { since } => {
                let retry_after = settings.open_for.saturating_sub(now.since(*since));
                return (self, Err(Refused { retry_after }));
            }
            State::ForcedOpen => {
                let retry_after = settings.open_for;
                return (self, Err(Refused { retry_after }));
            }
        }
        let period = self.period;
        (self, Ok(Permit { period }))
    }

    /// Takes the outcome of a permitted call. One that was permitted in an earlier period changes nothing.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is spent here")]
    #[must_use]
    pub fn after(mut self, permit: Permit, outcome: CallOutcome, now: Timestamp) -> Self {
        if permit.period != self.period {
            return self;
        }
        let settings = self.policy.0;
        match (&mut self.state, outcome) {
            (State::Closed { in_a_row, calls }, CallOutcome::Success) => {
                *in_a_row = 0;
                *calls = calls.add(Calls { all: 1, failed: 0 }, now);
            }
            (State::Closed { in_a_row, calls }, CallOutcome::Failure) => {
                *in_a_row = in_a_row.saturating_add(1);
                *calls = calls.add(Calls { all: 1, failed: 1 }, now);
                if *in_a_row >= settings.failures_in_a_row || settings.too_many(calls.total(now)) {
                    return self.enter(State::Open { since: now });
                }
            }
            (State::HalfOpen { .. }, CallOutcome::Failure) => return self.enter(State::Open { since: now }),
            (
                State::HalfOpen {
                    under_way, passed, ..
                },
                CallOutcome::Success,
            ) => {
                *under_way = under_way.saturating_sub(1);
                *passed = passed.saturating_add(1);
                if *passed >= settings.probes_to_close {
                    return self.reset();
                }
            }
            (State::HalfOpen { under_way, .. }, CallOutcome::Abandoned) => {
                *under_way = under_way.saturating_sub(1);
            }
            (State::Closed { .. }, CallOutcome::Abandoned) | (State::Open { .. } | State::ForcedOpen, _) => {}
        }
        self
    }

    /// Opens it by hand: it stays open until [`reset`](Self::reset).
    #[must_use]
    pub fn force_open(self) -> Self {
        self.enter(State::ForcedOpen)
    }

    /// Closes it and forgets every failure.
    #[must_use]
    pub fn reset(self) -> Self {
        let fresh = State::fresh(&self.policy);
        self.enter(fresh)
    }

    fn enter(self, state: State) -> Self {
        let period = self.period + 1;
        Self {
            period,
            state,
            ..self
        }
    }

    /// Moves on what time alone moves: an open breaker whose time is over lets probes through, and one whose
    /// probe was lost opens again, for a call that never came back within its time has failed.
    fn overdue(self, now: Timestamp) -> Self {
        match self.state {
            State::Open { since } if now.since(since) >= self.policy.0.open_for => {
                self.enter(State::HalfOpen {
                    under_way: 0,
                    passed: 0,
                    asked: now,
                })
            }
            State::HalfOpen { under_way, asked, .. }
                if under_way > 0 && now.since(asked) > self.policy.patience() =>
            {
                self.enter(State::Open { since: now })
            }
            _ => self,
        }
    }

    /// Counts from the new time where a clock was set back, or the breaker would stay as it is for that much
    /// longer.
    fn clock_set_back(mut self, now: Timestamp) -> Self {
        if let State::Open { since: start } | State::HalfOpen { asked: start, .. } = &mut self.state {
            *start = (*start).min(now);
        }
        self
    }
}

impl State {
    fn fresh(policy: &BreakerPolicy) -> Self {
        Self::Closed {
            in_a_row: 0,
            calls: Window::new(policy.0.window),
        }
    }
}

impl BreakerSettings {
    fn too_many(&self, calls: Calls) -> bool {
        let share_reached =
            u64::from(calls.failed) * 100 >= u64::from(calls.all) * u64::from(self.failure_percent);
        calls.all >= self.calls_min && share_reached
    }
}

mod evidence;
#[cfg(test)]
mod tests;
