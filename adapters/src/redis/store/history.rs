//! Epochs: telling one history from another.
//!
//! A Redis that was restarted may have lost what it had acknowledged, and would give the same places out again. Its run
//! tells, unless it is known to keep everything; and so does a head below one that this node has seen.

use std::sync::{Arc, Mutex, PoisonError};

use application::ports::Entropy;
use domain::cursor::{Cursor, Epoch, Position};
use redis::aio::MultiplexedConnection;
use redis::cmd;

use super::super::script::call;
use super::failure::Failure;
use super::fitness::Identity;
use super::reply::Reply;
use super::scripts::Scripts;
use crate::record::Unreadable;

/// Two epochs that begin in the same millisecond still differ in these many bits.
const CHANCE_BITS: u32 = 20;

/// Each attempt but the last one finds that another node was faster.
const ATTEMPTS: usize = 5;

/// A place that no log reaches: positions are counted in doubles by scripts.
const NOWHERE: Position = Position((1 << 53) - 1);

/// What this node has seen of the history, so that it notices when some of it is gone.
pub(super) struct History {
    entropy: Arc<dyn Entropy>,
    /// Never held over an await.
    seen: Mutex<Option<Cursor>>,
}

impl History {
    pub(super) fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self {
            entropy,
            seen: Mutex::new(None),
        }
    }

    pub(super) fn seen(&self) -> Option<Cursor> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, head: Cursor) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = (*seen).max(Some(head));
    }

    /// Makes sure that the epoch in force is of this very history, and returns it. `seen` is a cursor that must not lie
    /// ahead of the log.
    pub(super) async fn verify(
        &self,
        redis: &mut MultiplexedConnection,
        (scripts, prefix): (&Scripts, &str),
        identity: &Identity,
        seen: Option<Cursor>,
    ) -> Result<Epoch, Failure> {
        let (seconds, micros): (u64, u64) = cmd("TIME").query_async(redis).await?;
        let millis = seconds * 1_000 + micros / 1_000;
        let mut latest: Option<Epoch> = None;
        for _ in 0..ATTEMPTS {
            let mut verify = call(&scripts.verify, prefix);
            verify
                .arg(latest.map_or_else(String::new, |latest| latest.to_string()))
                .arg(
                    self.draw(millis, latest.max(seen.map(|seen| seen.epoch)))
                        .to_string(),
                )
                .arg(&identity.run)
                .arg(u8::from(identity.synced))
                .arg(seen.map_or_else(String::new, |seen| seen.epoch.to_string()))
                .arg(seen.map_or(0, |seen| seen.position.0));
            let mut reply = Reply::of(verify.invoke_async(redis).await?)?;
            let again = reply.text()? == "again";
            let epoch = reply.parsed("epoch");
            if again {
                latest = Some(epoch?);
                continue;
            }
            let (epoch, head, begun): (_, u64, u8) = (epoch?, reply.number()?, reply.number()?);
            match (begun, head) {
                (0, _) => {}
                (_, 0) => tracing::info!(%epoch, "the history begins"),
                (_, after) => {
                    tracing::warn!(%epoch, after, "Redis is not what it was: a new history begins, every client reloads");
                }
            }
            return Ok(epoch);
        }
        Err(Unreadable::new("an epoch that changes all the time").into())
    }

    /// Begins a new epoch whatever the present one says.
    pub(super) async fn renew(
        &self,
        redis: &mut MultiplexedConnection,
        scripts: (&Scripts, &str),
        identity: &Identity,
    ) -> Result<Epoch, Failure> {
        let epoch = self.verify(redis, scripts, identity, None).await?;
        let beyond = Cursor {
            epoch,
            position: NOWHERE,
        };
        self.verify(redis, scripts, identity, Some(beyond)).await
    }

    /// Draws an epoch that is later than others, whatever the clocks say.
    fn draw(&self, millis: u64, latest: Option<Epoch>) -> Epoch {
        let drawn = millis << CHANCE_BITS | self.entropy.bits() >> (u64::BITS - CHANCE_BITS);
        Epoch(drawn.max(latest.map_or(0, |latest| latest.0 + 1)))
    }
}
