//! Who may do what on which channel: a matrix of data, denied by default.

use std::collections::BTreeMap;
use std::fmt;

use crate::channel::Channel;
use crate::ids::{BenefitId, UnitId, UserId};
use crate::time::Timestamp;

/// A person's token may name at most this many units and benefits together: each is a channel of their stream.
pub const MEMBERSHIPS_MAX: usize = 100;

/// A role code, compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(String);

impl Role {
    /// Takes a role code of any text; an unknown one simply has no rights.
    pub fn new(code: &str) -> Self {
        Self(code.to_ascii_uppercase())
    }

    /// Returns the code in upper case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Something one may do with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Receive its events as they come.
    Subscribe,
    /// Receive its earlier events, and page through its notifications.
    History,
    /// Publish to it, and retract from it.
    Publish,
}

/// A set of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Operations(u8);

impl Operations {
    /// No operation.
    pub const NONE: Self = Self(0);
    /// Subscribe and history.
    pub const READ: Self = Self(0b011);
    /// Publish alone.
    pub const PUBLISH: Self = Self(0b100);

    const fn bit(operation: Operation) -> u8 {
        match operation {
            Operation::Subscribe => 0b001,
            Operation::History => 0b010,
            Operation::Publish => 0b100,
        }
    }

    /// Returns the set with one more operation.
    #[must_use]
    pub const fn with(self, operation: Operation) -> Self {
        Self(self.0 | Self::bit(operation))
    }

    /// Returns what either set holds.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Tells whether the set holds the operation.
    pub const fn contains(self, operation: Operation) -> bool {
        self.0 & Self::bit(operation) != 0
    }
}

/// Which channels a grant is about, as seen by the person who holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The person's own channel: `private:user:{self}:notifications`.
    OwnUser,
    /// Any person's channel: `private:user:*:notifications`.
    AnyUser,
    /// Units that the token names: `private:unit:{own}:notifications`.
    OwnUnits,
    /// Any unit: `private:unit:*:notifications`.
    AnyUnit,
    /// Benefit types that the token names: `private:benefit:{own}:notifications`.
    OwnBenefits,
    /// Any benefit type: `private:benefit:*:notifications`.
    AnyBenefit,
    /// `system:notifications`
    System,
}

impl Scope {
    /// Every scope with its text.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::OwnUser, "private:user:{self}:notifications"),
        (Self::AnyUser, "private:user:*:notifications"),
        (Self::OwnUnits, "private:unit:{own}:notifications"),
        (Self::AnyUnit, "private:unit:*:notifications"),
        (Self::OwnBenefits, "private:benefit:{own}:notifications"),
        (Self::AnyBenefit, "private:benefit:*:notifications"),
        (Self::System, "system:notifications"),
    ];

    /// Reads the text of a scope.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(scope, _)| *scope)
    }

    /// Returns the text of the scope.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(scope, _)| *scope == self)
            .map_or("", |(_, name)| name)
    }

    fn covers(self, person: &Principal, channel: &Channel) -> bool {
        match (self, channel) {
            (Self::OwnUser, Channel::User(user)) => *user == person.user,
            (Self::OwnUnits, Channel::Unit(unit)) => person.units.contains(unit),
            (Self::OwnBenefits, Channel::Benefit(benefit)) => person.benefits.contains(benefit),
            (Self::AnyUser, Channel::User(_))
            | (Self::AnyUnit, Channel::Unit(_))
            | (Self::AnyBenefit, Channel::Benefit(_))
            | (Self::System, Channel::System) => true,
            _ => false,
        }
    }
}

/// What one role may do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoleGrants {
    /// Operations by scope.
    pub channels: BTreeMap<Scope, Operations>,
    /// Whether it may administer the service.
    pub administers: bool,
    /// Whether it may read the audit trail.
    pub audits: bool,
}

/// The capability matrix: grants by role. What it does not give is denied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matrix(BTreeMap<Role, RoleGrants>);

