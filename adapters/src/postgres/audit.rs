//! The audit trail in the database.

mod published;

use std::time::Duration;

use application::ports::{Audit, AuditError, AuditPage, AuditQuery, Batch, Hash, Kept, Link, Sealed, Trail};
use async_trait::async_trait;
use deadpool_postgres::{ClientWrapper, Object, Pool, Transaction};
use domain::audit::{Entry, Kind, Note, Record};
use domain::ids::UserId;
use domain::time::Timestamp;
use tokio_postgres::Row;

use super::connect::{ConnectError, Database, Failure, Purpose};

const PURPOSE: Purpose = Purpose {
    name: "arauto-audit",
    statement: Duration::from_secs(5),
};

/// What is written, and what is asked.
const CONNECTIONS: usize = 2;

/// Whoever holds the row gives out places: without a gap, and in the order in which they are committed.
const LOCK: &str = "
SELECT head
FROM audit_trail
FOR UPDATE";

const END: &str = "
SELECT sequence, hash
FROM audit_chains
WHERE chain = $1";

const ADD: &str = "
INSERT INTO audit_records (place, chain, sequence, at_ms, kind, who, target, outcome, request, hash)
SELECT $1 + number, $2, $3 + number, at_ms, kind, who, target, outcome, request, hash
FROM unnest($4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bytea[])
    WITH ORDINALITY AS added (at_ms, kind, who, target, outcome, request, hash, number)";

const MOVE_HEAD: &str = "
UPDATE audit_trail
SET head = $1";

const MOVE_END: &str = "
INSERT INTO audit_chains (chain, sequence, hash)
VALUES ($1, $2, $3)
ON CONFLICT (chain) DO UPDATE
SET sequence = excluded.sequence, hash = excluded.hash";

const READ: &str = "
SELECT place, chain, sequence, at_ms, kind, who, target, outcome, request, hash
FROM audit_records
WHERE place > $1 AND ($3::text IS NULL OR kind = $3) AND ($4::text IS NULL OR who = $4)
ORDER BY place
LIMIT $2";

const TRAIL: &str = "
SELECT head, forgotten
FROM audit_trail";

const CHAINS: &str = "
SELECT chain, sequence, hash, forgotten_sequence, forgotten_hash
FROM audit_chains
ORDER BY chain";

/// The first records, as long as each is older: one that is not ends them.
const OLDEST: &str = "
SELECT place, at_ms
FROM audit_records
ORDER BY place
LIMIT $1";

const REMEMBER: &str = "
UPDATE audit_chains
SET forgotten_sequence = last.sequence, forgotten_hash = last.hash
FROM (
    SELECT DISTINCT ON (chain) chain, sequence, hash
    FROM audit_records
    WHERE place <= $1
    ORDER BY chain, sequence DESC
) AS last
WHERE audit_chains.chain = last.chain";

const FORGET: &str = "
DELETE FROM audit_records
WHERE place <= $1";

const FORGOTTEN: &str = "
UPDATE audit_trail
SET forgotten = $1";

/// The audit trail of all nodes of a database.
pub struct PgAudit {
    pool: Pool,
}

/// What a batch came to.
enum Written {
    Now,
    /// The same batch was written already.
    Before,
    /// Another node has recorded what this one was to.
    ByAnother,
    Elsewhere,
}

impl PgAudit {
    /// Opens the trail of a database whose schema is [migrated](super::migrate()).
    pub fn open(database: &Database) -> Result<Self, ConnectError> {
        Ok(Self {
            pool: database.by_index().pool(PURPOSE, CONNECTIONS)?,
        })
    }

    /// Asks in bounded time. A connection that did not answer is closed.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut ClientWrapper) -> Result<T, Failure>,
    ) -> Result<T, AuditError> {
        let mut connection = self.pool.get().await.map_err(Failure::from)?;
        let answer = PURPOSE.in_time(question(&mut connection)).await;
        if answer.is_err() {
            drop(Object::take(connection));
        }
        Ok(answer?)
    }
}

