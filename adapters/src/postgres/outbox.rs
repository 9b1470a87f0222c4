//! Deliveries in the database: what became of each event over a pushed transport.

mod columns;
mod statements;

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use application::ports::{Backlog, DeliveryPage, DeliveryRow, Outbox, StoreError, TokenHolder};
use async_trait::async_trait;
use deadpool_postgres::{ClientWrapper, Object, Pool};
use domain::capability::Role;
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch, Position};
use domain::ids::UserId;
use domain::outbox::Delivery;
use futures_util::future::try_join;
use tokio_postgres::Row;

use self::columns::{Columns, Holders, place};
use self::statements::{
    ADD, BACKLOG, BEGIN_AT, DEAD_ONES, FIND, FORGET, HEADS, HOLD, HOLDERS, MOVE_ON, NOW, PLANNED,
    SWEEP_HOLDERS, UPDATE,
};
use super::connect::{ConnectError, Database, Failure, Purpose};
use super::crowd::Crowd;
use super::moment::timestamp;
use crate::record::{DeliveryRecord, Unreadable, from_text};

const PURPOSE: Purpose = Purpose {
    name: "arauto-deliveries",
    statement: Duration::from_secs(2),
};

/// Planning, sending, what people ask and who holds a token at once.
const CONNECTIONS: usize = 4;
/// Tokens that ended are forgotten with each new one, a few at a time.
const HOLDERS_SWEPT: usize = 10;

/// What became of each event over a pushed transport, for all nodes of a database.
pub struct PgOutbox {
    pool: Pool,
    finding: Crowd<Vec<Position>, DeliveryPage>,
    holding: Crowd<TokenHolder, ()>,
}

