//! Who is on Ably: a share of all people that grows in stages and can be taken back.

mod history;
mod progress;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::capability::{Principal, Role};
use crate::cohort::{Bucket, Salt, Share};
use crate::ids::{UnitId, UserId};
use crate::time::Timestamp;
use crate::transport::{Reason, Transport};

pub use self::history::{
    AuditedRollout, CHANGES_MAX, Change, DIFFERENCES_MAX, Difference, OverridesChange, Subject, Switched,
    What,
};

pub use self::progress::{Progress, Schedule};

/// Overrides are for pilots and for complaints; more of them are a cohort of their own. The settings document
/// that holds them is read by every node as a whole.
pub const OVERRIDES_MAX: usize = 1_000;
/// A sentence or two for whoever finds the switch on.
pub const WHY_MAX_CHARS: usize = 500;
/// Nobody plans further ahead.
const STAGE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// A rollout in more stages is a percentage that moves by itself.
const STAGES_MAX: usize = 20;

/// Which people are carried by Ably, by rules that give the same answer on every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// The share of all people in the cohort.
    pub share: Share,
    /// What deals people into buckets. It stays for as long as the rollout lasts.
    pub salt: Salt,
    /// Exceptions by person, unit and role.
    pub overrides: Overrides,
    /// Sends everybody to the streams, whatever else is set.
    pub kill_switch: Option<KillSwitch>,
    /// The shares that the rollout goes through.
    pub stages: Stages,
    /// Whether it goes through them by itself.
    pub schedule: Schedule,
}

/// What a rollout has to know of a person. Units and roles come from their token; where an event is routed
/// without one, they are those of the token that the person last showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person<'a> {
    /// Who they are.
    pub user: &'a UserId,
    /// Units they belong to.
    pub units: &'a [UnitId],
    /// Their role codes.
    pub roles: &'a [Role],
}

impl<'a> From<&'a Principal> for Person<'a> {
    fn from(principal: &'a Principal) -> Self {
        Self {
            user: &principal.user,
            units: &principal.units,
            roles: &principal.roles,
        }
    }
}

impl Rollout {
    /// Starts with nobody, the usual stages and no exception.
    pub fn new(salt: Salt) -> Self {
        Self {
            share: Share::NONE,
            salt,
            overrides: Overrides::default(),
            kill_switch: None,
            stages: Stages::default(),
            schedule: Schedule::Stopped,
        }
    }

    /// Says what carries a person's events: the kill switch, then an override, then the cohort.
    ///
    /// Raising the share moves people to Ably and nobody away from it; lowering it undoes exactly that.
    pub fn transport_for(&self, person: &Person<'_>) -> (Transport, Reason) {
        if self.kill_switch.is_some() {
            return (Transport::Streams, Reason::KillSwitch);
        }
        self.overrides
            .of(person)
            .unwrap_or_else(|| self.cohort_of(person.user))
    }

    /// Says what carries a person's events by the cohort alone.
    pub fn cohort_of(&self, user: &UserId) -> (Transport, Reason) {
        if self.share.reaches(Bucket::of(&self.salt, user)) {
            (Transport::Ably, Reason::InCohort)
        } else {
            (Transport::Streams, Reason::OutsideCohort)
        }
    }

    /// Tells whether anybody at all may be on Ably, so that the channels of groups have to be on it too.
    pub fn reaches_anybody(&self) -> bool {
        self.kill_switch.is_none() && (self.share > Share::NONE || self.overrides.name_ably())
    }
}

/// Exceptions from the cohort, at most [`OVERRIDES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    users: BTreeMap<UserId, Transport>,
    units: BTreeMap<UnitId, Transport>,
    roles: BTreeMap<Role, Transport>,
}

/// More exceptions than can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyOverrides {
    /// How many were given.
    pub given: usize,
}

impl fmt::Display for TooManyOverrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a rollout has at most {OVERRIDES_MAX} overrides, not {}",
            self.given
        )
    }
}

impl std::error::Error for TooManyOverrides {}

impl Overrides {
    /// Takes exceptions by person, unit and role.
    pub fn try_new(
        users: BTreeMap<UserId, Transport>,
        units: BTreeMap<UnitId, Transport>,
        roles: BTreeMap<Role, Transport>,
    ) -> Result<Self, TooManyOverrides> {
        let given = users.len() + units.len() + roles.len();
        if given > OVERRIDES_MAX {
            return Err(TooManyOverrides { given });
        }
        Ok(Self { users, units, roles })
    }

    /// Returns the exceptions by person.
    pub const fn users(&self) -> &BTreeMap<UserId, Transport> {
        &self.users
    }

    /// Returns the exceptions by unit.
    pub const fn units(&self) -> &BTreeMap<UnitId, Transport> {
        &self.units
    }

    /// Returns the exceptions by role.
    pub const fn roles(&self) -> &BTreeMap<Role, Transport> {
        &self.roles
    }