impl From<Failure> for AuditError {
    fn from(failure: Failure) -> Self {
        tracing::warn!(error = %failure, "the audit trail did not answer");
        Self::Unavailable
    }
}

/// Records as columns.
#[derive(Default)]
struct Columns<'a> {
    at_ms: Vec<i64>,
    kinds: Vec<&'static str>,
    who: Vec<Option<&'a str>>,
    targets: Vec<&'a str>,
    outcomes: Vec<&'a str>,
    requests: Vec<&'a str>,
    hashes: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(records: &'a [Sealed]) -> Self {
        let mut columns = Self::default();
        for Sealed { record, hash } in records {
            let entry = &record.entry;
            columns.at_ms.push(entry.at.as_millis());
            columns.kinds.push(entry.kind.as_str());
            columns.who.push(entry.who.as_ref().map(UserId::as_str));
            columns.targets.push(entry.target.as_str());
            columns.outcomes.push(entry.outcome.as_str());
            columns.requests.push(entry.request.as_str());
            columns.hashes.push(hash);
        }
        columns
    }
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Adds records after the end of their chain, and says whether they follow it.
async fn add(transaction: &Transaction<'_>, batch: &Batch, last: &Sealed) -> Result<Written, Failure> {
    let chain = batch.after.chain.to_string();
    let head: i64 = transaction.query_one(LOCK, &[]).await?.try_get(0)?;
    let end = transaction.query_opt(END, &[&chain]).await?;
    let end = end
        .map(|row| Ok::<_, Failure>((row.try_get::<_, i64>(0)?, row.try_get::<_, Vec<u8>>(1)?)))
        .transpose()?;
    match end {
        Some((sequence, hash)) if sequence == number(last.record.sequence) && hash == last.hash => {
            return Ok(Written::Before);
        }
        Some((sequence, hash)) if sequence != number(batch.after.sequence) || hash != batch.after.hash => {
            return Ok(Written::Elsewhere);
        }
        None if batch.after.sequence != 0 => return Ok(Written::Elsewhere),
        _ => {}
    }
    let c = Columns::of(&batch.records);
    let added = transaction
        .execute(
            ADD,
            &[
                &head,
                &chain,
                &number(batch.after.sequence),
                &c.at_ms,
                &c.kinds,
                &c.who,
                &c.targets,
                &c.outcomes,
                &c.requests,
                &c.hashes,
            ],
        )
        .await?;
    transaction.execute(MOVE_HEAD, &[&(head + number(added))]).await?;
    let hash: &[u8] = &last.hash;
    transaction
        .execute(MOVE_END, &[&chain, &number(last.record.sequence), &hash])
        .await?;
    Ok(Written::Now)
}

#[async_trait]
impl Audit for PgAudit {
    async fn append(&self, batch: &Batch) -> Result<(), AuditError> {
        let Some(last) = batch.records.last() else {
            return Ok(());
        };
        let written = self.ask(async |client| {
            let transaction = client.transaction().await?;
            let written = add(&transaction, batch, last).await?;
            transaction.commit().await?;
            Ok(written)
        });
        match written.await? {
            Written::Now | Written::Before | Written::ByAnother => Ok(()),
            Written::Elsewhere => Err(AuditError::Elsewhere),
        }
    }

    async fn read(&self, query: &AuditQuery) -> Result<AuditPage, AuditError> {
        let after = i64::try_from(query.after).unwrap_or(i64::MAX);
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
        let kind = query.kind.map(Kind::as_str);
        let who = query.who.as_ref().map(UserId::as_str);
        let (rows, head) = self
            .ask(async |client| {
                // Before the records: what is committed between the two is another page's.
                let head: i64 = client.query_one(TRAIL, &[]).await?.try_get(0)?;
                let rows = client.query(READ, &[&after, &limit, &kind, &who]).await?;
                Ok((rows, head.cast_unsigned()))
            })
            .await?;
        let records = rows.iter().map(kept).collect::<Result<Vec<_>, _>>()?;
        let looked_to = match records.last() {
            Some(last) if records.len() == query.limit => last.place,
            Some(last) => last.place.max(head),
            None => head.max(query.after),
        };
        Ok(AuditPage { records, looked_to })
    }

