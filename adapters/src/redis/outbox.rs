//! Deliveries in Redis: what became of each event over a pushed transport.
//!
//! Whatever the port wants in one step is one script, which Redis runs whole or not at all. How the data lie is written
//! in `lua/outbox/names.lua`.

mod rows;
mod scripts;
mod tally;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use application::ports::{Backlog, DeliveryPage, DeliveryRow, Outbox, StoreError, TokenHolder};
use async_trait::async_trait;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::ids::UserId;
use domain::outbox::Delivery;
use domain::time::Timestamp;
use redis::{FromRedisValue, RedisResult, Script, ScriptInvocation};

use self::rows::{HolderFields, PageFields};
use self::scripts::Scripts;
use super::connect::Server;
use super::link::Link;
use super::script::call;
use super::store::failure::{Failure, Kind, outcome_unknown};
use super::store::rows::PLACE_MAX;
use super::store::{OpenError, fitness};
use crate::record::{HolderRecord, Unreadable, to_text};

/// A Redis that takes longer is away: a script takes some ten milliseconds at the most.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// One question, with the connection that it may need.
const PATIENCE: Duration = Duration::from_secs(3);
/// What one script looks at or writes at most, but for a stretch of the log, which is planned in one: some ten
/// milliseconds, in which Redis serves nobody else.
const STEP: usize = 1_024;
/// A page holds no more rows, whatever is asked for.
const PAGE_MAX: usize = 4_096;

/// What became of each event over a pushed transport, for all nodes of a Redis.
///
/// How durable it is is Redis' own configuration. What a restart takes back, a delivery that had been sent perhaps, is
/// sent again by the same id, which the transport drops.
pub struct RedisOutbox {
    link: Link,
    prefix: String,
    scripts: Scripts,
    /// The number of the connection whose Redis is known to fit; 0 for none.
    verified: AtomicU64,
}

impl RedisOutbox {
    /// Opens the outbox of a Redis. One that would drop what it has acknowledged is refused, then and whenever a
    /// connection is opened again.
    pub async fn open(server: &Server) -> Result<Self, OpenError> {
        let outbox = Self {
            link: Link::patient(server.clone(), ANSWER_TIMEOUT),
            prefix: server.key("outbox:"),
            scripts: Scripts::new(),
            verified: AtomicU64::new(0),
        };
        outbox.mark().await?;
        Ok(outbox)
    }

    /// Begins a call of a script.
    fn call<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        call(script, &self.prefix)
    }

    async fn mark(&self) -> Result<Option<Cursor>, Failure> {
        let call = self.call(&self.scripts.planned);
        let mark: Option<String> = self.invoke(&call, &mut false).await?;
        let mark = mark.map(|mark| mark.parse()).transpose();
        Ok(mark.map_err(|_| Unreadable::new("the mark"))?)
    }

    /// Asks in bounded time. `sent` says whether the question went out, so that it may have been answered.
    async fn invoke<T: FromRedisValue>(
        &self,
        question: &ScriptInvocation<'_>,
        sent: &mut bool,
    ) -> Result<T, Failure> {
        let watched = self.link.server().is_watched();
        let asked = self.link.run_on(async |mut redis, serial| -> RedisResult<_> {
            if self.verified.load(Ordering::Acquire) != serial {
                if let Err(unfit) = fitness::look(&mut redis, watched).await? {
                    return Ok(Err(unfit));
                }
                self.verified.store(serial, Ordering::Release);
            }
            *sent = true;
            question.invoke_async(&mut redis).await.map(Ok)
        });
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        Ok(answer.map_err(|_| Failure::Late)???)
    }

    async fn ask<T: FromRedisValue>(
        &self,
        question: &ScriptInvocation<'_>,
        kind: Kind,
    ) -> Result<T, StoreError> {
        let mut sent = false;
        let answer = self.invoke(question, &mut sent).await;
        answer.map_err(|failure| failure.said(kind, sent))
    }

    async fn find_few(&self, positions: &[u64]) -> Result<DeliveryPage, StoreError> {
        let mut call = self.call(&self.scripts.find);
        call.arg(positions);
        self.page(&call).await
    }

    async fn page(&self, question: &ScriptInvocation<'_>) -> Result<DeliveryPage, StoreError> {
        let page: PageFields = self.ask(question, Kind::Reads).await?;
        Ok(rows::page(page))
    }
}

/// What was written by earlier scripts stays, so that what became of them all together is not known.
fn after(written: bool, error: StoreError) -> StoreError {
    if written { outcome_unknown() } else { error }
}

