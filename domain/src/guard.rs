//! Takes a rollout back when Ably does badly, and lets it go on by its schedule when it does well.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use crate::cohort::Share;
use crate::rollout::{Progress, Rollout, Schedule};
use crate::time::Timestamp;

/// Publish times are counted up to these bounds, in milliseconds; what is slower is counted beyond the last.
pub const BOUNDS_MS: [u32; 13] = [10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1_000, 2_500];

/// A node tells the cluster of its publishes within this time.
pub const TOLD_WITHIN: Duration = Duration::from_secs(10);

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
    /// After a step down nothing moves for this long, and after any change nothing goes up.
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

impl Decision {
    /// Returns the stable label.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Hold(Hold::Nobody) => "nobody",
            Self::Hold(Hold::JustStepped { .. }) => "just_stepped",
            Self::Hold(Hold::Well { .. }) => "well",
            Self::Hold(Hold::NotCalm) => "not_calm",
            Self::StepDown { .. } => "step_down",
            Self::StepUp { .. } => "step_up",
        }
    }

    /// Returns the rollout that it leads to; `None` where it stays. What failed at every share is for a person to look
    /// at: a step down to nobody stops the schedule.
    pub fn leads_to(&self, rollout: &Rollout) -> Option<Rollout> {
        let (to, schedule) = match self {
            Self::Hold(_) => return None,
            Self::StepDown { to, .. } if *to == Share::NONE => (*to, Schedule::Stopped),
            Self::StepDown { to, .. } | Self::StepUp { to, .. } => (*to, rollout.schedule),
        };
        Some(Rollout {
            share: to,
            schedule,
            ..rollout.clone()
        })
    }
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
    /// Says how far back publishes are looked at: the window, but not beyond the last change. What was published before
    /// it says nothing of the share after it, and nodes tell of their publishes a little later.
    pub fn looks_back(&self, progress: &Progress, now: Timestamp) -> Duration {
        let settled = now.since(progress.since).saturating_sub(TOLD_WITHIN);
        settled.min(self.0.window)
    }

    /// Decides by the publishes of the whole cluster, as far back as [`looks_back`](Self::looks_back) says. At most one
    /// step follows from one decision; it is put in force with the rollout by compare-and-set, so that two nodes do not
    /// take it twice.
    ///
    /// A share that was raised is taken back as soon as there is evidence. After a step down nothing moves until the
    /// hold is over, and nothing goes up before it is over after any change.
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
        let fault = self.fault(publishes);
        let lowered = progress.lowered.map(|at| at.plus(self.0.hold));
        match (fault, lowered) {
            (Some(_), Some(until)) if now < until => return Decision::Hold(Hold::JustStepped { until }),
            (Some(why), _) => {
                let to = rollout.stages.below(from);
                return Decision::StepDown { from, to, why };
            }
            (None, _) => {}
        }
        let until = progress.since.plus(self.0.hold);
        if now < until {
            return Decision::Hold(Hold::JustStepped { until });
        }
        let (Schedule::Running, Some((stage, to))) = (rollout.schedule, rollout.stages.above(from)) else {
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
