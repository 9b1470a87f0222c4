//! The audit trail.

use async_trait::async_trait;
use domain::audit::{ChainId, Entry, Kind, Record};
use domain::cursor::Position;
use domain::ids::UserId;
use domain::time::Timestamp;

/// SHA-256.
pub type Hash = [u8; 32];

/// A record, sealed: its hash covers the one before it in its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The record.
    pub record: Record,
    /// The hash of the record before it, and of this one.
    pub hash: Hash,
}

/// Where a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The chain.
    pub chain: ChainId,
    /// The number of its last record; 0 before the first.
    pub sequence: u64,
    /// That record's hash.
    pub hash: Hash,
}

/// Records of one chain that follow one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Where the chain stands before them.
    pub after: Link,
    /// The records; never none.
    pub records: Vec<Sealed>,
}

/// A record as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its place in the trail of all nodes, from 1 on and without a gap.
    pub place: u64,
    /// The record.
    pub sealed: Sealed,
}

/// Which records are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Those after this place.
    pub after: u64,
    /// At most so many.
    pub limit: usize,
    /// Those of this kind alone.
    pub kind: Option<Kind>,
    /// Those of this person alone.
    pub who: Option<UserId>,
}

/// Where the trail begins and ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trail {
    /// The last place that was forgotten; 0 where none was.
    pub forgotten: u64,
    /// The last place.
    pub head: u64,
    /// Where each chain stood when its last record was forgotten. Chains of which none was are left out.
    pub begins: Vec<Link>,
    /// Where each chain ends.
    pub ends: Vec<Link>,
}

/// Why the trail was not written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The chain stands elsewhere, so that the records do not follow.
    #[error("the chain stands elsewhere than the records follow")]
    Elsewhere,
    /// The trail cannot be reached.
    #[error("the audit trail is unavailable")]
    Unavailable,
    /// What is kept is no record.
    #[error("what is kept at place {place} is no record")]
    Unreadable {
        /// Where; 0 where that cannot be told.
        place: u64,
    },
}

/// The audit trail of all nodes, which only grows at its end and is forgotten at its beginning.
///
/// An adapter MUST give a batch places without a gap and write it whole or not at all, with the end of its chain, and
/// MUST refuse one whose chain stands elsewhere; but the same batch once more MUST be taken as written. It MUST forget
/// places from the first on alone, and keep where each chain stood then. Contract suite: `tests/it/contract/audit.rs`.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Audit: Send + Sync {
    /// Appends records of one chain.
    async fn append(&self, batch: &Batch) -> Result<(), AuditError>;

    /// Reads records by place. An adapter MAY look at a bounded number of places only; [`AuditPage::looked_to`] says up to
    /// where it looked.
    async fn read(&self, query: &AuditQuery) -> Result<AuditPage, AuditError>;

    /// Says where the trail begins and ends.
    async fn trail(&self) -> Result<Trail, AuditError>;

    /// Forgets the first records as long as they are older than `before`, at most `limit`, and says how many.
    async fn forget(&self, before: Timestamp, limit: usize) -> Result<usize, AuditError>;
}

/// Records that were looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The records, by place.
    pub records: Vec<Kept>,
    /// Every place up to here was looked at.
    pub looked_to: u64,
}

/// A stretch of the log, from a place that is in the trail to one that is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Up to here the trail has it.
    pub from: Position,
    /// Up to here it was read.
    pub to: Position,
}

/// Publishes that are in the log and not in the trail yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrecorded {
    /// Where they were read.
    pub stretch: Stretch,
    /// What the trail is to say of them, in the log's order.
    pub entries: Vec<Entry>,
    /// How many places had left the log before they were read.
    pub gone: u64,
    /// Whether the log went on behind the stretch when it was read.
    pub more: bool,
}

/// Publishes, from the log into the trail.
///
/// An accepted publish is in the log with who published it, by the same commit. An adapter MUST give every such publish in
/// the log's order, also when it was taken back since; it MUST append a batch and move the mark in one step, and refuse
/// where the mark is elsewhere, so that each is recorded once however many nodes try. The same batch once more MUST be
/// taken as written. Contract tests: `tests/it/contract/audit/published.rs`.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait PublishTrail: Send + Sync {
    /// Reads the next stretch; `None` where the trail has the whole log.
    async fn unrecorded(&self) -> Result<Option<Unrecorded>, AuditError>;

    /// Appends what a stretch gave, perhaps nothing, and moves the mark to its end. `false` where another node has done so.
    async fn record(&self, batch: &Batch, stretch: Stretch) -> Result<bool, AuditError>;
}
