//! Which people a share of a rollout reaches.

use std::fmt;
use std::str::FromStr;

use crate::ids::UserId;

/// People are spread over this many buckets; a share counts in them.
pub const BUCKETS: u16 = 10_000;

/// A salt is a short name such as `ably-2026`.
pub const SALT_MAX_CHARS: usize = 64;

/// A share of all people in hundredths of a percent, 0 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u16);

/// A number that is no share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidShare {
    /// What was given, in hundredths of a percent.
    pub given: u32,
}

impl fmt::Display for InvalidShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share is 0 to 10000 hundredths of a percent")
    }
}

impl std::error::Error for InvalidShare {}

/// A text that is no share in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPercent;

impl fmt::Display for InvalidPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be 0 to 100 percent with at most two decimals")
    }
}

impl std::error::Error for InvalidPercent {}

impl Share {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(BUCKETS);

    /// Takes 0 to 10,000 hundredths of a percent.
    pub fn try_new(hundredths: u32) -> Result<Self, InvalidShare> {
        match u16::try_from(hundredths) {
            Ok(given) if given <= BUCKETS => Ok(Self(given)),
            _ => Err(InvalidShare { given: hundredths }),
        }
    }

    /// Takes whole percent; what is above 100 counts as 100.
    pub const fn percent(percent: u8) -> Self {
        // At most 10,000, which fits.
        Self(if percent > 100 { 100 } else { percent as u16 } * 100)
    }

    /// Reads percent with at most two decimals, such as `5`, `12.5` or `0.25`: digits and a point alone.
    pub fn from_percent(text: &str) -> Result<Self, InvalidPercent> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let decimals_kept = decimals.trim_end_matches('0');
        if !digits(whole) || !digits(decimals) || decimals_kept.len() > 2 {
            return Err(InvalidPercent);
        }
        let hundredths = format!("{whole}{decimals_kept:0<2}");
        let share = hundredths
            .parse()
            .ok()
            .and_then(|given| Self::try_new(given).ok());
        share.ok_or(InvalidPercent)
    }

    /// Returns percent as [`Share::from_percent`] reads it.
    pub fn as_percent(self) -> String {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => whole.to_string(),
            (whole, rest) => format!("{whole}.{rest:02}").trim_end_matches('0').to_owned(),
        }
    }

    /// Returns the hundredths of a percent.
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// Tells whether the share reaches a bucket. A larger share reaches all that a smaller one does.
    pub const fn reaches(self, bucket: Bucket) -> bool {
        bucket.0 < self.0
    }
}

impl fmt::Display for Share {
    /// Writes percent, with decimals only where there are any: `5 %`, `0.25 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole} %"),
            (whole, rest) => write!(f, "{whole}.{rest:02} %"),
        }
    }
}

/// What makes one rollout's cohorts differ from another's: 1 to 64 of `A-Z a-z 0-9 _ . -`.
///
/// Changing it deals everybody anew, so it stays for as long as a rollout lasts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Salt(Box<str>);

/// A text that is no salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSalt;

impl fmt::Display for InvalidSalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a salt is 1 to {SALT_MAX_CHARS} of A-Z a-z 0-9 _ . -")
    }
}

impl std::error::Error for InvalidSalt {}

impl FromStr for Salt {
    type Err = InvalidSalt;

    fn from_str(text: &str) -> Result<Self, InvalidSalt> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if (1..=SALT_MAX_CHARS).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidSalt)
        }
    }
}

impl Salt {
    /// Writes drawn bits as a salt.
    pub fn from_bits(high: u64, low: u64) -> Self {
        Self(format!("{high:016x}{low:016x}").into())
    }

    /// Returns the salt as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where one person stands in one rollout, 0 to 9,999. The same on every node, in every version, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// Finds a person's bucket: FNV-1a (64 bits) over `{salt}:{user}`, the finaliser of `SplitMix64` over
    /// that, and of it the upper 32 bits scaled to the number of buckets.
    ///
    /// Neither text holds a colon, so no two pairs read the same. FNV-1a hardly moves the upper bits when
    /// only the last characters differ, as those of numbered users do; the finaliser spreads them. The tests
    /// hold vectors.
    pub fn of(salt: &Salt, user: &UserId) -> Self {
        let parts = [salt.as_str().as_bytes(), b":", user.as_str().as_bytes()];
        let upper = finalize(fnv1a(parts.iter().copied().flatten())) >> 32;
        // Below 2^32 × 10,000 / 2^32.
        Self(u16::try_from((upper * u64::from(BUCKETS)) >> 32).unwrap_or(BUCKETS - 1))
    }

