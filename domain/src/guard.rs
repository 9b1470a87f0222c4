//! Takes a rollout back when Ably does badly, and lets it go on by its schedule when it does well.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use crate::cohort::Share;
use crate::rollout::Rollout;
use crate::time::Timestamp;
use crate::window::Window;

/// Publish times are counted up to these bounds, in milliseconds; what is slower is counted beyond the last.
pub const BOUNDS_MS: [u32; 13] = [10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1_000, 2_500];

/// The numbers that a guard follows, unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardSettings {
    /// A larger share of failed publishes is a fault.
    pub error_share: Share,
    /// A larger 95th percentile of publish times is a fault. One of [`BOUNDS_MS`], so that it is judged
    /// exactly.
    pub p95: Duration,
    /// A schedule goes on only up to this share of failed publishes, well below a fault.
    pub calm_error_share: Share,
    /// A schedule goes on only up to this 95th percentile, well below a fault. One of [`BOUNDS_MS`].
    pub calm_p95: Duration,
    /// What is looked at.
    pub window: Duration,
    /// Fewer publishes than this are no evidence of a fault.
    pub publishes_min: u32,
    /// After a step, up or down, nothing moves for this long.
    pub hold: Duration,
}

/// Numbers that a guard can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardPolicy(GuardSettings);

/// Numbers that no guard can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidGuardPolicy {
    /// The number at fault.
    pub setting: &'static str,
    /// What it takes.
    pub takes: &'static str,
}

impl fmt::Display for InvalidGuardPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of a rollout guard takes {}", self.setting, self.takes)
    }
}

impl std::error::Error for InvalidGuardPolicy {}

impl Default for GuardPolicy {
    /// More than 5 % errors or a p95 above 500 ms over 5 min with at least 50 publishes; hold for 30 min;
    /// calm up to four fifths of that.
    fn default() -> Self {
        Self(GuardSettings {
            error_share: Share::percent(5),
            p95: Duration::from_millis(500),
            calm_error_share: Share::percent(4),
            calm_p95: Duration::from_millis(400),
            window: Duration::from_secs(5 * 60),
            publishes_min: 50,
            hold: Duration::from_secs(30 * 60),
        })
    }
}

impl GuardPolicy {
    /// Takes settings whose calm lies within their faults and whose hold is longer than their window, so that
    /// each share is judged by its own publishes alone.
    pub fn try_new(settings: GuardSettings) -> Result<Self, InvalidGuardPolicy> {
        let bound = |duration: Duration| {
            BOUNDS_MS
                .iter()
                .any(|ms| Duration::from_millis(u64::from(*ms)) == duration)
        };
        let day = Duration::from_secs(24 * 60 * 60);
        let checks = [
            ("p95", "one of the bounds of the histogram", bound(settings.p95)),
            (
                "calm_p95",
                "one of the bounds of the histogram",
                bound(settings.calm_p95),
            ),
            ("calm_p95", "at most p95", settings.calm_p95 <= settings.p95),
            (
                "calm_error_share",
                "at most error_share",
                settings.calm_error_share <= settings.error_share,
            ),
            (
                "window",
                "at least 1 s",
                settings.window >= Duration::from_secs(1),
            ),
            ("publishes_min", "at least 1", settings.publishes_min >= 1),
            ("hold", "more than the window", settings.hold > settings.window),
            ("hold", "at most a day", settings.hold <= day),
        ];
        match checks.into_iter().find(|(_, _, fits)| !fits) {
            Some((setting, takes, _)) => Err(InvalidGuardPolicy { setting, takes }),
            None => Ok(Self(settings)),
        }
    }

    /// Returns the numbers.
    pub const fn settings(&self) -> &GuardSettings {
        &self.0
    }
}

/// How a publish to Ably went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Published {
    /// It was accepted.
    Accepted,
    /// It was not.
    Failed,
}

/// Publishes counted by how they went and how long they took. Those of several nodes add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Publishes {
    /// How many were accepted.
    pub accepted: u32,
    /// How many failed.
    pub failed: u32,
    /// How many took at most as long as the bound of the same place in [`BOUNDS_MS`], and longer than the one
    /// before; failed ones count too. What is missing to the whole was slower than the last.
    pub by_time: [u32; BOUNDS_MS.len()],
}

impl Publishes {
    /// Counts one.
    pub fn one(how: Published, took: Duration) -> Self {
        let mut counted = Self::default();
        match how {
            Published::Accepted => counted.accepted = 1,
            Published::Failed => counted.failed = 1,
        }
        let within = |ms: &u32| took <= Duration::from_millis(u64::from(*ms));
        if let Some(place) = BOUNDS_MS.iter().position(within) {
            counted.by_time[place] = 1;
        }
        counted
    }

    /// Returns how many there are.
    pub const fn all(&self) -> u32 {
        self.accepted.saturating_add(self.failed)
    }

    /// Returns the lowest bound that 95 of 100 publishes kept; `None` without publishes, or where that bound
    /// lies beyond the last of [`BOUNDS_MS`].
    pub fn p95(&self) -> Option<Duration> {
        let bounds = BOUNDS_MS.iter().map(|ms| Duration::from_millis(u64::from(*ms)));
        bounds
            .into_iter()
            .find(|bound| self.all() > 0 && !self.slower_than(*bound))
    }

    fn slower_than(&self, bound: Duration) -> bool {
        let bounds = BOUNDS_MS.iter().zip(self.by_time);
        let within = bounds.filter(|(ms, _)| Duration::from_millis(u64::from(**ms)) <= bound);
        let kept: u64 = within.map(|(_, count)| u64::from(count)).sum();
        kept * 100 < u64::from(self.all()) * 95
    }

