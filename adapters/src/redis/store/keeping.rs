//! What is done for nobody in particular: keys, control, retraction, schedules, bounds.

use std::sync::Arc;

use application::ports::{Idempotency, Promoted, Pruned, Recalled, Retraction, StoreError, Written};
use domain::channel::Channel;
use domain::cursor::Epoch;
use domain::event::{Change, Control, Event};
use domain::ids::NotificationId;
use domain::time::Timestamp;

use super::RedisStore;
use super::accept::{key_name, millis, recalled};
use super::failure::Failure;
use super::failure::Kind;
use super::reply::Reply;
use super::rows;
use super::said;
use crate::record::{ControlRecord, Unreadable, to_text};

/// Marks that a retraction clears away at once; the rest goes before the next reader is answered.
const MARKS_AT_ONCE: usize = 1_024;
/// What one promotion publishes at most: as many events as one request may.
const PROMOTED_EVENTS_MAX: usize = 5_000;
/// How much of each kind one step of pruning drops at most: some ten milliseconds, in which Redis serves nobody else.
const STEP: usize = 1_024;

impl RedisStore {
    pub(super) async fn recall_key(&self, key: &Idempotency) -> Result<Option<Recalled>, StoreError> {
        let mut call = self.work.call(&self.scripts.recall);
        call.arg(key_name(key));
        let mut reply = self.reply(&call, Kind::Reads).await?;
        let read = (|| -> Result<_, Failure> {
            let now = reply.moment()?;
            let known = reply.maybe_text()?;
            Ok(known.map_or(Ok(None), |known| recalled(&known, key, now))?)
        })();
        read.map_err(|failure| said(&failure))
    }

    pub(super) async fn append_control(&self, control: Control) -> Result<Written<()>, StoreError> {
        let mut call = self.work.call(&self.scripts.control);
        call.arg(to_text(&ControlRecord::from(&control)));
        let mut reply = self.reply(&call, Kind::Writes).await?;
        let read = (|| -> Result<_, Failure> {
            let (epoch, at) = stamp(&mut reply)?;
            let event = Event {
                position: reply.position()?,
                at,
                change: Change::Control(control),
            };
            Ok(Written {
                value: (),
                epoch,
                events: vec![Arc::new(event)],
            })
        })();
        read.map_err(|failure| said(&failure))
    }

    pub(super) async fn find_channels(&self, id: NotificationId) -> Result<Option<Vec<Channel>>, StoreError> {
        let mut call = self.work.call(&self.scripts.channels_of);
        call.arg(id.to_string());
        let mut reply = self.reply(&call, Kind::Reads).await?;
        let read = (|| -> Result<_, Failure> {
            let known = reply.maybe_text()?;
            Ok(known.as_deref().map(rows::channels).transpose()?)
        })();
        read.map_err(|failure| said(&failure))
    }

    pub(super) async fn erase(&self, id: NotificationId) -> Result<Written<Retraction>, StoreError> {
        let mut call = self.work.call(&self.scripts.retract);
        call.arg(id.to_string()).arg(MARKS_AT_ONCE);
        let mut reply = self.reply(&call, Kind::Writes).await?;
        let read = (|| -> Result<_, Failure> {
            let (epoch, at) = stamp(&mut reply)?;
            let value = match reply.text()?.as_str() {
                "retracted" => Retraction::Retracted,
                "cancelled" => Retraction::Cancelled,
                "unknown" => Retraction::Unknown,
                other => return Err(Unreadable::new(format!("the outcome {other}")).into()),
            };
            let (first, channels) = (reply.position()?, rows::channels(&reply.text()?)?);
            Ok(Written {
                value,
                epoch,
                events: rows::retracted(id, channels, first, at).collect(),
            })
        })();
        read.map_err(|failure| said(&failure))
    }

    pub(super) async fn publish_due(&self, limit: usize) -> Result<Written<Promoted>, StoreError> {
        let mut call = self.work.call(&self.scripts.promote);
        call.arg(limit.min(PROMOTED_EVENTS_MAX)).arg(PROMOTED_EVENTS_MAX);
        let mut reply = self.reply(&call, Kind::Writes).await?;
        let read = (|| -> Result<_, Failure> {
            let (epoch, at) = stamp(&mut reply)?;
            let (mut published, mut events) = (0, Vec::new());
            for item in reply.list()?.lists() {
                let mut item = item?;
                let (_id, payload) = (item.text()?, item.text()?);
                let (first, channels) = (item.position()?, rows::channels(&item.text()?)?);
                published += 1;
                let moment = at.as_millis().to_string();
                // What cannot be read is in the log all the same, where it says nothing.
                match rows::notification(&payload, Some(&moment)) {
                    Ok(notification) => events.extend(rows::published(&notification, &channels, first, at)),
                    Err(error) => tracing::error!(%error, "a scheduled notification cannot be read"),
                }
            }
            let expired = reply.number()?;
            let next_due = reply.maybe_text()?.map(|at| at.parse()).transpose();
            let next_due = next_due.map_err(|_| Unreadable::new("a moment"))?;
            Ok(Written {
                value: Promoted {
                    published,
                    expired,
                    next_due: next_due.map(Timestamp::from_millis),
                },
                epoch,
                events,
            })
        })();
        read.map_err(|failure| said(&failure))
    }

    pub(super) async fn drop_old(&self) -> Result<Pruned, StoreError> {
        let config = &self.config;
        let mut call = self.work.call(&self.scripts.prune);
        call.arg(millis(config.history_ttl))
            .arg(config.history_max_events)
            .arg(config.history_max_bytes)
            .arg(millis(config.inbox_ttl))
            .arg(config.inbox_max_items)
            .arg(STEP);
        let mut reply = self.reply(&call, Kind::Writes).await?;
        let read = (|| -> Result<_, Failure> {
            Ok(Pruned {
                events: reply.number()?,
                items: reply.number()?,
                keys: reply.number()?,
            })
        })();
        read.map_err(|failure| said(&failure))
    }

    async fn reply(&self, call: &redis::ScriptInvocation<'_>, kind: Kind) -> Result<Reply, StoreError> {
        let answer = self.work.ask_plainly(call, None, kind).await?;
        answer.only().map_err(|failure| said(&failure))
    }
}

/// Reads the history and the moment of a write.
fn stamp(reply: &mut Reply) -> Result<(Epoch, Timestamp), Unreadable> {
    Ok((reply.parsed("epoch")?, reply.moment()?))
}
