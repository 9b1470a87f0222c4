//! Whoever tries again and again what they have no right to is shut out for a while.
//!
//! Attempts are counted by person where one is known; by address only where credentials failed, because a whole office
//! may sit behind one. A blocked address keeps out those who cannot say who they are: people whose tokens count are
//! served from there all the same.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::UserId;
use crate::rollout::Why;
use crate::time::Timestamp;

/// More attempts than this within [`WINDOW`] lead to a block.
pub const ATTEMPTS_MAX: usize = 10;
/// The time in which attempts are counted.
pub const WINDOW: Duration = Duration::from_secs(5 * 60);
/// How long a block lasts that nobody lifts.
pub const LASTS: Duration = Duration::from_secs(15 * 60);

/// Blocks at once. Beyond it nobody more is blocked, and the limits hold all the same.
pub const BLOCKS_MAX: usize = 1_024;

/// People and addresses whose attempts are counted, in each of two generations.
const SUSPECTS_MAX: usize = 10_000;
/// An IPv6 network takes 39 characters.
const PLACE_MAX_CHARS: usize = 45;

/// What somebody tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suspicion {
    /// Credentials that are forged, malformed or somebody else's. Expired ones are none: every tab that was left open
    /// shows them.
    FailedAuthentication,
    /// A channel, or a right, that their roles do not give.
    ForeignChannel,
    /// A stream of somebody else.
    ForeignConnection,
}

impl Suspicion {
    /// Returns the stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FailedAuthentication => "failed-authentication",
            Self::ForeignChannel => "foreign-channel",
            Self::ForeignConnection => "foreign-connection",
        }
    }
}

/// Who is counted and blocked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suspect {
    /// An address, or a network of IPv6 that counts as one.
    Address(Arc<str>),
    /// A person.
    User(UserId),
}

/// A text that names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSuspect;

impl fmt::Display for InvalidSuspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be user: and an id, or address: and an IP address")
    }
}

impl std::error::Error for InvalidSuspect {}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(place) => write!(f, "address:{place}"),
            Self::User(user) => write!(f, "user:{user}"),
        }
    }
}

impl FromStr for Suspect {
    type Err = InvalidSuspect;

    fn from_str(text: &str) -> Result<Self, InvalidSuspect> {
        let fits = |b: u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
        match text.split_once(':').ok_or(InvalidSuspect)? {
            ("user", user) => user.parse().map(Self::User).map_err(|_| InvalidSuspect),
            ("address", place) if (1..=PLACE_MAX_CHARS).contains(&place.len()) && place.bytes().all(fits) => {
                Ok(Self::Address(place.into()))
            }
            _ => Err(InvalidSuspect),
        }
    }
}

/// The attempts of the last minutes, by suspect. Bounded: of a crowd, those who came longest ago are forgotten.
#[derive(Debug, Default)]
pub struct Suspects {
    young: HashMap<Suspect, VecDeque<Duration>>,
    old: HashMap<Suspect, VecDeque<Duration>>,
    /// When the generations changed last.
    turned_at: Duration,
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// It was counted.
    Counted,
    /// It was one too many.
    TooMany,
    /// It was counted, and earlier ones of others were forgotten for want of room.
    Crowded,
}

impl Suspects {
    /// Notes an attempt at a moment of a clock that does not go back. After one too many, counting begins anew.
    pub fn note(&mut self, suspect: &Suspect, at: Duration) -> Noted {
        let full = self.young.len() >= SUSPECTS_MAX && !self.young.contains_key(suspect);
        if full || at.saturating_sub(self.turned_at) >= WINDOW {
            self.old = std::mem::take(&mut self.young);
            self.turned_at = at;
        }
        let earlier = self.old.remove(suspect);
        let attempts = self
            .young
            .entry(suspect.clone())
            .or_insert_with(|| earlier.unwrap_or_default());
        while attempts
            .front()
            .is_some_and(|first| at.saturating_sub(*first) >= WINDOW)
        {
            attempts.pop_front();
        }
        attempts.push_back(at);
        if attempts.len() > ATTEMPTS_MAX {
            self.young.remove(suspect);
            return Noted::TooMany;
        }
        if full { Noted::Crowded } else { Noted::Counted }
    }
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Who is shut out.
    pub suspect: Suspect,
    /// Why.
    pub why: Why,
    /// Who shut them out; `None` for the service itself.
    pub by: Option<UserId>,
    /// When.
    pub at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
}

/// There are as many blocks as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlocksFull;

impl fmt::Display for BlocksFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{BLOCKS_MAX} blocks are in force already")
    }
}

impl std::error::Error for BlocksFull {}

/// All blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocks(HashMap<Suspect, Block>);

impl Blocks {
    /// Takes a list; of two of one suspect the last counts.
    pub fn new(all: impl IntoIterator<Item = Block>) -> Self {
        Self(
            all.into_iter()
                .map(|block| (block.suspect.clone(), block))
                .collect(),
        )
    }

