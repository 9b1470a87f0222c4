//! The limits in force as a document: how they are kept in the settings, and what administrators read and write.

mod follow;

use std::collections::BTreeMap;

use application::limits::{NETWORKS_MAX, Rules};
use domain::capability::Role;
use domain::limit::{Action, Addresses, Allowance, Profile, Table};
use domain::notification::FieldError;
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde::{Deserialize, Serialize};

pub(crate) use self::follow::LimitsFollower;

/// The document that holds the limits. Empty or absent: what is built in.
pub(crate) const LIMITS: &str = "limits";

/// How much a minute lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(rename = "Allowance")]
pub(crate) struct AllowanceBody {
    /// As many in any sixty seconds.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000000")))]
    limit: u32,
    /// As many on top; using them costs nothing afterwards.
    #[oai(validator(maximum(value = "1000000000")))]
    burst: u32,
}

/// How much of each kind of call a minute lets through, over the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(rename = "LimitProfile")]
pub(crate) struct ProfileBody {
    /// Opening event streams and sockets.
    stream: AllowanceBody,
    /// Publishing, a batch as one, and taking back.
    publish: AllowanceBody,
    /// Every other call.
    api: AllowanceBody,
    /// Getting tickets and tokens, and renewing streams.
    token: AllowanceBody,
    /// Replying to heartbeats.
    heartbeat: AllowanceBody,
}

/// How much comes from one address in a minute; of IPv6, from one network of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(rename = "AddressLimits")]
pub(crate) struct AddressesBody {
    /// Requests of people who said who they are: a whole office may sit behind one address, and back ends that publish
    /// behind another.
    authenticated: ProfileBody,
    /// Requests whose credentials are missing or do not count.
    unauthenticated: AllowanceBody,
}

/// The limits of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(rename = "Limits", example)]
pub(crate) struct RulesBody {
    /// How much comes from one address.
    addresses: AddressesBody,
    /// How much one person may do, by the name of their profile: 1 to 64 of `A-Z a-z 0-9 _ -`. `default` is for
    /// everybody without another and must be there.
    profiles: BTreeMap<String, ProfileBody>,
    /// The profile of each role. Of several the one that opens the most streams counts; the claim `profile` of a token
    /// goes before all of them.
    roles: BTreeMap<String, String>,
    /// Networks that are not limited at all, such as `127.0.0.0/8` or `10.1.2.3/32`.
    exempt: Vec<String>,
}

impl Example for RulesBody {
    fn example() -> Self {
        Self::from(&Rules::built_in())
    }
}

/// The limits as the settings hold them, with who put them there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredLimits {
    pub(crate) rules: RulesBody,
    /// The administrator.
    pub(crate) changed_by: String,
    /// When.
    pub(crate) changed_at: String,
}

/// Why a document does not count; one line for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// It is none.
    #[error("it is no document of limits: {0}")]
    Shape(#[from] serde_json::Error),
    /// Its rules cannot be put in force.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rules(Vec<FieldError>),
}

impl StoredLimits {
    /// Reads a document; `None` where there is none in force.
    pub(crate) fn read(text: &str) -> Result<Option<(Self, Rules)>, DocumentError> {
        if text.is_empty() {
            return Ok(None);
        }
        let stored: Self = serde_json::from_str(text)?;
        let rules = stored.rules.rules().map_err(DocumentError::Rules)?;
        Ok(Some((stored, rules)))
    }
}