fn place(position: Position) -> u64 {
    position.0.min(PLACE_MAX)
}

#[async_trait]
impl Outbox for RedisOutbox {
    async fn planned(&self) -> Result<Option<Cursor>, StoreError> {
        self.mark()
            .await
            .map_err(|failure| failure.said(Kind::Reads, false))
    }

    async fn plan(
        &self,
        from: Option<Cursor>,
        to: Cursor,
        deliveries: Vec<(Position, Channel, Delivery)>,
    ) -> Result<bool, StoreError> {
        let mut call = self.call(&self.scripts.plan);
        call.arg(from.map_or_else(String::new, |from| from.to_string()))
            .arg(to.to_string())
            .arg(to.epoch.to_string());
        for (position, channel, delivery) in &deliveries {
            call.arg(place(*position)).arg(channel.to_string());
            rows::delivery(&mut call, delivery);
        }
        self.ask(&call, Kind::Writes).await
    }

    async fn heads(&self, after: Option<Channel>, limit: usize) -> Result<DeliveryPage, StoreError> {
        let mut call = self.call(&self.scripts.heads);
        call.arg(after.map_or_else(String::new, |channel| channel.to_string()))
            .arg(limit.min(PAGE_MAX));
        self.page(&call).await
    }

    async fn update(&self, rows: Vec<DeliveryRow>) -> Result<Vec<bool>, StoreError> {
        let mut written = Vec::with_capacity(rows.len());
        for rows in rows.chunks(STEP) {
            let mut call = self.call(&self.scripts.update);
            for row in rows {
                call.arg(place(row.cursor.position))
                    .arg(row.cursor.epoch.to_string())
                    .arg(row.version);
                rows::delivery(&mut call, &row.delivery);
            }
            let step: Result<Vec<bool>, _> = self.ask(&call, Kind::Writes).await;
            written.extend(step.map_err(|error| after(written.contains(&true), error))?);
        }
        Ok(written)
    }

    async fn find(&self, positions: &[Position]) -> Result<DeliveryPage, StoreError> {
        let positions: BTreeSet<_> = positions.iter().copied().map(place).collect();
        let positions: Vec<_> = positions.into_iter().collect();
        let (first, rest) = positions.split_at(positions.len().min(STEP));
        let mut page = self.find_few(first).await?;
        for positions in rest.chunks(STEP) {
            page.rows.extend(self.find_few(positions).await?.rows);
        }
        Ok(page)
    }

    async fn dead(&self, after: Option<Position>, limit: usize) -> Result<DeliveryPage, StoreError> {
        let mut call = self.call(&self.scripts.dead);
        call.arg(after.map_or_else(|| "-inf".to_owned(), |after| format!("({}", place(after))))
            .arg(limit.min(PAGE_MAX));
        self.page(&call).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let call = self.call(&self.scripts.backlog);
        let (open, oldest, dead): (u64, Option<i64>, u64) = self.ask(&call, Kind::Reads).await?;
        Ok(Backlog {
            open,
            oldest: oldest.map(Timestamp::from_millis),
            dead,
        })
    }

    async fn forget(&self, before: Position, limit: usize) -> Result<usize, StoreError> {
        let mut forgot = 0;
        while forgot < limit {
            let step = (limit - forgot).min(STEP);
            let mut call = self.call(&self.scripts.forget);
            call.arg(place(before)).arg(step);
            let gone: Result<usize, _> = self.ask(&call, Kind::Writes).await;
            let gone = gone.map_err(|error| after(forgot > 0, error))?;
            forgot += gone;
            if gone < step {
                break;
            }
        }
        Ok(forgot)
    }

    async fn hold(&self, holder: TokenHolder) -> Result<(), StoreError> {
        let mut call = self.call(&self.scripts.hold);
        call.arg(holder.user.as_str())
            .arg(holder.until.as_millis())
            .arg(to_text(&HolderRecord::new(&holder.units, &holder.roles)));
        self.ask(&call, Kind::Writes).await
    }

    async fn holders(&self, users: &[UserId]) -> Result<Vec<TokenHolder>, StoreError> {
        let users: BTreeSet<_> = users.iter().map(UserId::as_str).collect();
        let users: Vec<_> = users.into_iter().collect();
        let mut holders = Vec::new();
        for users in users.chunks(STEP) {
            let mut call = self.call(&self.scripts.holders);
            call.arg(users);
            let found: Vec<HolderFields> = self.ask(&call, Kind::Reads).await?;
            holders.extend(found.into_iter().filter_map(rows::holder));
        }
        Ok(holders)
    }
}
