//! Taking notifications back, and finding where they went.

use application::ports::{Retraction, Written};
use deadpool_postgres::ClientWrapper;
use domain::channel::Channel;
use domain::event::Change;
use domain::ids::NotificationId;
use tokio_postgres::Row;

use super::super::connect::Failure;
use super::append::{Entry, append, hold, written};
use super::rows::{channel, uuid};

/// The channels of a notification, in the order of its events; one row, none where it is unknown.
const CHANNELS: &str = "
SELECT
    n.first_position IS NULL AS scheduled,
    coalesce(
        n.channels,
        (
            SELECT array_agg(e.channel ORDER BY e.position)
            FROM events e
            WHERE e.position BETWEEN n.first_position AND n.first_position + n.events - 1
              AND e.kind = 1
        ),
        '{}'
    ) AS channels
FROM notifications n
WHERE n.id = $1";

/// Its content goes; the places of its events remain.
const ERASE: &str = "
WITH gone AS (
    DELETE FROM notifications
    WHERE id = $1
    RETURNING first_position, events
)
UPDATE events e
SET kind = 4, channel = NULL, notification = NULL, expires_at = NULL
FROM gone
WHERE e.position BETWEEN gone.first_position AND gone.first_position + gone.events - 1
  AND e.kind = 1
RETURNING e.position";

const FORGET_MARKS: &str = "DELETE FROM marks WHERE position = ANY ($1::int8[])";

pub(super) async fn channels_of(
    client: &ClientWrapper,
    id: NotificationId,
) -> Result<Option<Vec<Channel>>, Failure> {
    let statement = client.prepare_cached(CHANNELS).await?;
    let row = client.query_opt(&statement, &[&uuid(id)]).await?;
    row.map(|row| channels(&row)).transpose()
}

fn channels(row: &Row) -> Result<Vec<Channel>, Failure> {
    let names: Vec<&str> = row.try_get("channels")?;
    Ok(names.into_iter().map(channel).collect::<Result<_, _>>()?)
}

pub(super) async fn retract(
    client: &mut ClientWrapper,
    id: NotificationId,
) -> Result<Written<Retraction>, Failure> {
    let transaction = client.transaction().await?;
    let end = hold(&transaction).await?;
    let find = transaction.prepare_cached(CHANNELS).await?;
    let Some(row) = transaction.query_opt(&find, &[&uuid(id)]).await? else {
        return Ok(written(&end, Retraction::Unknown, Vec::new()));
    };
    let erase = transaction.prepare_cached(ERASE).await?;
    let erased = transaction.query(&erase, &[&uuid(id)]).await?;
    if row.try_get("scheduled")? {
        transaction.commit().await?;
        return Ok(written(&end, Retraction::Cancelled, Vec::new()));
    }
    let retracted = |channel| Entry::new(Change::Retracted { channel, id });
    let entries = channels(&row)?.into_iter().map(retracted).collect();
    let events = append(&transaction, end, entries).await?;
    transaction.commit().await?;
    // Marks of what is gone count nowhere; whoever is just marking holds theirs, and is not waited for under the
    // log's lock.
    let places: Vec<i64> = erased
        .iter()
        .map(|row| row.try_get("position"))
        .collect::<Result<_, _>>()?;
    let forget = client.prepare_cached(FORGET_MARKS).await?;
    if let Err(error) = client.execute(&forget, &[&places]).await {
        tracing::warn!(%error, %id, "the marks of a retracted notification stay until it would have left the inbox");
    }
    Ok(written(&end, Retraction::Retracted, events))
}