impl PgOutbox {
    /// Opens the outbox of a database whose schema is [migrated](super::migrate()).
    pub fn open(database: &Database) -> Result<Self, ConnectError> {
        Ok(Self {
            pool: database.by_index().pool(PURPOSE, CONNECTIONS)?,
            finding: Crowd::default(),
            holding: Crowd::default(),
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

    /// Finds what several want to know, each event once, and gives each their own.
    async fn find_for(&self, wanted: Vec<Vec<Position>>) -> Result<Vec<DeliveryPage>, StoreError> {
        let mut positions: Vec<i64> = wanted.iter().flatten().map(|position| place(*position)).collect();
        positions.sort_unstable();
        positions.dedup();
        let found = self.ask(async |client| {
            let find = client.prepare_cached(FIND).await?;
            let now = client.prepare_cached(NOW).await?;
            let (rows, now) =
                try_join(client.query(&find, &[&positions]), client.query_one(&now, &[])).await?;
            page(&rows, &now)
        });
        let DeliveryPage { rows, now } = found.await?;
        let of = |wanted: Vec<Position>| {
            let wanted: HashSet<Position> = wanted.into_iter().collect();
            let own = rows.iter().filter(|row| wanted.contains(&row.cursor.position));
            DeliveryPage {
                rows: own.cloned().collect(),
                now,
            }
        };
        Ok(wanted.into_iter().map(of).collect())
    }

    /// Remembers several people in one commit.
    async fn hold_all(&self, holders: Vec<TokenHolder>) -> Result<Vec<()>, StoreError> {
        let columns = Holders::of(&holders);
        let swept = i64::try_from(holders.len().saturating_mul(HOLDERS_SWEPT)).unwrap_or(i64::MAX);
        self.ask(async |client| {
            let hold = client.prepare_cached(HOLD).await?;
            let sweep = client.prepare_cached(SWEEP_HOLDERS).await?;
            let Holders {
                users,
                units,
                roles,
                until,
            } = &columns;
            try_join(
                client.execute(&hold, &[users, units, roles, until]),
                client.execute(&sweep, &[&swept]),
            )
            .await?;
            Ok(vec![(); holders.len()])
        })
        .await
    }
}

fn cursor(row: &Row) -> Result<Cursor, Failure> {
    Ok(Cursor {
        epoch: Epoch(row.try_get::<_, i64>("epoch")?.cast_unsigned()),
        position: Position(row.try_get::<_, i64>("position")?.cast_unsigned()),
    })
}

fn delivery_row(row: &Row) -> Result<DeliveryRow, Failure> {
    let channel: &str = row.try_get("channel")?;
    let delivery = from_text::<DeliveryRecord>(row.try_get("record")?).and_then(Delivery::try_from)?;
    Ok(DeliveryRow {
        cursor: cursor(row)?,
        channel: channel.parse().map_err(|_| Unreadable::new("channel"))?,
        delivery,
        version: u32::try_from(row.try_get::<_, i32>("version")?).unwrap_or_default(),
    })
}

/// A row that cannot be read is left out: it holds nobody else up.
fn readable(rows: &[Row]) -> Vec<DeliveryRow> {
    let read = |row: &Row| {
        let read = delivery_row(row);
        read.inspect_err(|error| tracing::error!(%error, "a delivery cannot be read"))
            .ok()
    };
    rows.iter().filter_map(read).collect()
}

fn page(rows: &[Row], now: &Row) -> Result<DeliveryPage, Failure> {
    Ok(DeliveryPage {
        rows: readable(rows),
        now: timestamp(now.try_get("now")?),
    })
}

fn clamp(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn holder(row: &Row) -> Result<TokenHolder, Failure> {
    let user: &str = row.try_get("user_id")?;
    let units: Vec<&str> = row.try_get("units")?;
    let roles: Vec<&str> = row.try_get("roles")?;
    let unreadable = |_| Unreadable::new("token holder");
    Ok(TokenHolder {
        user: user.parse().map_err(unreadable)?,
        units: units
            .into_iter()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(unreadable)?,
        roles: roles.into_iter().map(Role::new).collect(),
        until: timestamp(row.try_get("until")?),
    })
}

#[async_trait]
impl Outbox for PgOutbox {
    async fn planned(&self) -> Result<Option<Cursor>, StoreError> {
        self.ask(async |client| {
            let planned = client.prepare_cached(PLANNED).await?;
            client
                .query_opt(&planned, &[])
                .await?
                .as_ref()
                .map(cursor)
                .transpose()
        })
        .await
    }

    async fn plan(
        &self,
        from: Option<Cursor>,
        to: Cursor,
        deliveries: Vec<(Position, Channel, Delivery)>,
    ) -> Result<bool, StoreError> {
        let mut columns = Columns::default();
        for (position, channel, delivery) in &deliveries {
            columns.push(
                Cursor {
                    position: *position,
                    ..to
                },
                channel,
                delivery,
                0,
            );
        }
        let (epoch, position) = (to.epoch.0.cast_signed(), place(to.position));
        self.ask(async |client| {
            let transaction = client.transaction().await?;
            let moved = match from {
                None => {
                    let begin = transaction.prepare_cached(BEGIN_AT).await?;
                    transaction.execute(&begin, &[&epoch, &position]).await?
                }
                Some(from) => {
                    let move_on = transaction.prepare_cached(MOVE_ON).await?;
                    let (from_epoch, from) = (from.epoch.0.cast_signed(), place(from.position));
                    transaction
                        .execute(&move_on, &[&epoch, &position, &from_epoch, &from])
                        .await?
                }
            };
            if moved == 0 {
                return Ok(false);
            }
            if !deliveries.is_empty() {
                let add = transaction.prepare_cached(ADD).await?;
                let Columns {
                    positions,
                    epochs,
                    channels,
                    standings,
                    since,
                    records,
                    ..
                } = &columns;
                transaction
                    .execute(&add, &[positions, epochs, channels, standings, since, records])
                    .await?;
            }
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn heads(&self, after: Option<Channel>, limit: usize) -> Result<DeliveryPage, StoreError> {
        // Nothing sorts before the empty text.
        let after = after.map_or_else(String::new, |channel| channel.to_string());
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        self.ask(async |client| {
            let heads = client.prepare_cached(HEADS).await?;
            let now = client.prepare_cached(NOW).await?;
            let (rows, now) = try_join(
                client.query(&heads, &[&after, &limit]),
                client.query_one(&now, &[]),
            )
            .await?;
            page(&rows, &now)
        })
        .await
    }

    async fn update(&self, rows: Vec<DeliveryRow>) -> Result<Vec<bool>, StoreError> {
        let mut columns = Columns::default();
        for row in &rows {
            columns.push(row.cursor, &row.channel, &row.delivery, row.version);
        }
        self.ask(async |client| {
            let update = client.prepare_cached(UPDATE).await?;
            let Columns {
                positions,
                epochs,
                standings,
                since,
                records,
                versions,
                ..
            } = &columns;
            let written = client
                .query(&update, &[positions, epochs, versions, standings, since, records])
                .await?;
            let written: HashSet<i64> = written
                .iter()
                .map(|row| row.try_get("nth"))
                .collect::<Result<_, _>>()?;
            Ok((1..)
                .zip(positions)
                .map(|(nth, _)| written.contains(&nth))
                .collect())
        })
        .await
    }

    async fn find(&self, positions: &[Position]) -> Result<DeliveryPage, StoreError> {
        self.finding
            .ask(positions.to_vec(), |wanted| self.find_for(wanted))
            .await
    }

    async fn dead(&self, after: Option<Position>, limit: usize) -> Result<DeliveryPage, StoreError> {
        let (after, limit) = (after.map_or(-1, place), clamp(limit));
        self.ask(async |client| {
            let dead = client.prepare_cached(DEAD_ONES).await?;
            let now = client.prepare_cached(NOW).await?;
            let (rows, now) = try_join(
                client.query(&dead, &[&after, &limit]),
                client.query_one(&now, &[]),
            )
            .await?;
            page(&rows, &now)
        })
        .await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.ask(async |client| {
            let backlog = client.prepare_cached(BACKLOG).await?;
            let row = client.query_one(&backlog, &[]).await?;
            let count = |name| -> Result<u64, Failure> { Ok(row.try_get::<_, i64>(name)?.cast_unsigned()) };
            let oldest: Option<SystemTime> = row.try_get("oldest")?;
            Ok(Backlog {
                open: count("open")?,
                oldest: oldest.map(timestamp),
                dead: count("dead")?,
            })
        })
        .await
    }

    async fn forget(&self, before: Position, limit: usize) -> Result<usize, StoreError> {
        self.ask(async |client| {
            let forget = client.prepare_cached(FORGET).await?;
            let gone = client.execute(&forget, &[&place(before), &clamp(limit)]).await?;
            Ok(usize::try_from(gone).unwrap_or(usize::MAX))
        })
        .await
    }

    async fn hold(&self, holder: TokenHolder) -> Result<(), StoreError> {
        self.holding.ask(holder, |holders| self.hold_all(holders)).await
    }

    async fn holders(&self, users: &[UserId]) -> Result<Vec<TokenHolder>, StoreError> {
        let users: Vec<&str> = users.iter().map(UserId::as_str).collect();
        self.ask(async |client| {
            let holders = client.prepare_cached(HOLDERS).await?;
            let rows = client.query(&holders, &[&users]).await?;
            rows.iter().map(holder).collect()
        })
        .await
    }
}
