//! A rollout with what was done to it: who, what, why and when.

use std::collections::{BTreeMap, BTreeSet};

use super::{KillSwitch, Overrides, Rollout, Schedule, Stages, Why};
use crate::capability::Role;
use crate::cohort::{Salt, Share};
use crate::ids::{UnitId, UserId};
use crate::time::Timestamp;
use crate::transport::Transport;

/// So many changes are kept. A rollout that goes by its stages has a handful.
pub const CHANGES_MAX: usize = 50;
/// So many overrides are named in one change; the others are counted.
pub const DIFFERENCES_MAX: usize = 20;

/// A rollout with its latest changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedRollout {
    /// What is in force.
    pub rollout: Rollout,
    /// What was done to it, the latest first, at most [`CHANGES_MAX`].
    changes: Vec<Change>,
}

/// One change of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Who made it.
    pub by: UserId,
    /// Why; only whoever takes the kill switch away may leave it out.
    pub why: Option<Why>,
    /// When.
    pub at: Timestamp,
    /// What was changed.
    pub what: What,
}

/// What a change changed; what it left alone is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct What {
    /// The share before and after it.
    pub share: Option<(Share, Share)>,
    /// The overrides that were added, removed or turned.
    pub overrides: Option<OverridesChange>,
    /// The stages after it.
    pub stages: Option<Stages>,
    /// What happened to the kill switch.
    pub kill_switch: Option<Switched>,
    /// Whether it goes up by itself after it.
    pub schedule: Option<Schedule>,
}

/// What happened to a kill switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switched {
    /// It was thrown.
    Thrown,
    /// It was taken away.
    Released,
}

/// Overrides that were added, removed or turned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverridesChange {
    /// How many.
    pub count: usize,
    /// The first of them, at most [`DIFFERENCES_MAX`].
    pub named: Vec<Difference>,
}

/// An override that was added, removed or turned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Whom it is for.
    pub subject: Subject,
    /// What it said before; `None` where there was none.
    pub from: Option<Transport>,
    /// What it says now; `None` where it was removed.
    pub to: Option<Transport>,
}

/// Whom an override is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A person.
    User(UserId),
    /// The people of a unit.
    Unit(UnitId),
    /// The people with a role.
    Role(Role),
}

impl AuditedRollout {
    /// Starts with nobody and without a past.
    pub fn new(salt: Salt) -> Self {
        Self {
            rollout: Rollout::new(salt),
            changes: Vec::new(),
        }
    }

    /// Puts a rollout and its kept changes together again, the latest first.
    pub fn restore(rollout: Rollout, mut changes: Vec<Change>) -> Self {
        changes.truncate(CHANGES_MAX);
        Self { rollout, changes }
    }

    /// Returns what was done to it, the latest first.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Puts another rollout in force and notes what that changes; `None` where it changes nothing. The salt stays:
    /// another one would deal everybody anew.
    pub fn change(&self, next: Rollout, by: UserId, why: Option<Why>, at: Timestamp) -> Option<Self> {
        let rollout = Rollout {
            salt: self.rollout.salt.clone(),
            ..next
        };
        let what = What::between(&self.rollout, &rollout);
        if what == What::default() {
            return None;
        }
        let change = Change { by, why, at, what };
        let past = self.changes.iter().take(CHANGES_MAX - 1).cloned();
        let changes = std::iter::once(change).chain(past).collect();
        Some(Self { rollout, changes })
    }

    /// Throws the kill switch; `None` where it is thrown, which stays as it was thrown first.
    pub fn kill(&self, by: UserId, why: Why, at: Timestamp) -> Option<Self> {
        if self.rollout.kill_switch.is_some() {
            return None;
        }
        let next = Rollout {
            kill_switch: Some(KillSwitch::new(by.clone(), why.clone(), at)),
            ..self.rollout.clone()
        };
        self.change(next, by, Some(why), at)
    }

    /// Takes the kill switch away; `None` where it is not thrown.
    pub fn release(&self, by: UserId, why: Option<Why>, at: Timestamp) -> Option<Self> {
        let next = Rollout {
            kill_switch: None,
            ..self.rollout.clone()
        };
        self.change(next, by, why, at)
    }
}

impl What {
    /// Says what is different. Salts are not compared.
    pub fn between(from: &Rollout, to: &Rollout) -> Self {
        Self {
            share: (from.share != to.share).then_some((from.share, to.share)),
            overrides: OverridesChange::between(&from.overrides, &to.overrides),
            stages: (from.stages != to.stages).then(|| to.stages.clone()),
            kill_switch: match (&from.kill_switch, &to.kill_switch) {
                (None, Some(_)) => Some(Switched::Thrown),
                (Some(_), None) => Some(Switched::Released),
                _ => None,
            },
            schedule: (from.schedule != to.schedule).then_some(to.schedule),
        }
    }
}

