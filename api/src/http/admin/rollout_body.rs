//! The rollout as administrators read and write it.

mod change;

use std::collections::BTreeMap;

use application::rollout::Documented;
use domain::capability::Role;
use domain::cohort::Share;
use domain::ids::{UnitId, UserId};
use domain::rollout::{
    Change, Difference, KillSwitch, Overrides, OverridesChange, Stage, Stages, Subject, Switched, What,
};
use domain::transport::Transport;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

pub(crate) use self::change::{ChangeRolloutBody, ReleaseBody, ThrowBody};
use crate::http::schema::{IdText, MomentText, PercentNumber, ScheduleText, TransportText, WhyText};

/// The rollout of Ably.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Rollout", example)]
pub(crate) struct RolloutBody {
    /// How often it was written; 0 for never. Give it with the next change.
    version: u64,
    /// The version that the node which answers goes by.
    in_force: u64,
    /// The share of all people that is on Ably, in percent.
    share: PercentNumber,
    /// Exceptions from the share.
    overrides: OverridesBody,
    /// The shares that the rollout goes through.
    stages: Vec<StageBody>,
    /// Whether the rollout goes through its stages by itself.
    schedule: ScheduleText,
    /// Who sent everybody to the streams; null while nobody did.
    #[oai(nullable)]
    kill_switch: Option<KillSwitchBody>,
    /// The latest changes, the last one first; 50 are kept.
    changes: Vec<ChangeBody>,
}

/// Exceptions from the share, by person, unit and role; at most 1,000 together. One for a person goes before one for
/// a unit of theirs, that before one for a role. Where two units, or two roles, disagree, `sse` wins.
#[derive(Debug, Default, Serialize, Deserialize, Object)]
#[serde(deny_unknown_fields, default)]
#[oai(rename = "RolloutOverrides")]
pub(crate) struct OverridesBody {
    /// Transports by user id.
    #[serde(deserialize_with = "change::distinct")]
    #[oai(default)]
    users: BTreeMap<String, TransportText>,
    /// Transports by unit.
    #[serde(deserialize_with = "change::distinct")]
    #[oai(default)]
    units: BTreeMap<String, TransportText>,
    /// Transports by role code, which is compared without regard to case.
    #[serde(deserialize_with = "change::distinct")]
    #[oai(default)]
    roles: BTreeMap<String, TransportText>,
}

/// A share and how long it is watched before the next.
#[derive(Debug, Serialize, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(rename = "RolloutStage")]
pub(crate) struct StageBody {
    /// The share, in percent.
    share: PercentNumber,
    /// How long it is watched; without meaning for the last one. At most a year.
    #[oai(validator(minimum(value = "0"), maximum(value = "31622400")))]
    lasts_seconds: u64,
}

/// Who sent everybody to the streams.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "KillSwitch")]
struct KillSwitchBody {
    /// Who threw it.
    by: IdText,
    /// Why.
    why: WhyText,
    /// When.
    at: MomentText,
}

/// A change of the rollout.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "RolloutChanged")]
struct ChangeBody {
    /// Who made it.
    by: IdText,
    /// Why; null where somebody took the kill switch away without a word.
    #[oai(nullable)]
    why: Option<WhyText>,
    /// When.
    at: MomentText,
    /// What it changed.
    changed: WhatBody,
}

/// What a change changed; what it left alone is absent.
#[derive(Debug, Default, Serialize, Object)]
#[oai(rename = "RolloutDifference", skip_serializing_if_is_none)]
struct WhatBody {
    /// The share.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<SharesBody>,
    /// The overrides.
    #[serde(skip_serializing_if = "Option::is_none")]
    overrides: Option<OverridesChangeBody>,
    /// The stages after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    stages: Option<Vec<StageBody>>,
    /// What happened to the kill switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    kill_switch: Option<SwitchedName>,
    /// Whether it goes through its stages by itself after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<ScheduleText>,
}

/// A share before and after a change, in percent.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "RolloutShares")]
struct SharesBody {
    /// Before.
    from: PercentNumber,
    /// After.
    to: PercentNumber,
}

/// Overrides that were added, removed or turned.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "RolloutOverridesChanged")]
struct OverridesChangeBody {
    /// How many.
    count: usize,
    /// The first of them, at most 20.
    named: Vec<DifferenceBody>,
}

/// An override that was added, removed or turned.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "RolloutOverrideChanged")]
struct DifferenceBody {
    /// What it is for.
    of: SubjectName,
    /// The user id, unit or role code.
    name: String,
    /// What it said before; null where there was none.
    #[oai(nullable)]
    from: Option<TransportText>,
    /// What it says now; null where it was removed.
    #[oai(nullable)]
    to: Option<TransportText>,
}

/// What an override is for.
#[derive(Debug, Serialize, Enum)]
#[oai(rename = "RolloutSubject", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
enum SubjectName {
    User,
    Unit,
    Role,
}