impl Matrix {
    /// Builds a matrix from its rows.
    pub fn new(rows: impl IntoIterator<Item = (Role, RoleGrants)>) -> Self {
        Self(rows.into_iter().collect())
    }

    /// Returns the rows, by role.
    pub fn rows(&self) -> impl Iterator<Item = (&Role, &RoleGrants)> {
        self.0.iter()
    }

    /// Returns the matrix that holds where the operator gives none.
    ///
    /// ```
    /// use domain::capability::{Matrix, Operation, Principal, Role};
    /// use domain::channel::Channel;
    ///
    /// let citizen = Principal::new("u-1".parse()?, [Role::new("CIDADAO")]);
    /// let matrix = Matrix::default_roles();
    /// let own: Channel = "private:user:u-1:notifications".parse()?;
    /// let foreign: Channel = "private:user:u-2:notifications".parse()?;
    /// assert!(matrix.allows(&citizen, &own, Operation::Subscribe));
    /// assert!(!matrix.allows(&citizen, &foreign, Operation::Subscribe));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn default_roles() -> Self {
        use Scope::{AnyBenefit, AnyUnit, AnyUser, OwnBenefits, OwnUnits, OwnUser, System};
        const READ: Operations = Operations::READ;
        const PUBLISH: Operations = Operations::PUBLISH;
        const ALL: Operations = READ.union(PUBLISH);

        let citizen = [(OwnUser, READ), (System, READ)];
        let staff = [
            (OwnUser, READ),
            (OwnUnits, READ),
            (OwnBenefits, READ),
            (System, READ),
        ];
        let coordinator = [
            (OwnUser, READ),
            (OwnUnits, ALL),
            (OwnBenefits, READ),
            (System, READ),
        ];
        let manager = [
            (OwnUser, READ),
            (OwnUnits, READ),
            (AnyUnit, PUBLISH),
            (OwnBenefits, READ),
            (AnyBenefit, PUBLISH),
            (System, READ),
        ];
        let administrator = [
            (OwnUser, READ),
            (AnyUser, PUBLISH),
            (AnyUnit, ALL),
            (AnyBenefit, ALL),
            (System, ALL),
        ];
        let service = [
            (AnyUser, PUBLISH),
            (AnyUnit, PUBLISH),
            (AnyBenefit, PUBLISH),
            (System, PUBLISH),
        ];

        let row = |code: &str, channels: &[(Scope, Operations)]| {
            let grants = RoleGrants {
                channels: channels.iter().copied().collect(),
                ..RoleGrants::default()
            };
            (Role::new(code), grants)
        };
        let administers = |(role, grants): (Role, RoleGrants)| {
            (
                role,
                RoleGrants {
                    administers: true,
                    audits: true,
                    ..grants
                },
            )
        };
        let audits = |(role, grants): (Role, RoleGrants)| {
            (
                role,
                RoleGrants {
                    audits: true,
                    ..grants
                },
            )
        };
        Self::new([
            row("CIDADAO", &citizen),
            row("TECNICO", &staff),
            row("TECNICO_SEMTAS", &staff),
            row("ASSISTENTE_SOCIAL", &staff),
            row("COORDENADOR", &coordinator),
            row("GESTOR", &manager),
            administers(row("ADMIN", &administrator)),
            administers(row("SUPER_ADMIN", &administrator)),
            row("SERVICE", &service),
            audits(row("AUDITOR", &citizen)),
        ])
    }

    fn grants<'a>(&'a self, person: &'a Principal) -> impl Iterator<Item = &'a RoleGrants> {
        person.roles.iter().filter_map(|role| self.0.get(role))
    }

    /// Tells whether the person may do this with this channel.
    pub fn allows(&self, person: &Principal, channel: &Channel, operation: Operation) -> bool {
        self.grants(person)
            .flat_map(|grants| &grants.channels)
            .any(|(scope, operations)| operations.contains(operation) && scope.covers(person, channel))
    }

    /// Tells whether the person may publish anything at all.
    pub fn publishes(&self, person: &Principal) -> bool {
        self.grants(person)
            .flat_map(|grants| grants.channels.values())
            .any(|operations| operations.contains(Operation::Publish))
    }

    /// Tells whether the person may administer the service.
    pub fn administers(&self, person: &Principal) -> bool {
        self.grants(person).any(|grants| grants.administers)
    }

    /// Tells whether the person may read the audit trail.
    pub fn audits(&self, person: &Principal) -> bool {
        self.grants(person).any(|grants| grants.audits)
    }

    /// Returns what a person's stream and inbox carry unless they ask otherwise: their own channel, the system
    /// channel, and the units and benefits of their token, as far as the matrix lets them subscribe.
    pub fn default_channels(&self, person: &Principal) -> Vec<Channel> {
        let units = person.units.iter().cloned().map(Channel::Unit);
        let benefits = person.benefits.iter().cloned().map(Channel::Benefit);
        [Channel::User(person.user.clone()), Channel::System]
            .into_iter()
            .chain(units)
            .chain(benefits)
            .filter(|channel| self.allows(person, channel, Operation::Subscribe))
            .collect()
    }
}

