//! Appending to the log under its lock: everything but publishing, whose way is the [writer](super::writer)'s.

use std::sync::Arc;
use std::time::SystemTime;

use application::ports::Written;
use deadpool_postgres::Transaction;
use domain::cursor::{Cursor, Position};
use domain::event::{Change, Event};
use domain::time::Timestamp;
use futures_util::future::join;
use tokio_postgres::types::ToSql;

use super::super::connect::Failure;
use super::log::cursor;
use super::rows::{self, EVENT_BYTES, moment, place, timestamp};

/// The advisory lock under which positions are given out: "arauto" in ASCII, and 0. It is taken alone, in a statement
/// before those that look at the log, so that their snapshots see what its last holder wrote. Whoever waits for it
/// is served in turn. Marks and people are locked before it, never after.
pub(in super::super) const LOG_LOCK: i64 = 0x6172_6175_746f_0000;

pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";

const END: &str = "
SELECT
    (SELECT max(epoch) FROM epochs) AS epoch,
    coalesce(last.position, 0) AS position,
    coalesce(last.bytes_through, 0) AS bytes_through,
    store_now() AS now
FROM (VALUES (1)) AS one
LEFT JOIN LATERAL (
    SELECT position, bytes_through
    FROM events
    ORDER BY position DESC
    LIMIT 1
) AS last ON true";

/// The end of the log, held: nobody else appends until the transaction is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogEnd {
    /// The last event.
    pub(super) cursor: Cursor,
    /// The present, by the store's clock.
    pub(super) now: Timestamp,
    bytes_through: i64,
}

impl LogEnd {
    /// Returns the place of the `n`th event to come, counted from 0.
    pub(super) const fn place(&self, n: usize) -> Position {
        Position(self.cursor.position.0 + 1 + n as u64)
    }
}

/// Takes the log's lock and says where it ends.
pub(super) async fn hold(transaction: &Transaction<'_>) -> Result<LogEnd, Failure> {
    let lock = transaction.prepare_cached(LOCK).await?;
    let end = transaction.prepare_cached(END).await?;
    let (locked, row) = join(
        transaction.execute(&lock, &[&LOG_LOCK]),
        transaction.query_one(&end, &[]),
    )
    .await;
    locked?;
    let row = row?;
    Ok(LogEnd {
        cursor: cursor(&row)?,
        now: timestamp(row.try_get("now")?),
        bytes_through: row.try_get("bytes_through")?,
    })
}

/// Something to be appended.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) change: Change,
    /// What the notification takes, on the first event that carries it.
    pub(super) bytes: i32,
}

impl Entry {
    pub(super) const fn new(change: Change) -> Self {
        Self { change, bytes: 0 }
    }
}

/// Appends events.
pub(super) async fn append(
    transaction: &Transaction<'_>,
    end: LogEnd,
    entries: Vec<Entry>,
) -> Result<Vec<Arc<Event>>, Failure> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let mut columns = Columns::default();
    let mut bytes_through = end.bytes_through;
    let mut events = Vec::with_capacity(entries.len());
    for (n, entry) in entries.into_iter().enumerate() {
        let position = end.place(n);
        let bytes = EVENT_BYTES.saturating_add(entry.bytes);
        bytes_through += i64::from(bytes);
        columns.push(position, &entry.change, bytes, bytes_through);
        events.push(Arc::new(Event {
            position,
            at: end.now,
            change: entry.change,
        }));
    }
    let insert = transaction.prepare_cached(INSERT).await?;
    let parameters: [&(dyn ToSql + Sync); 9] = [
        &columns.positions,
        &columns.kinds,
        &columns.channels,
        &columns.notifications,
        &columns.details,
        &columns.expiries,
        &columns.bytes,
        &columns.bytes_through,
        &moment(end.now),
    ];
    transaction.execute(&insert, &parameters).await?;
    Ok(events)
}

const INSERT: &str = "
INSERT INTO events (position, kind, channel, notification, detail, expires_at, bytes, bytes_through, at)
SELECT *, $9::timestamptz
FROM unnest(
    $1::int8[], $2::int2[], $3::text[], $4::uuid[], $5::text[], $6::timestamptz[], $7::int4[], $8::int8[]
)";

#[derive(Debug, Default)]
struct Columns {
    positions: Vec<i64>,
    kinds: Vec<i16>,
    channels: Vec<Option<String>>,
    notifications: Vec<Option<uuid::Uuid>>,
    details: Vec<Option<String>>,
    expiries: Vec<Option<SystemTime>>,
    bytes: Vec<i32>,
    bytes_through: Vec<i64>,
}

impl Columns {
    fn push(&mut self, position: Position, change: &Change, bytes: i32, bytes_through: i64) {
        let (kind, channel, notification, detail) = rows::columns(change);
        let expires_at = match change {
            Change::Published { notification, .. } => notification.content.expires_at,
            _ => None,
        };
        self.positions.push(place(position));
        self.kinds.push(kind);
        self.channels.push(channel);
        self.notifications.push(notification);
        self.details.push(detail);
        self.expiries.push(expires_at.map(moment));
        self.bytes.push(bytes);
        self.bytes_through.push(bytes_through);
    }
}

/// Joins a value with what was appended on its behalf.
pub(super) const fn written<T>(end: &LogEnd, value: T, events: Vec<Arc<Event>>) -> Written<T> {
    Written {
        value,
        epoch: end.cursor.epoch,
        events,
    }
}
