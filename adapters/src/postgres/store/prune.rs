//! Dropping what has fallen out of its bounds, a step at a time.
//!
//! Two lines move through the log: where history begins, and where the inbox begins. A row goes when both have
//! passed it; whoever reads looks at the lines, so that they move first.

use std::time::Duration;

use application::ports::Pruned;
use deadpool_postgres::{ClientWrapper, Transaction};

use super::super::connect::Failure;
use super::PgStoreConfig;

/// How much one step drops of each kind at most: some tens of milliseconds, under no lock that a publisher needs.
const STEP: i64 = 2_048;

/// One node prunes at a time; whoever comes second has nothing to do. "arauto" in ASCII, and 2.
const LOCK: i64 = 0x6172_6175_746f_0002;
const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock($1) AS mine";

/// Finds the last event of this step that is too old, too many or too much for the history.
/// $1 age in ms, $2 events, $3 bytes, $4 step.
const HISTORY: &str = "
SELECT max(e.position) AS through, bounds.oldest
FROM bounds
CROSS JOIN LATERAL (SELECT position, bytes_through FROM events ORDER BY position DESC LIMIT 1) AS last
CROSS JOIN LATERAL (
    SELECT position, at, bytes, bytes_through
    FROM events
    WHERE position >= bounds.oldest
    ORDER BY position
    LIMIT $4
) AS e
WHERE e.at <= store_now() - $1::int8 * interval '1 millisecond'
   OR last.position - e.position >= $2::int8
   OR last.bytes_through - e.bytes_through + e.bytes > $3::int8
GROUP BY bounds.oldest";

/// Finds the last item of this step that is too old for the inbox, up to the end of its notification.
/// $1 age in ms, $2 step.
const INBOX_AGE: &str = "
SELECT
    max(n.first_position + n.events - 1) AS through,
    count(DISTINCT e.notification) AS notifications,
    bounds.inbox_after
FROM bounds
CROSS JOIN LATERAL (
    SELECT position, at, notification
    FROM events
    WHERE position > bounds.inbox_after AND kind = 1
    ORDER BY position
    LIMIT $2
) AS e
JOIN notifications n ON n.id = e.notification
WHERE e.at <= store_now() - $1::int8 * interval '1 millisecond'
GROUP BY bounds.inbox_after";

/// Finds the last item of this step that is one too many. $1 items, $2 step.
const INBOX_NUMBER: &str = "
SELECT
    max(n.first_position + n.events - 1) AS through,
    count(DISTINCT e.notification) AS notifications,
    bounds.inbox_after
FROM bounds
CROSS JOIN LATERAL (
    SELECT count(*) - $1::int8 AS surplus
    FROM events
    WHERE position > bounds.inbox_after
      AND kind = 1
      AND (expires_at IS NULL OR expires_at > store_now())
) AS items
CROSS JOIN LATERAL (
    SELECT position, notification
    FROM events
    WHERE position > bounds.inbox_after
      AND kind = 1
      AND (expires_at IS NULL OR expires_at > store_now())
    ORDER BY position
    LIMIT greatest(0, least(items.surplus, $2::int8))
) AS e
JOIN notifications n ON n.id = e.notification
GROUP BY bounds.inbox_after";

/// Deletes the rows of a stretch that both lines have passed, and notifications whose last row that was. The newest
/// row of the log stays: the next position follows from it. $1 and $2 the stretch, both included.
const SWEEP: &str = "
WITH gone AS (
    DELETE FROM events e
    USING bounds
    WHERE e.position BETWEEN $1 AND $2
      AND e.position < bounds.oldest
      AND (e.kind <> 1 OR e.position <= bounds.inbox_after)
      AND e.position < (SELECT max(position) FROM events)
    RETURNING e.notification, e.kind, bounds.oldest, bounds.inbox_after
)
DELETE FROM notifications n
USING gone
WHERE gone.kind = 1
  AND n.id = gone.notification
  AND n.first_position + n.events - 1 < gone.oldest
  AND n.first_position + n.events - 1 <= gone.inbox_after";

/// Deletes the marks of a stretch that has left the inbox.
const SWEEP_MARKS: &str = "DELETE FROM marks WHERE position BETWEEN $1 AND $2";

