//! What values look like: durations, sizes, words, secrets.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::Targets;

use super::key::{Shape, Takes};
use super::{LogFormat, Secret, StoreKind};
use crate::logging;

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Reads `250ms`, `30s`, `5m`, `12h`, `7d`.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(*millis)
        .map(Duration::from_millis)
}

/// Writes a duration in the largest unit that holds it exactly; less than a millisecond is dropped.
pub fn duration_text(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let whole = |(_, unit): &&(&str, u64)| millis >= *unit && millis.is_multiple_of(*unit);
    match UNITS.iter().rev().find(whole) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => "0s".to_owned(),
    }
}

/// A duration within bounds.
pub(super) struct Lasting(pub(super) Duration, pub(super) Duration);

impl Takes<Duration> for Lasting {
    fn describe(&self) -> String {
        let (min, max) = (duration_text(self.0), duration_text(self.1));
        format!("a duration from {min} to {max} (units ms, s, m, h, d)")
    }

    fn parse(&self, text: &str) -> Option<Duration> {
        duration(text).filter(|duration| (self.0..=self.1).contains(duration))
    }
}

/// A whole number within bounds.
pub(super) struct Count(pub(super) RangeInclusive<u64>);

impl Takes<u64> for Count {
    fn describe(&self) -> String {
        format!("a whole number from {} to {}", self.0.start(), self.0.end())
    }

    fn parse(&self, text: &str) -> Option<u64> {
        text.replace('_', "")
            .parse()
            .ok()
            .filter(|count| self.0.contains(count))
    }
}

/// A number of bytes within bounds.
pub(super) struct Bytes(pub(super) RangeInclusive<u64>);

impl Bytes {
    const UNITS: [(&str, u64); 4] = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

    fn text(bytes: u64) -> String {
        let whole = |(_, unit): &&(&str, u64)| bytes >= *unit && bytes.is_multiple_of(*unit);
        match Self::UNITS.iter().rev().find(whole) {
            Some((name, unit)) => format!("{}{name}", bytes / unit),
            None => bytes.to_string(),
        }
    }
}

impl Takes<u64> for Bytes {
    fn describe(&self) -> String {
        let (min, max) = (Self::text(*self.0.start()), Self::text(*self.0.end()));
        format!("a size from {min} to {max} (bytes, or units KiB, MiB, GiB)")
    }

    fn parse(&self, text: &str) -> Option<u64> {
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '_')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let (_, factor) = Self::UNITS.iter().find(|(name, _)| *name == unit)?;
        let number: u64 = number.replace('_', "").parse().ok()?;
        number.checked_mul(*factor).filter(|bytes| self.0.contains(bytes))
    }
}

/// Yes or no.
pub(super) struct Flag;

impl Takes<bool> for Flag {
    fn describe(&self) -> String {
        "true or false".to_owned()
    }

    fn parse(&self, text: &str) -> Option<bool> {
        text.parse().ok()
    }

    fn shape(&self) -> Shape {
        Shape::Flag
    }
}

/// Writes `a, b or c`.
pub(super) fn listed(words: impl IntoIterator<Item = impl Into<String>>, last: &str) -> String {
    let mut words: Vec<String> = words.into_iter().map(Into::into).collect();
    match (words.pop(), words.is_empty()) {
        (Some(only), true) => only,
        (Some(end), false) => format!("{} {last} {end}", words.join(", ")),
        (None, _) => String::new(),
    }
}

/// One of a few words.
pub(super) struct OneOf<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + Sync> Takes<T> for OneOf<T> {
    fn describe(&self) -> String {
        listed(self.0.iter().map(|(word, _)| *word), "or")
    }

    fn parse(&self, text: &str) -> Option<T> {
        self.0
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value)
    }
}

pub(super) const STORES: OneOf<StoreKind> = OneOf(&[
    ("memory", StoreKind::Memory),
    ("redis", StoreKind::Redis),
    ("postgres", StoreKind::Postgres),
]);

pub(super) const LOG_FORMATS: OneOf<LogFormat> =
    OneOf(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);

/// A file's path.
pub(super) struct File;

impl Takes<PathBuf> for File {
    fn describe(&self) -> String {
        "the path of a file".to_owned()
    }

    fn parse(&self, text: &str) -> Option<PathBuf> {
        (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
    }
}

/// A text that is compared, not read.
pub(super) struct Text;

impl Takes<String> for Text {
    fn describe(&self) -> String {
        "1 to 256 printable characters".to_owned()
    }

    fn parse(&self, text: &str) -> Option<String> {
        let fits = (1..=256).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned())
    }
}

/// A word that can stand inside a channel name.
pub(super) struct Word;

impl Takes<String> for Word {
    fn describe(&self) -> String {
        "1 to 64 of A-Z a-z 0-9 _ -".to_owned()
    }

    fn parse(&self, text: &str) -> Option<String> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let whole = (1..=64).contains(&text.len()) && text.bytes().all(fits);
        whole.then(|| text.to_owned())
    }
}

