//! What the keeper writes, and clears up.
//!
//! Whoever changes leases or streams takes one lock first, so that entering looks at what others have entered before,
//! and nobody clears up behind a node that has just come back. All of it is sent at once, so that a node that freezes
//! holds nobody up.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use async_trait::async_trait;
use deadpool_postgres::{ClientWrapper, Pool};
use domain::ids::{ConnectionId, NodeId, UserId};
use futures_util::future::{join, join4, try_join_all};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::super::connect::Failure as Trouble;
use super::super::moment::moment;
use super::marks::{self, millis};
use super::streams::read;
use crate::registry::{Arrival, Batch, Entry, Failure, LEASE, Lease, Ledger, Standing, Swept, Written};

/// "arauto" in ASCII, and 3.
const LOCK: i64 = 0x6172_6175_746f_0003;
/// Streams of dead nodes, and old tickets, that are taken out at once.
const SWEPT_AT_ONCE: i64 = 500;

const LOCKED: &str = "SELECT pg_advisory_xact_lock($1)";

const CLAIM: &str = "
WITH held AS (
    SELECT until > store_now() AS held
    FROM registry_leases
    WHERE node = $1
)
INSERT INTO registry_leases (node, until)
VALUES ($1, store_now() + $2::bigint * interval '1 millisecond')
ON CONFLICT (node) DO UPDATE
SET until = excluded.until
RETURNING coalesce((SELECT held FROM held), false)";

const LEAVE: &str = "
DELETE FROM registry_streams AS stream
USING unnest($1::text[], $2::text[]) AS gone (connection, user_id)
WHERE stream.connection = gone.connection AND stream.user_id = gone.user_id";

/// Without a lease nothing is entered: nobody would ever clear it up.
const ENTER: &str = "
INSERT INTO registry_streams (connection, node, user_id, opened_at)
SELECT connection, node, user_id, opened_at
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::timestamptz[]) AS new (connection, node, user_id, opened_at)
WHERE EXISTS (SELECT FROM registry_leases WHERE registry_leases.node = $5 AND until > store_now())
ON CONFLICT (connection) DO UPDATE
SET user_id = excluded.user_id, opened_at = excluded.opened_at";

/// Streams of people, each person's oldest first.
const THEIRS: &str = "
SELECT user_id, connection
FROM registry_streams
JOIN registry_leases USING (node)
WHERE user_id = ANY($1) AND until > store_now()
ORDER BY user_id, opened_at, connection";

const HELD: &str = "SELECT EXISTS (SELECT FROM registry_leases WHERE node = $1 AND until > store_now())";

const OWN: &str = "
SELECT user_id, connection
FROM registry_streams
WHERE node = $1 AND connection > $2
ORDER BY connection
LIMIT $3";

const SWEEP_STREAMS: &str = "
WITH swept AS (
    DELETE FROM registry_streams
    WHERE connection IN (
        SELECT connection
        FROM registry_streams
        JOIN registry_leases USING (node)
        WHERE until <= store_now()
        LIMIT $1
    )
    RETURNING connection
)
SELECT count(*)
FROM swept";

const SWEEP_LEASES: &str = "
DELETE FROM registry_leases
WHERE until <= store_now()
AND NOT EXISTS (SELECT FROM registry_streams WHERE registry_streams.node = registry_leases.node)";

const SWEEP_TICKETS: &str = "
DELETE FROM registry_tickets
WHERE ticket IN (
    SELECT ticket
    FROM registry_tickets
    WHERE until <= store_now()
    ORDER BY until
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)";

const RELEASE_STREAMS: &str = "DELETE FROM registry_streams WHERE node = $1";
const RELEASE_LEASE: &str = "DELETE FROM registry_leases WHERE node = $1";

pub(super) struct PgLedger {
    pub(super) pool: Pool,
    pub(super) node: NodeId,
}

impl PgLedger {
    fn node(&self) -> i64 {
        self.node.0.into()
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&ClientWrapper) -> Result<T, Trouble>,
    ) -> Result<T, Failure> {
        super::ask(&self.pool, question).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            match cause {
                Some(cause) => format!("{error}: {cause}").into(),
                None => error.to_string().into(),
            }
        })
    }

    async fn write_streams(&self, client: &ClientWrapper, batch: &Batch) -> Result<Written, Trouble> {
        let rows = Rows::of(batch);
        let [lock, leave, enter, theirs, held] =
            statements(client, [LOCKED, LEAVE, ENTER, THEIRS, HELD]).await?;
        let node = self.node();
        // Sent in this order and at once; answered in this order.
        let (begun, written, found, committed) = join4(
            join(client.batch_execute("BEGIN"), client.query_one(&lock, &[&LOCK])),
            join(
                client.execute(&leave, &[&rows.gone, &rows.gone_users]),
                client.execute(
                    &enter,
                    &[
                        &rows.connections,
                        &rows.nodes,
                        &rows.users,
                        &rows.opened_at,
                        &node,
                    ],
                ),
            ),
            join(
                client.query(&theirs, &[&rows.users]),
                client.query_one(&held, &[&node]),
            ),
            client.batch_execute("COMMIT"),
        )
        .await;
        begun.0?;
        begun.1?;
        written.0?;
        written.1?;
        let (theirs, held) = (found.0?, found.1?);
        committed?;
        if !held.try_get::<_, bool>(0)? && !batch.entering.is_empty() {
            return Ok(Written::NoLease);
        }
        Ok(beyond(batch, &streams(&theirs)?))
    }

    /// Runs one statement under the lock.
    async fn locked(
        &self,
        client: &ClientWrapper,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        let [lock, statement] = statements(client, [LOCKED, statement]).await?;
        let (begun, locked, rows, committed) = join4(
            client.batch_execute("BEGIN"),
            client.query_one(&lock, &[&LOCK]),
            client.query(&statement, parameters),
            client.batch_execute("COMMIT"),
        )
        .await;
        begun?;
        locked?;
        let rows = rows?;
        committed?;
        Ok(rows)
    }
}

