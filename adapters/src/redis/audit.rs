//! The audit trail in Redis. How durable it is is Redis' own configuration, and Redis keeps nobody from changing it:
//! what is changed shows in the chains.

use std::collections::BTreeMap;
use std::time::Duration;

use application::ports::{Audit, AuditError, AuditPage, AuditQuery, Batch, Kept, Link, Trail};
use async_trait::async_trait;
use domain::time::Timestamp;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, RedisResult, Script};

use super::connect::Server;
use super::link::Link as Connection;
use crate::record::{AuditRecord, LinkRecord, from_text, to_text};

/// Nobody waits longer for Redis.
const PATIENCE: Duration = Duration::from_secs(3);
/// A page looks at no more places, whatever it finds there.
const LOOKED_AT_MAX: isize = 2_000;

/// The audit trail of all nodes of a Redis.
pub struct RedisAudit {
    link: Connection,
    append: Script,
    forget: Script,
    trail: Script,
}

impl RedisAudit {
    /// Connects when it is first asked.
    pub fn new(server: &Server) -> Self {
        Self {
            link: Connection::new(server.clone()),
            append: Script::new(include_str!("lua/audit/append.lua")),
            forget: Script::new(include_str!("lua/audit/forget.lua")),
            trail: Script::new(include_str!("lua/audit/trail.lua")),
        }
    }

    fn key(&self, name: &str) -> String {
        self.link.server().key(&format!("audit:{name}"))
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, AuditError> {
        let failure = match tokio::time::timeout(PATIENCE, self.link.run(question)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(error = failure, audit = "redis", "a question was not answered");
        Err(AuditError::Unavailable)
    }

    /// Reads what stands at the places after one, a bounded number of them.
    async fn places(&self, after: u64, count: isize) -> Result<Vec<Kept>, AuditError> {
        let records = self.key("records");
        let members: Vec<String> = self
            .ask(async |mut redis| {
                redis
                    .zrangebyscore_limit(records, format!("({after}"), "+inf", 0, count)
                    .await
            })
            .await?;
        members.iter().map(|member| kept(member)).collect()
    }
}

fn kept(member: &str) -> Result<Kept, AuditError> {
    let unreadable = AuditError::Unreadable { place: 0 };
    let (place, record) = member.split_once('|').ok_or(unreadable)?;
    let place = place.parse().map_err(|_| unreadable)?;
    let record = from_text::<AuditRecord>(record).and_then(TryInto::try_into);
    let sealed = record.map_err(|_| AuditError::Unreadable { place })?;
    Ok(Kept { place, sealed })
}

fn links(pairs: &[(String, String)]) -> Result<Vec<Link>, AuditError> {
    let read = |(chain, at): &(String, String)| {
        LinkRecord::read(chain, at).map_err(|_| AuditError::Unreadable { place: 0 })
    };
    pairs.iter().map(read).collect()
}

/// A hash, as a field and its value in turn.
type Pairs = Vec<(String, String)>;

#[async_trait]
impl Audit for RedisAudit {
    async fn append(&self, batch: &Batch) -> Result<(), AuditError> {
        let Some(last) = batch.records.last() else {
            return Ok(());
        };
        let end = Link {
            sequence: last.record.sequence,
            hash: last.hash,
            ..batch.after
        };
        let after = if batch.after.sequence == 0 {
            String::new()
        } else {
            LinkRecord::write(&batch.after)
        };
        let mut call = self.append.prepare_invoke();
        call.key(self.key("records"))
            .key(self.key("ends"))
            .key(self.key("trail"));
        call.arg(end.chain.to_string())
            .arg(after)
            .arg(LinkRecord::write(&end));
        for sealed in &batch.records {
            call.arg(to_text(&AuditRecord::from(sealed)));
        }
        let written: bool = self
            .ask(async |mut redis| call.invoke_async(&mut redis).await)
            .await?;
        if written {
            Ok(())
        } else {
            Err(AuditError::Elsewhere)
        }
    }

    async fn read(&self, query: &AuditQuery) -> Result<AuditPage, AuditError> {
        let unfiltered = query.kind.is_none() && query.who.is_none();
        let limit = isize::try_from(query.limit).unwrap_or(LOOKED_AT_MAX);
        let count = if unfiltered {
            limit.min(LOOKED_AT_MAX)
        } else {
            LOOKED_AT_MAX
        };
        let places = self.places(query.after, count).await?;
        let looked_to = places.last().map_or(query.after, |last| last.place);
        let wanted = |kept: &Kept| {
            let entry = &kept.sealed.record.entry;
            query.kind.is_none_or(|kind| entry.kind == kind)
                && query
                    .who
                    .as_ref()
                    .is_none_or(|who| entry.who.as_ref() == Some(who))
        };
        let records: Vec<Kept> = places.into_iter().filter(wanted).take(query.limit).collect();
        let looked_to = match records.last() {
            Some(last) if records.len() == query.limit => last.place,
            _ => looked_to,
        };
        Ok(AuditPage { records, looked_to })
    }

    async fn trail(&self) -> Result<Trail, AuditError> {
        let mut call = self.trail.prepare_invoke();
        call.key(self.key("ends"))
            .key(self.key("begins"))
            .key(self.key("trail"));
        let (head, forgotten, ends, begins): (u64, u64, Pairs, Pairs) = self
            .ask(async |mut redis| call.invoke_async(&mut redis).await)
            .await?;
        Ok(Trail {
            forgotten,
            head,
            begins: links(&begins)?,
            ends: links(&ends)?,
        })
    }

    async fn forget(&self, before: Timestamp, limit: usize) -> Result<usize, AuditError> {
        let forgotten = self.trail().await?.forgotten;
        let limit = isize::try_from(limit).unwrap_or(LOOKED_AT_MAX).min(LOOKED_AT_MAX);
        let first = self.places(forgotten, limit).await?;
        let old = first
            .iter()
            .take_while(|kept| kept.sealed.record.entry.at < before);
        let (mut last, mut begins) = (None, BTreeMap::new());
        for kept in old {
            let record = &kept.sealed.record;
            last = Some(kept.place);
            begins.insert(
                record.chain,
                Link {
                    chain: record.chain,
                    sequence: record.sequence,
                    hash: kept.sealed.hash,
                },
            );
        }
        let Some(last) = last else { return Ok(0) };
        let mut call = self.forget.prepare_invoke();
        call.key(self.key("records"))
            .key(self.key("begins"))
            .key(self.key("trail"));
        call.arg(forgotten).arg(last);
        for link in begins.values() {
            call.arg(link.chain.to_string()).arg(LinkRecord::write(link));
        }
        self.ask(async |mut redis| call.invoke_async(&mut redis).await)
            .await
    }
}
