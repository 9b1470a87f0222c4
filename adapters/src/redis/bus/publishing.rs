//! Publishing: what is announced and forwarded, on its way to Redis.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use application::ports::{Doorbell, Observation, Observer};
use domain::cursor::Cursor;
use domain::event::Change;
use domain::ids::NodeId;
use redis::{Pipeline, RedisResult};
use tokio::sync::mpsc::{Receiver, Sender, channel as queue};

use super::{channel, signature};
use crate::bus::{ReplyBatches, doorbell, head, replies};
use crate::redis::connect::Server;
use crate::redis::link::Link;

/// A copy beyond this costs every node more than reading the log.
const COPY_MAX_BYTES: usize = 64 * 1024;
/// With copies of 64 KiB, 16 MiB wait for a Redis that hangs.
const QUEUED_MAX: usize = 256;
/// Sent at once at the most.
const AT_ONCE: usize = 64;
/// How far the log has grown is said again after this long where Redis did not take it.
const AGAIN: Duration = Duration::from_secs(1);

/// What was left out: the log has grown at least up to there.
pub(super) type Unsaid = Arc<Mutex<Option<Cursor>>>;

enum Saying {
    Copy(Doorbell),
    Head(Cursor),
}

impl Saying {
    fn up_to(&self) -> Option<Cursor> {
        match self {
            Self::Copy(doorbell) => head_of(doorbell),
            Self::Head(cursor) => Some(*cursor),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Head(cursor) => head(*cursor, None),
            Self::Copy(copy) => {
                let message = doorbell(copy);
                match head_of(copy) {
                    Some(up_to) if message.len() > COPY_MAX_BYTES => head(up_to, None),
                    _ => message,
                }
            }
        }
    }
}

/// The end that takes doorbells.
pub(super) struct Outbox {
    queue: Sender<Saying>,
    unsaid: Unsaid,
    observer: Arc<dyn Observer>,
}

impl Outbox {
    pub(super) fn new(observer: Arc<dyn Observer>) -> (Self, OutboxQueue) {
        let (sender, receiver) = queue(QUEUED_MAX);
        let outbox = Self {
            queue: sender,
            unsaid: Unsaid::default(),
            observer,
        };
        (outbox, OutboxQueue(receiver))
    }

    pub(super) fn unsaid(&self) -> Unsaid {
        Arc::clone(&self.unsaid)
    }

    /// Hands over, or leaves out.
    pub(super) fn announce(&self, doorbell: Doorbell) {
        let Some(up_to) = head_of(&doorbell) else {
            return;
        };
        let saying = if exceeds(&doorbell, COPY_MAX_BYTES) {
            Saying::Head(up_to)
        } else {
            Saying::Copy(doorbell)
        };
        if self.queue.try_send(saying).is_err() {
            leave_out(&self.unsaid, up_to);
            self.observer.saw(&Observation::Full("redis_bus"));
        }
    }
}

/// The end that gives doorbells.
pub(super) struct OutboxQueue(Receiver<Saying>);

/// Sends what was handed over.
#[derive(Clone)]
pub(super) struct Publisher {
    link: Arc<Link>,
    signature: Arc<str>,
    unsaid: Unsaid,
}

impl Publisher {
    pub(super) fn new(server: Server, node: NodeId, unsaid: Unsaid) -> Self {
        Self {
            link: Arc::new(Link::new(server)),
            signature: signature(node).into(),
            unsaid,
        }
    }

    /// Sends doorbells, several at once. Those that Redis does not take are made up for by the head, later.
    pub(super) async fn announce(self, mut queue: OutboxQueue) {
        let mut taken = true;
        loop {
            let mut sayings = Vec::new();
            let more = queue.0.recv_many(&mut sayings, AT_ONCE);
            if let Ok(0) = tokio::time::timeout(AGAIN, more).await {
                return;
            }
            let left_out = self.unsaid().take();
            sayings.extend(left_out.map(Saying::Head));
            if sayings.is_empty() {
                continue;
            }
            let outcome = self.send(|| sayings.iter().map(Saying::message).collect()).await;
            if outcome.is_err()
                && let Some(up_to) = sayings.iter().filter_map(Saying::up_to).max()
            {
                leave_out(&self.unsaid, up_to);
            }
            report(&outcome, &mut taken);
        }
    }

    /// Sends replies. Those that Redis does not take count as missed.
    pub(super) async fn forward(self, mut batches: ReplyBatches) {
        let mut taken = true;
        loop {
            let batch = batches.next().await;
            if batch.is_empty() {
                return;
            }
            let outcome = self.send(|| vec![replies(&batch)]).await;
            report(&outcome, &mut taken);
        }
    }

    /// What is to be said is written only when there is somebody to say it to.
    async fn send(&self, messages: impl FnOnce() -> Vec<String>) -> RedisResult<()> {
        let channel = channel(self.link.server());
        let signed = |message| format!("{} {message}", self.signature);
        self.link
            .run(async |mut connection| {
                let mut pipeline = Pipeline::new();
                for message in messages() {
                    pipeline.publish(&channel, signed(message)).ignore();
                }
                pipeline.exec_async(&mut connection).await
            })
            .await
    }

    fn unsaid(&self) -> std::sync::MutexGuard<'_, Option<Cursor>> {
        self.unsaid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn leave_out(unsaid: &Unsaid, up_to: Cursor) {
    let mut unsaid = unsaid.lock().unwrap_or_else(PoisonError::into_inner);
    *unsaid = (*unsaid).max(Some(up_to));
}

/// Once for each outage.
fn report(outcome: &RedisResult<()>, taken: &mut bool) {
    match outcome {
        Err(error) if *taken => tracing::warn!(%error, bus = "redis", "does not take what is announced"),
        Ok(()) if !*taken => tracing::info!(bus = "redis", "takes what is announced"),
        _ => {}
    }
    *taken = outcome.is_ok();
}

fn head_of(doorbell: &Doorbell) -> Option<Cursor> {
    let last = doorbell.events.last()?;
    Some(Cursor {
        epoch: doorbell.epoch,
        position: last.position,
    })
}

/// Whether the copy is larger without having been written: an event takes more than this, and content stands as it is.
fn exceeds(doorbell: &Doorbell, bytes: usize) -> bool {
    const EVENT_MIN_BYTES: usize = 60;
    let contents = doorbell.events.iter().enumerate().map(|(at, event)| {
        let Change::Published { notification, .. } = &event.change else {
            return 0;
        };
        // Those of one notification stand side by side and share it.
        let before = at.checked_sub(1).map(|before| &doorbell.events[before].change);
        match before {
            Some(Change::Published {
                notification: same, ..
            }) if same.id == notification.id => 0,
            _ => notification.content.body.len() + notification.content.data.len(),
        }
    });
    contents.sum::<usize>() + EVENT_MIN_BYTES * doorbell.events.len() > bytes
}
