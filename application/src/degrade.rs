//! Degrading: from what is measured to the level in force.

use std::sync::{Arc, Mutex, PoisonError};

use domain::breaker::BreakerState;
use domain::degrade::{Degradation, Level, Signal, Signals};

use crate::load::Load;
use crate::ports::{Breakers, Clock, Observation, Observer, Streams, Vitals};

/// Keeps the level of this node.
pub struct Degrade {
    /// How the process is.
    pub vitals: Arc<dyn Vitals>,
    /// Which parts serve.
    pub breakers: Arc<dyn Breakers>,
    /// How far behind the log this node is.
    pub streams: Arc<dyn Streams>,
    /// Where the level is in force.
    pub load: Arc<Load>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
    /// What the last measurement came to. Never held across an await.
    pub standing: Mutex<Standing>,
}

/// What the last measurement came to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Standing {
    /// The level, and what called for it.
    pub degradation: Degradation,
    /// What was measured.
    pub signals: Signals,
}

impl Degrade {
    /// Measures, and puts the level in force that it comes to.
    pub fn run(&self) {
        let signals = self.measure();
        let now = self.clock.now();
        let (before, after) = {
            let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
            let before = standing.degradation;
            standing.signals = signals;
            standing.degradation = before.after(&signals, now);
            (before.level(), standing.degradation)
        };
        let (level, cause) = (after.level(), after.cause().map(Signal::as_str));
        self.load.enter(level);
        self.observer.saw(&Observation::Level { level, signals });
        if level > before {
            tracing::warn!(%before, %level, cause, "degraded");
        } else if level < before {
            tracing::info!(%before, %level, cause, "recovering");
        }
    }

    /// Returns what the last measurement came to.
    pub fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn measure(&self) -> Signals {
        let mut signals = self.vitals.measure();
        let report = self.streams.report();
        // Before the first look at the log there is nothing to be behind.
        if report.cursor.is_some() {
            signals = signals.with(Signal::TailLag, report.lag.as_secs_f64());
        }
        let breakers = self.breakers.list();
        let away = breakers
            .iter()
            .filter(|report| report.state != BreakerState::Closed)
            .count();
        match u32::try_from(breakers.len()).ok().filter(|all| *all > 0) {
            Some(all) => {
                let away = u32::try_from(away).unwrap_or(all);
                signals.with(Signal::Dependencies, f64::from(away) / f64::from(all))
            }
            None => signals,
        }
    }
}

impl Standing {
    /// Returns the level.
    pub const fn level(&self) -> Level {
        self.degradation.level()
    }
}
