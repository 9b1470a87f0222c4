//! Who takes part, and what each of them may see, by the table of the built-in matrix written down once more.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cluster::Dice;

pub(super) const UNITS: [&str; 5] = ["cras-1", "cras-2", "creas", "semtas", "1"];
pub(super) const BENEFITS: [&str; 3] = ["natalidade", "ataude", "cesta-basica"];
/// One is a beginning of another, one is a unit's name, one is what elsewhere would stand for everybody.
pub(super) const PEOPLE: [&str; 12] = [
    "ana",
    "ana-",
    "an",
    "1",
    "12",
    "cras-1",
    "Ana",
    "system",
    "notifications",
    "private",
    "u_1",
    "-",
];
/// A role that is not built in: as TECNICO, but on no channel except its own may it look back.
pub(super) const LIVE_ONLY: &str = "VISITANTE";
/// What is added to the built-in matrix for it.
pub(super) const LIVE_ONLY_RIGHTS: &str = r#"
[roles.VISITANTE]
[roles.VISITANTE.channels]
"private:user:{self}:notifications" = ["subscribe", "history"]
"private:unit:{own}:notifications" = ["subscribe"]
"private:benefit:{own}:notifications" = ["subscribe"]
"system:notifications" = ["subscribe"]
"#;
pub(super) const ROLES: [&str; 9] = [
    "CIDADAO",
    "TECNICO",
    "ASSISTENTE_SOCIAL",
    "COORDENADOR",
    "GESTOR",
    "ADMIN",
    "AUDITOR",
    "SERVICE",
    LIVE_ONLY,
];

/// What a token says of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) user: &'static str,
    pub(super) role: &'static str,
    pub(super) units: BTreeSet<&'static str>,
    pub(super) benefits: BTreeSet<&'static str>,
}

/// Whom a notification is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Audience {
    Users(BTreeSet<&'static str>),
    Unit(&'static str),
    Benefit(&'static str),
    Everyone,
}

fn some(dice: &mut Dice, of: &[&'static str]) -> BTreeSet<&'static str> {
    let count = dice.below(of.len() + 1);
    (0..count).map(|_| of[dice.below(of.len())]).collect()
}

impl Claims {
    pub(super) fn draw(dice: &mut Dice, user: &'static str) -> Self {
        Self {
            user,
            role: ROLES[dice.below(ROLES.len())],
            units: some(dice, &UNITS),
            benefits: some(dice, &BENEFITS),
        }
    }

    /// Others of the same person; often fewer.
    pub(super) fn changed(&self, dice: &mut Dice) -> Self {
        let mut changed = Self::draw(dice, self.user);
        if dice.below(2) == 0 {
            changed.role = self.role;
            changed.units.retain(|unit| self.units.contains(unit));
            changed.benefits.retain(|benefit| self.benefits.contains(benefit));
        }
        changed
    }

    pub(super) fn json(&self) -> Value {
        json!({ "sub": self.user, "roles": [self.role], "units": self.units, "benefits": self.benefits })
    }

    fn staff(&self) -> bool {
        matches!(
            self.role,
            "TECNICO" | "ASSISTENTE_SOCIAL" | "COORDENADOR" | "GESTOR" | "ADMIN" | LIVE_ONLY
        )
    }

    /// Whether they may see something at all.
    pub(super) fn may_see(&self, audience: &Audience) -> bool {
        let person = self.role != "SERVICE";
        match audience {
            Audience::Users(users) => person && users.contains(self.user),
            Audience::Everyone => person,
            Audience::Unit(unit) => self.role == "ADMIN" || self.staff() && self.units.contains(unit),
            Audience::Benefit(benefit) => {
                self.role == "ADMIN" || self.staff() && self.benefits.contains(benefit)
            }
        }
    }

    /// Whether they may see it as well when they were not there as it came.
    pub(super) fn may_look_back(&self, audience: &Audience) -> bool {
        self.may_see(audience) && (self.role != LIVE_ONLY || matches!(audience, Audience::Users(_)))
    }

    /// Whether their own inbox holds it: without what only a wildcard gives.
    pub(super) fn carries(&self, audience: &Audience) -> bool {
        self.may_look_back(audience)
            && match audience {
                Audience::Unit(unit) => self.units.contains(unit),
                Audience::Benefit(benefit) => self.benefits.contains(benefit),
                Audience::Users(_) | Audience::Everyone => true,
            }
    }
}

impl Audience {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        match dice.below(8) {
            0..4 => Self::Users([PEOPLE[dice.below(PEOPLE.len())]].into()),
            4 => Self::Users((0..3).map(|_| PEOPLE[dice.below(PEOPLE.len())]).collect()),
            5 => Self::Unit(UNITS[dice.below(UNITS.len())]),
            6 => Self::Benefit(BENEFITS[dice.below(BENEFITS.len())]),
            _ => Self::Everyone,
        }
    }

    pub(super) fn json(&self) -> Value {
        match self {
            Self::Users(users) => json!({ "users": users }),
            Self::Unit(unit) => json!({ "unit": unit }),
            Self::Benefit(benefit) => json!({ "benefit": benefit }),
            Self::Everyone => json!({ "everyone": true }),
        }
    }

    /// A channel that carries it.
    pub(super) fn channel(&self) -> String {
        match self {
            Self::Users(users) => {
                let user = users.iter().next().copied().unwrap_or_default();
                format!("private:user:{user}:notifications")
            }
            Self::Unit(unit) => format!("private:unit:{unit}:notifications"),
            Self::Benefit(benefit) => format!("private:benefit:{benefit}:notifications"),
            Self::Everyone => "system:notifications".to_owned(),
        }
    }

    /// Reads the name of a channel.
    pub(super) fn of(channel: &str) -> Option<Self> {
        let known = |of: &[&'static str], id: &str| of.iter().find(|known| **known == id).copied();
        let parts: Vec<&str> = channel.split(':').collect();
        match parts[..] {
            ["system", "notifications"] => Some(Self::Everyone),
            ["private", "user", id, "notifications"] => Some(Self::Users([known(&PEOPLE, id)?].into())),
            ["private", "unit", id, "notifications"] => Some(Self::Unit(known(&UNITS, id)?)),
            ["private", "benefit", id, "notifications"] => Some(Self::Benefit(known(&BENEFITS, id)?)),
            _ => None,
        }
    }
}
