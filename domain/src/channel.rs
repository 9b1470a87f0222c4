//! Channels: the only addresses that events go to.

use std::fmt;
use std::str::FromStr;

use crate::ids::{BenefitId, UnitId, UserId};

/// Where an event goes, and what a person may subscribe to.
///
/// | channel | text |
/// |---|---|
/// | a person | `private:user:{id}:notifications` |
/// | a unit | `private:unit:{id}:notifications` |
/// | a benefit type | `private:benefit:{id}:notifications` |
/// | everyone | `system:notifications` |
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// One person's own.
    User(UserId),
    /// The members of one unit.
    Unit(UnitId),
    /// The staff of one benefit type.
    Benefit(BenefitId),
    /// Everyone who is authenticated.
    System,
}

/// A text that names no channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidChannel;

impl fmt::Display for InvalidChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a channel is system:notifications or private:{user|unit|benefit}:{id}:notifications \
             with an id of 1 to 64 of A-Z a-z 0-9 _ -",
        )
    }
}

impl std::error::Error for InvalidChannel {}

impl FromStr for Channel {
    type Err = InvalidChannel;

    fn from_str(text: &str) -> Result<Self, InvalidChannel> {
        if text == "system:notifications" {
            return Ok(Self::System);
        }
        let inner = text
            .strip_prefix("private:")
            .and_then(|rest| rest.strip_suffix(":notifications"));
        let (kind, id) = inner
            .and_then(|inner| inner.split_once(':'))
            .ok_or(InvalidChannel)?;
        match kind {
            "user" => id.parse().map(Self::User).map_err(|_| InvalidChannel),
            "unit" => id.parse().map(Self::Unit).map_err(|_| InvalidChannel),
            "benefit" => id.parse().map(Self::Benefit).map_err(|_| InvalidChannel),
            _ => Err(InvalidChannel),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "private:user:{id}:notifications"),
            Self::Unit(id) => write!(f, "private:unit:{id}:notifications"),
            Self::Benefit(id) => write!(f, "private:benefit:{id}:notifications"),
            Self::System => f.write_str("system:notifications"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_names_are_no_channels() {
        for hostile in [
            "",
            "system",
            "system:notifications:x",
            "private:user::notifications",
            "private:user:*:notifications",
            "private:user:a:b:notifications",
            "private:user:[x:notifications",
            "private:user:a\n:notifications",
            "private:team:a:notifications",
            "PRIVATE:user:a:notifications",
            " private:user:a:notifications",
            "private:user:a:notifications ",
            "private:user:notifications",
            "staging:private:user:a:notifications",
        ] {
            assert_eq!(hostile.parse::<Channel>(), Err(InvalidChannel), "{hostile:?}");
        }
    }

    fn channels() -> impl Strategy<Value = Channel> {
        let id = "[A-Za-z0-9_-]{1,64}";
        prop_oneof![
            id.prop_map(|id| Channel::User(id.parse().unwrap())),
            id.prop_map(|id| Channel::Unit(id.parse().unwrap())),
            id.prop_map(|id| Channel::Benefit(id.parse().unwrap())),
            Just(Channel::System),
        ]
    }

    proptest! {
        #[test]
        fn every_channel_reads_back_as_it_was_written(channel in channels()) {
            prop_assert_eq!(channel.to_string().parse(), Ok(channel));
        }

        #[test]
        fn whatever_parses_is_written_the_same(text in "(private:(user|unit|benefit):[a-z*:\\[ ]{0,5}:notifications|.{0,40})") {
            if let Ok(channel) = text.parse::<Channel>() {
                prop_assert_eq!(channel.to_string(), text);
            }
        }
    }
}