impl From<&Rules> for RulesBody {
    fn from(rules: &Rules) -> Self {
        let table = &rules.table;
        let addresses = table.addresses();
        Self {
            addresses: AddressesBody {
                authenticated: (&addresses.authenticated).into(),
                unauthenticated: addresses.unauthenticated.into(),
            },
            profiles: table
                .profiles()
                .map(|(name, profile)| (name.to_owned(), profile.into()))
                .collect(),
            roles: table
                .roles()
                .map(|(role, profile)| (role.as_str().to_owned(), profile.to_owned()))
                .collect(),
            exempt: rules.exempt.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<Allowance> for AllowanceBody {
    fn from(allowance: Allowance) -> Self {
        Self {
            limit: allowance.limit(),
            burst: allowance.burst(),
        }
    }
}

impl From<&Profile> for ProfileBody {
    fn from(profile: &Profile) -> Self {
        Self {
            stream: profile.stream.into(),
            publish: profile.publish.into(),
            api: profile.api.into(),
            token: profile.token.into(),
            heartbeat: profile.heartbeat.into(),
        }
    }
}

impl RulesBody {
    /// Checks every number and name; returns all that is wrong.
    pub(crate) fn rules(&self) -> Result<Rules, Vec<FieldError>> {
        let mut faults = Vec::new();
        let addresses = Addresses {
            authenticated: self
                .addresses
                .authenticated
                .read("rules.addresses.authenticated", &mut faults),
            unauthenticated: self
                .addresses
                .unauthenticated
                .read("rules.addresses.unauthenticated", &mut faults),
        };
        let profiles: Vec<(String, Profile)> = self
            .profiles
            .iter()
            .map(|(name, profile)| {
                let read = profile.read(&format!("rules.profiles.{name}"), &mut faults);
                (name.clone(), read)
            })
            .collect();
        let roles = self
            .roles
            .iter()
            .map(|(role, profile)| (Role::new(role), profile.clone()));
        let exempt = self.exempt(&mut faults);
        let table = Table::try_new(profiles, roles, addresses);
        match table {
            Ok(table) if faults.is_empty() => Ok(Rules { table, exempt }),
            Ok(_) => Err(faults),
            Err(error) => {
                faults.push(FieldError::new("rules.profiles", error.to_string()));
                Err(faults)
            }
        }
    }

    fn exempt(&self, faults: &mut Vec<FieldError>) -> Vec<ipnet::IpNet> {
        if self.exempt.len() > NETWORKS_MAX {
            let detail = format!(
                "must be at most {NETWORKS_MAX} networks, got {}",
                self.exempt.len()
            );
            faults.push(FieldError::new("rules.exempt", detail));
            return Vec::new();
        }
        let mut networks = Vec::with_capacity(self.exempt.len());
        for (at, text) in self.exempt.iter().enumerate() {
            match text.parse::<ipnet::IpNet>() {
                Ok(network) => networks.push(network.trunc()),
                Err(_) => faults.push(FieldError::new(
                    format!("rules.exempt[{at}]"),
                    "must be a network such as 10.0.0.0/8, fd00::/8 or 192.0.2.7/32",
                )),
            }
        }
        networks
    }
}

impl AllowanceBody {
    fn read(self, field: &str, faults: &mut Vec<FieldError>) -> Allowance {
        Allowance::try_new(self.limit, self.burst).unwrap_or_else(|error| {
            faults.push(FieldError::new(field, error.to_string()));
            // The faults are what is answered.
            Rules::built_in().table.addresses().unauthenticated
        })
    }
}

impl ProfileBody {
    const fn of(&self, action: Action) -> AllowanceBody {
        match action {
            Action::Stream => self.stream,
            Action::Publish => self.publish,
            Action::Api => self.api,
            Action::Token => self.token,
            Action::Heartbeat => self.heartbeat,
        }
    }

    fn read(&self, field: &str, faults: &mut Vec<FieldError>) -> Profile {
        let mut read = |action: Action| {
            let field = format!("{field}.{}", action.as_str());
            self.of(action).read(&field, faults)
        };
        Profile {
            stream: read(Action::Stream),
            publish: read(Action::Publish),
            api: read(Action::Api),
            token: read(Action::Token),
            heartbeat: read(Action::Heartbeat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_written_and_read_back() {
        let rules = Rules::built_in();
        assert_eq!(RulesBody::from(&rules).rules(), Ok(rules));
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let mut body = RulesBody::from(&Rules::built_in());
        body.addresses.unauthenticated.limit = 0;
        let default = body.profiles.get_mut("default").unwrap();
        default.token.burst = u32::MAX;
        body.roles.insert("GESTOR".to_owned(), "gold".to_owned());
        body.exempt = vec![
            "10.0.0.0/8".to_owned(),
            "10.0.0.1".to_owned(),
            "10.0.0.0/33".to_owned(),
        ];
        let faults = body.rules().unwrap_err();
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "rules.addresses.unauthenticated",
                "rules.profiles.default.token",
                "rules.exempt[1]",
                "rules.exempt[2]",
                "rules.profiles"
            ]
        );
    }

    #[test]
    fn networks_lose_their_host_part_and_are_bounded() {
        let mut body = RulesBody::from(&Rules::built_in());
        body.exempt = vec!["10.1.2.3/8".to_owned()];
        assert_eq!(body.rules().unwrap().exempt, ["10.0.0.0/8".parse().unwrap()]);
        body.exempt = vec!["10.0.0.0/8".to_owned(); NETWORKS_MAX + 1];
        assert_eq!(body.rules().unwrap_err()[0].field, "rules.exempt");
    }

    #[test]
    fn a_document_of_another_shape_is_told_in_one_line() {
        assert!(StoredLimits::read("").unwrap().is_none());
        for text in ["x", "{}", r#"{"rules":{},"changed_by":"a","changed_at":"b"}"#] {
            let said = StoredLimits::read(text).unwrap_err().to_string();
            assert!(!said.contains('\n'), "{said}");
        }
    }
}
