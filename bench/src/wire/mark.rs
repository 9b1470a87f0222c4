//! The mark a published notification carries in its `data`: what it was and when it was due.
//!
//! It has a fixed width, so that every frame of a kind has the same size and the floor can stamp a new mark into
//! a recorded frame without touching its length.

use memchr::memmem;

const KEY: &[u8] = b"\"sent\":\"";
const DIGITS: usize = 20;

/// To whom a measured notification went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Broadcast,
    Unicast,
}

/// A kind and a moment of the monotonic clock, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) kind: Kind,
    pub(crate) sent: u64,
}

impl Mark {
    /// The value of the key `sent`.
    pub(crate) fn text(self) -> String {
        let kind = match self.kind {
            Kind::Broadcast => 'b',
            Kind::Unicast => 'u',
        };
        format!("{kind}{:0width$}", self.sent, width = DIGITS)
    }

    /// The mark inside `bytes`, if they carry one.
    pub(crate) fn find(bytes: &[u8]) -> Option<Self> {
        let value = bytes.get(offset(bytes)?..)?;
        let kind = match value.first()? {
            b'b' => Kind::Broadcast,
            b'u' => Kind::Unicast,
            _ => return None,
        };
        let mut sent: u64 = 0;
        for byte in value.get(1..=DIGITS)? {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            sent = sent.checked_mul(10)?.checked_add(digit)?;
        }
        Some(Self { kind, sent })
    }

    /// Overwrites the mark inside a recorded frame; false when the frame has none.
    pub(crate) fn stamp(self, frame: &mut [u8]) -> bool {
        let text = self.text();
        let Some(place) = offset(frame).and_then(|at| frame.get_mut(at..at + text.len())) else {
            return false;
        };
        place.copy_from_slice(text.as_bytes());
        true
    }
}

/// Where the value of the mark begins.
fn offset(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, KEY).map(|at| at + KEY.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &[u8] = br#"data: {"data":{"sent":"u00000000000000000042"}}"#;

    #[test]
    fn a_mark_is_read_back_from_the_frame_that_carries_it() {
        assert_eq!(
            Mark::find(FRAME),
            Some(Mark {
                kind: Kind::Unicast,
                sent: 42
            })
        );
        assert_eq!(Mark::find(br#"data: {"data":{}}"#), None);
        assert_eq!(Mark::find(br#"{"sent":"u42"}"#), None);
        assert_eq!(Mark::find(br#"{"sent":"x00000000000000000042"}"#), None);
    }

    #[test]
    fn a_stamp_changes_the_mark_and_not_the_size() {
        let mark = Mark {
            kind: Kind::Broadcast,
            sent: u64::MAX,
        };
        let mut frame = FRAME.to_vec();
        assert!(mark.stamp(&mut frame));
        assert_eq!((Mark::find(&frame), frame.len()), (Some(mark), FRAME.len()));
        assert!(!mark.stamp(&mut b"{}".to_vec()));
    }
}
