//! The limiter in Redis: one window for all nodes, by one clock.

use std::num::NonZeroU32;
use std::time::Duration;

use application::ports::{Budget, Limiter, LimiterUnavailable, Reach};
use async_trait::async_trait;
use domain::ids::NodeId;
use domain::limit::{STEP, Standing, Verdict, WINDOW};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script};

use super::connect::Server;
use super::link::Link;
use crate::limiters::Census;

/// Each caller asks, so a node that is busy answers itself late: that is no Redis that is away. One that hangs is found
/// out by the first who ask, and nobody waits for it after them.
const PATIENCE: Duration = Duration::from_secs(1);

/// A node that is not heard of for this long no longer shares the limits; it is counted once a second.
const NODE_KEPT: Duration = Duration::from_secs(5);

/// What was let through, in Redis.
///
/// A budget is one key that goes by itself when its window is over, of at most 900 bytes: how many there are is bounded
/// by what all clients do in a window, and in bytes by Redis' `maxmemory`. A Redis that is full, or away, is answered for
/// by [`LimiterUnavailable`].
pub struct RedisLimiter {
    link: Link,
    patience: Duration,
    prefix: String,
    nodes: String,
    node: NodeId,
    take: Script,
    census: Script,
}

impl RedisLimiter {
    /// Counts in that server, over a connection of its own, which is opened by the first question.
    pub fn new(server: &Server, node: NodeId) -> Self {
        Self::patient(server, node, PATIENCE)
    }

    /// The same for whoever asks for so much at once that an answer may take longer.
    pub fn patient(server: &Server, node: NodeId, patience: Duration) -> Self {
        Self {
            link: Link::patient(server.clone(), patience),
            // The connection notices first, so that it is not used again.
            patience: patience + Duration::from_millis(80),
            prefix: server.key("limit:"),
            nodes: server.key("limiter:nodes"),
            node,
            take: Script::new(include_str!("lua/limit/take.lua")),
            census: Script::new(include_str!("lua/limit/census.lua")),
        }
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, LimiterUnavailable> {
        let failure = match tokio::time::timeout(self.patience, self.link.run(question)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::debug!(error = failure, "limits could not be asked of Redis");
        Err(LimiterUnavailable)
    }
}

#[async_trait]
impl Limiter for RedisLimiter {
    async fn take(&self, budgets: &[Budget]) -> Result<Verdict, LimiterUnavailable> {
        let mut call = self.take.prepare_invoke();
        call.arg(millis(WINDOW)).arg(millis(STEP));
        for budget in budgets {
            call.key(format!("{}{}", self.prefix, budget.key))
                .arg(budget.allowance.whole());
        }
        let (taken, decides, remaining, reset): (u8, usize, u32, u64) = self
            .ask(async |mut redis| call.invoke_async(&mut redis).await)
            .await?;
        let standing = Standing {
            budget: decides,
            limit: budgets.get(decides).map_or(0, |budget| budget.allowance.whole()),
            remaining,
            reset: Duration::from_millis(reset),
        };
        Ok(if taken == 1 {
            Verdict::Taken(standing)
        } else {
            Verdict::Refused(standing)
        })
    }

    fn reach(&self) -> Reach {
        Reach::Whole
    }
}

#[async_trait]
impl Census for RedisLimiter {
    async fn census(&self) -> Result<NonZeroU32, LimiterUnavailable> {
        let mut call = self.census.key(&self.nodes);
        call.arg(format!("{:08x}", self.node.0)).arg(millis(NODE_KEPT));
        let nodes: u32 = self
            .ask(async |mut redis| call.invoke_async(&mut redis).await)
            .await?;
        Ok(NonZeroU32::new(nodes).unwrap_or(NonZeroU32::MIN))
    }
}

/// Whole milliseconds.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
