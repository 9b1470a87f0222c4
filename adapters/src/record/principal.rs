//! A person with their rights as a record.

use domain::capability::{Principal, Role};
use domain::ids::{BenefitId, UnitId};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Unreadable, millis, parse};

/// A person, as a verified token describes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PrincipalRecord {
    user: String,
    roles: Vec<String>,
    units: Vec<String>,
    benefits: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    token_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    issued_at: Option<i64>,
    expires_at: i64,
}

impl From<&Principal> for PrincipalRecord {
    fn from(person: &Principal) -> Self {
        Self {
            user: person.user.to_string(),
            roles: person.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            units: person.units.iter().map(UnitId::to_string).collect(),
            benefits: person.benefits.iter().map(BenefitId::to_string).collect(),
            profile: person.profile.clone(),
            token_id: person.token_id.clone(),
            issued_at: person.issued_at.map(millis),
            expires_at: millis(person.expires_at),
        }
    }
}

impl TryFrom<PrincipalRecord> for Principal {
    type Error = Unreadable;

    fn try_from(record: PrincipalRecord) -> Result<Self, Unreadable> {
        let units = record.units.iter().map(|id| parse(id, "unit"));
        let benefits = record.benefits.iter().map(|id| parse(id, "benefit"));
        Ok(Self {
            user: parse(&record.user, "user")?,
            roles: record.roles.iter().map(|code| Role::new(code)).collect(),
            units: units.collect::<Result<_, _>>()?,
            benefits: benefits.collect::<Result<_, _>>()?,
            profile: record.profile,
            token_id: record.token_id,
            issued_at: record.issued_at.map(Timestamp::from_millis),
            expires_at: Timestamp::from_millis(record.expires_at),
        })
    }
}
