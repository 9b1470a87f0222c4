//! Which transport carries a person's events, and an event itself, rule by rule so that it can be explained.

use crate::breaker::BreakerState;
use crate::capability::Role;
use crate::ids::{UnitId, UserId};
use crate::outbox::Delivery;
use crate::rollout::{Person, Rollout};
use crate::time::Timestamp;
use crate::transport::{Reason, Transport};

/// No question asks more rules than this.
const STEPS_MAX: usize = 7;

/// What is known when a transport is chosen.
///
/// The streams carry every event in any case. What is decided here is whether a person is told to listen on
/// Ably, and whether an event is delivered there too.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryPolicy<'a> {
    /// Whether there are Ably keys.
    pub configured: bool,
    /// Who is on Ably.
    pub rollout: &'a Rollout,
    /// What the breaker in front of Ably does with the next call.
    pub breaker: BreakerState,
    /// What the health check last found.
    pub health: Health,
}

/// What a health check of Ably last found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// It answers.
    Up,
    /// It answers slowly, or not always. It is used: the rollout's guard judges that over time.
    Degraded,
    /// It does not answer.
    Down,
}

impl Health {
    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

impl Health {
    /// Returns the health that the breaker in front of it leaves: what it lets nothing through to is down, whatever is
    /// found there.
    #[must_use]
    pub fn behind(self, breaker: BreakerState) -> Self {
        match breaker {
            BreakerState::Closed => self,
            BreakerState::HalfOpen => self.max(Self::Degraded),
            BreakerState::Open { .. } | BreakerState::ForcedOpen => Self::Down,
        }
    }
}

/// A person as an event finds them: there is no token at hand, only what they showed when they last asked for
/// one of Ably's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener<'a> {
    /// Who they are, with the units and roles of then; none where they never asked.
    pub person: Person<'a>,
    /// Whether they can listen on Ably.
    pub token: AblyToken,
}

/// Whether a person can listen on Ably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AblyToken {
    /// They never asked for a token.
    Never,
    /// Their last token is good until then.
    Until(Timestamp),
}

impl<'a> Listener<'a> {
    /// Describes somebody who never asked for a token.
    pub const fn unknown(user: &'a UserId) -> Self {
        const NO_UNITS: &[UnitId] = &[];
        const NO_ROLES: &[Role] = &[];
        Self {
            person: Person {
                user,
                units: NO_UNITS,
                roles: NO_ROLES,
            },
            token: AblyToken::Never,
        }
    }
}

/// Something that has a say in the choice. Rules are asked in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Whether there are Ably keys.
    Configured,
    /// The kill switch.
    KillSwitch,
    /// Exceptions by person, unit and role.
    Override,
    /// The rollout's cohort; not asked where an override has spoken.
    Cohort,
    /// Whether anybody at all may be on Ably; asked for a group's event in place of override and cohort.
    Group,
    /// Whether the person can listen on Ably; asked for an event, not for a person who is about to fetch a
    /// token.
    Token,
    /// The circuit breaker.
    Breaker,
    /// The health check.
    Health,
}

impl Rule {
    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::KillSwitch => "kill_switch",
            Self::Override => "override",
            Self::Cohort => "cohort",
            Self::Group => "group",
            Self::Token => "token",
            Self::Breaker => "breaker",
            Self::Health => "health",
        }
    }
}

/// What a rule said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Nothing that changes the choice.
    Nothing,
    /// Ably, as far as this rule goes; later rules may still object.
    Ably(Reason),
    /// The streams, which ends the questions.
    Streams(Reason),
}

/// One rule that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The rule.
    pub rule: Rule,
    /// What it said.
    pub said: Said,
}

/// The choice of a transport, with every rule that was asked.
///
/// It is a plain value without a heap: one is made for each event of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    transport: Transport,
    reason: Reason,
    steps: [Option<Step>; STEPS_MAX],
}

