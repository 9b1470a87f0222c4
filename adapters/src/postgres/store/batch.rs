//! One batch of acceptances as one statement.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use application::ports::{
    Acceptance, Accepted, Durability, Idempotency, Recalled, Receipt, ReceiptStatus, Refusal,
};
use deadpool_postgres::ClientWrapper;
use domain::cursor::{Cursor, Epoch, Position};
use domain::delivery::Due;
use domain::event::{Change, Event};
use domain::ids::NotificationId;
use domain::time::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::connect::Failure;
use super::PgStoreConfig;
use super::columns::Notifications;
use super::rows::{EVENT_BYTES, moment, position, timestamp};
use crate::record::{PublishingRecord, Unreadable, to_text};

/// The statement: items, channels, bounds in; one row for each item out.
pub(super) const ACCEPT: &str = include_str!("accept.sql");

/// A full store never asks for a retry sooner: it would only be asked again.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Nor later: an operator may have made room.
const RETRY_MAX: Duration = Duration::from_secs(3_600);

/// The columns of a batch.
#[derive(Debug, Default)]
pub(super) struct Columns<'a> {
    notifications: Notifications<'a>,
    dues: Vec<Option<SystemTime>>,
    publishers: Vec<Option<&'a str>>,
    keys: Vec<Option<&'a str>>,
    digests: Vec<Option<&'a [u8]>>,
    target_items: Vec<i64>,
    target_channels: Vec<String>,
    details: Vec<Option<String>>,
    bounds: Bounds,
}

#[derive(Debug, Default)]
struct Bounds {
    keys: i64,
    scheduled: i64,
    scheduled_bytes: i64,
    event_bytes: i32,
    key_ttl_ms: i64,
}

impl<'a> Columns<'a> {
    pub(super) fn of(items: impl IntoIterator<Item = &'a Acceptance>, config: &PgStoreConfig) -> Self {
        let mut columns = Self {
            bounds: Bounds {
                keys: clamp(config.keys_max),
                scheduled: clamp(config.scheduled_max),
                scheduled_bytes: clamp(config.scheduled_max_bytes),
                event_bytes: EVENT_BYTES,
                key_ttl_ms: millis(config.key_ttl),
            },
            ..Self::default()
        };
        for item in items {
            columns.push(item);
        }
        columns
    }

    fn push(&mut self, item: &'a Acceptance) {
        self.notifications.push(&item.notification);
        self.dues.push(match item.plan.due {
            Due::Now => None,
            Due::At(at) => Some(moment(at)),
        });
        let key = item.idempotency.as_ref();
        self.publishers.push(key.map(|key| key.publisher.as_str()));
        self.keys.push(key.map(|key| key.key.as_str()));
        self.digests.push(key.map(|key| &key.digest[..]));
        self.details.push(publishing(item));
        let n = clamp(self.notifications.ids.len());
        for channel in &item.plan.channels {
            self.target_items.push(n);
            self.target_channels.push(channel.to_string());
        }
    }

    /// Returns the parameters in the statement's order.
    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut parameters = self.notifications.parameters();
        let others: [&(dyn ToSql + Sync); 12] = [
            &self.dues,
            &self.publishers,
            &self.keys,
            &self.digests,
            &self.target_items,
            &self.target_channels,
            &self.bounds.keys,
            &self.bounds.scheduled,
            &self.bounds.scheduled_bytes,
            &self.bounds.event_bytes,
            &self.bounds.key_ttl_ms,
            &self.details,
        ];
        parameters.extend(others);
        parameters
    }
}

/// What the first event of a notification says of its publisher; the audit trail is written from it.
pub(super) fn publishing(item: &Acceptance) -> Option<String> {
    let by = item.publisher.as_ref()?;
    let events = item.plan.channels.len();
    Some(to_text(&PublishingRecord::new(by, item.notification.id, events)))
}

pub(super) fn clamp(bound: usize) -> i64 {
    i64::try_from(bound).unwrap_or(i64::MAX)
}

pub(super) fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// What became of one item.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) result: Result<Accepted, Refusal>,
    /// The events that were appended for it.
    pub(super) events: Vec<Arc<Event>>,
    pub(super) epoch: Epoch,
}

