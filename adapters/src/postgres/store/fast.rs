//! The fast path of publishing: a batch of which nothing is known yet, as nearly every batch is.
//!
//! It looks nothing up and leaves it to the tables' own constraints to find out that it is wrong: an id or key that is
//! there already, or keys beyond their bound, fail the whole transaction, and the batch goes the
//! [careful way](super::batch) instead. That costs such a batch a second transaction, and every other one half the time
//! that the database needs for it.

use std::time::SystemTime;

use application::ports::Acceptance;
use deadpool_postgres::ClientWrapper;
use domain::cursor::{Epoch, Position};
use domain::delivery::Due;
use futures_util::future::{OptionFuture, join5};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::super::connect::Failure;
use super::PgStoreConfig;
use super::append::{LOCK, LOG_LOCK};
use super::batch::{Outcome, clamp, fresh, millis, publishing};
use super::columns::Notifications;
use super::rows::{self, EVENT_BYTES, moment, position, timestamp};

/// Stores notifications and their events after the end of the log.
const STORE: &str = "
WITH log_end AS MATERIALIZED (
    SELECT
        epoch.epoch,
        epoch.name,
        coalesce(last.position, 0) AS position,
        coalesce(last.bytes_through, 0) AS bytes_through
    FROM (SELECT epoch, name FROM epochs ORDER BY epoch DESC LIMIT 1) AS epoch
    LEFT JOIN LATERAL (
        SELECT position, bytes_through
        FROM events
        ORDER BY position DESC
        LIMIT 1
    ) AS last ON true
),
stored AS (
    INSERT INTO notifications (
        id, kind, priority, title, body, link, data, requires_ack, expires_at,
        accepted_at, published_at, bytes, first_position, events
    )
    SELECT
        n.id, n.kind, n.priority, n.title, n.body, n.link, n.data, n.requires_ack, n.expires_at,
        store_now(), n.published_at, n.bytes, log_end.position + n.nth, n.events
    FROM log_end
    CROSS JOIN unnest(
        $1::uuid[], $2::text[], $3::int2[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bool[],
        $9::timestamptz[], $10::timestamptz[], $11::int4[], $12::int8[], $13::int4[]
    ) AS n (
        id, kind, priority, title, body, link, data, requires_ack,
        expires_at, published_at, bytes, nth, events
    )
),
logged AS (
    INSERT INTO events (position, at, kind, channel, notification, detail, expires_at, bytes, bytes_through)
    SELECT
        log_end.position + e.nth, store_now(), 1, e.channel, e.notification, e.detail, e.expires_at, e.bytes,
        log_end.bytes_through + e.bytes_through
    FROM log_end
    CROSS JOIN unnest($14::text[], $15::uuid[], $16::timestamptz[], $17::int4[], $18::int8[], $19::text[])
        WITH ORDINALITY AS e (channel, notification, expires_at, bytes, bytes_through, detail, nth)
)
SELECT epoch, position, store_now() AS now
FROM log_end";

/// Enters keys. One too many has no end of its day, which the table does not take.
const ENTER_KEYS: &str = "
INSERT INTO idempotency_keys (publisher, key, digest, until, notification, events, cursor, accepted_at)
SELECT
    k.publisher, k.key, k.digest,
    CASE
        WHEN coalesce(newest.serial - oldest.serial + 1, 0) + k.nth <= $6::int8
        THEN n.accepted_at + $7::int8 * interval '1 millisecond'
    END,
    n.id, n.events,
    epoch.name || '-' || (n.first_position + n.events - 1), n.accepted_at
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::uuid[], $5::int8[])
    AS k (publisher, key, digest, notification, nth)
CROSS JOIN LATERAL (
    SELECT id, first_position, events, accepted_at
    FROM notifications
    WHERE id = k.notification
    LIMIT 1
) AS n
CROSS JOIN (SELECT name FROM epochs ORDER BY epoch DESC LIMIT 1) AS epoch
LEFT JOIN LATERAL (
    SELECT serial
    FROM idempotency_keys
    WHERE until > store_now()
    ORDER BY serial
    LIMIT 1
) AS oldest ON true
LEFT JOIN LATERAL (
    SELECT serial
    FROM idempotency_keys
    ORDER BY serial DESC
    LIMIT 1
) AS newest ON true
ORDER BY k.nth";

/// Whether a batch may go the fast way: nothing of it is to be scheduled, which is bounded by a count.
pub(super) fn may_go(part: &[&Acceptance]) -> bool {
    let now = |item: &&Acceptance| matches!(item.plan.due, Due::Now) && !item.plan.channels.is_empty();
    part.iter().all(now)
}

