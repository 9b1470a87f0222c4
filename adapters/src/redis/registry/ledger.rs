//! What the keeper writes, and clears up.

use std::sync::Arc;

use async_trait::async_trait;
use domain::ids::{ConnectionId, NodeId};
use redis::{AsyncCommands as _, ErrorKind, Pipeline, RedisResult, ServerErrorKind};

use super::scripts::{Keys, Scripts};
use crate::redis::link::Link;
use crate::registry::{Batch, Entry, Failure, Lease, Ledger, Swept, Written};

/// Streams of dead nodes that are taken out at once: about two milliseconds of Redis' one thread.
const SWEPT_AT_ONCE: usize = 500;

pub(super) struct RedisLedger {
    pub(super) link: Arc<Link>,
    pub(super) node: NodeId,
    pub(super) keys: Keys,
    pub(super) scripts: Arc<Scripts>,
}

/// What a pipeline of entering streams says: nothing where the node has no lease.
type Beyond = Vec<Option<Vec<String>>>;

impl RedisLedger {
    async fn send(&self, batch: &Batch) -> RedisResult<Beyond> {
        let mut pipeline = Pipeline::new();
        for entry in &batch.leaving {
            pipeline
                .invoke_script(&self.scripts.leave(&self.keys, entry))
                .ignore();
        }
        for mark in &batch.marks {
            pipeline
                .invoke_script(&self.scripts.mark(&self.keys, mark))
                .ignore();
        }
        for arrival in &batch.entering {
            pipeline.invoke_script(&self.scripts.enter(&self.keys, arrival));
        }
        self.link
            .run(async |mut redis| pipeline.query_async(&mut redis).await)
            .await
    }

    /// Redis forgets scripts when it is restarted.
    async fn load(&self) -> RedisResult<()> {
        let mut pipeline = Pipeline::new();
        for script in self.scripts.written() {
            pipeline.load_script(script).ignore();
        }
        self.link
            .run(async |mut redis| pipeline.exec_async(&mut redis).await)
            .await
    }
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn claim(&self) -> Result<Lease, Failure> {
        let kept: bool = self
            .link
            .run(async |mut redis| {
                let claim = self.scripts.claim(&self.keys, self.node);
                claim.invoke_async(&mut redis).await
            })
            .await?;
        Ok(if kept { Lease::Kept } else { Lease::Taken })
    }

    async fn write(&self, batch: &Batch) -> Result<Written, Failure> {
        let mut sent = self.send(batch).await;
        if let Err(error) = &sent
            && error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
        {
            self.load().await?;
            sent = self.send(batch).await;
        }
        let Some(entered) = sent?.into_iter().collect::<Option<Vec<_>>>() else {
            return Ok(Written::NoLease);
        };
        let connections = |beyond: Vec<String>| beyond.iter().filter_map(|id| id.parse().ok()).collect();
        Ok(Written::Done(entered.into_iter().map(connections).collect()))
    }

    async fn own(&self, after: Option<ConnectionId>, limit: usize) -> Result<Vec<Entry>, Failure> {
        let key = self.keys.node(self.node);
        let from = after.map_or_else(|| "-".to_owned(), |after| format!("({:016x}!", after.serial));
        let limit = isize::try_from(limit).unwrap_or(isize::MAX);
        let streams: Vec<String> = self
            .link
            .run(async |mut redis| redis.zrangebylex_limit(key, from, "+", 0, limit).await)
            .await?;
        Ok(streams.iter().filter_map(|stream| self.entry(stream)).collect())
    }

    async fn sweep(&self) -> Result<Swept, Failure> {
        let left: bool = self
            .link
            .run(async |mut redis| {
                let sweep = self.scripts.sweep(&self.keys, SWEPT_AT_ONCE);
                sweep.invoke_async(&mut redis).await
            })
            .await?;
        Ok(if left { Swept::Some } else { Swept::All })
    }

    async fn release(&self) -> Result<(), Failure> {
        let lease = Scripts::release(&self.keys, self.node);
        Ok(self.link.run(async |mut redis| redis.del(lease).await).await?)
    }
}

impl RedisLedger {
    /// Reads "serial opened user".
    fn entry(&self, stream: &str) -> Option<Entry> {
        let mut parts = stream.splitn(3, ' ');
        let serial = u64::from_str_radix(parts.next()?, 16).ok()?;
        let user = parts.nth(1)?.parse().ok()?;
        let connection = ConnectionId {
            node: self.node,
            serial,
        };
        Some(Entry { user, connection })
    }
}