    /// Finds the exception for a person: one that names them goes before one for a unit, that before one for
    /// a role. Where two units, or two roles, disagree, the streams win: they always work.
    pub fn of(&self, person: &Person<'_>) -> Option<(Transport, Reason)> {
        let user = self.users.get(person.user).copied();
        let unit = || {
            person
                .units
                .iter()
                .filter_map(|unit| self.units.get(unit))
                .max()
                .copied()
        };
        let role = || {
            person
                .roles
                .iter()
                .filter_map(|role| self.roles.get(role))
                .max()
                .copied()
        };
        user.map(|transport| (transport, Reason::OverrideUser))
            .or_else(|| unit().map(|transport| (transport, Reason::OverrideUnit)))
            .or_else(|| role().map(|transport| (transport, Reason::OverrideRole)))
    }

    fn name_ably(&self) -> bool {
        let all = self
            .users
            .values()
            .chain(self.units.values())
            .chain(self.roles.values());
        all.into_iter().any(|transport| *transport == Transport::Ably)
    }
}

/// Why somebody did something: 1 to [`WHY_MAX_CHARS`] characters, without spaces around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why(Box<str>);

/// No reason, or an essay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidWhy {
    /// How many characters were given, spaces around them left out.
    pub given: usize,
}

impl fmt::Display for InvalidWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a reason has 1 to {WHY_MAX_CHARS} characters, not {}",
            self.given
        )
    }
}

impl std::error::Error for InvalidWhy {}

impl Why {
    /// Takes a reason; spaces around it are left out.
    pub fn try_new(text: &str) -> Result<Self, InvalidWhy> {
        let text = text.trim();
        let given = text.chars().count();
        if (1..=WHY_MAX_CHARS).contains(&given) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidWhy { given })
        }
    }

    /// Returns the reason.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Sends everybody to the streams until it is taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillSwitch {
    by: UserId,
    why: Why,
    at: Timestamp,
}

impl KillSwitch {
    /// Takes who threw it, why, and when.
    pub const fn new(by: UserId, why: Why, at: Timestamp) -> Self {
        Self { by, why, at }
    }

    /// Takes who threw it, why in 1 to [`WHY_MAX_CHARS`] characters, and when.
    pub fn try_new(by: UserId, why: &str, at: Timestamp) -> Result<Self, InvalidWhy> {
        Ok(Self::new(by, Why::try_new(why)?, at))
    }

    /// Returns who threw it.
    pub const fn by(&self) -> &UserId {
        &self.by
    }

    /// Returns why.
    pub fn why(&self) -> &str {
        self.why.as_str()
    }

    /// Returns when.
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}

/// One share of a rollout and how long it is watched before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// The share.
    pub share: Share,
    /// How long it stays before a schedule goes on. Without meaning for the last one.
    pub lasts: Duration,
}

/// The shares that a rollout goes through, each larger than the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stages(Vec<Stage>);

/// Stages that lead nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidStages;

impl fmt::Display for InvalidStages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a rollout has 1 to {STAGES_MAX} stages, each above the one before and of a year at most"
        )
    }
}

impl std::error::Error for InvalidStages {}

impl Default for Stages {
    /// 5 % for 48 h, 25 % for 72 h, 75 % for a week, 100 %.
    fn default() -> Self {
        let stage = |percent, hours: u64| Stage {
            share: Share::percent(percent),
            lasts: Duration::from_secs(hours * 60 * 60),
        };
        Self(vec![
            stage(5, 48),
            stage(25, 72),
            stage(75, 7 * 24),
            stage(100, 0),
        ])
    }
}

impl Stages {
    /// Takes 1 to 20 stages with growing shares, the first above zero.
    pub fn try_new(stages: Vec<Stage>) -> Result<Self, InvalidStages> {
        let grow = stages.is_sorted_by(|one, next| one.share < next.share);
        let above_zero = stages.first().is_some_and(|first| first.share > Share::NONE);
        let in_time = stages.iter().all(|stage| stage.lasts <= STAGE_MAX);
        if grow && above_zero && in_time && stages.len() <= STAGES_MAX {
            Ok(Self(stages))
        } else {
            Err(InvalidStages)
        }
    }

    /// Returns the stages, smallest share first.
    pub fn as_slice(&self) -> &[Stage] {
        &self.0
    }

    /// Returns the share one step down: the largest stage below `share`, or nobody.
    pub fn below(&self, share: Share) -> Share {
        let lower = self.0.iter().rev().find(|stage| stage.share < share);
        lower.map_or(Share::NONE, |stage| stage.share)
    }

    /// Returns the stage that `share` is in, and the share that follows it; `None` below the first and at the
    /// end.
    pub fn above(&self, share: Share) -> Option<(Stage, Share)> {
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        let mut inside = pairs.filter(|(stage, next)| stage.share <= share && share < next.share);
        inside.next().map(|(stage, next)| (*stage, next.share))
    }
}

#[cfg(test)]
mod tests;