/// A person or service as their verified token describes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who they are.
    pub user: UserId,
    /// Their role codes.
    pub roles: Vec<Role>,
    /// Units they belong to, each once.
    pub units: Vec<UnitId>,
    /// Benefit types they work on, each once.
    pub benefits: Vec<BenefitId>,
    /// The rate-limit profile the token names.
    pub profile: Option<String>,
    /// The token's own id.
    pub token_id: Option<String>,
    /// When the token was issued, to the second; `None` where it does not say.
    pub issued_at: Option<Timestamp>,
    /// When the token stops counting.
    pub expires_at: Timestamp,
}

/// Memberships that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooManyMemberships {
    /// How many units and benefits the token names.
    pub given: usize,
}

impl fmt::Display for TooManyMemberships {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a token names at most {MEMBERSHIPS_MAX} units and benefits, this one {}",
            self.given
        )
    }
}

impl std::error::Error for TooManyMemberships {}

impl Principal {
    /// Describes someone with roles alone, whose token does not expire.
    pub fn new(user: UserId, roles: impl IntoIterator<Item = Role>) -> Self {
        Self {
            user,
            roles: roles.into_iter().collect(),
            units: Vec::new(),
            benefits: Vec::new(),
            profile: None,
            token_id: None,
            issued_at: None,
            expires_at: Timestamp::MAX,
        }
    }

    /// Adds memberships, each once.
    pub fn with_memberships(
        mut self,
        units: Vec<UnitId>,
        benefits: Vec<BenefitId>,
    ) -> Result<Self, TooManyMemberships> {
        let given = units.len() + benefits.len();
        if given > MEMBERSHIPS_MAX {
            return Err(TooManyMemberships { given });
        }
        self.units = each_once(units);
        self.benefits = each_once(benefits);
        Ok(self)
    }
}

