//! How hard this node is pressed: what everybody who leaves something out for it looks at.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::degrade::Level;

/// Clients that want to open a stream are counted over this many seconds: about as long as a herd takes to come back.
const ARRIVALS_SECONDS: usize = 10;

/// The level in force, and how many clients come.
#[derive(Debug, Default)]
pub struct Load {
    level: AtomicU8,
    /// By second of the uptime, the latest last. Never held across an await.
    arrivals: Mutex<VecDeque<(u64, usize)>>,
}

impl Load {
    /// Returns the level in force.
    pub fn level(&self) -> Level {
        Level::of_number(self.level.load(Ordering::Relaxed))
    }

    /// Puts a level in force.
    pub fn enter(&self, level: Level) {
        self.level.store(level.number(), Ordering::Relaxed);
    }

    /// Takes note of a client that wants to open a stream.
    pub fn arrived(&self, uptime: Duration) {
        let second = uptime.as_secs();
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        match arrivals.back_mut() {
            Some((latest, count)) if *latest == second => *count += 1,
            _ => arrivals.push_back((second, 1)),
        }
        while arrivals.len() > ARRIVALS_SECONDS {
            arrivals.pop_front();
        }
    }

    /// Returns how many came within the last seconds.
    pub fn arrivals(&self, uptime: Duration) -> usize {
        let oldest = (uptime.as_secs() + 1).saturating_sub(ARRIVALS_SECONDS as u64);
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = arrivals.iter().filter(|(second, _)| *second >= oldest);
        recent.map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_those_of_the_last_seconds() {
        let load = Load::default();
        let at = Duration::from_millis;
        for n in 0..100 {
            load.arrived(at(n * 10));
        }
        load.arrived(at(5_000));
        assert_eq!(load.arrivals(at(5_000)), 101);
        assert_eq!(load.arrivals(at(10_000)), 1);
        assert_eq!(load.arrivals(at(60_000)), 0);
        for n in 0..1_000 {
            load.arrived(Duration::from_secs(100 + n));
        }
        assert_eq!(load.arrivals(Duration::from_secs(1_099)), ARRIVALS_SECONDS);
    }

    #[test]
    fn the_level_is_normal_until_another_is_in_force() {
        let load = Load::default();
        assert_eq!(load.level(), Level::Normal);
        load.enter(Level::Severe);
        assert_eq!(load.level(), Level::Severe);
    }
}
