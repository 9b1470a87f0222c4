//! Epochs: telling one history from another.
//!
//! A database that was restored or failed over may have lost what it had acknowledged, and would give the same
//! positions out again. Its system identifier and WAL timeline tell.

use domain::cursor::{Epoch, Position};
use tokio_postgres::Transaction;

use super::connect::Failure;
use super::store::LOG_LOCK;

/// Two epochs that begin in the same millisecond still differ in these many bits.
const CHANCE_BITS: u32 = 20;

/// Makes sure that the epoch in force is of this very history, and returns it: the latest one, or a new one where
/// the database is not what it was, or where `known` (an epoch, and a position that was seen in it) is ahead of the
/// log.
///
/// MUST be called on each new connection that writes or follows the log.
pub(super) async fn verify(
    transaction: Transaction<'_>,
    known: Option<(Epoch, Position)>,
    chance: u64,
) -> Result<Epoch, Failure> {
    // A standby refuses the second function, and with it everything here: only a primary knows the head.
    let identity = transaction
        .query_one(
            "SELECT system_identifier,
                    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
             FROM pg_control_system()",
            &[],
        )
        .await?;
    let identity: (i64, i64) = (identity.get(0), identity.get(1));
    if let Some(epoch) = in_force(&transaction, identity, known).await? {
        return Ok(epoch);
    }
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&LOG_LOCK])
        .await?;
    // Another node may have begun it meanwhile.
    if let Some(epoch) = in_force(&transaction, identity, known).await? {
        return Ok(epoch);
    }
    let (epoch, after) = begin(&transaction, identity, chance).await?;
    transaction.commit().await?;
    if after == 0 {
        tracing::info!(%epoch, "the history begins");
    } else {
        tracing::warn!(%epoch, after, "the database is not what it was: a new history begins, every client reloads");
    }
    Ok(epoch)
}

/// Begins a new epoch whatever the present one says, for after a manual restore.
pub(super) async fn renew(transaction: Transaction<'_>, chance: u64) -> Result<Epoch, Failure> {
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&LOG_LOCK])
        .await?;
    let identity = transaction
        .query_one(
            "SELECT system_identifier,
                    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
             FROM pg_control_system()",
            &[],
        )
        .await?;
    let (epoch, _) = begin(&transaction, (identity.get(0), identity.get(1)), chance).await?;
    transaction.commit().await?;
    Ok(epoch)
}

async fn in_force(
    transaction: &Transaction<'_>,
    identity: (i64, i64),
    known: Option<(Epoch, Position)>,
) -> Result<Option<Epoch>, Failure> {
    let latest = transaction
        .query_opt(
            "SELECT epoch, system_identifier, timeline,
                    coalesce((SELECT max(position) FROM events), 0)
             FROM epochs
             ORDER BY epoch DESC
             LIMIT 1",
            &[],
        )
        .await?;
    let Some(latest) = latest else {
        return Ok(None);
    };
    let epoch = Epoch(latest.get::<_, i64>(0).cast_unsigned());
    let head = Position(latest.get::<_, i64>(3).cast_unsigned());
    let same = (latest.get::<_, i64>(1), latest.get::<_, i64>(2)) == identity;
    let lost = known.is_some_and(|(known, seen)| known == epoch && head < seen);
    Ok((same && !lost).then_some(epoch))
}

async fn begin(
    transaction: &Transaction<'_>,
    (system, timeline): (i64, i64),
    chance: u64,
) -> Result<(Epoch, i64), Failure> {
    let row = transaction
        .query_one(
            "SELECT (extract(epoch FROM store_now()) * 1000)::bigint,
                    coalesce((SELECT max(epoch) FROM epochs), 0),
                    coalesce((SELECT max(position) FROM events), 0)",
            &[],
        )
        .await?;
    let (millis, latest, after): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let chance = chance >> (u64::BITS - CHANCE_BITS);
    let drawn = millis.cast_unsigned() << CHANCE_BITS | chance;
    // Later histories compare greater, whatever the clocks say.
    let epoch = Epoch(drawn.max(latest.cast_unsigned() + 1));
    transaction
        .execute(
            "INSERT INTO epochs (epoch, name, system_identifier, timeline, began_after)
             VALUES ($1, $2, $3, $4, $5)",
            &[
                &epoch.0.cast_signed(),
                &epoch.to_string(),
                &system,
                &timeline,
                &after,
            ],
        )
        .await?;
    Ok((epoch, after))
}
