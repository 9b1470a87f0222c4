//! Rights of a token, as Ably reads them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use application::rights::Past;
use domain::channel::Channel;

/// The environment in front of channel names, so that several can share one Ably app: `staging` makes
/// `staging:private:user:u-42:notifications`. Ably alone sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPrefix(String);

/// A text that cannot stand in front of a channel name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a prefix of channels is 1 to 64 of A-Z a-z 0-9 _ -")]
pub struct InvalidPrefix;

impl FromStr for ChannelPrefix {
    type Err = InvalidPrefix;

    /// Takes no separator, wildcard or bracket: any of them in front would widen every right.
    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let whole = (1..=64).contains(&text.len()) && text.bytes().all(fits);
        whole.then(|| Self(text.to_owned())).ok_or(InvalidPrefix)
    }
}

impl ChannelPrefix {
    /// Returns a channel's name at Ably.
    pub(super) fn before(&self, channel: &Channel) -> String {
        format!("{}:{channel}", self.0)
    }
}

/// The rights of a token, as the one text that is signed and sent.
///
/// Ably signs and compares text, not meaning: whoever writes it twice risks two texts. It is canonical as its own
/// clients write it: no blanks, channels sorted, operations sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability(String);

impl Capability {
    /// Gives `subscribe` on each channel, and `history` where the past is given. Nothing ever gives `publish`.
    pub fn reading(channels: &[(Channel, Past)], prefix: Option<&ChannelPrefix>) -> Self {
        let name = |channel: &Channel| match prefix {
            Some(prefix) => prefix.before(channel),
            None => channel.to_string(),
        };
        let operations = |past: Past| match past {
            Past::Given => r#"["history","subscribe"]"#,
            Past::Withheld => r#"["subscribe"]"#,
        };
        let by_name: BTreeMap<String, &str> = channels
            .iter()
            .map(|(channel, past)| (name(channel), operations(*past)))
            .collect();
        // A channel's name holds nothing that JSON escapes: ids are A-Z a-z 0-9 _ -.
        let members: Vec<String> = by_name
            .iter()
            .map(|(name, operations)| format!("\"{name}\":{operations}"))
            .collect();
        Self(format!("{{{}}}", members.join(",")))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const HOSTILE: [&str; 12] = [
        "", "*", "a:b", "[x", "[*]*", "a\nb", "a b", "a\"b", "a\\b", "1:admin", "u:*", "é",
    ];

    /// Ably's rule for resources (capabilities page): `*` is every normal channel, `a:*` everything below `a:`, `*`
    /// within is exactly one segment, and brackets in front leave the normal channels.
    fn covers(resource: &str, channel: &str) -> bool {
        if resource.starts_with('[') || resource == "*" {
            return true;
        }
        let (wanted, given): (Vec<&str>, Vec<&str>) =
            (resource.split(':').collect(), channel.split(':').collect());
        let below = wanted.last() == Some(&"*") && given.len() >= wanted.len();
        let same = |(wanted, given): (&&str, &&str)| *wanted == "*" || wanted == given;
        (below || wanted.len() == given.len()) && wanted.iter().zip(&given).all(same)
    }

    fn rights(capability: &Capability) -> Vec<(String, Vec<String>)> {
        let value: Value = serde_json::from_str(capability.as_str()).unwrap();
        let operations = |value: &Value| {
            let list = value.as_array().unwrap().iter();
            list.map(|operation| operation.as_str().unwrap().to_owned())
                .collect()
        };
        let members = value.as_object().unwrap().iter();
        members
            .map(|(name, value)| (name.clone(), operations(value)))
            .collect()
    }

    #[test]
    fn the_text_is_canonical() {
        let channels = [
            (Channel::System, Past::Withheld),
            (Channel::User("ana".parse().unwrap()), Past::Given),
            (Channel::Unit("cras-1".parse().unwrap()), Past::Given),
        ];
        assert_eq!(
            Capability::reading(&channels, None).as_str(),
            "{\"private:unit:cras-1:notifications\":[\"history\",\"subscribe\"],\
             \"private:user:ana:notifications\":[\"history\",\"subscribe\"],\
             \"system:notifications\":[\"subscribe\"]}"
        );
        let staging = "staging".parse().unwrap();
        assert_eq!(
            Capability::reading(&channels[..1], Some(&staging)).as_str(),
            "{\"staging:system:notifications\":[\"subscribe\"]}"
        );
    }

    #[test]
    fn a_hostile_prefix_is_none() {
        for hostile in HOSTILE {
            assert_eq!(
                hostile.parse::<ChannelPrefix>(),
                Err(InvalidPrefix),
                "{hostile:?}"
            );
        }
        assert!("x".repeat(65).parse::<ChannelPrefix>().is_err());
    }

    #[test]
    fn the_rule_that_these_tests_hold_rights_against_knows_wildcards() {
        assert!(covers(
            "private:user:*:notifications",
            "private:user:bia:notifications"
        ));
        assert!(covers("private:*", "private:user:bia:notifications"));
        assert!(covers("[*]*", "system:notifications"));
        assert!(!covers("private:user:ana", "private:user:ana:notifications"));
    }

    fn ids() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::sample::select(HOSTILE.to_vec()).prop_map(str::to_owned),
            "[A-Za-z0-9_:*\\[\\]\n\"\\\\-]{0,8}",
            ".{0,6}",
            "[A-Za-z0-9_-]{1,64}",
        ]
    }

    proptest! {
        #[test]
        fn whatever_an_id_holds_a_token_hears_its_own_channels_alone(
            user in ids(), unit in ids(), benefit in ids(), prefix in ids(), stranger in "[a-z0-9]{1,9}", past: bool,
        ) {
            let past = if past { Past::Given } else { Past::Withheld };
            // What is no id makes no channel: the types are the gate, and this is what holds them to it.
            let channels: Vec<(Channel, Past)> = [
                user.parse().ok().map(Channel::User),
                unit.parse().ok().map(Channel::Unit),
                benefit.parse().ok().map(Channel::Benefit),
            ]
            .into_iter()
            .flatten()
            .map(|channel| (channel, past))
            .collect();
            let prefix: Option<ChannelPrefix> = prefix.parse().ok();
            let own = |channel: &Channel| match &prefix {
                Some(ChannelPrefix(prefix)) => format!("{prefix}:{channel}"),
                None => channel.to_string(),
            };
            let given = rights(&Capability::reading(&channels, prefix.as_ref()));
            let mut names: Vec<String> = channels.iter().map(|(channel, _)| own(channel)).collect();
            names.sort();
            prop_assert_eq!(given.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), names.clone());
            for (resource, operations) in &given {
                match past {
                    Past::Given => prop_assert_eq!(operations, &["history", "subscribe"]),
                    Past::Withheld => prop_assert_eq!(operations, &["subscribe"]),
                }
                let strangers = ["user", "unit", "benefit"]
                    .map(|kind| format!("private:{kind}:{stranger}:notifications").parse().unwrap());
                let all = strangers.iter().chain([&Channel::System]).chain(channels.iter().map(|(channel, _)| channel));
                for channel in all {
                    // In one's own environment, in another one, and without any.
                    for name in [own(channel), format!("production:{channel}"), channel.to_string()] {
                        prop_assert!(names.contains(&name) || !covers(resource, &name), "{resource} {name}");
                    }
                }
            }
        }
    }
}
