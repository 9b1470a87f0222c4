//! Who a notification is for.

use std::collections::HashSet;

use crate::channel::Channel;
use crate::ids::{BenefitId, UnitId, UserId};

/// One request reaches at most this many people by name; beyond that a unit or everyone is meant.
pub const USERS_MAX: usize = 1000;

/// Who a notification is for. The service resolves it to channels; callers never name channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// People by name, each once, one event for each.
    Users(Users),
    /// The members of one unit, one event.
    Unit(UnitId),
    /// The staff of one benefit type, one event.
    Benefit(BenefitId),
    /// Everyone who is authenticated, one event.
    Everyone,
}

/// People by name: one to [`USERS_MAX`], each once, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users(Vec<UserId>);

/// A list of people that is empty or too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidUsers {
    /// How many were given.
    pub given: usize,
}

impl Users {
    /// Takes people by name; a repeated name counts once.
    pub fn try_new(users: Vec<UserId>) -> Result<Self, InvalidUsers> {
        let given = users.len();
        if given == 0 || given > USERS_MAX {
            return Err(InvalidUsers { given });
        }
        let mut seen = HashSet::with_capacity(given);
        Ok(Self(
            users
                .into_iter()
                .filter(|user| seen.insert(user.clone()))
                .collect(),
        ))
    }

    /// Returns the people in order.
    pub fn as_slice(&self) -> &[UserId] {
        &self.0
    }
}

impl Audience {
    /// Returns the channels that carry a notification for this audience, in event order.
    pub fn channels(&self) -> Vec<Channel> {
        match self {
            Self::Users(users) => users.as_slice().iter().cloned().map(Channel::User).collect(),
            Self::Unit(unit) => vec![Channel::Unit(unit.clone())],
            Self::Benefit(benefit) => vec![Channel::Benefit(benefit.clone())],
            Self::Everyone => vec![Channel::System],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserId {
        id.parse().unwrap()
    }

    #[test]
    fn a_person_named_twice_gets_one_event() {
        let users = Users::try_new(vec![user("b"), user("a"), user("b")]).unwrap();
        assert_eq!(
            Audience::Users(users).channels(),
            [Channel::User(user("b")), Channel::User(user("a"))]
        );
    }

    #[test]
    fn nobody_and_too_many_are_refused() {
        assert_eq!(Users::try_new(vec![]), Err(InvalidUsers { given: 0 }));
        let many = |n: usize| (0..n).map(|i| user(&format!("u{i}"))).collect::<Vec<_>>();
        assert!(Users::try_new(many(USERS_MAX)).is_ok());
        assert_eq!(
            Users::try_new(many(USERS_MAX + 1)),
            Err(InvalidUsers { given: USERS_MAX + 1 })
        );
    }

    #[test]
    fn groups_are_one_channel_each() {
        assert_eq!(Audience::Everyone.channels(), [Channel::System]);
        let unit: UnitId = "cras-1".parse().unwrap();
        assert_eq!(Audience::Unit(unit.clone()).channels(), [Channel::Unit(unit)]);
        let benefit: BenefitId = "passagem".parse().unwrap();
        assert_eq!(
            Audience::Benefit(benefit.clone()).channels(),
            [Channel::Benefit(benefit)]
        );
    }
}