async fn statements<const N: usize>(
    client: &ClientWrapper,
    texts: [&str; N],
) -> Result<[Statement; N], Trouble> {
    let prepared = try_join_all(texts.map(|text| client.prepare_cached(text))).await?;
    // As many as were asked for.
    prepared.try_into().map_err(|_| Trouble::Silent)
}

/// A batch as columns. What is entered twice is entered as it was last: one statement may not touch a row twice.
#[derive(Default)]
struct Rows {
    gone: Vec<String>,
    gone_users: Vec<String>,
    connections: Vec<String>,
    nodes: Vec<i64>,
    users: Vec<String>,
    opened_at: Vec<SystemTime>,
}

impl Rows {
    fn of(batch: &Batch) -> Self {
        let mut rows = Self::default();
        for entry in &batch.leaving {
            rows.gone.push(entry.connection.to_string());
            rows.gone_users.push(entry.user.to_string());
        }
        let last: HashMap<_, _> = (batch.entering.iter())
            .map(|arrival| (arrival.presence.connection, &arrival.presence))
            .collect();
        for presence in last.into_values() {
            rows.connections.push(presence.connection.to_string());
            rows.nodes.push(presence.connection.node.0.into());
            rows.users.push(presence.user.to_string());
            rows.opened_at.push(moment(presence.opened_at));
        }
        rows
    }
}

/// Each person's streams, oldest first.
fn streams(rows: &[Row]) -> Result<HashMap<UserId, Vec<ConnectionId>>, Trouble> {
    let mut streams: HashMap<UserId, Vec<ConnectionId>> = HashMap::new();
    for row in rows {
        let entry = entry(row)?;
        streams.entry(entry.user).or_default().push(entry.connection);
    }
    Ok(streams)
}

fn entry(row: &Row) -> Result<Entry, Trouble> {
    Ok(Entry {
        user: read(row.try_get(0)?)?,
        connection: read(row.try_get(1)?)?,
    })
}

/// Says for each stream which ones go beyond its limit, as if they had been entered one after the other.
fn beyond(batch: &Batch, streams: &HashMap<UserId, Vec<ConnectionId>>) -> Written {
    let connections = batch.entering.iter().map(|arrival| arrival.presence.connection);
    let mut later: HashSet<ConnectionId> = connections.collect();
    let one = |arrival: &Arrival| {
        let own = arrival.presence.connection;
        later.remove(&own);
        let theirs = streams.get(&arrival.presence.user).map(Vec::as_slice);
        let theirs = theirs.unwrap_or_default().iter().copied();
        let theirs: Vec<_> = theirs.filter(|stream| !later.contains(stream)).collect();
        let beyond = theirs.len().saturating_sub(arrival.limit);
        let stays = arrival.standing == Standing::Newest;
        let going = theirs.into_iter().filter(|stream| !(stays && *stream == own));
        going.take(beyond).collect()
    };
    Written::Done(batch.entering.iter().map(one).collect())
}

#[async_trait]
impl Ledger for PgLedger {
    async fn claim(&self) -> Result<Lease, Failure> {
        let (node, lease) = (self.node(), millis(LEASE));
        self.ask(async |client| {
            let rows = self.locked(client, CLAIM, &[&node, &lease]).await?;
            let kept = rows.first().map(|row| row.try_get(0)).transpose()?;
            Ok(if kept == Some(true) {
                Lease::Kept
            } else {
                Lease::Taken
            })
        })
        .await
    }

    async fn write(&self, batch: &Batch) -> Result<Written, Failure> {
        self.ask(async |client| {
            marks::write(client, &batch.marks).await?;
            if batch.leaving.is_empty() && batch.entering.is_empty() {
                return Ok(Written::Done(Vec::new()));
            }
            self.write_streams(client, batch).await
        })
        .await
    }

    async fn own(&self, after: Option<ConnectionId>, limit: usize) -> Result<Vec<Entry>, Failure> {
        // Nothing sorts before the empty text.
        let after = after.map_or_else(String::new, |after| after.to_string());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.ask(async |client| {
            let own = client.prepare_cached(OWN).await?;
            let rows = client.query(&own, &[&self.node(), &after, &limit]).await?;
            rows.iter().map(entry).collect()
        })
        .await
    }

    async fn sweep(&self) -> Result<Swept, Failure> {
        self.ask(async |client| {
            let streams = self.locked(client, SWEEP_STREAMS, &[&SWEPT_AT_ONCE]).await?;
            self.locked(client, SWEEP_LEASES, &[]).await?;
            let [tickets] = statements(client, [SWEEP_TICKETS]).await?;
            let tickets = client.execute(&tickets, &[&SWEPT_AT_ONCE]).await?;
            let all = count(&streams)? < SWEPT_AT_ONCE && tickets < SWEPT_AT_ONCE.unsigned_abs();
            Ok(if all { Swept::All } else { Swept::Some })
        })
        .await
    }

    async fn release(&self) -> Result<(), Failure> {
        self.ask(async |client| {
            self.locked(client, RELEASE_STREAMS, &[&self.node()]).await?;
            self.locked(client, RELEASE_LEASE, &[&self.node()]).await?;
            Ok(())
        })
        .await
    }
}

fn count(rows: &[Row]) -> Result<i64, Trouble> {
    Ok(rows
        .first()
        .map(|row| row.try_get(0))
        .transpose()?
        .unwrap_or_default())
}
