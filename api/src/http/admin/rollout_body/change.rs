//! What administrators ask for.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use application::rollout::ChangeRollout;
use domain::capability::Role;
use domain::cohort::Share;
use domain::ids::{ID_MAX_CHARS, UserId};
use domain::notification::FieldError;
use domain::rollout::{Overrides, Schedule, Stage, Stages, Why};
use domain::transport::Transport;
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{OverridesBody, StageBody};
use crate::http::BodyLimits;
use crate::http::request::RequestBody;
use crate::http::schema::{PercentNumber, ScheduleText, TransportText, WhyText};

/// More faults of overrides than these help nobody.
const FAULTS_MAX: usize = 20;

/// A change of the rollout.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(rename = "ChangeRollout", example)]
pub(crate) struct ChangeRolloutBody {
    /// The version that the change was decided upon, as `GET` shows it; 0 for the first.
    version: u64,
    /// Why: a sentence or two for whoever looks back.
    why: WhyText,
    /// The share of all people, in percent.
    #[oai(nullable)]
    #[serde(default)]
    share: Option<PercentNumber>,
    /// All exceptions.
    #[oai(nullable)]
    #[serde(default)]
    overrides: Option<OverridesBody>,
    /// All stages: 1 to 20, each with a larger share than the one before, the first above 0.
    #[oai(nullable)]
    #[serde(default)]
    stages: Option<Vec<StageBody>>,
    /// `running`: each stage is followed by the next when its time is over and Ably is calm; the first share is set by
    /// hand. `stopped`: only a hand raises it. Either way the guard takes it back.
    #[oai(nullable)]
    #[serde(default)]
    schedule: Option<ScheduleText>,
}

/// Why everybody is sent to the streams.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(rename = "ThrowKillSwitch", example)]
pub(crate) struct ThrowBody {
    /// Why: a sentence or two for whoever finds the switch thrown.
    pub(crate) why: WhyText,
}

/// Why the kill switch is taken away.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(rename = "ReleaseKillSwitch", example)]
pub(crate) struct ReleaseBody {
    /// Why.
    #[oai(nullable)]
    #[serde(default)]
    pub(crate) why: Option<WhyText>,
}

impl RequestBody for ChangeRolloutBody {
    fn limit(limits: &BodyLimits) -> usize {
        limits.settings
    }
}

impl RequestBody for ThrowBody {}

impl RequestBody for ReleaseBody {
    const REQUIRED: bool = false;
}

impl ChangeRolloutBody {
    /// Checks everything, and names all that is wrong.
    pub(crate) fn change(self) -> Result<ChangeRollout, Vec<FieldError>> {
        let mut errors = Vec::new();
        let moves = self.share.is_some() || self.overrides.is_some();
        if !moves && self.stages.is_none() && self.schedule.is_none() {
            errors.push(FieldError::new("", "give share, overrides, stages or schedule"));
        }
        let why = note("why", Why::try_new(&self.why.0), &mut errors);
        let share = self.share.map(|percent| share("share", &percent, &mut errors));
        let overrides = self.overrides.map(|body| overrides(body, &mut errors));
        let stages = self.stages.map(|bodies| stages(&bodies, &mut errors));
        let schedule = self.schedule.map(|text| schedule(&text.0, &mut errors));
        match why {
            Some(why) if errors.is_empty() => Ok(ChangeRollout {
                expected: self.version,
                why,
                share: share.flatten(),
                overrides: overrides.flatten(),
                stages: stages.flatten(),
                schedule: schedule.flatten(),
            }),
            _ => Err(errors),
        }
    }
}

/// Takes a value, or notes what is wrong with it.
fn note<T, E: fmt::Display>(field: &str, read: Result<T, E>, errors: &mut Vec<FieldError>) -> Option<T> {
    read.map_err(|error| errors.push(FieldError::new(field, error.to_string())))
        .ok()
}