impl OverridesChange {
    fn between(from: &Overrides, to: &Overrides) -> Option<Self> {
        let users = differences(from.users(), to.users(), Subject::User);
        let units = differences(from.units(), to.units(), Subject::Unit);
        let roles = differences(from.roles(), to.roles(), Subject::Role);
        let mut named: Vec<Difference> = users.chain(units).chain(roles).collect();
        let count = named.len();
        named.truncate(DIFFERENCES_MAX);
        (count > 0).then_some(Self { count, named })
    }
}

fn differences<'a, K: Ord + Clone>(
    from: &'a BTreeMap<K, Transport>,
    to: &'a BTreeMap<K, Transport>,
    subject: impl Fn(K) -> Subject + 'a,
) -> impl Iterator<Item = Difference> + 'a {
    let keys: BTreeSet<&K> = from.keys().chain(to.keys()).collect();
    keys.into_iter()
        .map(move |key| Difference {
            subject: subject(key.clone()),
            from: from.get(key).copied(),
            to: to.get(key).copied(),
        })
        .filter(|difference| difference.from != difference.to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salt() -> Salt {
        Salt::from_bits(1, 2)
    }

    fn admin() -> UserId {
        "admin-1".parse().unwrap()
    }

    fn why(text: &str) -> Why {
        Why::try_new(text).unwrap()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn with_share(audited: &AuditedRollout, percent: u8) -> Rollout {
        Rollout {
            share: Share::percent(percent),
            ..audited.rollout.clone()
        }
    }

    #[test]
    fn a_change_says_who_what_why_and_when() {
        let start = AuditedRollout::new(salt());
        let changed = start.change(with_share(&start, 5), admin(), Some(why("pilot")), at(7));
        let changed = changed.unwrap();
        assert_eq!(changed.rollout.share, Share::percent(5));
        assert_eq!(
            changed.changes(),
            [Change {
                by: admin(),
                why: Some(why("pilot")),
                at: at(7),
                what: What {
                    share: Some((Share::NONE, Share::percent(5))),
                    ..What::default()
                },
            }]
        );
    }

    #[test]
    fn no_change_brings_another_salt() {
        let start = AuditedRollout::new(salt());
        let mut next = with_share(&start, 5);
        next.salt = "another".parse().unwrap();
        let changed = start.change(next, admin(), Some(why("x")), at(1)).unwrap();
        assert_eq!(changed.rollout.salt, salt());
    }

    #[test]
    fn what_changes_nothing_is_no_change() {
        let start = AuditedRollout::new(salt());
        assert_eq!(
            start.change(start.rollout.clone(), admin(), Some(why("x")), at(1)),
            None
        );
        assert_eq!(start.release(admin(), None, at(1)), None);
    }

    #[test]
    fn a_kill_switch_stays_as_it_was_thrown_first() {
        let killed = AuditedRollout::new(salt())
            .kill(admin(), why("first"), at(1))
            .unwrap();
        assert_eq!(killed.kill("other".parse().unwrap(), why("second"), at(2)), None);
        assert_eq!(
            killed.rollout.kill_switch,
            Some(KillSwitch::new(admin(), why("first"), at(1)))
        );
        let released = killed.release(admin(), None, at(3)).unwrap();
        assert_eq!(released.rollout.kill_switch, None);
        let switched: Vec<_> = released.changes().iter().map(|c| c.what.kill_switch).collect();
        assert_eq!(switched, [Some(Switched::Released), Some(Switched::Thrown)]);
    }

    #[test]
    fn the_latest_changes_are_kept_and_older_ones_go() {
        let mut audited = AuditedRollout::new(salt());
        for round in 1..=60_u8 {
            let next = with_share(&audited, round);
            audited = audited
                .change(next, admin(), Some(why("x")), at(round.into()))
                .unwrap();
        }
        let times: Vec<i64> = audited.changes().iter().map(|c| c.at.as_millis()).collect();
        assert_eq!(times, (11..=60).rev().collect::<Vec<i64>>());
    }

    #[test]
    fn overrides_are_named_up_to_a_number_and_counted_beyond() {
        let users = |range: std::ops::Range<u32>, to| {
            range
                .map(|n| (format!("u-{n:02}").parse().unwrap(), to))
                .collect()
        };
        let of = |users| Overrides::try_new(users, BTreeMap::new(), BTreeMap::new()).unwrap();
        let before = of(users(0..30, Transport::Ably));
        let mut turned: BTreeMap<UserId, Transport> = users(1..31, Transport::Ably);
        turned.insert("u-01".parse().unwrap(), Transport::Streams);
        let change = OverridesChange::between(&before, &of(turned)).unwrap();
        let subject = |n: &str| Subject::User(n.parse().unwrap());
        let difference = |name, from, to| Difference {
            subject: subject(name),
            from,
            to,
        };
        let (ably, streams) = (Some(Transport::Ably), Some(Transport::Streams));
        assert_eq!(
            change,
            OverridesChange {
                count: 3,
                named: vec![
                    difference("u-00", ably, None),
                    difference("u-01", ably, streams),
                    difference("u-30", None, ably),
                ],
            }
        );
        let all = OverridesChange::between(&before, &Overrides::default()).unwrap();
        assert_eq!((all.count, all.named.len()), (30, DIFFERENCES_MAX));
    }
}
