//! The audit trail: who did what, when, and what came of it. Never what a notification says.
//!
//! Each life of a node writes one chain: a record is numbered within it, and the text that is sealed holds every field
//! with its length, so that no two records share a text.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use crate::ids::UserId;
use crate::time::Timestamp;

/// What a record says of its target, outcome and request; the rest is cut off.
pub const NOTE_MAX_CHARS: usize = 200;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal;)+) => {
        /// What somebody did.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// Returns the stable name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// Published a notification, or several.
    Publish = "publish";
    /// Took a notification back.
    Retract = "retract";
    /// Asked for a ticket, for a token of another transport, or to let a stream live on.
    Token = "token";
    /// Opened a stream.
    Subscribe = "subscribe";
    /// Was refused elsewhere, for want of good credentials or of a right.
    Refused = "refused";
    /// Changed how the service works.
    Change = "change";
    /// Was shut out for a while, by the service itself.
    Block = "block";
    /// Nobody: records were dropped, because there was no room for them.
    Lost = "lost";
}

/// A text that names no kind, or no chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownName;

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such name in the audit trail")
    }
}

impl std::error::Error for UnknownName {}

impl FromStr for Kind {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.iter().find(|kind| kind.as_str() == text);
        found.copied().ok_or(UnknownName)
    }
}

/// A short text on one line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note(Box<str>);

impl Note {
    /// Takes a text; what is no printing character becomes a space, and what is too long is cut off.
    pub fn new(text: &str) -> Self {
        // As nearly every text: it is taken as it is.
        if text.len() <= NOTE_MAX_CHARS && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Self(text.into());
        }
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        Self(
            text.chars()
                .take(NOTE_MAX_CHARS)
                .map(plain)
                .collect::<String>()
                .into(),
        )
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What was done.
    pub kind: Kind,
    /// Who did it; `None` where nobody could say who they are.
    pub who: Option<UserId>,
    /// To what.
    pub target: Note,
    /// What came of it.
    pub outcome: Note,
    /// The request's id.
    pub request: Note,
}

/// One life of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub u64);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ChainId {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or(UnknownName)
    }
}

/// An entry with its place in its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose chain.
    pub chain: ChainId,
    /// The how manieth of its chain, from 1 on.
    pub sequence: u64,
    /// What it records.
    pub entry: Entry,
}

impl Record {
    /// Returns the text that is sealed.
    pub fn canonical(&self) -> String {
        let Entry {
            at,
            kind,
            who,
            target,
            outcome,
            request,
        } = &self.entry;
        let who = who.as_ref().map_or("", UserId::as_str);
        let (chain, sequence) = (self.chain.to_string(), self.sequence.to_string());
        let at = at.as_millis().to_string();
        let fields = [
            &chain,
            &sequence,
            &at,
            kind.as_str(),
            who,
            target.as_str(),
            outcome.as_str(),
            request.as_str(),
        ];
        fields
            .iter()
            .fold("arauto-audit-1\n".to_owned(), |mut text, field| {
                // Writing to a text does not fail.
                let _ = writeln!(text, "{}:{field}", field.len());
                text
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            chain: ChainId(0xab),
            sequence: 7,
            entry: Entry {
                at: Timestamp::from_millis(5),
                kind: Kind::Change,
                who: Some("ana".parse().unwrap()),
                target: Note::new("PUT /v1/admin/rollout"),
                outcome: Note::new("200"),
                request: Note::new("r-1"),
            },
        }
    }

    #[test]
    fn the_sealed_text_is_written_once_and_for_good() {
        let text = "arauto-audit-1\n16:00000000000000ab\n1:7\n1:5\n6:change\n3:ana\n21:PUT /v1/admin/rollout\n3:200\n3:r-1\n";
        assert_eq!(record().canonical(), text);
    }

    #[test]
    fn every_field_is_in_the_sealed_text() {
        let known = record().canonical();
        let change: [fn(&mut Record); 8] = [
            |r| r.chain = ChainId(0xac),
            |r| r.sequence = 8,
            |r| r.entry.at = Timestamp::from_millis(6),
            |r| r.entry.kind = Kind::Publish,
            |r| r.entry.who = None,
            |r| r.entry.target = Note::new("PUT /v1/admin/rollout\n3:200"),
            |r| r.entry.outcome = Note::new("2003:r-1"),
            |r| r.entry.request = Note::default(),
        ];
        for (field, change) in change.iter().enumerate() {
            let mut changed = record();
            change(&mut changed);
            assert_ne!(changed.canonical(), known, "field {field}");
        }
    }

    #[test]
    fn notes_are_one_bounded_line() {
        assert_eq!(Note::new("a\nb\u{7}").as_str(), "a b ");
        assert_eq!(
            Note::new(&"é".repeat(1_000)).as_str().chars().count(),
            NOTE_MAX_CHARS
        );
    }

    #[test]
    fn names_read_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
        assert_eq!("other".parse::<Kind>(), Err(UnknownName));
        assert_eq!(ChainId(5).to_string().parse(), Ok(ChainId(5)));
        assert_eq!("5".parse::<ChainId>(), Err(UnknownName));
    }
}
