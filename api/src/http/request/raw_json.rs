//! JSON that is kept as text.

use std::fmt;

/// Deeper values help nobody and cost whoever parses them recursively; browsers and servers give up near 100.
pub(crate) const DEPTH_MAX: usize = 64;

/// What is wrong with a JSON text although its grammar is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Arrays and objects stand inside one another too often.
    TooDeep,
    /// A `\u` escape gives half a character.
    LoneSurrogate,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep => write!(f, "must be nested at most {DEPTH_MAX} deep"),
            Self::LoneSurrogate => {
                f.write_str("must hold no lone surrogate: a \\u escape there gives half a character")
            }
        }
    }
}

/// Drops the blanks between tokens and leaves everything else as it is: digits, key order, repeated keys, escapes.
///
/// `text` is well-formed by the grammar of RFC 8259. Two things that the grammar allows are refused, because not
/// every receiver can read them back: values nested deeper than [`DEPTH_MAX`], and escapes of lone surrogates.
pub(crate) fn compact(text: &str) -> Result<String, Flaw> {
    let mut out = String::with_capacity(text.len());
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(at) = rest.find(['"', '[', '{', ']', '}', ' ', '\t', '\n', '\r']) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let taken = match special.as_bytes()[0] {
            b'"' => {
                let length = string_length(special)?;
                out.push_str(&special[..length]);
                length
            }
            bracket @ (b'[' | b'{') => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(Flaw::TooDeep);
                }
                out.push(char::from(bracket));
                1
            }
            bracket @ (b']' | b'}') => {
                depth = depth.saturating_sub(1);
                out.push(char::from(bracket));
                1
            }
            _blank => 1,
        };
        rest = &special[taken..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Returns the length of the string literal that `text` begins with, quotes included.
fn string_length(text: &str) -> Result<usize, Flaw> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Ok(at + 1),
            b'\\' if bytes.get(at + 1) == Some(&b'u') => at += surrogates_length(text, at)?,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Ok(bytes.len())
}

/// Returns the length of the `\u` escape at `at`, or of the two that make one character.
fn surrogates_length(text: &str, at: usize) -> Result<usize, Flaw> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    match unit(at) {
        Some(0xd800..=0xdbff) => match unit(at + 6) {
            Some(0xdc00..=0xdfff) => Ok(12),
            _ => Err(Flaw::LoneSurrogate),
        },
        Some(0xdc00..=0xdfff) => Err(Flaw::LoneSurrogate),
        _ => Ok(6),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_blanks_between_tokens_are_dropped() {
        let text = " {\t\"b\" : [ 1.50 , 1e400,\r\n -0 ],\n \"a b\\\"  {\" : null, \"b\": { } } ";
        assert_eq!(
            compact(text).unwrap(),
            r#"{"b":[1.50,1e400,-0],"a b\"  {":null,"b":{}}"#
        );
    }

    #[test]
    fn halves_of_characters_are_refused_and_whole_ones_kept() {
        for lone in [
            r#""\ud83d""#,
            r#""\udE00""#,
            r#"{"\ud83d\ud83d":1}"#,
            r#"["\ud83dx"]"#,
        ] {
            assert_eq!(compact(lone), Err(Flaw::LoneSurrogate), "{lone}");
        }
        for whole in [r#""\ud83d\ude00""#, r#""\\ud83d""#, r#""\u00e9\"""#, r#""😀""#] {
            assert_eq!(compact(whole).as_deref(), Ok(whole));
        }
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_strings_do_not_count() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(compact(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(compact(&nested(DEPTH_MAX + 1)), Err(Flaw::TooDeep));
        assert_eq!(compact(&nested(100_000)), Err(Flaw::TooDeep));
        let flat = format!("[{}]", ["[]"; 1_000].join(","));
        assert!(compact(&flat).is_ok());
        let quoted = format!("\"{}\"", "[".repeat(1_000));
        assert!(compact(&quoted).is_ok());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "(?s).{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec(("[ \"{}\\\\\\[a]{0,4}", inner), 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_survives_and_ends_up_as_its_shortest_text(value in any_json()) {
            let spacious = serde_json::to_string_pretty(&value).unwrap();
            let compact = compact(&spacious).unwrap();
            prop_assert_eq!(&compact, &serde_json::to_string(&value).unwrap());
        }

        #[test]
        fn what_the_parser_takes_is_taken_without_a_panic(text in "[\\[\\]{}\", \\\\ud8c0n1:]{0,40}") {
            if serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok() {
                let strict = serde_json::from_str::<Value>(&text).is_ok();
                prop_assert_eq!(compact(&text).is_ok(), strict);
            }
        }
    }
}
