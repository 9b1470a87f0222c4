//! Publishing what was scheduled.

use std::sync::Arc;
use std::time::SystemTime;

use application::ports::{Head, Promoted, Written};
use deadpool_postgres::{ClientWrapper, Transaction};
use domain::channel::Channel;
use domain::event::Change;
use domain::notification::Notification;
use futures_util::future::join;
use tokio_postgres::Row;
use uuid::Uuid;

use super::super::connect::Failure;
use super::append::{Entry, LogEnd, append, hold, written};
use super::rows::{self, NOTIFICATION, channel, moment, place, timestamp};

/// When the next is due, and whether that has come.
const NEXT: &str = "
SELECT min(due_at) AS next_due, coalesce(min(due_at) <= store_now(), false) AS due
FROM notifications
WHERE due_at IS NOT NULL";

const PUBLISH: &str = "
UPDATE notifications n
SET published_at = $4, first_position = p.first_position, events = p.events, due_at = NULL, channels = NULL
FROM unnest($1::uuid[], $2::int8[], $3::int4[]) AS p (id, first_position, events)
WHERE n.id = p.id";

const DROP: &str = "DELETE FROM notifications WHERE id = ANY ($1::uuid[])";

/// Publishes up to `limit` of what is due, oldest first. Every node may ask: the log's lock lets one at a time, and
/// what it has published is due no more.
pub(super) async fn promote(
    client: &mut ClientWrapper,
    head: Head,
    limit: usize,
) -> Result<Written<Promoted>, Failure> {
    let idle = |next_due| Promoted {
        published: 0,
        expired: 0,
        next_due,
    };
    let next = client.prepare_cached(NEXT).await?;
    let row = client.query_one(&next, &[]).await?;
    if !row.try_get::<_, bool>("due")? {
        return Ok(Written {
            value: idle(next_due(&row)?),
            epoch: head.cursor.epoch,
            events: Vec::new(),
        });
    }
    let transaction = client.transaction().await?;
    let end = hold(&transaction).await?;
    let due = take_due(&transaction, &end, limit).await?;
    let events = publish(&transaction, end, &due).await?;
    let row = transaction.query_one(&next, &[]).await?;
    transaction.commit().await?;
    let promoted = Promoted {
        published: due.fresh.len(),
        expired: due.expired.len(),
        next_due: next_due(&row)?,
    };
    Ok(written(&end, promoted, events))
}

fn next_due(row: &Row) -> Result<Option<domain::time::Timestamp>, Failure> {
    let at: Option<SystemTime> = row.try_get("next_due")?;
    Ok(at.map(timestamp))
}

/// What is due: to be published, and too late for that.
#[derive(Default)]
struct Due {
    fresh: Vec<(Arc<Notification>, Vec<Channel>)>,
    expired: Vec<Uuid>,
}

async fn take_due(transaction: &Transaction<'_>, end: &LogEnd, limit: usize) -> Result<Due, Failure> {
    let query = format!(
        "SELECT {NOTIFICATION}, n.channels
         FROM notifications n
         WHERE n.due_at <= $1
         ORDER BY n.due_at, n.id
         LIMIT $2"
    );
    let query = transaction.prepare_cached(&query).await?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = transaction.query(&query, &[&moment(end.now), &limit]).await?;
    let mut due = Due::default();
    for row in &rows {
        let notification = Notification {
            published_at: end.now,
            ..rows::notification(row)?
        };
        if notification.expired(end.now) {
            due.expired.push(rows::uuid(notification.id));
            continue;
        }
        let names: Vec<&str> = row.try_get("channels")?;
        let channels = names.into_iter().map(channel).collect::<Result<_, _>>()?;
        due.fresh.push((Arc::new(notification), channels));
    }
    Ok(due)
}

async fn publish(
    transaction: &Transaction<'_>,
    end: LogEnd,
    due: &Due,
) -> Result<Vec<Arc<domain::event::Event>>, Failure> {
    let (mut ids, mut firsts, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    let mut entries = Vec::new();
    for (notification, channels) in &due.fresh {
        ids.push(rows::uuid(notification.id));
        firsts.push(place(end.place(entries.len())));
        counts.push(i32::try_from(channels.len()).unwrap_or(i32::MAX));
        for (nth, channel) in channels.iter().enumerate() {
            let bytes = if nth == 0 {
                rows::notification_bytes(notification)
            } else {
                0
            };
            let change = Change::Published {
                channel: channel.clone(),
                notification: Arc::clone(notification),
            };
            entries.push(Entry { change, bytes });
        }
    }
    let publish = transaction.prepare_cached(PUBLISH).await?;
    let drop = transaction.prepare_cached(DROP).await?;
    let (published, dropped) = join(
        transaction.execute(&publish, &[&ids, &firsts, &counts, &moment(end.now)]),
        transaction.execute(&drop, &[&due.expired]),
    )
    .await;
    published?;
    dropped?;
    append(transaction, end, entries).await
}