    async fn trail(&self) -> Result<Trail, AuditError> {
        let (trail, chains) = self
            .ask(async |client| {
                // One snapshot: an end belongs to its head.
                let reading = client
                    .build_transaction()
                    .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
                    .read_only(true);
                let transaction = reading.start().await?;
                let trail = transaction.query_one(TRAIL, &[]).await?;
                let chains = transaction.query(CHAINS, &[]).await?;
                transaction.commit().await?;
                Ok((trail, chains))
            })
            .await?;
        let mut found = Trail {
            head: column::<i64>(&trail, 0, 0)?.cast_unsigned(),
            forgotten: column::<i64>(&trail, 1, 0)?.cast_unsigned(),
            ..Trail::default()
        };
        for row in &chains {
            found.ends.extend(link(row, 1)?);
            found.begins.extend(link(row, 3)?);
        }
        Ok(found)
    }

    async fn forget(&self, before: Timestamp, limit: usize) -> Result<usize, AuditError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.ask(async |client| {
            let transaction = client.transaction().await?;
            transaction.query_one(LOCK, &[]).await?;
            let mut last = None;
            let mut older = 0;
            for row in transaction.query(OLDEST, &[&limit]).await? {
                if row.try_get::<_, i64>(1)? >= before.as_millis() {
                    break;
                }
                last = Some(row.try_get::<_, i64>(0)?);
                older += 1;
            }
            let Some(last) = last else { return Ok(0) };
            transaction
                .batch_execute("SET LOCAL arauto.audit_retention = 'on'")
                .await?;
            transaction.execute(REMEMBER, &[&last]).await?;
            transaction.execute(FORGET, &[&last]).await?;
            transaction.execute(FORGOTTEN, &[&last]).await?;
            transaction.commit().await?;
            Ok(older)
        })
        .await
    }
}

fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    at: usize,
    place: u64,
) -> Result<T, AuditError> {
    row.try_get(at).map_err(|_| AuditError::Unreadable { place })
}

/// Reads a chain's place from two columns; `None` where they hold none.
fn link(row: &Row, at: usize) -> Result<Option<Link>, AuditError> {
    let unreadable = AuditError::Unreadable { place: 0 };
    let chain: &str = column(row, 0, 0)?;
    let (sequence, hash): (Option<i64>, Option<&[u8]>) = (column(row, at, 0)?, column(row, at + 1, 0)?);
    let Some((sequence, hash)) = sequence.zip(hash) else {
        return Ok(None);
    };
    Ok(Some(Link {
        chain: chain.parse().map_err(|_| unreadable)?,
        sequence: sequence.cast_unsigned(),
        hash: Hash::try_from(hash).map_err(|_| unreadable)?,
    }))
}

fn kept(row: &Row) -> Result<Kept, AuditError> {
    let place = column::<i64>(row, 0, 0)?.cast_unsigned();
    let unreadable = AuditError::Unreadable { place };
    let text = |at: usize| column::<&str>(row, at, place);
    let who: Option<&str> = column(row, 5, place)?;
    let record = Record {
        chain: text(1)?.parse().map_err(|_| unreadable)?,
        sequence: column::<i64>(row, 2, place)?.cast_unsigned(),
        entry: Entry {
            at: Timestamp::from_millis(column(row, 3, place)?),
            kind: text(4)?.parse().map_err(|_| unreadable)?,
            who: who.map(str::parse).transpose().map_err(|_| unreadable)?,
            target: Note::new(text(6)?),
            outcome: Note::new(text(7)?),
            request: Note::new(text(8)?),
        },
    };
    let hash = Hash::try_from(column::<&[u8]>(row, 9, place)?).map_err(|_| unreadable)?;
    Ok(Kept {
        place,
        sealed: Sealed { record, hash },
    })
}
