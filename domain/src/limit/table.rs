//! The table of limits: how much each profile may do of each action, and how much comes from one address.

use std::collections::BTreeMap;
use std::fmt;

use super::Allowance;
use crate::capability::{Principal, Role};

/// A profile's name, as claims give it, has at most this many characters.
pub const PROFILE_MAX_CHARS: usize = 64;

/// Tables are small: whoever writes one by hand has less than ten.
const PROFILES_MAX: usize = 64;

/// As many roles as a capability matrix ever has.
const ROLES_MAX: usize = 256;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Opening an event stream or a WebSocket.
    Stream,
    /// Publishing, a batch as one, and taking back.
    Publish,
    /// Every other call.
    Api,
    /// Getting a ticket or a token, and renewing a stream.
    Token,
    /// Replying to a heartbeat.
    Heartbeat,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 5] = [
        Self::Stream,
        Self::Publish,
        Self::Api,
        Self::Token,
        Self::Heartbeat,
    ];

    /// Returns its name in settings, keys and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Publish => "publish",
            Self::Api => "api",
            Self::Token => "token",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// How much of each action a window lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Opening streams.
    pub stream: Allowance,
    /// Publishing.
    pub publish: Allowance,
    /// Other calls.
    pub api: Allowance,
    /// Tickets and tokens.
    pub token: Allowance,
    /// Replies to heartbeats.
    pub heartbeat: Allowance,
}

impl Profile {
    /// Returns the allowance for an action.
    pub const fn of(&self, action: Action) -> Allowance {
        match action {
            Action::Stream => self.stream,
            Action::Publish => self.publish,
            Action::Api => self.api,
            Action::Token => self.token,
            Action::Heartbeat => self.heartbeat,
        }
    }
}

/// How much comes from one address in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Requests of people who said who they are, by action: a whole office may sit behind one address, and back ends that
    /// publish behind another.
    pub authenticated: Profile,
    /// Requests whose credentials are missing or do not count.
    pub unauthenticated: Allowance,
}

/// What a request takes a turn of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// The address that it comes from.
    pub address: Allowance,
    /// The person who asks, for the action.
    pub person: Option<Allowance>,
}

/// The table of limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    profiles: BTreeMap<String, Profile>,
    roles: BTreeMap<Role, String>,
    fallback: String,
    addresses: Addresses,
}

/// Why a table cannot be put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidTable {
    /// There is no profile of the name that everybody else falls back to.
    NoFallback(String),
    /// A role is given a profile that is not there.
    UnknownProfile {
        /// The role.
        role: String,
        /// The name that was given.
        profile: String,
    },
    /// A profile's name is empty, too long, or has other characters than claims may.
    Name(String),
    /// There are too many profiles or roles.
    TooMany,
}

impl fmt::Display for InvalidTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFallback(name) => {
                write!(f, "there must be a profile {name}, for everybody without another")
            }
            Self::UnknownProfile { role, profile } => {
                write!(
                    f,
                    "the role {role} is given the profile {profile}, which is not there"
                )
            }
            Self::Name(name) => write!(
                f,
                "a profile's name is 1 to {PROFILE_MAX_CHARS} of A-Z a-z 0-9 _ -, got {} characters",
                name.chars().count()
            ),
            Self::TooMany => write!(
                f,
                "there are at most {PROFILES_MAX} profiles and {ROLES_MAX} roles"
            ),
        }
    }
}

impl std::error::Error for InvalidTable {}

impl Table {
    /// The profile of everybody who has no other.
    pub const FALLBACK: &'static str = "default";

    /// Takes profiles by name, the profile that each role has, and what comes from an address.
    pub fn try_new(
        profiles: impl IntoIterator<Item = (String, Profile)>,
        roles: impl IntoIterator<Item = (Role, String)>,
        addresses: Addresses,
    ) -> Result<Self, InvalidTable> {
        let table = Self {
            profiles: profiles.into_iter().collect(),
            roles: roles.into_iter().collect(),
            fallback: Self::FALLBACK.to_owned(),
            addresses,
        };
        if table.profiles.len() > PROFILES_MAX || table.roles.len() > ROLES_MAX {
            return Err(InvalidTable::TooMany);
        }
        if let Some(bad) = table.profiles.keys().find(|name| !is_name(name)) {
            return Err(InvalidTable::Name(bad.clone()));
        }
        if !table.profiles.contains_key(&table.fallback) {
            return Err(InvalidTable::NoFallback(table.fallback));
        }
        let unknown = |(_, profile): &(&Role, &String)| !table.profiles.contains_key(*profile);
        if let Some((role, profile)) = table.roles.iter().find(unknown) {
            return Err(InvalidTable::UnknownProfile {
                role: role.as_str().to_owned(),
                profile: profile.clone(),
            });
        }
        Ok(table)
    }