    fn fails_more_than(&self, share: Share) -> bool {
        u64::from(self.failed) * 10_000 > u64::from(self.all()) * u64::from(share.hundredths())
    }
}

impl AddAssign for Publishes {
    fn add_assign(&mut self, other: Self) {
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.failed = self.failed.saturating_add(other.failed);
        for (sum, count) in self.by_time.iter_mut().zip(other.by_time) {
            *sum = sum.saturating_add(count);
        }
    }
}

/// The publishes of one node over the guard's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch(Window<Publishes>);

impl Watch {
    /// Starts without publishes.
    pub fn new(policy: &GuardPolicy) -> Self {
        Self(Window::new(policy.0.window))
    }

    /// Takes a publish.
    #[must_use]
    pub fn saw(self, how: Published, took: Duration, now: Timestamp) -> Self {
        Self(self.0.add(Publishes::one(how, took), now))
    }

    /// Returns what lies within the window.
    pub fn publishes(&self, now: Timestamp) -> Publishes {
        self.0.total(now)
    }
}

/// Where a rollout stands in time. It is kept beside the rollout, so that whichever node decides knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// When the share last changed, by whatever cause.
    pub since: Timestamp,
    /// Whether it goes up by itself.
    pub schedule: Schedule,
}

/// Whether a rollout goes up by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// Each stage is followed by the next when its time is over.
    Running,
    /// Only a hand raises it.
    Stopped,
}

impl Progress {
    /// Returns where it stands after a decision was put in force. A step down begins the lower stage anew;
    /// one to nobody stops the schedule, for what failed at every share is for a person to look at.
    #[must_use]
    pub fn after(self, decision: &Decision, now: Timestamp) -> Self {
        match decision {
            Decision::Hold(_) => self,
            Decision::StepDown { to, .. } if *to == Share::NONE => Self {
                since: now,
                schedule: Schedule::Stopped,
            },
            Decision::StepDown { .. } | Decision::StepUp { .. } => Self { since: now, ..self },
        }
    }
}

/// What a guard decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The share stays.
    Hold(Hold),
    /// The share goes down.
    StepDown {
        /// From here.
        from: Share,
        /// To here, the next stage below.
        to: Share,
        /// Why.
        why: Fault,
    },
    /// The share goes up, by its schedule.
    StepUp {
        /// From here.
        from: Share,
        /// To here, the next stage.
        to: Share,
    },
}

/// Why a share stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Nobody is in the cohort, or the kill switch is on: there is nothing to guard.
    Nobody,
    /// The last step is too recent.
    JustStepped {
        /// When it is looked at again.
        until: Timestamp,
    },
    /// There is no fault; the schedule, where one runs, goes on then.
    Well {
        /// The next scheduled step.
        next: Option<Timestamp>,
    },
    /// The next stage is due, but errors or times are too near to a fault.
    NotCalm,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Too many publishes fail.
    Errors {
        /// How many failed.
        failed: u32,
        /// Of how many.
        publishes: u32,
    },
    /// Publishes take too long.
    Slow {
        /// The 95th percentile, as [`Publishes::p95`] gives it.
        p95: Option<Duration>,
        /// Of how many.
        publishes: u32,
    },
}

impl Fault {
    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors { .. } => "error_share",
            Self::Slow { .. } => "publish_p95",
        }
    }
}

impl GuardPolicy {
    /// Decides by the publishes of the whole cluster within the window. At most one step follows from one
    /// decision; it is put in force with the rollout by compare-and-set, so that two nodes do not take it
    /// twice.
    pub fn decide(
        &self,
        rollout: &Rollout,
        progress: &Progress,
        publishes: &Publishes,
        now: Timestamp,
    ) -> Decision {
        let from = rollout.share;
        if from == Share::NONE || rollout.kill_switch.is_some() {
            return Decision::Hold(Hold::Nobody);
        }
        let until = progress.since.plus(self.0.hold);
        if now < until {
            return Decision::Hold(Hold::JustStepped { until });
        }
        if let Some(why) = self.fault(publishes) {
            let to = rollout.stages.below(from);
            return Decision::StepDown { from, to, why };
        }
        let (Schedule::Running, Some((stage, to))) = (progress.schedule, rollout.stages.above(from)) else {
            return Decision::Hold(Hold::Well { next: None });
        };
        let due = progress.since.plus(stage.lasts);
        if now < due {
            return Decision::Hold(Hold::Well { next: Some(due) });
        }
        if self.calm(publishes) {
            Decision::StepUp { from, to }
        } else {
            Decision::Hold(Hold::NotCalm)
        }
    }

    fn fault(&self, seen: &Publishes) -> Option<Fault> {
        let publishes = seen.all();
        if publishes < self.0.publishes_min {
            return None;
        }
        if seen.fails_more_than(self.0.error_share) {
            let failed = seen.failed;
            return Some(Fault::Errors { failed, publishes });
        }
        let p95 = seen.p95();
        seen.slower_than(self.0.p95)
            .then_some(Fault::Slow { p95, publishes })
    }

    /// Asks no minimum of publishes: a small office has fewer than fifty in any five minutes and goes on all
    /// the same, while a single bad one only puts the step off until it has left the window.
    fn calm(&self, seen: &Publishes) -> bool {
        !seen.fails_more_than(self.0.calm_error_share) && !seen.slower_than(self.0.calm_p95)
    }
}

#[cfg(test)]
mod tests;
