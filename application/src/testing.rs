//! Time, ids, chance and settings that tests hold in their hands.

mod settings;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use domain::ids::NotificationId;
use domain::time::Timestamp;

pub use self::settings::{Drawer, Shelf};
use crate::ports::{Clock, Entropy, Ids, Observation, Observer};

/// A clock that moves only when it is told to.
#[derive(Debug)]
pub struct SimClock {
    started: i64,
    millis: AtomicI64,
}

impl SimClock {
    /// 2026-01-01T00:00:00Z.
    pub const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    /// Starts at [`SimClock::START`].
    pub fn new() -> Self {
        Self {
            started: Self::START.as_millis(),
            millis: AtomicI64::new(Self::START.as_millis()),
        }
    }

    /// Moves time on.
    pub fn advance(&self, duration: Duration) {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> Duration {
        self.now().since(Timestamp::from_millis(self.started))
    }
}

/// Ids that count up from one.
#[derive(Debug, Default)]
pub struct CountingIds(AtomicU64);

impl Ids for CountingIds {
    fn notification(&self) -> NotificationId {
        let count = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        NotificationId::new(uuid::Uuid::from_u128(u128::from(count)))
    }
}

/// Chance that repeats itself from a seed (`SplitMix64`, Steele, Lea and Flood 2014).
#[derive(Debug, Default)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// Begins at a seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn bits(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(GAMMA, Ordering::SeqCst).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// An observer that looks away.
#[derive(Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn saw(&self, _: &Observation) {}
}
