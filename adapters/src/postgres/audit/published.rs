//! Publishes, from the log into the trail: both are tables of one database.

use std::time::SystemTime;

use application::ports::{AuditError, Batch, PublishTrail, Stretch, Unrecorded};
use async_trait::async_trait;
use domain::audit::Entry;
use domain::cursor::Position;
use tokio_postgres::Row;

use super::super::connect::Failure;
use super::super::moment::timestamp;
use super::{PgAudit, Written, add, number};
use crate::record::{PublishingRecord, from_text};

/// Places of the log that are read in one step: a commit of publishing holds at most half as many.
const STRETCH_MAX: i64 = 2_000;

/// The next stretch, with the first event of each publish in it. One that was taken back since is of kind 4. Positions
/// become visible in their order, so that none is passed over.
const UNRECORDED: &str = "
WITH stretch AS (
    SELECT p.through, least(p.through + $1, log.head) AS upto, log.head, coalesce(log.oldest, p.through + 1) AS oldest
    FROM audit_published AS p
    CROSS JOIN LATERAL (
        SELECT
            coalesce((SELECT position FROM events ORDER BY position DESC LIMIT 1), 0) AS head,
            (SELECT position FROM events ORDER BY position LIMIT 1) AS oldest
    ) AS log
)
SELECT s.through, s.upto, s.head, s.oldest, e.position, e.at, e.detail
FROM stretch s
LEFT JOIN LATERAL (
    SELECT position, at, detail
    FROM events
    WHERE position > s.through
      AND position <= s.upto
      AND kind IN (1, 4)
      AND detail IS NOT NULL
    ORDER BY position
    LIMIT $1
) AS e ON true
ORDER BY e.position";

const MOVE_ON: &str = "
UPDATE audit_published
SET through = $2
WHERE through = $1";

#[async_trait]
impl PublishTrail for PgAudit {
    async fn unrecorded(&self) -> Result<Option<Unrecorded>, AuditError> {
        self.ask(async |client| {
            let unrecorded = client.prepare_cached(UNRECORDED).await?;
            found(&client.query(&unrecorded, &[&STRETCH_MAX]).await?)
        })
        .await
    }

    async fn record(&self, batch: &Batch, stretch: Stretch) -> Result<bool, AuditError> {
        let written = self.ask(async |client| {
            let transaction = client.transaction().await?;
            if let Some(last) = batch.records.last() {
                match add(&transaction, batch, last).await? {
                    Written::Now => {}
                    other => return Ok(other),
                }
            }
            let (from, to) = (number(stretch.from.0), number(stretch.to.0));
            if transaction.execute(MOVE_ON, &[&from, &to]).await? == 0 {
                // Nothing of this batch remains.
                return Ok(Written::ByAnother);
            }
            transaction.commit().await?;
            Ok(Written::Now)
        });
        match written.await? {
            Written::Now | Written::Before => Ok(true),
            Written::ByAnother => Ok(false),
            Written::Elsewhere => Err(AuditError::Elsewhere),
        }
    }
}

fn found(rows: &[Row]) -> Result<Option<Unrecorded>, Failure> {
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let place = |name| -> Result<u64, Failure> { Ok(first.try_get::<_, i64>(name)?.cast_unsigned()) };
    let (from, to, oldest) = (place("through")?, place("upto")?, place("oldest")?);
    let more = to < place("head")?;
    if to <= from {
        return Ok(None);
    }
    let mut entries = Vec::new();
    for row in rows {
        entries.extend(entry(row)?);
    }
    Ok(Some(Unrecorded {
        stretch: Stretch {
            from: Position(from),
            to: Position(to),
        },
        entries,
        gone: oldest.min(to + 1).saturating_sub(from + 1),
        more,
    }))
}

/// Reads one publish. What another version wrote is left out: it holds nobody up.
fn entry(row: &Row) -> Result<Option<Entry>, Failure> {
    let Some(detail) = row.try_get::<_, Option<&str>>("detail")? else {
        return Ok(None);
    };
    let at: SystemTime = row.try_get("at")?;
    let read = from_text::<PublishingRecord>(detail).and_then(|record| record.entry(timestamp(at)));
    Ok(read
        .inspect_err(|error| tracing::error!(%error, "who published something cannot be read"))
        .ok())
}