    /// Returns them all, by suspect.
    pub fn all(&self) -> Vec<&Block> {
        let mut all: Vec<&Block> = self.0.values().collect();
        all.sort_unstable_by(|a, b| a.suspect.cmp(&b.suspect));
        all
    }

    /// Returns how long somebody is shut out yet; `None` for whoever is not.
    pub fn rest(&self, suspect: &Suspect, now: Timestamp) -> Option<Duration> {
        let block = self.0.get(suspect)?;
        (now < block.ends_at).then(|| block.ends_at.since(now))
    }

    /// Tells whether nobody is blocked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one, in place of one of the same suspect. What has ended goes.
    pub fn with(&self, block: Block, now: Timestamp) -> Result<Self, BlocksFull> {
        let mut all = self.0.clone();
        all.retain(|_, known| now < known.ends_at);
        all.insert(block.suspect.clone(), block);
        if all.len() > BLOCKS_MAX {
            return Err(BlocksFull);
        }
        Ok(Self(all))
    }

    /// Lifts one; `None` where that suspect is not blocked.
    pub fn without(&self, suspect: &Suspect) -> Option<Self> {
        let mut all = self.0.clone();
        all.remove(suspect)?;
        Some(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: usize) -> Suspect {
        format!("address:10.0.{}.{}", n / 256, n % 256).parse().unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn more_than_ten_attempts_in_five_minutes_are_too_many() {
        let mut suspects = Suspects::default();
        for n in 0..10 {
            assert_eq!(suspects.note(&address(1), at(n)), Noted::Counted);
            assert_eq!(suspects.note(&address(2), at(n)), Noted::Counted);
        }
        assert_eq!(suspects.note(&address(1), at(299)), Noted::TooMany);
        assert_eq!(
            suspects.note(&address(1), at(299)),
            Noted::Counted,
            "counting begins anew"
        );
        // Ten attempts at 0 to 9 s; at 300 s the first is over.
        assert_eq!(suspects.note(&address(2), at(300)), Noted::Counted);
        assert_eq!(suspects.note(&address(2), at(300)), Noted::TooMany);
    }

    #[test]
    fn counts_against_a_list_of_every_attempt() {
        let mut suspects = Suspects::default();
        let mut list: Vec<u64> = Vec::new();
        let mut now = 0;
        for n in 0..5_000_u64 {
            // Bursts and pauses, without chance.
            now += (n * n * 7 + n) % 61;
            list.push(now);
            list.retain(|then| now - then < WINDOW.as_secs());
            let expected = list.len() > ATTEMPTS_MAX;
            let noted = suspects.note(&address(1), at(now));
            assert_eq!(noted == Noted::TooMany, expected, "attempt {n} at {now} s");
            if expected {
                list.clear();
            }
        }
    }

    #[test]
    fn a_crowd_is_bounded_and_says_so() {
        let mut suspects = Suspects::default();
        let mut crowded = 0;
        for n in 0..50_000 {
            if suspects.note(&address(n), at(1)) == Noted::Crowded {
                crowded += 1;
            }
            assert!(suspects.young.len() + suspects.old.len() <= 2 * SUSPECTS_MAX);
        }
        assert!(crowded > 0);
    }

    #[test]
    fn a_block_ends_by_itself_and_by_hand() {
        let now = Timestamp::from_millis(5);
        let block = |n: usize| Block {
            suspect: address(n),
            why: Why::try_new("a test").unwrap(),
            by: None,
            at: now,
            ends_at: now.plus(LASTS),
        };
        let blocks = Blocks::default().with(block(1), now).unwrap();
        assert_eq!(blocks.rest(&address(1), now), Some(LASTS));
        assert_eq!(blocks.rest(&address(2), now), None);
        assert_eq!(blocks.rest(&address(1), now.plus(LASTS)), None);
        assert_eq!(blocks.without(&address(2)), None);
        assert!(blocks.without(&address(1)).unwrap().is_empty());
        let full = Blocks::new((0..BLOCKS_MAX).map(block));
        assert_eq!(full.with(block(BLOCKS_MAX), now), Err(BlocksFull));
        let later = now.plus(LASTS);
        assert_eq!(full.with(block(BLOCKS_MAX), later).unwrap().all().len(), 1);
    }

    #[test]
    fn names_read_back_and_nothing_else_is_one() {
        for name in ["user:u-1", "address:10.0.0.1", "address:2001:db8::"] {
            assert_eq!(name.parse::<Suspect>().unwrap().to_string(), name);
        }
        for bad in [
            "",
            "u-1",
            "user:",
            "user:a b",
            "address:",
            "address:x",
            "unit:norte",
            "address:1\n",
        ] {
            assert_eq!(bad.parse::<Suspect>(), Err(InvalidSuspect), "{bad:?}");
        }
    }
}
