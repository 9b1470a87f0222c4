//! Chains: each record's hash covers the one before it.

use std::fmt::Write as _;

use domain::audit::{ChainId, Entry, Record};
use domain::time::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::ports::{Batch, Hash, Link, Sealed};

/// Returns the hash that a chain begins with.
pub fn genesis(chain: ChainId) -> Hash {
    Sha256::digest(format!("arauto-audit-1\n{chain}")).into()
}

/// Returns a record's hash in its chain.
pub fn link(before: &Hash, record: &Record) -> Hash {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(record.canonical());
    hash.finalize().into()
}

/// Writes a hash as people and texts have it.
pub fn hex(hash: &Hash) -> String {
    hash.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The chain of one life of a node.
#[derive(Debug, Clone)]
pub struct Chain {
    end: Link,
    last_at: Timestamp,
}

impl Chain {
    /// Begins a chain.
    pub fn begin(chain: ChainId) -> Self {
        Self {
            end: Link {
                chain,
                sequence: 0,
                hash: genesis(chain),
            },
            last_at: Timestamp::MIN,
        }
    }

    /// Returns where it stands.
    pub const fn end(&self) -> Link {
        self.end
    }

    /// Numbers and seals entries. Time does not go back within a chain, whatever the clock does.
    pub fn seal(&mut self, entries: Vec<Entry>) -> Batch {
        let after = self.end;
        let records = entries.into_iter().map(|entry| self.one(entry)).collect();
        Batch { after, records }
    }

    fn one(&mut self, entry: Entry) -> Sealed {
        self.last_at = self.last_at.max(entry.at);
        let record = Record {
            chain: self.end.chain,
            sequence: self.end.sequence + 1,
            entry: Entry {
                at: self.last_at,
                ..entry
            },
        };
        let hash = link(&self.end.hash, &record);
        self.end = Link {
            sequence: record.sequence,
            hash,
            ..self.end
        };
        Sealed { record, hash }
    }
}
