//! How Ably is, as probes find it: slow to change its mind, so that people are not moved by a single lost message.

use std::time::Duration;

use crate::policy::Health;

/// Numbers that health goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthPolicy {
    /// So many probes in a row that did not come back say that it is down.
    pub down_after: u32,
    /// So many slow ones in a row say that it is degraded.
    pub slow_after: u32,
    /// So many good ones in a row say that it is up again.
    pub up_after: u32,
    /// A probe that takes longer is slow.
    pub slow: Duration,
}

impl Default for HealthPolicy {
    /// Down after three that did not come back, degraded after one or after two that took more than a second, up again
    /// after three good ones.
    fn default() -> Self {
        Self {
            down_after: 3,
            slow_after: 2,
            up_after: 3,
            slow: Duration::from_secs(1),
        }
    }
}

/// What became of a probe: a message that goes out as people's do, and is listened for as people listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// It came back.
    Delivered {
        /// After this long.
        took: Duration,
    },
    /// It was accepted and did not come back in time.
    Silent,
    /// It was not accepted.
    NotAccepted,
    /// Nobody could listen.
    Deaf,
    /// It was accepted; whether it came back cannot be told, for there is no right to listen.
    Accepted {
        /// After this long.
        took: Duration,
    },
    /// It was not sent: there is no room for it in a rate limit. This says nothing.
    Held,
}

impl Probed {
    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::Silent => "silent",
            Self::NotAccepted => "not_accepted",
            Self::Deaf => "deaf",
            Self::Accepted { .. } => "accepted",
            Self::Held => "held",
        }
    }

    /// Returns how long it took, where it succeeded.
    pub const fn took(self) -> Option<Duration> {
        match self {
            Self::Delivered { took } | Self::Accepted { took } => Some(took),
            Self::Silent | Self::NotAccepted | Self::Deaf | Self::Held => None,
        }
    }
}

/// Health, with what leads to its next change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthWatch {
    health: Health,
    failed: u32,
    slow: u32,
    good: u32,
}

impl Default for HealthWatch {
    /// Up until something is known: the breaker in front of every call knows sooner.
    fn default() -> Self {
        Self {
            health: Health::Up,
            failed: 0,
            slow: 0,
            good: 0,
        }
    }
}

impl HealthWatch {
    /// Returns the health.
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Whether the last probe failed, so that the next is worth hurrying.
    pub const fn doubts(&self) -> bool {
        self.failed > 0
    }

    /// Takes a probe.
    #[must_use]
    pub fn after(self, probed: Probed, policy: &HealthPolicy) -> Self {
        let counted = match probed {
            Probed::Held => return self,
            Probed::Silent | Probed::NotAccepted | Probed::Deaf => Self {
                failed: self.failed.saturating_add(1),
                slow: 0,
                good: 0,
                ..self
            },
            Probed::Delivered { took } | Probed::Accepted { took } if took > policy.slow => Self {
                failed: 0,
                slow: self.slow.saturating_add(1),
                good: 0,
                ..self
            },
            Probed::Delivered { .. } | Probed::Accepted { .. } => Self {
                failed: 0,
                slow: 0,
                good: self.good.saturating_add(1),
                ..self
            },
        };
        let health = if counted.failed >= policy.down_after {
            Health::Down
        } else if counted.good >= policy.up_after {
            Health::Up
        } else if self.health == Health::Down {
            // What came back only slowly serves; it is not up for that.
            if counted.slow >= policy.up_after {
                Health::Degraded
            } else {
                Health::Down
            }
        } else if counted.failed > 0 || counted.slow >= policy.slow_after {
            Health::Degraded
        } else {
            self.health
        };
        Self { health, ..counted }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: Probed = Probed::Delivered {
        took: Duration::from_millis(40),
    };
    const SLOW: Probed = Probed::Delivered {
        took: Duration::from_millis(1_001),
    };

    fn after(probes: &[Probed]) -> Vec<Health> {
        let policy = HealthPolicy::default();
        let mut watch = HealthWatch::default();
        let take = |probe: &Probed| {
            watch = watch.after(*probe, &policy);
            watch.health()
        };
        probes.iter().map(take).collect()
    }

    #[test]
    fn it_goes_down_after_three_failures_in_a_row_and_up_after_three_good_ones() {
        use Health::{Degraded, Down, Up};
        for failure in [Probed::Silent, Probed::NotAccepted, Probed::Deaf] {
            assert_eq!(
                after(&[GOOD, failure, failure, failure, GOOD, GOOD, GOOD]),
                [Up, Degraded, Degraded, Down, Down, Down, Up]
            );
        }
        assert_eq!(
            after(&[SLOW, SLOW, GOOD, GOOD, GOOD]),
            [Up, Degraded, Degraded, Degraded, Up]
        );
        let silent = Probed::Silent;
        assert_eq!(
            after(&[silent, silent, silent, SLOW, SLOW, SLOW]),
            [Degraded, Degraded, Down, Down, Down, Degraded]
        );
    }

    #[test]
    fn what_was_not_sent_says_nothing() {
        use Health::{Degraded, Down};
        let (silent, held) = (Probed::Silent, Probed::Held);
        assert_eq!(
            after(&[silent, held, silent, held, silent]),
            [Degraded, Degraded, Degraded, Degraded, Down]
        );
    }

    fn any_probe() -> impl Strategy<Value = Probed> {
        prop_oneof![
            Just(GOOD),
            Just(SLOW),
            Just(Probed::Silent),
            Just(Probed::NotAccepted),
            Just(Probed::Deaf),
            Just(Probed::Held),
        ]
    }

    proptest! {
        /// Between up and down lie at least three probes of one kind, whatever comes between.
        #[test]
        fn it_never_flaps_between_up_and_down(probes in prop::collection::vec(any_probe(), 0..80)) {
            let seen = after(&probes);
            let told: Vec<(usize, Health)> = seen.iter().copied().enumerate().collect();
            for (at, _) in told.iter().filter(|(at, health)| *health == Health::Down && *at > 0 && seen[at - 1] != Health::Down) {
                let failed = probes[..=*at].iter().rev().filter(|probe| **probe != Probed::Held).take(3);
                prop_assert!(failed.filter(|probe| probe.took().is_none()).count() == 3);
            }
            for (at, _) in told.iter().filter(|(at, health)| *health == Health::Up && *at > 0 && seen[at - 1] != Health::Up) {
                let good = probes[..=*at].iter().rev().filter(|probe| **probe != Probed::Held).take(3);
                prop_assert!(good.filter(|probe| **probe == GOOD).count() == 3);
            }
        }
    }
}