    /// Returns the table that is in force until another is.
    pub fn built_in() -> Self {
        let profiles = [
            (
                Self::FALLBACK,
                profile([(10, 15), (60, 60), (300, 300), (10, 15), (120, 120)]),
            ),
            (
                "premium",
                profile([(25, 35), (120, 120), (600, 600), (25, 35), (120, 120)]),
            ),
            (
                "admin",
                profile([(50, 75), (300, 300), (1_200, 1_200), (50, 75), (240, 240)]),
            ),
            (
                "system",
                profile([(100, 150), (60_000, 0), (60_000, 0), (100, 150), (240, 240)]),
            ),
        ];
        let roles = [
            ("TECNICO", "premium"),
            ("TECNICO_SEMTAS", "premium"),
            ("ASSISTENTE_SOCIAL", "premium"),
            ("COORDENADOR", "premium"),
            ("GESTOR", "premium"),
            ("AUDITOR", "premium"),
            ("ADMIN", "admin"),
            ("SUPER_ADMIN", "admin"),
            ("SERVICE", "system"),
        ];
        Self {
            profiles: profiles.map(|(name, profile)| (name.to_owned(), profile)).into(),
            roles: roles
                .map(|(role, profile)| (Role::new(role), profile.to_owned()))
                .into(),
            fallback: Self::FALLBACK.to_owned(),
            addresses: Addresses {
                authenticated: profile([
                    (1_000, 1_000),
                    (60_000, 60_000),
                    (60_000, 60_000),
                    (1_000, 1_000),
                    (10_000, 10_000),
                ]),
                unauthenticated: fixed(60, 0),
            },
        }
    }

    /// Iterates over the profiles by name.
    pub fn profiles(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.profiles
            .iter()
            .map(|(name, profile)| (name.as_str(), profile))
    }

    /// Iterates over the roles that have a profile.
    pub fn roles(&self) -> impl Iterator<Item = (&Role, &str)> {
        self.roles.iter().map(|(role, profile)| (role, profile.as_str()))
    }

    /// Returns what comes from one address.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Returns a person's profile: the one that their verified token names if there is such a one, else of those that
    /// their roles have the one that opens the most streams, else the fallback.
    pub fn profile(&self, person: &Principal) -> &Profile {
        let named = person.profile.as_ref().and_then(|name| self.profiles.get(name));
        let of_role = |role: &Role| self.profiles.get(self.roles.get(role)?);
        named
            .or_else(|| {
                let profiles = person.roles.iter().filter_map(of_role);
                profiles.max_by_key(|profile| profile.stream.whole())
            })
            .or_else(|| self.profiles.get(&self.fallback))
            .unwrap_or(&NOTHING_KNOWN)
    }

    /// Returns what a request takes a turn of.
    pub fn budgets(&self, person: Option<&Principal>, action: Action) -> Budgets {
        Budgets {
            address: match person {
                Some(_) => self.addresses.authenticated.of(action),
                None => self.addresses.unauthenticated,
            },
            person: person.map(|person| self.profile(person).of(action)),
        }
    }
}

/// Never met: a table without its fallback cannot be built.
const NOTHING_KNOWN: Profile = profile([(1, 0); 5]);

const fn profile([stream, publish, api, token, heartbeat]: [(u32, u32); 5]) -> Profile {
    Profile {
        stream: fixed(stream.0, stream.1),
        publish: fixed(publish.0, publish.1),
        api: fixed(api.0, api.1),
        token: fixed(token.0, token.1),
        heartbeat: fixed(heartbeat.0, heartbeat.1),
    }
}

/// For numbers that stand in this file.
const fn fixed(limit: u32, burst: u32) -> Allowance {
    match Allowance::try_new(limit, burst) {
        Ok(allowance) => allowance,
        Err(_) => panic!("a number of this file is out of bounds"),
    }
}

fn is_name(name: &str) -> bool {
    (1..=PROFILE_MAX_CHARS).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
