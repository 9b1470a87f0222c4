//! Administration of the limits.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{SettingsError, Version};
use application::settings::ChangeError;
use poem::web::Data;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use super::admin::{ADMINISTRATOR, Administrator};
use super::answer::Answer;
use super::problem::{CALLER, JSON_BODY, Kind, Outcome, Problem, causes};
use super::request::{JsonBody, RequestBody};
use super::schema::MomentText;
use super::{BodyLimits, Group, Services};
use crate::limits::{LIMITS, RulesBody, StoredLimits};
use crate::wire::to_json;

/// Whoever keeps the settings comes back within its breaker's time.
const SETTINGS_RETRY_AFTER: Duration = Duration::from_secs(5);

causes! {
    Reading = [CALLER, ADMINISTRATOR];
    Changing = [CALLER, ADMINISTRATOR, JSON_BODY, &[Kind::SettingsChanged]];
}

/// Administration of the limits.
pub(crate) struct LimitsApi;

#[OpenApi(tag = "Group::Operations")]
impl LimitsApi {
    /// Which limits are in force?
    ///
    /// For administrators. `version` is 0 while nobody has changed what is built in.
    #[oai(path = "/v1/admin/limits", method = "get", operation_id = "limits")]
    async fn limits(
        &self,
        services: Data<&Arc<Services>>,
        _administrator: Administrator,
    ) -> Outcome<Answer<LimitsBody>, Reading> {
        Ok(Answer::new(&read(&services).await?))
    }

    /// Change the limits
    ///
    /// For administrators. They replace those in force, on every node within a second and without a restart, and hold
    /// for what was let through before, too. `version` is the one that was read: when somebody else has changed them
    /// since, nothing happens and the answer is 409. Who changed them and when is kept with them and logged.
    #[oai(path = "/v1/admin/limits", method = "put", operation_id = "changeLimits")]
    async fn change(
        &self,
        services: Data<&Arc<Services>>,
        administrator: Administrator,
        body: JsonBody<LimitsChange>,
    ) -> Outcome<Answer<LimitsBody>, Changing> {
        let LimitsChange { version, rules } = body.0;
        rules.rules().map_err(Problem::fields)?;
        let stored = StoredLimits {
            rules,
            changed_by: administrator.0.user.to_string(),
            changed_at: MomentText::from(services.clock.now()).0,
        };
        let changed = services.settings.run(LIMITS, version, to_json(&stored)).await;
        let version = match changed {
            Ok(version) => version,
            Err(ChangeError::Settings(error)) => return Err(refused(&error).into()),
            // They are written: nodes that were not told look by themselves.
            Err(error @ ChangeError::NotTold(_)) => {
                tracing::warn!(%error, "limits come into force later");
                version + 1
            }
        };
        tracing::info!(by = %administrator.0.user, version, "an administrator changed the limits");
        Ok(Answer::new(&LimitsBody::of(version, stored)))
    }
}

async fn read(services: &Services) -> Result<LimitsBody, Problem> {
    let settings = &services.settings.settings;
    let document = settings.get(LIMITS).await.map_err(|error| refused(&error))?;
    let Some(document) = document else {
        return Ok(LimitsBody::built_in(0));
    };
    match StoredLimits::read(&document.text) {
        Ok(Some((stored, _))) => Ok(LimitsBody::of(document.version, stored)),
        Ok(None) => Ok(LimitsBody::built_in(document.version)),
        Err(error) => Err(Problem::internal(&error)),
    }
}

fn refused(error: &SettingsError) -> Problem {
    let detail = error.to_string();
    match error {
        SettingsError::Conflict { .. } => Problem::new(Kind::SettingsChanged, detail),
        SettingsError::Unavailable => {
            Problem::new(Kind::Unavailable, detail).retry_after(SETTINGS_RETRY_AFTER)
        }
    }
}

/// Limits that are to come into force.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(example)]
pub(crate) struct LimitsChange {
    /// The version that they replace; 0 for what is built in.
    version: Version,
    /// All of them.
    rules: RulesBody,
}

impl RequestBody for LimitsChange {
    /// Sixty profiles and two hundred networks, written by hand.
    fn limit(limits: &BodyLimits) -> usize {
        limits.publish
    }
}

impl Example for LimitsChange {
    fn example() -> Self {
        Self {
            version: 0,
            rules: RulesBody::example(),
        }
    }
}

/// The limits in force.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "LimitsInForce", example)]
pub(crate) struct LimitsBody {
    /// How often they have been changed.
    version: Version,
    /// Who changed them last; null while nobody has.
    #[oai(nullable)]
    changed_by: Option<String>,
    /// When; null while nobody has.
    #[oai(nullable)]
    changed_at: Option<MomentText>,
    /// All of them.
    rules: RulesBody,
}

impl LimitsBody {
    fn of(version: Version, stored: StoredLimits) -> Self {
        Self {
            version,
            changed_by: Some(stored.changed_by),
            changed_at: Some(MomentText(stored.changed_at)),
            rules: stored.rules,
        }
    }

    fn built_in(version: Version) -> Self {
        Self {
            version,
            changed_by: None,
            changed_at: None,
            rules: RulesBody::example(),
        }
    }
}

impl Example for LimitsBody {
    fn example() -> Self {
        Self::built_in(0)
    }
}