fn share(field: &str, percent: &PercentNumber, errors: &mut Vec<FieldError>) -> Option<Share> {
    // A text would read the same without its quotes.
    let number = percent.0.as_number().map(ToString::to_string);
    note(field, Share::from_percent(&number.unwrap_or_default()), errors)
}

fn schedule(text: &str, errors: &mut Vec<FieldError>) -> Option<Schedule> {
    note(
        "schedule",
        Schedule::parse(text).ok_or("must be running or stopped"),
        errors,
    )
}

fn stages(bodies: &[StageBody], errors: &mut Vec<FieldError>) -> Option<Stages> {
    let mut read = Vec::with_capacity(bodies.len());
    for (index, body) in bodies.iter().enumerate() {
        let share = share(&format!("stages[{index}].share"), &body.share, errors)?;
        let lasts = Duration::from_secs(body.lasts_seconds);
        read.push(Stage { share, lasts });
    }
    note("stages", Stages::try_new(read), errors)
}

fn overrides(body: OverridesBody, errors: &mut Vec<FieldError>) -> Option<Overrides> {
    let known = errors.len();
    let users = entries("users", body.users, |text| text.parse().ok(), errors);
    let units = entries("units", body.units, |text| text.parse().ok(), errors);
    // Role codes are as plain as ids; a token's others match no override.
    let role = |text: &str| text.parse::<UserId>().ok().map(|_| Role::new(text));
    let roles = entries("roles", body.roles, role, errors);
    let faults = errors.len() - known;
    if faults > FAULTS_MAX {
        errors.truncate(known + FAULTS_MAX);
        errors.push(FieldError::new(
            "overrides",
            format!("{} more faults", faults - FAULTS_MAX),
        ));
    }
    if faults > 0 {
        return None;
    }
    note("overrides", Overrides::try_new(users, units, roles), errors)
}

fn entries<K: Ord>(
    of: &str,
    texts: BTreeMap<String, TransportText>,
    key: impl Fn(&str) -> Option<K>,
    errors: &mut Vec<FieldError>,
) -> BTreeMap<K, Transport> {
    let mut read = BTreeMap::new();
    for (name, TransportText(to)) in texts {
        let mut fault = |detail: String| {
            let shown: String = name.chars().take(ID_MAX_CHARS).collect();
            errors.push(FieldError::new(format!("overrides.{of}.{shown}"), detail));
        };
        match (key(&name), Transport::parse(&to)) {
            (Some(key), Some(to)) => {
                if read.insert(key, to).is_some() {
                    fault("is given twice".to_owned());
                }
            }
            (None, _) => fault(format!("the name must be 1 to {ID_MAX_CHARS} of A-Z a-z 0-9 _ -")),
            (_, None) => fault("must be ably or sse".to_owned()),
        }
    }
    read
}

/// Reads entries each of which is given once: of two, the reader could only guess.
pub(super) fn distinct<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, TransportText>, D::Error> {
    struct Distinct;

    impl<'de> Visitor<'de> for Distinct {
        type Value = BTreeMap<String, TransportText>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut read = BTreeMap::new();
            while let Some((name, to)) = entries.next_entry::<String, TransportText>()? {
                if read.contains_key(&name) {
                    return Err(A::Error::custom("a name is given twice"));
                }
                read.insert(name, to);
            }
            Ok(read)
        }
    }

    deserializer.deserialize_map(Distinct)
}

impl Example for ChangeRolloutBody {
    fn example() -> Self {
        Self {
            version: 2,
            why: WhyText("48 h at 5 % without an error".to_owned()),
            share: Some(Share::percent(25).into()),
            overrides: None,
            stages: None,
            schedule: None,
        }
    }
}

impl Example for ThrowBody {
    fn example() -> Self {
        Self {
            why: WhyText("Ably answers every second publish with 500".to_owned()),
        }
    }
}

impl Example for ReleaseBody {
    fn example() -> Self {
        Self {
            why: Some(WhyText("Ably has been well for an hour".to_owned())),
        }
    }
}
