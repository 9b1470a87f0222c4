//! Records of the audit trail as Redis keeps them.

use application::audit::hex;
use application::ports::{Hash, Link, Sealed};
use domain::audit::{Entry, Note, Record};
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Unreadable, millis, parse};

#[derive(Serialize, Deserialize)]
pub(crate) struct AuditRecord {
    chain: String,
    sequence: u64,
    at: i64,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    who: Option<String>,
    target: String,
    outcome: String,
    request: String,
    hash: String,
}

impl From<&Sealed> for AuditRecord {
    fn from(Sealed { record, hash }: &Sealed) -> Self {
        let entry = &record.entry;
        Self {
            chain: record.chain.to_string(),
            sequence: record.sequence,
            at: millis(entry.at),
            kind: entry.kind.as_str().to_owned(),
            who: entry.who.as_ref().map(ToString::to_string),
            target: entry.target.as_str().to_owned(),
            outcome: entry.outcome.as_str().to_owned(),
            request: entry.request.as_str().to_owned(),
            hash: hex(hash),
        }
    }
}

impl TryFrom<AuditRecord> for Sealed {
    type Error = Unreadable;

    fn try_from(record: AuditRecord) -> Result<Self, Unreadable> {
        Ok(Self {
            hash: from_hex(&record.hash)?,
            record: Record {
                chain: parse(&record.chain, "chain")?,
                sequence: record.sequence,
                entry: Entry {
                    at: Timestamp::from_millis(record.at),
                    kind: parse(&record.kind, "kind")?,
                    who: record.who.map(|who| parse(&who, "who")).transpose()?,
                    target: Note::new(&record.target),
                    outcome: Note::new(&record.outcome),
                    request: Note::new(&record.request),
                },
            },
        })
    }
}

/// Where a chain stands, as `sequence:hash`.
pub(crate) struct LinkRecord;

impl LinkRecord {
    pub(crate) fn write(link: &Link) -> String {
        format!("{}:{}", link.sequence, hex(&link.hash))
    }

    pub(crate) fn read(chain: &str, text: &str) -> Result<Link, Unreadable> {
        let (sequence, hash) = text.split_once(':').ok_or_else(|| Unreadable::new("link"))?;
        Ok(Link {
            chain: parse(chain, "chain")?,
            sequence: parse(sequence, "sequence")?,
            hash: from_hex(hash)?,
        })
    }
}

fn from_hex(text: &str) -> Result<Hash, Unreadable> {
    let unreadable = || Unreadable::new("hash");
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(unreadable());
    }
    let mut hash = Hash::default();
    for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| unreadable())?;
    }
    Ok(hash)
}
