//! Reading the log.

use std::sync::Arc;

use application::ports::{ChannelsQuery, EventPage, Head, ReadError};
use deadpool_postgres::ClientWrapper;
use domain::cursor::{Cursor, Epoch};
use domain::event::Event;
use futures_util::future::{join4, join5};
use tokio_postgres::{Error, Row};

use super::super::connect::Failure;
use super::rows::{self, Contents, EVENT, NOTIFICATION, place, position, texts};

/// Where the log stands, in one row.
const HEAD: &str = "
SELECT
    (SELECT max(epoch) FROM epochs) AS epoch,
    coalesce((SELECT position FROM events ORDER BY position DESC LIMIT 1), 0) AS position,
    (SELECT oldest FROM bounds) AS oldest";

/// Everything in between these two is read from one snapshot.
pub(super) const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
pub(super) const END_SNAPSHOT: &str = "COMMIT";

/// Reads where the log stands.
pub(super) async fn read_head(client: &ClientWrapper) -> Result<Head, Failure> {
    let statement = client.prepare_cached(HEAD).await?;
    head(&client.query_one(&statement, &[]).await?)
}

/// Reads what follows a cursor, for tails.
pub(super) async fn read(
    client: &ClientWrapper,
    after: Cursor,
    limit: usize,
) -> Result<Result<EventPage, ReadError>, Failure> {
    let events = format!("SELECT {EVENT} FROM events e WHERE e.position > $1 ORDER BY e.position LIMIT $2");
    // However many events carry a notification, it is read once.
    let carried = format!(
        "SELECT {NOTIFICATION}
         FROM notifications n
         WHERE n.id IN (
             SELECT e.notification
             FROM (SELECT * FROM events WHERE position > $1 ORDER BY position LIMIT $2) e
             WHERE e.kind = 1
         )"
    );
    let from = place(after.position);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let head_of = client.prepare_cached(HEAD).await?;
    let events_of = client.prepare_cached(&events).await?;
    let carried_of = client.prepare_cached(&carried).await?;
    let (begun, head_row, event_rows, carried_rows, ended) = join5(
        client.batch_execute(BEGIN_SNAPSHOT),
        client.query_one(&head_of, &[]),
        client.query(&events_of, &[&from, &limit]),
        client.query(&carried_of, &[&from, &limit]),
        client.batch_execute(END_SNAPSHOT),
    )
    .await;
    all([begun, ended])?;
    let head = head(&head_row?)?;
    let (event_rows, contents) = (event_rows?, rows::contents(&carried_rows?)?);
    if let Err(error) = readable(after, head) {
        return Ok(Err(error));
    }
    let events = read_events(&event_rows, &contents)?;
    let scanned_to = events.last().map_or(after.position, |event| event.position);
    Ok(Ok(EventPage {
        events,
        scanned_to,
        head,
    }))
}

/// Reads the events of some channels, for people. The cost is that of the page: each channel gives at most a page of
/// its own from its index.
pub(super) async fn read_channels(
    client: &ClientWrapper,
    query: &ChannelsQuery,
) -> Result<Result<EventPage, ReadError>, Failure> {
    let events = format!(
        "SELECT {EVENT}, {NOTIFICATION}
         FROM (
             SELECT e.*
             FROM unnest($1::text[]) AS c (channel)
             CROSS JOIN LATERAL (
                 SELECT *
                 FROM events
                 WHERE channel = c.channel
                   AND position > $2
                   AND position <= $3
                   AND (expires_at IS NULL OR expires_at > store_now())
                 ORDER BY position
                 LIMIT $4
             ) AS e
             ORDER BY e.position
             LIMIT $4
         ) AS e
         LEFT JOIN notifications n ON n.id = e.notification AND e.kind = 1
         ORDER BY e.position"
    );
    let mut channels = texts(&query.channels);
    channels.sort_unstable();
    channels.dedup();
    let (from, to) = (place(query.after.position), place(query.up_to));
    // One more tells whether the page is all.
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
    let head_of = client.prepare_cached(HEAD).await?;
    let events_of = client.prepare_cached(&events).await?;
    let (begun, head_row, found, ended) = join4(
        client.batch_execute(BEGIN_SNAPSHOT),
        client.query_one(&head_of, &[]),
        client.query(&events_of, &[&channels, &from, &to, &limit]),
        client.batch_execute(END_SNAPSHOT),
    )
    .await;
    all([begun, ended])?;
    let head = head(&head_row?)?;
    let mut found = found?;
    if let Err(error) = readable(query.after, head) {
        return Ok(Err(error));
    }
    let more = found.len() > query.limit;
    found.truncate(query.limit);
    let mut contents = Contents::new();
    for row in &found {
        if row.try_get::<_, Option<uuid::Uuid>>("id")?.is_some() {
            let notification = rows::notification(row)?;
            contents.insert(rows::uuid(notification.id), Arc::new(notification));
        }
    }
    let events = read_events(&found, &contents)?;
    let scanned_to = match events.last() {
        Some(last) if more => last.position,
        None if more => query.after.position,
        _ => query.up_to.min(head.cursor.position).max(query.after.position),
    };
    Ok(Ok(EventPage {
        events,
        scanned_to,
        head,
    }))
}

/// Returns the first error among the ends of a snapshot.
pub(super) fn all<const N: usize>(ends: [Result<(), Error>; N]) -> Result<(), Failure> {
    ends.into_iter().collect::<Result<Vec<()>, Error>>()?;
    Ok(())
}

fn read_events(rows: &[Row], contents: &Contents) -> Result<Vec<Arc<Event>>, Failure> {
    rows.iter()
        .map(|row| rows::event(row, contents).map(Arc::new))
        .collect()
}

fn head(row: &Row) -> Result<Head, Failure> {
    Ok(Head {
        cursor: cursor(row)?,
        oldest: position(row.try_get("oldest")?),
    })
}

/// Reads the columns `epoch` and `position`.
pub(super) fn cursor(row: &Row) -> Result<Cursor, Failure> {
    Ok(Cursor {
        epoch: Epoch(row.try_get::<_, i64>("epoch")?.cast_unsigned()),
        position: position(row.try_get("position")?),
    })
}

/// Tells whether what follows a cursor can be read.
fn readable(after: Cursor, head: Head) -> Result<(), ReadError> {
    if after.epoch != head.cursor.epoch {
        return Err(ReadError::EpochChanged { head });
    }
    if after.position.next() < head.oldest {
        return Err(ReadError::Expired { head });
    }
    Ok(())
}
