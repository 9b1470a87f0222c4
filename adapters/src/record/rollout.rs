//! A rollout as the settings keep it.
//!
//! Fields are added freely as long as a node that does not know them may go on as if they were not there: it reads
//! past them, and keeps those at the top when it writes. `format` is raised when it may not: older nodes then go on by
//! what they read last, refuse to change it, and can throw the kill switch alone, which replaces the whole text.

use std::collections::BTreeMap;
use std::time::Duration;

use application::ports::{RolloutFormat, UnreadableRollout};
use domain::capability::Role;
use domain::cohort::{Salt, Share};
use domain::ids::{UnitId, UserId};
use domain::rollout::{
    AuditedRollout, Change, Difference, KillSwitch, Overrides, OverridesChange, Rollout, Schedule, Stage,
    Stages, Subject, Switched, What, Why,
};
use domain::time::Timestamp;
use domain::transport::Transport;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Unreadable, from_text, millis, parse, to_text};

/// What this version of the service writes, and the only one it reads.
const FORMAT: u32 = 1;

/// Keeps rollouts as JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct RolloutJson;

impl RolloutFormat for RolloutJson {
    fn read(&self, text: &str) -> Result<AuditedRollout, UnreadableRollout> {
        let read = from_text::<Head>(text).and_then(|head| match head.format {
            FORMAT => from_text::<RolloutRecord>(text)?.try_into(),
            _ => Err(Unreadable::new("a format of another version of the service")),
        });
        read.map_err(|error| UnreadableRollout { what: error.what })
    }