/// Deletes keys whose day is over: they stand first.
const KEYS: &str = "
DELETE FROM idempotency_keys
WHERE serial IN (
    SELECT serial
    FROM (SELECT serial, until FROM idempotency_keys ORDER BY serial LIMIT $1) AS first
    WHERE until <= store_now()
)";

/// Drops a step of everything.
pub(super) async fn prune(client: &mut ClientWrapper, config: &PgStoreConfig) -> Result<Pruned, Failure> {
    let transaction = client.transaction().await?;
    let lock = transaction.prepare_cached(TRY_LOCK).await?;
    if !transaction
        .query_one(&lock, &[&LOCK])
        .await?
        .try_get::<_, bool>("mine")?
    {
        return Ok(Pruned::default());
    }
    let mut pruned = Pruned {
        events: prune_history(&transaction, config).await?,
        items: prune_inbox_by_age(&transaction, config).await?,
        keys: prune_keys(&transaction).await?,
    };
    // The number is only looked at when ages have nothing more to say: counting reads the whole inbox.
    if pruned == Pruned::default() {
        pruned.items = prune_inbox_by_number(&transaction, config).await?;
    }
    transaction.commit().await?;
    Ok(pruned)
}

async fn prune_history(transaction: &Transaction<'_>, config: &PgStoreConfig) -> Result<usize, Failure> {
    let find = transaction.prepare_cached(HISTORY).await?;
    let parameters = (
        millis(config.history_ttl),
        bound(config.history_max_events),
        bound(config.history_max_bytes),
    );
    let found = transaction
        .query_opt(&find, &[&parameters.0, &parameters.1, &parameters.2, &STEP])
        .await?;
    let Some(row) = found else {
        return Ok(0);
    };
    let (oldest, through): (i64, i64) = (row.try_get("oldest")?, row.try_get("through")?);
    transaction
        .execute("UPDATE bounds SET oldest = $1", &[&(through + 1)])
        .await?;
    sweep(transaction, oldest, through).await?;
    Ok(usize::try_from(through + 1 - oldest).unwrap_or_default())
}

async fn prune_inbox_by_age(transaction: &Transaction<'_>, config: &PgStoreConfig) -> Result<usize, Failure> {
    let find = transaction.prepare_cached(INBOX_AGE).await?;
    let found = transaction
        .query_opt(&find, &[&millis(config.inbox_ttl), &STEP])
        .await?;
    move_inbox(transaction, found).await
}

async fn prune_inbox_by_number(
    transaction: &Transaction<'_>,
    config: &PgStoreConfig,
) -> Result<usize, Failure> {
    let find = transaction.prepare_cached(INBOX_NUMBER).await?;
    let found = transaction
        .query_opt(&find, &[&bound(config.inbox_max_items), &STEP])
        .await?;
    move_inbox(transaction, found).await
}

async fn move_inbox(
    transaction: &Transaction<'_>,
    found: Option<tokio_postgres::Row>,
) -> Result<usize, Failure> {
    let Some(row) = found else {
        return Ok(0);
    };
    let (after, through): (i64, i64) = (row.try_get("inbox_after")?, row.try_get("through")?);
    transaction
        .execute("UPDATE bounds SET inbox_after = $1", &[&through])
        .await?;
    let marks = transaction.prepare_cached(SWEEP_MARKS).await?;
    transaction.execute(&marks, &[&(after + 1), &through]).await?;
    sweep(transaction, after + 1, through).await?;
    Ok(usize::try_from(row.try_get::<_, i64>("notifications")?).unwrap_or_default())
}

/// Sweeps a stretch, and the row before it: it may have stayed because it was the newest.
async fn sweep(transaction: &Transaction<'_>, first: i64, last: i64) -> Result<(), Failure> {
    let sweep = transaction.prepare_cached(SWEEP).await?;
    transaction.execute(&sweep, &[&(first - 1), &last]).await?;
    Ok(())
}

async fn prune_keys(transaction: &Transaction<'_>) -> Result<usize, Failure> {
    let keys = transaction.prepare_cached(KEYS).await?;
    let dropped = transaction.execute(&keys, &[&STEP]).await?;
    Ok(usize::try_from(dropped).unwrap_or(usize::MAX))
}

fn millis(age: Duration) -> i64 {
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
}

fn bound(bound: usize) -> i64 {
    i64::try_from(bound).unwrap_or(i64::MAX)
}
