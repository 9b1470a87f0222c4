//! Tokens that were taken back before their time.
//!
//! Whoever signs the tokens does not know of it, so what is taken back is kept here until the tokens that it hits have
//! expired anyway. `iat` counts whole seconds: a token of the same second as a revocation may be older or younger, and
//! counts as older. So nobody keeps a token that was to be taken back, and whoever signs in again within that second
//! does it once more.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::capability::Principal;
use crate::ids::UserId;
use crate::rollout::Why;
use crate::time::Timestamp;

/// Revocations that count at once, about a megabyte in the settings. One for everybody makes room for all others.
pub const REVOCATIONS_MAX: usize = 4_096;

/// A token's own id has at most this many characters to be named here.
pub const TOKEN_ID_MAX_CHARS: usize = 256;

/// By then every node that can be reached refuses: a change of the settings takes a second.
pub const SETTLES: Duration = Duration::from_secs(2);

/// The id of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RevocationId(pub u64);

impl fmt::Display for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A text that names no revocation, or no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidName;

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a token's id is 1 to {TOKEN_ID_MAX_CHARS} characters, a revocation's 16 hexadecimal digits"
        )
    }
}

impl std::error::Error for InvalidName {}

impl FromStr for RevocationId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(lower_hex) {
            return Err(InvalidName);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| InvalidName)
    }
}

/// A token's own id, `jti`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenId(Arc<str>);

impl TokenId {
    /// Returns the id as the token has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let chars = text.chars().count();
        (1..=TOKEN_ID_MAX_CHARS)
            .contains(&chars)
            .then(|| Self(text.into()))
            .ok_or(InvalidName)
    }
}

/// Which tokens are taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The one with this id.
    Token(TokenId),
    /// All of a person's, those that are issued later as well.
    Subject(UserId),
    /// Those issued before a moment: a person's, or everybody's. One that does not say when it was issued counts as
    /// issued before.
    IssuedBefore {
        /// Whose; `None` for everybody's.
        subject: Option<UserId>,
        /// The moment.
        before: Timestamp,
    },
}

impl Target {
    /// Tells whether the token that somebody showed is one of these.
    pub fn hits(&self, person: &Principal) -> bool {
        match self {
            Self::Token(id) => person.token_id.as_deref() == Some(id.as_str()),
            Self::Subject(user) => person.user == *user,
            Self::IssuedBefore { subject, before } => {
                subject.as_ref().is_none_or(|user| person.user == *user)
                    && person.issued_at.is_none_or(|at| at < *before)
            }
        }
    }

    /// Tells whether everything that the other hits, this one hits as well.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Subject(user),
                Self::Subject(theirs)
                | Self::IssuedBefore {
                    subject: Some(theirs),
                    ..
                },
            ) => user == theirs,
            (
                Self::IssuedBefore { subject, before },
                Self::IssuedBefore {
                    subject: theirs,
                    before: earlier,
                },
            ) => (subject.is_none() || subject == theirs) && earlier <= before,
            (Self::Token(id), Self::Token(theirs)) => id == theirs,
            _ => false,
        }
    }
}

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Its id.
    pub id: RevocationId,
    /// Which tokens.
    pub target: Target,
    /// Who took them back.
    pub by: UserId,
    /// Why.
    pub why: Why,
    /// When.
    pub at: Timestamp,
    /// From here on it does not count: what it hits has expired.
    pub ends_at: Timestamp,
}

impl Revocation {
    /// Returns the moment from which on no node signs anything for whom it hits.
    pub fn settled_at(&self) -> Timestamp {
        self.at.plus(SETTLES)
    }
}

/// There are as many revocations as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevocationsFull;

impl fmt::Display for RevocationsFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{REVOCATIONS_MAX} revocations count already; one of all that was issued before now replaces most of them"
        )
    }
}

impl std::error::Error for RevocationsFull {}

/// All revocations that still count, found without going through them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    /// The latest first.
    all: Vec<Revocation>,
    /// Places in `all`.
    by_token: HashMap<TokenId, usize>,
    by_subject: HashMap<UserId, Vec<usize>>,
    for_everybody: Vec<usize>,
}