    fn write(&self, rollout: &AuditedRollout, replaced: &str) -> String {
        let ours = to_text(&RolloutRecord::from(rollout));
        let known_format = from_text::<Head>(replaced).is_ok_and(|head| head.format == FORMAT);
        if !known_format {
            return ours;
        }
        match (from_text::<Map<String, Value>>(replaced), from_text(&ours)) {
            (Ok(mut fields), Ok(own)) => {
                let own: Map<String, Value> = own;
                fields.extend(own);
                to_text(&fields)
            }
            _ => ours,
        }
    }
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct RolloutRecord {
    format: u32,
    salt: String,
    /// In hundredths of a percent, like all shares here.
    share: u32,
    overrides: OverridesRecord,
    stages: Vec<StageRecord>,
    /// Written as null where there is none, so that it replaces one that was there.
    kill_switch: Option<KillSwitchRecord>,
    /// Absent before there were schedules: then it is stopped.
    #[serde(default)]
    schedule: Option<String>,
    /// The latest first.
    changes: Vec<ChangeRecord>,
}

#[derive(Serialize, Deserialize)]
struct OverridesRecord {
    users: BTreeMap<String, String>,
    units: BTreeMap<String, String>,
    roles: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct StageRecord {
    share: u32,
    lasts_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct KillSwitchRecord {
    by: String,
    why: String,
    at: i64,
}

#[derive(Serialize, Deserialize)]
struct ChangeRecord {
    by: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    why: Option<String>,
    at: i64,
    /// Before and after.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    share: Option<(u32, u32)>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    overrides: Option<OverridesChangeRecord>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    stages: Option<Vec<StageRecord>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    kill_switch: Option<SwitchedRecord>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    schedule: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SwitchedRecord {
    Thrown,
    Released,
}

#[derive(Serialize, Deserialize)]
struct OverridesChangeRecord {
    count: usize,
    named: Vec<DifferenceRecord>,
}

#[derive(Serialize, Deserialize)]
struct DifferenceRecord {
    of: OfRecord,
    name: String,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OfRecord {
    User,
    Unit,
    Role,
}

impl From<&AuditedRollout> for RolloutRecord {
    fn from(audited: &AuditedRollout) -> Self {
        let rollout = &audited.rollout;
        Self {
            format: FORMAT,
            salt: rollout.salt.as_str().to_owned(),
            share: rollout.share.hundredths().into(),
            overrides: (&rollout.overrides).into(),
            stages: stage_records(&rollout.stages),
            kill_switch: rollout.kill_switch.as_ref().map(|thrown| KillSwitchRecord {
                by: thrown.by().to_string(),
                why: thrown.why().to_owned(),
                at: millis(thrown.at()),
            }),
            schedule: Some(rollout.schedule.as_str().to_owned()),
            changes: audited.changes().iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<RolloutRecord> for AuditedRollout {
    type Error = Unreadable;

    fn try_from(record: RolloutRecord) -> Result<Self, Unreadable> {
        let thrown = record.kill_switch.map(|thrown| {
            let by = parse(&thrown.by, "who threw the kill switch")?;
            Ok(KillSwitch::new(
                by,
                why(&thrown.why)?,
                Timestamp::from_millis(thrown.at),
            ))
        });
        let rollout = Rollout {
            share: share(record.share)?,
            salt: parse::<Salt>(&record.salt, "salt")?,
            overrides: record.overrides.try_into()?,
            kill_switch: thrown.transpose()?,
            stages: stages(record.stages)?,
            schedule: record
                .schedule
                .map_or(Ok(Schedule::Stopped), |text| schedule(&text))?,
        };
        let changes = record.changes.into_iter().map(Change::try_from);
        Ok(Self::restore(rollout, changes.collect::<Result<_, _>>()?))
    }
}

impl From<&Overrides> for OverridesRecord {
    fn from(overrides: &Overrides) -> Self {
        fn texts<'a, K: 'a>(
            entries: &'a BTreeMap<K, Transport>,
            text: impl Fn(&K) -> &str,
        ) -> BTreeMap<String, String> {
            let entries = entries.iter();
            entries
                .map(|(key, to)| (text(key).to_owned(), to.as_str().to_owned()))
                .collect()
        }
        Self {
            users: texts(overrides.users(), UserId::as_str),
            units: texts(overrides.units(), UnitId::as_str),
            roles: texts(overrides.roles(), Role::as_str),
        }
    }
}

impl TryFrom<OverridesRecord> for Overrides {
    type Error = Unreadable;

    fn try_from(record: OverridesRecord) -> Result<Self, Unreadable> {
        fn values<K: Ord>(
            texts: BTreeMap<String, String>,
            key: impl Fn(&str) -> Result<K, Unreadable>,
        ) -> Result<BTreeMap<K, Transport>, Unreadable> {
            let texts = texts.into_iter();
            texts
                .map(|(name, to)| Ok((key(&name)?, transport(&to)?)))
                .collect()
        }
        let users = values(record.users, |text| parse(text, "override of a user"))?;
        let units = values(record.units, |text| parse(text, "override of a unit"))?;
        let roles = values(record.roles, |text| Ok(Role::new(text)))?;
        Self::try_new(users, units, roles).map_err(|_| Unreadable::new("too many overrides"))
    }
}

impl From<&Change> for ChangeRecord {
    fn from(change: &Change) -> Self {
        let What {
            share,
            overrides,
            stages,
            kill_switch,
            schedule,
        } = &change.what;
        Self {
            by: change.by.to_string(),
            why: change.why.as_ref().map(|why| why.as_str().to_owned()),
            at: millis(change.at),
            share: share.map(|(from, to)| (from.hundredths().into(), to.hundredths().into())),
            overrides: overrides.as_ref().map(|change| OverridesChangeRecord {
                count: change.count,
                named: change.named.iter().map(Into::into).collect(),
            }),
            stages: stages.as_ref().map(stage_records),
            kill_switch: kill_switch.map(|switched| match switched {
                Switched::Thrown => SwitchedRecord::Thrown,
                Switched::Released => SwitchedRecord::Released,
            }),
            schedule: schedule.map(|schedule| schedule.as_str().to_owned()),
        }
    }
}

impl TryFrom<ChangeRecord> for Change {
    type Error = Unreadable;

    fn try_from(record: ChangeRecord) -> Result<Self, Unreadable> {
        let shares = record.share.map(|(from, to)| Ok((share(from)?, share(to)?)));
        let overrides = record.overrides.map(|change| {
            let named = change.named.into_iter().map(Difference::try_from);
            Ok(OverridesChange {
                count: change.count,
                named: named.collect::<Result<_, _>>()?,
            })
        });
        Ok(Self {
            by: parse(&record.by, "who made a change")?,
            why: record.why.as_deref().map(why).transpose()?,
            at: Timestamp::from_millis(record.at),
            what: What {
                share: shares.transpose()?,
                overrides: overrides.transpose()?,
                stages: record.stages.map(stages).transpose()?,
                kill_switch: record.kill_switch.map(|switched| match switched {
                    SwitchedRecord::Thrown => Switched::Thrown,
                    SwitchedRecord::Released => Switched::Released,
                }),
                schedule: record.schedule.as_deref().map(schedule).transpose()?,
            },
        })
    }
}

impl From<&Difference> for DifferenceRecord {
    fn from(difference: &Difference) -> Self {
        let (of, name) = match &difference.subject {
            Subject::User(user) => (OfRecord::User, user.as_str()),
            Subject::Unit(unit) => (OfRecord::Unit, unit.as_str()),
            Subject::Role(role) => (OfRecord::Role, role.as_str()),
        };
        let text = |transport: Transport| transport.as_str().to_owned();
        Self {
            of,
            name: name.to_owned(),
            from: difference.from.map(text),
            to: difference.to.map(text),
        }
    }
}

impl TryFrom<DifferenceRecord> for Difference {
    type Error = Unreadable;

    fn try_from(record: DifferenceRecord) -> Result<Self, Unreadable> {
        Ok(Self {
            subject: match record.of {
                OfRecord::User => Subject::User(parse(&record.name, "changed override of a user")?),
                OfRecord::Unit => Subject::Unit(parse(&record.name, "changed override of a unit")?),
                OfRecord::Role => Subject::Role(Role::new(&record.name)),
            },
            from: record.from.as_deref().map(transport).transpose()?,
            to: record.to.as_deref().map(transport).transpose()?,
        })
    }
}

fn stage_records(stages: &Stages) -> Vec<StageRecord> {
    let record = |stage: &Stage| StageRecord {
        share: stage.share.hundredths().into(),
        lasts_ms: u64::try_from(stage.lasts.as_millis()).unwrap_or(u64::MAX),
    };
    stages.as_slice().iter().map(record).collect()
}

fn stages(records: Vec<StageRecord>) -> Result<Stages, Unreadable> {
    let stage = |record: StageRecord| {
        Ok(Stage {
            share: share(record.share)?,
            lasts: Duration::from_millis(record.lasts_ms),
        })
    };
    let stages = records.into_iter().map(stage).collect::<Result<_, _>>()?;
    Stages::try_new(stages).map_err(|_| Unreadable::new("stages"))
}

fn share(hundredths: u32) -> Result<Share, Unreadable> {
    Share::try_new(hundredths).map_err(|_| Unreadable::new("share"))
}

fn schedule(text: &str) -> Result<Schedule, Unreadable> {
    Schedule::parse(text).ok_or_else(|| Unreadable::new("schedule"))
}

fn why(text: &str) -> Result<Why, Unreadable> {
    Why::try_new(text).map_err(|_| Unreadable::new("reason"))
}

fn transport(text: &str) -> Result<Transport, Unreadable> {
    Transport::parse(text).ok_or_else(|| Unreadable::new("transport"))
}

#[cfg(test)]
mod tests;