/// The rows of a batch, as columns.
#[derive(Default)]
struct Columns<'a> {
    notifications: Notifications<'a>,
    /// Where its events begin, counted from 1.
    firsts: Vec<i64>,
    events: Vec<i32>,
    channels: Vec<String>,
    event_ids: Vec<Uuid>,
    event_expiries: Vec<Option<SystemTime>>,
    event_bytes: Vec<i32>,
    /// What the batch takes up to and with each event.
    through: Vec<i64>,
    /// Who published it, with the first event of each.
    details: Vec<Option<String>>,
    keys: Keys<'a>,
}

#[derive(Default)]
struct Keys<'a> {
    publishers: Vec<&'a str>,
    names: Vec<&'a str>,
    digests: Vec<&'a [u8]>,
    ids: Vec<Uuid>,
    nths: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(items: &[&'a Acceptance]) -> Self {
        let mut columns = Self::default();
        for item in items {
            columns.push(item);
        }
        columns
    }

    fn push(&mut self, item: &'a Acceptance) {
        let notification = &item.notification;
        let id = rows::uuid(notification.id);
        let expires_at = notification.content.expires_at.map(moment);
        self.notifications.push(notification);
        self.firsts.push(clamp(self.channels.len() + 1));
        self.events
            .push(i32::try_from(item.plan.channels.len()).unwrap_or(i32::MAX));
        // A payload that many events share counts once, with its first event.
        let mut payload = rows::notification_bytes(notification);
        let mut detail = publishing(item);
        for channel in &item.plan.channels {
            let weight = EVENT_BYTES.saturating_add(std::mem::take(&mut payload));
            let before = self.through.last().copied().unwrap_or_default();
            self.channels.push(channel.to_string());
            self.event_ids.push(id);
            self.event_expiries.push(expires_at);
            self.event_bytes.push(weight);
            self.through.push(before + i64::from(weight));
            self.details.push(detail.take());
        }
        if let Some(key) = &item.idempotency {
            self.keys.publishers.push(key.publisher.as_str());
            self.keys.names.push(&key.key);
            self.keys.digests.push(&key.digest);
            self.keys.ids.push(id);
            self.keys.nths.push(clamp(self.keys.ids.len()));
        }
    }

    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut parameters = self.notifications.parameters();
        let events: [&(dyn ToSql + Sync); 8] = [
            &self.firsts,
            &self.events,
            &self.channels,
            &self.event_ids,
            &self.event_expiries,
            &self.event_bytes,
            &self.through,
            &self.details,
        ];
        parameters.extend(events);
        parameters
    }
}

impl Keys<'_> {
    fn parameters<'b>(&'b self, max: &'b i64, ttl: &'b i64) -> [&'b (dyn ToSql + Sync); 7] {
        [
            &self.publishers,
            &self.names,
            &self.digests,
            &self.ids,
            &self.nths,
            max,
            ttl,
        ]
    }
}

/// Sends the whole transaction at once and waits for all its answers. Of an error in the data nothing remains.
pub(super) async fn flush(
    client: &ClientWrapper,
    part: &[&Acceptance],
    config: &PgStoreConfig,
    sent: &mut bool,
) -> Result<Row, Error> {
    let lock = client.prepare_cached(LOCK).await?;
    let store = client.prepare_cached(STORE).await?;
    let enter_keys = client.prepare_cached(ENTER_KEYS).await?;
    let columns = Columns::of(part);
    let (keys_max, key_ttl) = (clamp(config.keys_max), millis(config.key_ttl));
    let (rows, keys) = (columns.parameters(), columns.keys.parameters(&keys_max, &key_ttl));
    let keyed = !columns.keys.ids.is_empty();
    *sent = true;
    let (begun, locked, stored, entered, ended) = join5(
        client.batch_execute("BEGIN"),
        client.execute(&lock, &[&LOG_LOCK]),
        client.query_one(&store, &rows),
        OptionFuture::from(keyed.then(|| client.execute(&enter_keys, &keys))),
        client.batch_execute("COMMIT"),
    )
    .await;
    // A commit after an error rolls back and says so only by its tag: each answer counts.
    begun?;
    locked?;
    let stored = stored?;
    entered.transpose()?;
    ended?;
    Ok(stored)
}

/// Reads what became of a batch: everything is fresh.
pub(super) fn outcomes(row: &Row, part: &[&Acceptance]) -> Result<Vec<Outcome>, Failure> {
    let epoch = Epoch(row.try_get::<_, i64>("epoch")?.cast_unsigned());
    let now = timestamp(row.try_get("now")?);
    let end: i64 = row.try_get("position")?;
    let mut next = position(end).next();
    let outcome = |item: &&Acceptance| {
        let first = next;
        next = Position(first.0 + item.plan.channels.len() as u64);
        fresh(item, Some(first), epoch, now)
    };
    Ok(part.iter().map(outcome).collect())
}