impl Revocations {
    /// Takes a list, the latest first.
    pub fn new(all: Vec<Revocation>) -> Self {
        let mut revocations = Self {
            all,
            ..Self::default()
        };
        for (place, revocation) in revocations.all.iter().enumerate() {
            match &revocation.target {
                Target::Token(id) => {
                    revocations.by_token.entry(id.clone()).or_insert(place);
                }
                Target::Subject(user)
                | Target::IssuedBefore {
                    subject: Some(user), ..
                } => revocations
                    .by_subject
                    .entry(user.clone())
                    .or_default()
                    .push(place),
                Target::IssuedBefore { subject: None, .. } => revocations.for_everybody.push(place),
            }
        }
        revocations
    }

    /// Returns them all, the latest first.
    pub fn all(&self) -> &[Revocation] {
        &self.all
    }

    /// Returns the one that takes a token back, if there is one.
    pub fn hit(&self, person: &Principal, now: Timestamp) -> Option<&Revocation> {
        if self.all.is_empty() {
            return None;
        }
        let token = person
            .token_id
            .as_deref()
            .and_then(|id| id.parse::<TokenId>().ok());
        let by_token = token.and_then(|id| self.by_token.get(&id));
        let by_subject = self.by_subject.get(&person.user).into_iter().flatten();
        by_token
            .into_iter()
            .chain(by_subject)
            .chain(&self.for_everybody)
            .map(|place| &self.all[*place])
            .find(|revocation| now < revocation.ends_at && revocation.target.hits(person))
    }

    /// Adds one. What has ended goes, and what the new one covers for as long as it would count.
    pub fn with(&self, revocation: &Revocation, now: Timestamp) -> Result<Self, RevocationsFull> {
        let kept = self.all.iter().filter(|known| {
            let covered = revocation.target.covers(&known.target) && known.ends_at <= revocation.ends_at;
            now < known.ends_at && !covered
        });
        let all: Vec<Revocation> = std::iter::once(revocation.clone()).chain(kept.cloned()).collect();
        if all.len() > REVOCATIONS_MAX {
            return Err(RevocationsFull);
        }
        Ok(Self::new(all))
    }