    /// Returns the number, 0 to 9,999.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// FNV-1a of 64 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>.
fn fnv1a<'a>(bytes: impl Iterator<Item = &'a u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The output function of `SplitMix64`: <https://prng.di.unimi.it/splitmix64.c>.
fn finalize(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_gives_what_was_published_for_it() {
        // From the test vectors of the FNV reference code.
        let fnv = [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ];
        for (text, hash) in fnv {
            assert_eq!(fnv1a(text.as_bytes().iter()), hash, "{text:?}");
        }
        // The first numbers of SplitMix64 from the seed 1234567, as published with many ports of it.
        let mut state = 1_234_567_u64;
        for number in [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ] {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            assert_eq!(finalize(state), number);
        }
    }

    /// Computed by an implementation in another language. If one of these changes, people change their
    /// transport with the version of the node that they meet.
    #[test]
    fn buckets_are_the_same_in_every_version() {
        let long = "A".repeat(64);
        let table = [
            ("ably-1", "u-42", 9_588),
            ("ably-1", "u-43", 131),
            ("ably-2", "u-42", 7_729),
            ("ably-1", "018f6a3e-7d1c-7c2b-9a51-000000000001", 1_980),
            ("ably-1", "maria_silva", 4_727),
            ("a", "b", 3_003),
            ("x", &long, 2_053),
            ("ably-1", "u-14604", 0),
            ("ably-1", "u-289", 499),
            ("ably-1", "u-6838", 500),
            ("ably-1", "u-554", 9_999),
        ];
        for (salt, user, bucket) in table {
            let found = Bucket::of(&salt.parse().unwrap(), &user.parse().unwrap());
            assert_eq!(found.number(), bucket, "{salt}:{user}");
        }
    }

    #[test]
    fn a_share_reaches_exactly_as_many_buckets_as_it_counts() {
        for hundredths in [0, 1, 500, 2_500, 9_999, 10_000] {
            let share = Share::try_new(hundredths).unwrap();
            let reached = (0..BUCKETS)
                .filter(|bucket| share.reaches(Bucket(*bucket)))
                .count();
            assert_eq!(u32::try_from(reached), Ok(hundredths));
        }
        assert_eq!(Share::try_new(10_001), Err(InvalidShare { given: 10_001 }));
        assert_eq!(Share::try_new(65_537), Err(InvalidShare { given: 65_537 }));
        assert_eq!(Share::percent(75).hundredths(), 7_500);
        assert_eq!(Share::percent(255), Share::ALL);
    }

    #[test]
    fn shares_are_written_as_percent() {
        let written = |hundredths| Share::try_new(hundredths).unwrap().to_string();
        assert_eq!(
            [0, 500, 10_000, 25, 1_205].map(written),
            ["0 %", "5 %", "100 %", "0.25 %", "12.05 %"]
        );
    }

    #[test]
    fn percent_reads_back_as_it_was_written_and_nothing_else_is_taken() {
        for hundredths in 0..=10_000 {
            let share = Share::try_new(hundredths).unwrap();
            assert_eq!(Share::from_percent(&share.as_percent()), Ok(share));
        }
        let read = |text| Share::from_percent(text).map(Share::hundredths);
        assert_eq!(
            ["5", "12.5", "0.25", "100", "5.00", "5.2500"].map(read),
            [500, 1_250, 25, 10_000, 500, 525].map(Ok)
        );
        for bad in [
            "",
            ".",
            "5.",
            ".5",
            "-1",
            "+1",
            "1e1",
            "100.01",
            "101",
            "0.001",
            "5,5",
            " 5",
            "99999999999",
            "5%",
        ] {
            assert_eq!(Share::from_percent(bad), Err(InvalidPercent), "{bad:?}");
        }
    }

    #[test]
    fn drawn_bits_are_a_salt() {
        let salt = Salt::from_bits(u64::MAX, 1);
        assert_eq!(salt.as_str(), "ffffffffffffffff0000000000000001");
        assert_eq!(salt.as_str().parse(), Ok(salt));
    }

    #[test]
    fn salts_hold_no_separator() {
        for bad in ["", "a:b", "a b", "é", &"x".repeat(65)] {
            assert_eq!(bad.parse::<Salt>(), Err(InvalidSalt), "{bad:?}");
        }
        assert!("Ably_2026.1-b".parse::<Salt>().is_ok());
    }
}
