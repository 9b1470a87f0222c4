//! The audit trail of this process: gone when it ends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use application::ports::{Audit, AuditError, AuditPage, AuditQuery, Batch, Kept, Link, Trail};
use async_trait::async_trait;
use domain::audit::ChainId;
use domain::time::Timestamp;

/// Records that are kept, some 50 MiB at the most; the first give way.
const RECORDS_MAX: usize = 100_000;

/// The audit trail of this process.
#[derive(Debug, Default)]
pub struct MemoryAudit(
    /// Never held across an await.
    Mutex<Records>,
);

#[derive(Debug, Default)]
struct Records {
    forgotten: u64,
    kept: VecDeque<Kept>,
    begins: BTreeMap<ChainId, Link>,
    ends: BTreeMap<ChainId, Link>,
}

impl Records {
    fn head(&self) -> u64 {
        self.kept.back().map_or(self.forgotten, |kept| kept.place)
    }

    fn forget_first(&mut self) {
        let Some(first) = self.kept.pop_front() else {
            return;
        };
        let record = &first.sealed.record;
        let link = Link {
            chain: record.chain,
            sequence: record.sequence,
            hash: first.sealed.hash,
        };
        self.forgotten = first.place;
        self.begins.insert(record.chain, link);
    }
}

impl MemoryAudit {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Audit for MemoryAudit {
    async fn append(&self, batch: &Batch) -> Result<(), AuditError> {
        let Some(last) = batch.records.last() else {
            return Ok(());
        };
        let end = Link {
            chain: batch.after.chain,
            sequence: last.record.sequence,
            hash: last.hash,
        };
        let mut records = self.records();
        match records.ends.get(&end.chain) {
            Some(known) if *known == end => return Ok(()),
            Some(known) if *known != batch.after => return Err(AuditError::Elsewhere),
            None if batch.after.sequence != 0 => return Err(AuditError::Elsewhere),
            _ => {}
        }
        for sealed in &batch.records {
            let place = records.head() + 1;
            let sealed = sealed.clone();
            records.kept.push_back(Kept { place, sealed });
        }
        records.ends.insert(end.chain, end);
        while records.kept.len() > RECORDS_MAX {
            records.forget_first();
        }
        Ok(())
    }

    async fn read(&self, query: &AuditQuery) -> Result<AuditPage, AuditError> {
        let records = self.records();
        let first = records.kept.partition_point(|kept| kept.place <= query.after);
        let wanted = |kept: &&Kept| {
            let entry = &kept.sealed.record.entry;
            query.kind.is_none_or(|kind| entry.kind == kind)
                && query
                    .who
                    .as_ref()
                    .is_none_or(|who| entry.who.as_ref() == Some(who))
        };
        let found: Vec<Kept> = records
            .kept
            .iter()
            .skip(first)
            .filter(wanted)
            .take(query.limit)
            .cloned()
            .collect();
        let looked_to = match found.last() {
            Some(last) if found.len() == query.limit => last.place,
            _ => records.head().max(query.after),
        };
        Ok(AuditPage {
            records: found,
            looked_to,
        })
    }

    async fn trail(&self) -> Result<Trail, AuditError> {
        let records = self.records();
        Ok(Trail {
            forgotten: records.forgotten,
            head: records.head(),
            begins: records.begins.values().copied().collect(),
            ends: records.ends.values().copied().collect(),
        })
    }

    async fn forget(&self, before: Timestamp, limit: usize) -> Result<usize, AuditError> {
        let mut records = self.records();
        let mut forgotten = 0;
        while forgotten < limit
            && records
                .kept
                .front()
                .is_some_and(|first| first.sealed.record.entry.at < before)
        {
            records.forget_first();
            forgotten += 1;
        }
        Ok(forgotten)
    }
}
