//! What the circuit breakers do.

use domain::breaker::BreakerState;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{MetricsError, count, counters, registered, set};

pub(super) struct Breakers {
    state: IntGaugeVec,
    opened: IntCounterVec,
    refused: IntCounterVec,
}

impl Breakers {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        let state = Opts::new(
            "arauto_breaker_state",
            "What a circuit breaker does with calls: 0 lets them through, 1 lets probes through, 2 refuses them, 3 \
             refuses them until it is reset by hand.",
        );
        Ok(Self {
            state: registered(r, IntGaugeVec::new(state, &["name"]))?,
            opened: counters(
                r,
                "breaker_opened_total",
                "Times a circuit breaker opened.",
                "name",
            )?,
            refused: counters(
                r,
                "breaker_refused_total",
                "Calls that a circuit breaker refused.",
                "name",
            )?,
        })
    }

    pub(super) fn does(&self, name: &str, state: BreakerState) {
        let number = match state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open { .. } => 2,
            BreakerState::ForcedOpen => 3,
        };
        set(&self.state, name, number);
        if number >= 2 {
            count(&self.opened, name);
        }
    }

    pub(super) fn refused(&self, name: &str) {
        count(&self.refused, name);
    }
}