fn each_once<T: PartialEq>(items: Vec<T>) -> Vec<T> {
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [&str; 10] = [
        "CIDADAO",
        "TECNICO",
        "TECNICO_SEMTAS",
        "ASSISTENTE_SOCIAL",
        "COORDENADOR",
        "GESTOR",
        "ADMIN",
        "SUPER_ADMIN",
        "SERVICE",
        "AUDITOR",
    ];

    fn person(role: &str) -> Principal {
        Principal::new("me".parse().unwrap(), [Role::new(role)])
            .with_memberships(vec!["mine".parse().unwrap()], vec!["mine".parse().unwrap()])
            .unwrap()
    }

    /// `s` subscribe, `h` history, `p` publish.
    fn rights(person: &Principal, channel: &str) -> String {
        let matrix = Matrix::default_roles();
        let channel = channel.parse().unwrap();
        [
            ('s', Operation::Subscribe),
            ('h', Operation::History),
            ('p', Operation::Publish),
        ]
        .into_iter()
        .filter(|(_, operation)| matrix.allows(person, &channel, *operation))
        .map(|(letter, _)| letter)
        .collect()
    }

    #[test]
    fn the_default_matrix_gives_what_its_table_says_and_nothing_else() {
        let channels = [
            "private:user:me:notifications",
            "private:user:other:notifications",
            "private:unit:mine:notifications",
            "private:unit:other:notifications",
            "private:benefit:mine:notifications",
            "private:benefit:other:notifications",
            "system:notifications",
        ];
        let table = [
            ("CIDADAO", ["sh", "", "", "", "", "", "sh"]),
            ("TECNICO", ["sh", "", "sh", "", "sh", "", "sh"]),
            ("TECNICO_SEMTAS", ["sh", "", "sh", "", "sh", "", "sh"]),
            ("ASSISTENTE_SOCIAL", ["sh", "", "sh", "", "sh", "", "sh"]),
            ("COORDENADOR", ["sh", "", "shp", "", "sh", "", "sh"]),
            ("GESTOR", ["sh", "", "shp", "p", "shp", "p", "sh"]),
            ("ADMIN", ["shp", "p", "shp", "shp", "shp", "shp", "shp"]),
            ("SUPER_ADMIN", ["shp", "p", "shp", "shp", "shp", "shp", "shp"]),
            ("SERVICE", ["p", "p", "p", "p", "p", "p", "p"]),
            ("AUDITOR", ["sh", "", "", "", "", "", "sh"]),
            ("UNKNOWN", ["", "", "", "", "", "", ""]),
        ];
        for (role, expected) in table {
            let person = person(role);
            for (channel, expected) in channels.into_iter().zip(expected) {
                assert_eq!(rights(&person, channel), expected, "{role} on {channel}");
            }
        }
    }

    #[test]
    fn only_administrators_administer_and_auditors_audit() {
        let matrix = Matrix::default_roles();
        for role in ROLES {
            let admin = matches!(role, "ADMIN" | "SUPER_ADMIN");
            assert_eq!(matrix.administers(&person(role)), admin, "{role}");
            assert_eq!(matrix.audits(&person(role)), admin || role == "AUDITOR", "{role}");
        }
    }

    #[test]
    fn role_codes_are_compared_without_regard_to_case() {
        assert_eq!(rights(&person("admin"), "system:notifications"), "shp");
    }

    #[test]
    fn several_roles_add_up() {
        let mut both = person("CIDADAO");
        both.roles.push(Role::new("SERVICE"));
        assert_eq!(rights(&both, "private:user:me:notifications"), "shp");
        assert_eq!(rights(&both, "private:user:other:notifications"), "p");
    }

    #[test]
    fn a_default_stream_carries_only_what_may_be_subscribed_to() {
        let names = |role| {
            let channels = Matrix::default_roles().default_channels(&person(role));
            channels.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            names("CIDADAO"),
            ["private:user:me:notifications", "system:notifications"]
        );
        assert_eq!(
            names("TECNICO"),
            [
                "private:user:me:notifications",
                "system:notifications",
                "private:unit:mine:notifications",
                "private:benefit:mine:notifications"
            ]
        );
        assert!(names("SERVICE").is_empty());
        assert!(names("UNKNOWN").is_empty());
    }

    #[test]
    fn memberships_are_bounded_and_counted_once() {
        let ids = |n: usize| {
            (0..n)
                .map(|i| format!("u{i}").parse().unwrap())
                .collect::<Vec<UnitId>>()
        };
        let anyone = || Principal::new("me".parse().unwrap(), []);
        assert_eq!(
            anyone().with_memberships(ids(101), vec![]),
            Err(TooManyMemberships { given: 101 })
        );
        let mut twice = ids(2);
        twice.extend(ids(2));
        assert_eq!(anyone().with_memberships(twice, vec![]).unwrap().units, ids(2));
    }

    #[test]
    fn every_scope_reads_back_as_it_was_written() {
        for (scope, text) in Scope::ALL {
            assert_eq!(Scope::parse(text), Some(scope));
            assert_eq!(scope.as_str(), text);
        }
        assert_eq!(Scope::parse("private:*"), None);
    }
}