/// What a log shows.
pub(super) struct LogFilter;

impl Takes<Targets> for LogFilter {
    fn describe(&self) -> String {
        "off, error, warn, info, debug or trace, or such with exceptions: info,hyper=warn".to_owned()
    }

    fn parse(&self, text: &str) -> Option<Targets> {
        logging::filter(text)
    }
}

/// A secret of a known shape.
pub(super) enum Kept {
    /// A text for HMAC. RFC 7518 asks for as many bits as the hash has: 32 bytes for HS256.
    Signing,
    /// `postgres://…`
    Postgres,
    /// `redis://…`
    Redis,
    /// `app.key:secret`
    Ably,
}

/// The least number of bytes in a signing secret.
const SIGNING_MIN_BYTES: usize = 32;

impl Takes<Secret> for Kept {
    fn describe(&self) -> String {
        match self {
            Self::Signing => "a text of 32 bytes or more",
            Self::Postgres => "an address such as postgres://user:password@host/database",
            Self::Redis => {
                "an address such as redis://:password@host:6379 or redis+sentinel://host:26379/primary"
            }
            Self::Ably => "an API key of the form APP.KEY:SECRET",
        }
        .to_owned()
    }

    fn parse(&self, text: &str) -> Option<Secret> {
        let begins = |schemes: &[&str]| {
            let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
            rest.is_some_and(|rest| !rest.is_empty() && !text.contains(char::is_whitespace))
        };
        let fits = match self {
            Self::Signing => text.len() >= SIGNING_MIN_BYTES,
            Self::Postgres => begins(&["postgres://", "postgresql://"]),
            Self::Redis => begins(&["redis://", "redis+sentinel://"]),
            Self::Ably => is_ably_key(text),
        };
        fits.then(|| Secret::new(text))
    }
}

fn is_ably_key(text: &str) -> bool {
    let word = |part: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        !part.is_empty() && part.bytes().all(fits)
    };
    let parts = text
        .split_once(':')
        .and_then(|(name, secret)| Some((name.split_once('.')?, secret)));
    parts.is_some_and(|((app, key), secret)| word(app) && word(key) && word(secret))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lasting() -> Lasting {
        Lasting(Duration::ZERO, Duration::from_hours(24 * 3_650))
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, millis) in [
            ("250ms", 250),
            ("0s", 0),
            ("30s", 30_000),
            ("5m", 300_000),
            ("12h", 43_200_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(
                lasting().parse(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "30 s",
            "30S",
            "1w",
            "1h30m",
            "+1s",
            "99999999999999999999s",
        ] {
            assert_eq!(lasting().parse(text), None, "{text}");
        }
        assert_eq!(lasting().parse("18446744073709551615d"), None);
    }

    proptest! {
        #[test]
        fn a_duration_reads_back_as_it_was_written(millis in 0_u64..10_000_000_000) {
            let written = duration_text(Duration::from_millis(millis));
            prop_assert_eq!(duration(&written), Some(Duration::from_millis(millis)));
        }

        #[test]
        fn no_text_upsets_a_parser(text in ".*") {
            let _ = duration(&text);
            let _ = Bytes(0..=u64::MAX).parse(&text);
            let _ = LogFilter.parse(&text);
        }
    }

    #[test]
    fn sizes_are_bytes_or_binary_multiples() {
        let bytes = Bytes(0..=u64::MAX);
        for (text, expected) in [
            ("32768", 32_768),
            ("1_000", 1_000),
            ("16KiB", 16_384),
            ("256MiB", 268_435_456),
            ("1GiB", 1_073_741_824),
        ] {
            assert_eq!(bytes.parse(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "MiB",
            "1MB",
            "1 GiB",
            "-1",
            "1.5GiB",
            "18446744073709551615KiB",
        ] {
            assert_eq!(bytes.parse(text), None, "{text}");
        }
        assert_eq!(Bytes(1_024..=2_048).parse("1023"), None);
        assert!(Bytes(1_024..=1 << 30).describe().contains("from 1KiB to 1GiB"));
    }

    #[test]
    fn secrets_are_held_to_their_shape() {
        let table = [
            (Kept::Signing, "0123456789abcdef0123456789abcdef", true),
            (Kept::Signing, "0123456789abcdef0123456789abcde", false),
            (Kept::Postgres, "postgresql://u:p@h/d", true),
            (Kept::Postgres, "postgres://", false),
            (Kept::Postgres, "mysql://h/d", false),
            (Kept::Redis, "redis+sentinel://h/primary", true),
            (Kept::Redis, "rediss://h", false),
            (Kept::Redis, "h:6379", false),
            (Kept::Ably, "app.key:secret", true),
            (Kept::Ably, "app.key", false),
            (Kept::Ably, "appkey:secret", false),
        ];
        for (kind, text, fits) in table {
            assert_eq!(kind.parse(text).is_some(), fits, "{text}");
        }
    }
}