/// What happened to the kill switch.
#[derive(Debug, Serialize, Enum)]
#[oai(rename = "KillSwitched", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
enum SwitchedName {
    Thrown,
    Released,
}

impl From<&Documented> for RolloutBody {
    fn from(documented: &Documented) -> Self {
        let rollout = &documented.audited.rollout;
        Self {
            version: documented.version,
            in_force: documented.in_force,
            share: rollout.share.into(),
            overrides: (&rollout.overrides).into(),
            stages: stages(&rollout.stages),
            schedule: ScheduleText(rollout.schedule.as_str().to_owned()),
            kill_switch: rollout.kill_switch.as_ref().map(Into::into),
            changes: documented.audited.changes().iter().map(Into::into).collect(),
        }
    }
}

impl From<&Overrides> for OverridesBody {
    fn from(overrides: &Overrides) -> Self {
        Self {
            users: by_name(overrides.users(), UserId::as_str),
            units: by_name(overrides.units(), UnitId::as_str),
            roles: by_name(overrides.roles(), Role::as_str),
        }
    }
}

fn by_name<K>(
    entries: &BTreeMap<K, Transport>,
    name: impl Fn(&K) -> &str,
) -> BTreeMap<String, TransportText> {
    let entries = entries.iter();
    entries
        .map(|(key, to)| (name(key).to_owned(), (*to).into()))
        .collect()
}

fn stages(stages: &Stages) -> Vec<StageBody> {
    let body = |stage: &Stage| StageBody {
        share: stage.share.into(),
        lasts_seconds: stage.lasts.as_secs(),
    };
    stages.as_slice().iter().map(body).collect()
}

impl From<&KillSwitch> for KillSwitchBody {
    fn from(thrown: &KillSwitch) -> Self {
        Self {
            by: IdText(thrown.by().to_string()),
            why: WhyText(thrown.why().to_owned()),
            at: thrown.at().into(),
        }
    }
}

impl From<&Change> for ChangeBody {
    fn from(change: &Change) -> Self {
        Self {
            by: IdText(change.by.to_string()),
            why: change.why.as_ref().map(|why| WhyText(why.as_str().to_owned())),
            at: change.at.into(),
            changed: (&change.what).into(),
        }
    }
}

impl From<&What> for WhatBody {
    fn from(what: &What) -> Self {
        Self {
            share: what.share.map(|(from, to)| SharesBody {
                from: from.into(),
                to: to.into(),
            }),
            overrides: what.overrides.as_ref().map(Into::into),
            stages: what.stages.as_ref().map(stages),
            kill_switch: what.kill_switch.map(|switched| match switched {
                Switched::Thrown => SwitchedName::Thrown,
                Switched::Released => SwitchedName::Released,
            }),
            schedule: (what.schedule).map(|schedule| ScheduleText(schedule.as_str().to_owned())),
        }
    }
}

impl From<&OverridesChange> for OverridesChangeBody {
    fn from(change: &OverridesChange) -> Self {
        Self {
            count: change.count,
            named: change.named.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Difference> for DifferenceBody {
    fn from(difference: &Difference) -> Self {
        let (of, name) = match &difference.subject {
            Subject::User(user) => (SubjectName::User, user.as_str()),
            Subject::Unit(unit) => (SubjectName::Unit, unit.as_str()),
            Subject::Role(role) => (SubjectName::Role, role.as_str()),
        };
        Self {
            of,
            name: name.to_owned(),
            from: difference.from.map(Into::into),
            to: difference.to.map(Into::into),
        }
    }
}

impl From<Share> for PercentNumber {
    fn from(share: Share) -> Self {
        // Digits and a point: always a number of JSON.
        let number = share.as_percent().parse::<Number>();
        Self(number.map_or(Value::Null, Value::Number))
    }
}

impl Example for RolloutBody {
    fn example() -> Self {
        let at = || MomentText("2026-01-01T12:00:00.000Z".to_owned());
        let percent = |percent| PercentNumber::from(Share::percent(percent));
        Self {
            version: 3,
            in_force: 3,
            share: percent(25),
            overrides: OverridesBody::example(),
            stages: stages(&Stages::default()),
            schedule: ScheduleText("running".to_owned()),
            kill_switch: None,
            changes: vec![ChangeBody {
                by: IdText("admin-1".to_owned()),
                why: Some(WhyText("48 h at 5 % without an error".to_owned())),
                at: at(),
                changed: WhatBody {
                    share: Some(SharesBody {
                        from: percent(5),
                        to: percent(25),
                    }),
                    ..WhatBody::default()
                },
            }],
        }
    }
}

impl Example for OverridesBody {
    fn example() -> Self {
        let one = |name: &str, to: Transport| [(name.to_owned(), to.into())].into();
        Self {
            users: one("u-42", Transport::Streams),
            units: one("cras-1", Transport::Ably),
            roles: BTreeMap::new(),
        }
    }
}
