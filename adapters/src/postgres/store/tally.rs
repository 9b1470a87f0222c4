//! Counting what is unread: beside the log as long as it takes, under its lock only what came meanwhile.
//!
//! Whoever holds the log's lock holds up every publisher, and somebody who never reads anything has ten thousand
//! notifications to be counted.

use std::time::SystemTime;

use application::ports::Reader;
use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::super::connect::Failure;
use super::inbox::{UNREAD, number};
use super::person::Person;
use super::rows::texts;

/// What came on a person's channels after a place. Only notifications add up; after anything else, a retraction, the
/// count begins anew.
const SINCE: &str = "
SELECT
    count(*) FILTER (
        WHERE e.kind = 1
          AND (e.expires_at IS NULL OR e.expires_at > store_now())
    ) AS unread,
    coalesce(bool_or(e.kind <> 1), false) AS more_than_notifications,
    (SELECT inbox_after FROM bounds) AS inbox_after,
    store_now() AS now
FROM events e
WHERE e.channel = ANY ($1::text[])
  AND e.position > $2";

/// A person's unread notifications where the log stood. The person MUST be held: marks are not looked for again.
pub(super) struct Tally {
    pub(super) unread: u64,
    /// When time alone changes it.
    until: Option<SystemTime>,
    position: i64,
    inbox_after: i64,
}

impl Tally {
    /// Counts from one snapshot.
    pub(super) async fn count(
        transaction: &Transaction<'_>,
        reader: &Reader,
        person: &Person,
    ) -> Result<Self, Failure> {
        let count = transaction.prepare_cached(UNREAD).await?;
        let (names, read_throughs) = person.read_throughs();
        let row = transaction
            .query_one(&count, &[&reader.user.as_str(), &names, &read_throughs])
            .await?;
        Self::read(&row)
    }

    fn read(row: &Row) -> Result<Self, Failure> {
        Ok(Self {
            unread: number(row)?,
            until: row.try_get("until")?,
            position: row.try_get("position")?,
            inbox_after: row.try_get("inbox_after")?,
        })
    }

    /// The number of unread notifications under the log's lock, which MUST be held.
    pub(super) async fn at_the_end(
        self,
        transaction: &Transaction<'_>,
        reader: &Reader,
        person: &Person,
    ) -> Result<u64, Failure> {
        let since = transaction.prepare_cached(SINCE).await?;
        let row = transaction
            .query_one(&since, &[&texts(&person.channels), &self.position])
            .await?;
        let now: SystemTime = row.try_get("now")?;
        let adds_up = !row.try_get::<_, bool>("more_than_notifications")?
            && row.try_get::<_, i64>("inbox_after")? == self.inbox_after
            && self.until.is_none_or(|until| until > now);
        if adds_up {
            return Ok(self.unread + number(&row)?);
        }
        Ok(Self::count(transaction, reader, person).await?.unread)
    }
}
