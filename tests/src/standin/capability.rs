//! Rights, as Ably's page on capabilities describes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::ErrorInfo;

/// Every operation that a capability may name.
const OPERATIONS: [&str; 17] = [
    "subscribe",
    "publish",
    "presence",
    "history",
    "stats",
    "channel-metadata",
    "push-subscribe",
    "push-admin",
    "privileged-headers",
    "object-subscribe",
    "object-publish",
    "annotation-subscribe",
    "annotation-publish",
    "message-update-own",
    "message-update-any",
    "message-delete-own",
    "message-delete-any",
];
const ALL: &str = "*";

/// Operations by resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Capability(BTreeMap<String, BTreeSet<String>>);

impl Capability {
    /// Reads the JSON text that keys, tokens and requests carry.
    pub(super) fn parse(text: &str) -> Result<Self, ErrorInfo> {
        let invalid = |why: &str| ErrorInfo::new(40000, 400, format!("invalid capability: {why}"));
        let value: Value = serde_json::from_str(text).map_err(|_| invalid("no JSON"))?;
        let members = value.as_object().ok_or_else(|| invalid("no object"))?;
        let mut rights = BTreeMap::new();
        for (resource, operations) in members {
            let list = operations.as_array().ok_or_else(|| invalid("no list"))?;
            let names: Option<BTreeSet<String>> =
                list.iter().map(|name| name.as_str().map(str::to_owned)).collect();
            let names = names.ok_or_else(|| invalid("an operation is no text"))?;
            let known = |name: &String| OPERATIONS.contains(&name.as_str());
            let alone = names.len() == 1 && names.contains(ALL);
            if names.is_empty() || !(alone || names.iter().all(known)) {
                return Err(invalid(resource));
            }
            rights.insert(resource.clone(), names);
        }
        Ok(Self(rights))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn allows(&self, operation: &str, channel: &str) -> bool {
        let gives = |names: &BTreeSet<String>| names.contains(ALL) || names.contains(operation);
        self.0
            .iter()
            .any(|(resource, names)| covers(resource, channel) && gives(names))
    }

    /// Tells whether a resource stands there letter for letter, as revoking by channel wants it.
    pub(super) fn names(&self, resource: &str) -> bool {
        self.0.contains_key(resource)
    }

    /// Returns what is asked for and the key has. The asked names stay, except where the key's are narrower.
    pub(super) fn within(&self, key: &Self) -> Self {
        let mut rights: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (asked, wanted) in &self.0 {
            for (held, given) in &key.0 {
                let resource = match (covers(held, asked), covers(asked, held)) {
                    (true, _) => asked,
                    (false, true) => held,
                    (false, false) => continue,
                };
                let both = meet(wanted, given);
                if !both.is_empty() {
                    rights.entry(resource.clone()).or_default().extend(both);
                }
            }
        }
        Self(rights)
    }
}

fn meet(wanted: &BTreeSet<String>, given: &BTreeSet<String>) -> BTreeSet<String> {
    match (wanted.contains(ALL), given.contains(ALL)) {
        (true, _) => given.clone(),
        (_, true) => wanted.clone(),
        _ => wanted.intersection(given).cloned().collect(),
    }
}

/// `*` is every normal channel, `a:*` everything below `a:`, `*` within is exactly one segment, `[*]*` is everything.
fn covers(resource: &str, channel: &str) -> bool {
    if resource == "[*]*" || resource == channel {
        return true;
    }
    if resource.starts_with('[') || channel.starts_with('[') {
        return false;
    }
    if resource == ALL {
        return true;
    }
    let (wanted, given): (Vec<&str>, Vec<&str>) =
        (resource.split(':').collect(), channel.split(':').collect());
    let below = wanted.last() == Some(&ALL) && given.len() >= wanted.len();
    let same = |(wanted, given): (&&str, &&str)| *wanted == ALL || wanted == given;
    (below || wanted.len() == given.len()) && wanted.iter().zip(&given).all(same)
}

impl fmt::Display for Capability {
    /// Writes the canonical text: no blanks, everything sorted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capability(text: &str) -> Capability {
        Capability::parse(text).unwrap()
    }

    #[test]
    fn resources_cover_by_whole_segments() {
        for (resource, channel, expected) in [
            ("*", "a:b", true),
            ("*", "[meta]log", false),
            ("[*]*", "[meta]log", true),
            ("a:*", "a:b:c", true),
            ("a:*", "a", false),
            ("a:*:c", "a:b:c", true),
            ("a:*:c", "a:b:b:c", false),
            ("foo*", "foobar", false),
            ("user:4", "user:42", false),
        ] {
            assert_eq!(covers(resource, channel), expected, "{resource} {channel}");
        }
    }

    #[test]
    fn a_token_has_what_is_asked_for_and_its_key_has() {
        let key = capability(r#"{"*":["subscribe","history"]}"#);
        let asked = capability(r#"{"a:b":["*"],"c":["publish"],"d":["publish","subscribe"]}"#);
        let both = asked.within(&key);
        assert_eq!(
            both.to_string(),
            r#"{"a:b":["history","subscribe"],"d":["subscribe"]}"#
        );
        assert!(!both.allows("publish", "d"));
        let narrow = capability(r#"{"*":["*"]}"#).within(&capability(r#"{"a:*":["subscribe"]}"#));
        assert_eq!(narrow.to_string(), r#"{"a:*":["subscribe"]}"#);
    }

    #[test]
    fn what_is_no_capability_is_refused() {
        for text in [
            "",
            "[]",
            r#"{"a":[]}"#,
            r#"{"a":["fly"]}"#,
            r#"{"a":["*","publish"]}"#,
            r#"{"a":"*"}"#,
        ] {
            assert_eq!(Capability::parse(text).unwrap_err().status, 400, "{text}");
        }
    }
}