impl Route {
    /// Returns the transport.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Returns why: what the rule said that spoke for it.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the rules that were asked, in order. The one that said "streams" is the last.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        self.steps.iter().flatten().copied()
    }

    /// Returns the delivery that an event with this route begins with; `None` where there is no Ably at all,
    /// and so nothing to keep account of.
    pub fn delivery(&self, now: Timestamp) -> Option<Delivery> {
        match (self.transport, self.reason) {
            (Transport::Ably, _) => Some(Delivery::pending(now)),
            (Transport::Streams, Reason::NotConfigured) => None,
            (Transport::Streams, reason) => Some(Delivery::suppressed(reason, now)),
        }
    }

    /// Asks the rules in turn until one says "streams".
    fn ask(rules: impl IntoIterator<Item = (Rule, Said)>) -> Self {
        let mut route = Self {
            // Where no rule speaks for Ably, nobody has asked for it.
            transport: Transport::Streams,
            reason: Reason::OutsideCohort,
            steps: [None; STEPS_MAX],
        };
        for (slot, (rule, said)) in route.steps.iter_mut().zip(rules) {
            *slot = Some(Step { rule, said });
            match said {
                Said::Nothing => {}
                Said::Ably(reason) => (route.transport, route.reason) = (Transport::Ably, reason),
                Said::Streams(reason) => {
                    (route.transport, route.reason) = (Transport::Streams, reason);
                    break;
                }
            }
        }
        route
    }
}

impl DeliveryPolicy<'_> {
    /// Says what a person is to listen on. While the breaker only tries whether Ably is back, that is the
    /// streams: people are not moved there and back again by each attempt.
    pub fn for_person(&self, person: &Person<'_>) -> Route {
        let breaker = match self.breaker {
            BreakerState::HalfOpen => Said::Streams(Reason::BreakerProbing),
            _ => self.breaker_for_event(),
        };
        let first = [self.configured(), self.kill_switch()];
        let last = [(Rule::Breaker, breaker), self.health()];
        Route::ask(first.into_iter().chain(self.rollout_rules(person)).chain(last))
    }

    /// Says whether an event on a person's own channel is delivered over Ably: only to those who are on it
    /// and can listen, for a message to an empty channel costs as much as one that is read.
    pub fn for_event_to(&self, listener: &Listener<'_>, now: Timestamp) -> Route {
        let token = match listener.token {
            AblyToken::Never => Said::Streams(Reason::NoToken),
            AblyToken::Until(end) if end <= now => Said::Streams(Reason::TokenExpired),
            AblyToken::Until(_) => Said::Nothing,
        };
        let first = [self.configured(), self.kill_switch()];
        let last = [
            (Rule::Token, token),
            (Rule::Breaker, self.breaker_for_event()),
            self.health(),
        ];
        Route::ask(
            first
                .into_iter()
                .chain(self.rollout_rules(&listener.person))
                .chain(last),
        )
    }

    /// Says whether an event on a group's channel is delivered over Ably: as soon as anybody may be listening
    /// there.
    pub fn for_group_event(&self) -> Route {
        let group = if self.rollout.reaches_anybody() {
            Said::Ably(Reason::RolloutOn)
        } else {
            Said::Streams(Reason::RolloutOff)
        };
        let breaker = (Rule::Breaker, self.breaker_for_event());
        let rules = [
            self.configured(),
            self.kill_switch(),
            (Rule::Group, group),
            breaker,
            self.health(),
        ];
        Route::ask(rules)
    }

    fn configured(&self) -> (Rule, Said) {
        let said = if self.configured {
            Said::Nothing
        } else {
            Said::Streams(Reason::NotConfigured)
        };
        (Rule::Configured, said)
    }

    fn kill_switch(&self) -> (Rule, Said) {
        let thrown = self.rollout.kill_switch.as_ref();
        let said = thrown.map_or(Said::Nothing, |_| Said::Streams(Reason::KillSwitch));
        (Rule::KillSwitch, said)
    }

    /// Asks the overrides, and the cohort where they are silent.
    fn rollout_rules(&self, person: &Person<'_>) -> impl Iterator<Item = (Rule, Said)> {
        let said = |(transport, reason)| match transport {
            Transport::Ably => Said::Ably(reason),
            Transport::Streams => Said::Streams(reason),
        };
        let exception = self.rollout.overrides.of(person).map(said);
        let cohort = match exception {
            Some(_) => None,
            None => Some((Rule::Cohort, said(self.rollout.cohort_of(person.user)))),
        };
        let exception = (Rule::Override, exception.unwrap_or(Said::Nothing));
        [Some(exception), cohort].into_iter().flatten()
    }

    /// A half-open breaker wants events: they are its probes.
    fn breaker_for_event(&self) -> Said {
        match self.breaker {
            BreakerState::Closed | BreakerState::HalfOpen => Said::Nothing,
            BreakerState::Open { .. } | BreakerState::ForcedOpen => Said::Streams(Reason::BreakerOpen),
        }
    }

    fn health(&self) -> (Rule, Said) {
        let said = match self.health {
            Health::Up | Health::Degraded => Said::Nothing,
            Health::Down => Said::Streams(Reason::Unhealthy),
        };
        (Rule::Health, said)
    }
}

#[cfg(test)]
mod tests;
