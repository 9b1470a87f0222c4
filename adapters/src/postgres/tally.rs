//! What nodes told of their publishes, in the database.

use std::time::Duration;

use application::ports::{StoreError, TALLY_KEPT, Tally};
use async_trait::async_trait;
use deadpool_postgres::{ClientWrapper, Object, Pool};
use domain::guard::Publishes;
use domain::ids::NodeId;
use futures_util::future::try_join;

use super::connect::{ConnectError, Database, Failure, Purpose};
use crate::record::{publish_counts, sum_of_publish_counts};

const PURPOSE: Purpose = Purpose {
    name: "arauto-tally",
    statement: Duration::from_secs(2),
};

/// A node tells every few seconds, and looks as often.
const CONNECTIONS: usize = 1;

const TELL: &str = "
INSERT INTO publish_tally (node, number, counts)
VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING";

/// A few at a time, so that nobody waits; more go than come.
const SWEEP: &str = "
DELETE FROM publish_tally
WHERE (node, number) IN (
    SELECT node, number
    FROM publish_tally
    WHERE told_at <= store_now() - $1::float8 * interval '1 second'
    ORDER BY told_at
    LIMIT 10
    FOR UPDATE SKIP LOCKED
)";

const RECENT: &str = "
SELECT counts
FROM publish_tally
WHERE told_at > store_now() - $1::float8 * interval '1 second'";

/// Of two who take a lead at once the second sees what the first wrote.
const LEAD: &str = "
INSERT INTO leads (task, node, until)
VALUES ($1, $2, store_now() + $3::float8 * interval '1 second')
ON CONFLICT (task) DO UPDATE
SET node = excluded.node, until = excluded.until
WHERE leads.node = excluded.node OR leads.until <= store_now()";

/// What nodes told of their publishes, for all nodes of a database.
pub struct PgTally {
    pool: Pool,
}

impl PgTally {
    /// Opens the tally of a database whose schema is [migrated](super::migrate()).
    pub fn open(database: &Database) -> Result<Self, ConnectError> {
        Ok(Self {
            pool: database.by_index().pool(PURPOSE, CONNECTIONS)?,
        })
    }

    /// Asks in bounded time. A connection that did not answer is closed.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut ClientWrapper) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let mut connection = self.pool.get().await.map_err(Failure::from)?;
        let answer = PURPOSE.in_time(question(&mut connection)).await;
        if answer.is_err() {
            drop(Object::take(connection));
        }
        Ok(answer?)
    }
}

#[async_trait]
impl Tally for PgTally {
    async fn tell(&self, node: NodeId, number: u32, publishes: Publishes) -> Result<(), StoreError> {
        let counts: Vec<i64> = publish_counts(&publishes).map(i64::from).to_vec();
        self.ask(async |client| {
            let tell = client.prepare_cached(TELL).await?;
            let sweep = client.prepare_cached(SWEEP).await?;
            let (node, number, kept) = (i64::from(node.0), i64::from(number), TALLY_KEPT.as_secs_f64());
            try_join(
                client.execute(&tell, &[&node, &number, &counts]),
                client.execute(&sweep, &[&kept]),
            )
            .await?;
            Ok(())
        })
        .await
    }

    async fn recent(&self, window: Duration) -> Result<Publishes, StoreError> {
        self.ask(async |client| {
            let recent = client.prepare_cached(RECENT).await?;
            let rows = client.query(&recent, &[&window.as_secs_f64()]).await?;
            let counts = rows.iter().map(|row| row.try_get::<_, Vec<i64>>("counts"));
            let counts = counts.collect::<Result<Vec<_>, _>>()?;
            let narrow = |count| u32::try_from(count).unwrap_or(u32::MAX);
            let counts = counts
                .into_iter()
                .map(|counts| counts.into_iter().map(narrow).collect());
            Ok(sum_of_publish_counts(counts))
        })
        .await
    }

    async fn lead(&self, task: &str, node: NodeId, term: Duration) -> Result<bool, StoreError> {
        self.ask(async |client| {
            let lead = client.prepare_cached(LEAD).await?;
            let (node, term) = (i64::from(node.0), term.as_secs_f64());
            Ok(client.execute(&lead, &[&task, &node, &term]).await? == 1)
        })
        .await
    }
}