    /// Lifts one; `None` where there is none of that id.
    pub fn without(&self, id: RevocationId) -> Option<Self> {
        let all: Vec<Revocation> = self.all.iter().filter(|known| known.id != id).cloned().collect();
        (all.len() < self.all.len()).then(|| Self::new(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Role;

    const NOW: Timestamp = Timestamp::from_millis(1_000_500);

    fn person(user: &str, token: Option<&str>, issued_at_second: Option<i64>) -> Principal {
        Principal {
            token_id: token.map(ToOwned::to_owned),
            issued_at: issued_at_second.map(|second| Timestamp::from_millis(second * 1_000)),
            ..Principal::new(user.parse().unwrap(), [Role::new("CIDADAO")])
        }
    }

    fn revocation(id: u64, target: Target) -> Revocation {
        Revocation {
            id: RevocationId(id),
            target,
            by: "admin".parse().unwrap(),
            why: Why::try_new("lost phone").unwrap(),
            at: NOW,
            ends_at: NOW.plus(Duration::from_secs(3_600)),
        }
    }

    fn issued_before(subject: Option<&str>, before: Timestamp) -> Target {
        Target::IssuedBefore {
            subject: subject.map(|user| user.parse().unwrap()),
            before,
        }
    }

    fn one(target: Target) -> Revocations {
        Revocations::default().with(&revocation(1, target), NOW).unwrap()
    }

    #[test]
    fn a_token_is_hit_by_its_id_its_subject_or_its_age_and_by_nothing_else() {
        let mine = |n: usize| Target::Token(format!("jti-{n}").parse().unwrap());
        let ana = || Target::Subject("ana".parse().unwrap());
        let table = [
            (mine(1), person("ana", Some("jti-1"), Some(0)), true),
            (mine(2), person("ana", Some("jti-1"), Some(0)), false),
            (mine(1), person("ana", None, Some(0)), false),
            (ana(), person("ana", None, Some(2_000)), true),
            (ana(), person("bia", None, Some(0)), false),
            (
                issued_before(Some("ana"), NOW),
                person("ana", None, Some(999)),
                true,
            ),
            (
                issued_before(Some("ana"), NOW),
                person("ana", None, Some(1_001)),
                false,
            ),
            (
                issued_before(Some("ana"), NOW),
                person("bia", None, Some(999)),
                false,
            ),
            (issued_before(None, NOW), person("bia", None, Some(999)), true),
            (issued_before(None, NOW), person("bia", None, Some(1_001)), false),
        ];
        for (target, shown, expected) in table {
            let said = format!("{target:?} {shown:?}");
            assert_eq!(one(target).hit(&shown, NOW).is_some(), expected, "{said}");
        }
    }

    #[test]
    fn a_token_of_the_same_second_or_without_a_moment_counts_as_issued_before() {
        // 1,000.5 s: a token of second 1,000 may have been issued at 1,000.4 s.
        let revoked = one(issued_before(Some("ana"), NOW));
        assert!(revoked.hit(&person("ana", None, Some(1_000)), NOW).is_some());
        assert!(revoked.hit(&person("ana", None, None), NOW).is_some());
        let at_the_second = one(issued_before(Some("ana"), Timestamp::from_millis(1_000_000)));
        assert!(
            at_the_second
                .hit(&person("ana", None, Some(1_000)), NOW)
                .is_none()
        );
    }

    #[test]
    fn what_has_ended_does_not_count_and_goes_with_the_next() {
        let revoked = one(Target::Subject("ana".parse().unwrap()));
        let end = revoked.all()[0].ends_at;
        assert!(revoked.hit(&person("ana", None, None), end).is_none());
        let last = end.minus(Duration::from_millis(1));
        assert!(revoked.hit(&person("ana", None, None), last).is_some());
        let next = Revocation {
            ends_at: end.plus(Duration::from_secs(1)),
            ..revocation(2, Target::Subject("bia".parse().unwrap()))
        };
        assert_eq!(revoked.with(&next, end).unwrap().all().len(), 1);
    }

    #[test]
    fn what_is_covered_goes_and_what_would_count_longer_stays() {
        let earlier = NOW.minus(Duration::from_secs(9));
        let mut known = one(issued_before(Some("ana"), earlier));
        known = known
            .with(&revocation(2, Target::Subject("bia".parse().unwrap())), NOW)
            .unwrap();
        let longer = Revocation {
            ends_at: Timestamp::MAX,
            ..revocation(3, issued_before(None, earlier))
        };
        known = known.with(&longer, NOW).unwrap();
        assert_eq!(known.all().len(), 2, "everybody's covers ana's");
        known = known.with(&revocation(4, issued_before(None, NOW)), NOW).unwrap();
        let ids: Vec<u64> = known.all().iter().map(|known| known.id.0).collect();
        assert_eq!(ids, [4, 3, 2], "a ban is no matter of age, and 3 counts longer");
    }

    #[test]
    fn a_full_list_says_so_and_one_for_everybody_makes_room() {
        let user = |n: usize| format!("u-{n}").parse().unwrap();
        let entry = |n: usize| {
            let target = Target::IssuedBefore {
                subject: Some(user(n)),
                before: NOW,
            };
            revocation(u64::try_from(n).unwrap(), target)
        };
        let full = Revocations::new((0..REVOCATIONS_MAX).map(entry).collect());
        assert_eq!(full.with(&entry(REVOCATIONS_MAX), NOW), Err(RevocationsFull));
        let all = full
            .with(&revocation(9_999, issued_before(None, NOW)), NOW)
            .unwrap();
        assert_eq!(all.all().len(), 1);
        assert!(all.hit(&person("u-77", None, Some(0)), NOW).is_some());
    }

    #[test]
    fn one_that_is_lifted_hits_nobody() {
        let revoked = one(Target::Subject("ana".parse().unwrap()));
        assert_eq!(revoked.without(RevocationId(2)), None);
        let lifted = revoked.without(RevocationId(1)).unwrap();
        assert!(lifted.hit(&person("ana", None, None), NOW).is_none());
    }

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let id = RevocationId(0xab);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "ab", "00000000000000AB", "+0000000000000ab"] {
            assert_eq!(bad.parse::<RevocationId>(), Err(InvalidName), "{bad:?}");
        }
        assert!("".parse::<TokenId>().is_err());
        assert!("x".repeat(257).parse::<TokenId>().is_err());
    }
}
