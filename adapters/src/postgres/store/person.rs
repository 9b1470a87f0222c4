//! Where a person stands, and how they see their channels.

use std::time::{Duration, SystemTime};

use application::ports::Reader;
use deadpool_postgres::{ClientWrapper, Transaction};
use domain::channel::Channel;
use domain::ids::UserId;
use domain::standing::{Outlook, Standing, Watermark};
use domain::time::Timestamp;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Row};

use super::super::connect::Failure;
use super::rows::{moment, place, position, texts, timestamp};

/// Remembers a person from the present head on, unless they are known.
pub(super) const MEET: &str = "
INSERT INTO people (user_id, first_seen, first_seen_at)
SELECT $1, coalesce((SELECT max(position) FROM events), 0), store_now()
ON CONFLICT (user_id) DO NOTHING";

/// Reads where a person stands, and the present. Whom nobody could remember stands where they would if they came now.
pub(super) const STANDING: &str = "
SELECT
    coalesce(p.first_seen, (SELECT max(position) FROM events), 0) AS first_seen,
    coalesce(p.first_seen_at, store_now()) AS first_seen_at,
    coalesce(p.read_positions, '{}') AS read_positions,
    coalesce(p.read_moments, '{}') AS read_moments,
    store_now() AS now
FROM (VALUES (1)) AS one
LEFT JOIN people p ON p.user_id = $1";

/// The same, and nobody else marks for this person until the transaction is over.
pub(super) const STANDING_HELD: &str = "
SELECT first_seen, first_seen_at, read_positions, read_moments, store_now() AS now
FROM people
WHERE user_id = $1
FOR UPDATE";

const SAVE: &str = "
UPDATE people
SET read_positions = $2, read_moments = $3
WHERE user_id = $1";

pub(super) async fn meet(client: &ClientWrapper, user: &UserId) -> Result<(), Failure> {
    let statement = client.prepare_cached(MEET).await?;
    client.execute(&statement, &[&user.as_str()]).await?;
    Ok(())
}

/// Lets a database that takes nothing pass: one that has become a standby, or whose disk is full, answers every question,
/// and whoever is not remembered now is at their next visit.
pub(super) fn met_or_read_only(met: Result<u64, Error>) -> Result<(), Error> {
    const TAKES_NOTHING: [&SqlState; 2] = [&SqlState::READ_ONLY_SQL_TRANSACTION, &SqlState::DISK_FULL];
    match met {
        Err(error) if error.code().is_some_and(|code| TAKES_NOTHING.contains(&code)) => {
            tracing::debug!(%error, "a person is remembered at another visit");
            Ok(())
        }
        met => met.map(drop),
    }
}

/// A reader with what decides how they see things.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) standing: Standing,
    pub(super) now: Timestamp,
    /// Each of the reader's channels once.
    pub(super) channels: Vec<Channel>,
    own: Channel,
    archive_read_after: Duration,
}

impl Person {
    /// Reads [`STANDING`].
    pub(super) fn read(row: &Row, reader: &Reader, archive_read_after: Duration) -> Result<Self, Failure> {
        let positions: Vec<i64> = row.try_get("read_positions")?;
        let moments: Vec<SystemTime> = row.try_get("read_moments")?;
        let watermark = |place, at| Watermark {
            position: position(place),
            moment: timestamp(at),
        };
        let mut channels = reader.channels.clone();
        channels.sort_unstable();
        channels.dedup();
        Ok(Self {
            standing: Standing {
                first_seen: watermark(row.try_get("first_seen")?, row.try_get("first_seen_at")?),
                read_throughs: positions
                    .into_iter()
                    .zip(moments)
                    .map(|(place, at)| watermark(place, at))
                    .collect(),
            },
            now: timestamp(row.try_get("now")?),
            channels,
            own: Channel::User(reader.user.clone()),
            archive_read_after,
        })
    }

    /// Returns how the person sees a channel's items without marks.
    pub(super) fn outlook(&self, channel: &Channel) -> Outlook<'_> {
        Outlook {
            first_seen: (*channel != self.own).then_some(self.standing.first_seen),
            read_throughs: &self.standing.read_throughs,
            archive_read_after: self.archive_read_after,
            now: self.now,
        }
    }

    /// The channels as text, and for each the last place that counts as read without a mark.
    pub(super) fn read_throughs(&self) -> (Vec<String>, Vec<i64>) {
        let places = self
            .channels
            .iter()
            .map(|channel| place(self.outlook(channel).read_through()));
        (texts(&self.channels), places.collect())
    }
}

/// Writes how far a person has read.
pub(super) async fn save(
    transaction: &Transaction<'_>,
    user: &UserId,
    standing: &Standing,
) -> Result<(), Failure> {
    let reads = &standing.read_throughs;
    let positions: Vec<i64> = reads.iter().map(|read| place(read.position)).collect();
    let moments: Vec<SystemTime> = reads.iter().map(|read| moment(read.moment)).collect();
    let save = transaction.prepare_cached(SAVE).await?;
    transaction
        .execute(&save, &[&user.as_str(), &positions, &moments])
        .await?;
    Ok(())
}
