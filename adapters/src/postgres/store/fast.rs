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
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::super::connect::Failure;
use super::PgStoreConfig;
use super::append::LOG_LOCK;
use super::batch::{Outcome, clamp, fresh, millis, publishing};
use super::columns::Notifications;
use super::rows::{self, EVENT_BYTES, moment, position, timestamp};
use super::single::Single;

/// One statement is a transaction of its own: one message there and, when it is committed, one back.
const ACCEPT_FRESH: &str = "
SELECT in_epoch, after_position, accepted
FROM accept_fresh(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
    $24, $25, $26::int8 * interval '1 millisecond'
)";

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
        }
    }

    /// Returns the statement's parameters $2 to $24.
    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut parameters = self.notifications.parameters();
        let others: [&(dyn ToSql + Sync); 12] = [
            &self.firsts,
            &self.events,
            &self.channels,
            &self.event_ids,
            &self.event_expiries,
            &self.event_bytes,
            &self.through,
            &self.details,
            &self.keys.publishers,
            &self.keys.names,
            &self.keys.digests,
            &self.keys.ids,
        ];
        parameters.extend(others);
        parameters
    }
}

/// Sends the whole transaction at once and waits until it is committed. Of an error in the data nothing remains.
pub(super) async fn flush(
    client: &ClientWrapper,
    part: &[&Acceptance],
    config: &PgStoreConfig,
    sent: &mut bool,
) -> Result<Row, Error> {
    if let Some(single) = Single::of(part) {
        return single.flush(client, config, sent).await;
    }
    let accept = client.prepare_cached(ACCEPT_FRESH).await?;
    let columns = Columns::of(part);
    let (keys_max, key_ttl) = (clamp(config.keys_max), millis(config.key_ttl));
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&LOG_LOCK];
    parameters.extend(columns.parameters());
    let bounds: [&(dyn ToSql + Sync); 2] = [&keys_max, &key_ttl];
    parameters.extend(bounds);
    *sent = true;
    // Its row comes together with the end of the transaction, and an error instead of that end is one of the statement.
    client.query_one(&accept, &parameters).await
}

/// Reads what became of a batch: everything is fresh.
pub(super) fn outcomes(row: &Row, part: &[&Acceptance]) -> Result<Vec<Outcome>, Failure> {
    let epoch = Epoch(row.try_get::<_, i64>("in_epoch")?.cast_unsigned());
    let now = timestamp(row.try_get("accepted")?);
    let end: i64 = row.try_get("after_position")?;
    let mut next = position(end).next();
    let outcome = |item: &&Acceptance| {
        let first = next;
        next = Position(first.0 + item.plan.channels.len() as u64);
        fresh(item, Some(first), epoch, now)
    };
    Ok(part.iter().map(outcome).collect())
}
