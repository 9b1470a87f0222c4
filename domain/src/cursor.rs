//! The one id of everything that a client can receive.

use std::fmt;
use std::str::FromStr;

/// The identity of one history of the log. Later histories compare greater.
///
/// Text form: base 36 in lower case, without leading zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A place in the log, contiguous within an epoch. Zero stands before the first event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// Returns the place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the place before this one, or zero.
    #[must_use]
    pub const fn prior(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// `epoch-position`: SSE id, WebSocket id, paging key and receipt in one.
///
/// Clients treat it as opaque and compare it for equality alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// The history that the position belongs to.
    pub epoch: Epoch,
    /// The place in that history.
    pub position: Position,
}

/// A text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidCursor;

impl fmt::Display for InvalidCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cursor is taken from an earlier answer and looks like 8f3a-1042")
    }
}

impl std::error::Error for InvalidCursor {}

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// `u64::MAX` in base 36 has thirteen digits.
const EPOCH_MAX_CHARS: usize = 13;

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; EPOCH_MAX_CHARS];
        let mut start = text.len();
        let mut rest = self.0;
        loop {
            start -= 1;
            // The remainder is below 36, so the cast keeps it and the look-up is in range.
            text[start] = DIGITS[(rest % 36) as usize];
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        f.write_str(std::str::from_utf8(&text[start..]).unwrap_or_default())
    }
}

impl FromStr for Epoch {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let canonical = text == "0" || !text.starts_with('0');
        let lower = text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        if text.is_empty() || !canonical || !lower {
            return Err(InvalidCursor);
        }
        u64::from_str_radix(text, 36).map(Self).map_err(|_| InvalidCursor)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Position {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let canonical = text == "0" || !text.starts_with('0');
        if text.is_empty() || !canonical || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidCursor);
        }
        text.parse().map(Self).map_err(|_| InvalidCursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.position)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (epoch, position) = text.split_once('-').ok_or(InvalidCursor)?;
        Ok(Self {
            epoch: epoch.parse()?,
            position: position.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_cursors_are_refused() {
        for bad in [
            "",
            "-",
            "8f3a",
            "8f3a-",
            "-1042",
            "8F3A-1",
            "8f3a-01",
            "08f3a-1",
            "8f3a-1-2",
            "8f3a--1",
            "8f3a-+1",
            " 8f3a-1",
            "8f3a-1 ",
            "8f3a-18446744073709551616",
            "zzzzzzzzzzzzzz-1",
            "8f3a-１",
            "+1-1",
        ] {
            assert_eq!(bad.parse::<Cursor>(), Err(InvalidCursor), "{bad:?}");
        }
    }

    #[test]
    fn a_later_history_compares_greater() {
        let cursor = |text: &str| text.parse::<Cursor>().unwrap();
        assert!(cursor("a-9") < cursor("b-1"));
        assert!(cursor("a-9") < cursor("a-10"));
    }

    #[test]
    fn positions_do_not_wrap() {
        assert_eq!(Position(0).prior(), Position(0));
        assert_eq!(Position(u64::MAX).next(), Position(u64::MAX));
    }

    proptest! {
        #[test]
        fn every_cursor_reads_back_as_it_was_written(epoch: u64, position: u64) {
            let cursor = Cursor { epoch: Epoch(epoch), position: Position(position) };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn whatever_parses_is_written_the_same(text in "([a-z0-9]{0,14}-[0-9]{0,21}|.{0,20})") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