/// Reads the row of one item. `again` says that the batch was sent before and its answer was lost: what is found
/// under an item's own id was then stored by that.
pub(super) fn outcome(row: &Row, item: &Acceptance, again: bool) -> Result<Outcome, Failure> {
    let epoch = Epoch(row.try_get::<_, i64>("epoch")?.cast_unsigned());
    let now = timestamp(row.try_get("now")?);
    let refused = |refusal| Outcome {
        result: Err(refusal),
        events: Vec::new(),
        epoch,
    };
    let retry_after = || -> Result<Duration, Failure> {
        let at: Option<SystemTime> = row.try_get("again_at")?;
        let wait = at.map_or(RETRY_MIN, |at| timestamp(at).since(now));
        Ok(wait.clamp(RETRY_MIN, RETRY_MAX))
    };
    let full = |what| -> Result<Outcome, Failure> {
        Ok(refused(Refusal::Full {
            what,
            retry_after: retry_after()?,
        }))
    };
    match row.try_get("outcome")? {
        "fresh" => {
            let first: Option<i64> = row.try_get("first_position")?;
            Ok(fresh(item, first.map(position), epoch, now))
        }
        "repeat" => {
            let receipt = repeated(row)?;
            let replayed = !(again && receipt.id == item.notification.id);
            Ok(Outcome {
                result: Ok(Accepted { receipt, replayed }),
                events: Vec::new(),
                epoch,
            })
        }
        "other" => Ok(refused(Refusal::KeyReused)),
        "keys_full" => full("idempotency keys"),
        "schedule_full" => full("scheduled notifications"),
        other => Err(Unreadable::new(format!("outcome {other}")).into()),
    }
}

/// What became of an item that was stored just now, and published from a position on unless it was scheduled.
pub(super) fn fresh(item: &Acceptance, first: Option<Position>, epoch: Epoch, now: Timestamp) -> Outcome {
    let events = first.map_or_else(Vec::new, |first| published(item, first, now));
    let cursor = events.last().map(|last| Cursor {
        epoch,
        position: last.position,
    });
    let status = match item.plan.due {
        Due::Now => ReceiptStatus::Published,
        Due::At(_) => ReceiptStatus::Scheduled,
    };
    let receipt = Receipt {
        id: item.notification.id,
        status,
        events: u32::try_from(events.len()).unwrap_or(u32::MAX),
        cursor,
        durability: Durability::Postgres,
        accepted_at: now,
    };
    Outcome {
        result: Ok(Accepted {
            receipt,
            replayed: false,
        }),
        events,
        epoch,
    }
}

fn published(item: &Acceptance, first: Position, now: Timestamp) -> Vec<Arc<Event>> {
    let notification = Arc::new(item.notification.clone());
    let places = (first.0..).map(Position);
    places
        .zip(&item.plan.channels)
        .map(|(position, channel)| {
            Arc::new(Event {
                position,
                at: now,
                change: Change::Published {
                    channel: channel.clone(),
                    notification: Arc::clone(&notification),
                },
            })
        })
        .collect()
}

/// Reads the first receipt: the columns notification, events, cursor and `accepted_at`.
pub(super) fn repeated(row: &Row) -> Result<Receipt, Failure> {
    let cursor: Option<&str> = row.try_get("cursor")?;
    let cursor = cursor
        .map(str::parse::<Cursor>)
        .transpose()
        .map_err(|_| Unreadable::new("cursor"))?;
    let events: i32 = row.try_get("events")?;
    Ok(Receipt {
        id: NotificationId::new(row.try_get("notification")?),
        status: if cursor.is_some() {
            ReceiptStatus::Published
        } else {
            ReceiptStatus::Scheduled
        },
        events: u32::try_from(events).unwrap_or_default(),
        cursor,
        durability: Durability::Postgres,
        accepted_at: timestamp(row.try_get("accepted_at")?),
    })
}

const RECALL: &str = "
SELECT digest = $3 AS same, notification, events, cursor, accepted_at
FROM idempotency_keys
WHERE publisher = $1
  AND key = $2
  AND until > store_now()";

/// Looks a key up.
pub(super) async fn recall(client: &ClientWrapper, key: &Idempotency) -> Result<Option<Recalled>, Failure> {
    let recall = client.prepare_cached(RECALL).await?;
    let (publisher, name, digest) = (key.publisher.as_str(), key.key.as_str(), &key.digest[..]);
    let Some(row) = client.query_opt(&recall, &[&publisher, &name, &digest]).await? else {
        return Ok(None);
    };
    Ok(Some(if row.try_get("same")? {
        Recalled::Same(repeated(&row)?)
    } else {
        Recalled::Other
    }))
}
