//! Replies to heartbeats, several at once.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Observation, Observer, Reply};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

/// Ten thousand streams with a beat every thirty seconds reply 333 times a second: twelve seconds' worth.
const QUEUED_MAX: usize = 4_096;
/// A reply may wait for others this long: what counts is whether it comes within a beat's interval.
const GATHER: Duration = Duration::from_millis(50);
/// Sent at once at the most.
const AT_ONCE: usize = 500;

/// The end that takes replies.
pub(crate) struct ReplyQueue {
    queue: Sender<Reply>,
    observer: Arc<dyn Observer>,
    full: &'static str,
}

/// The end that gives them, several at once.
pub(crate) struct ReplyBatches(Receiver<Reply>);

/// Makes a queue; `full` is the name of its bound among the metrics.
pub(crate) fn reply_queue(observer: Arc<dyn Observer>, full: &'static str) -> (ReplyQueue, ReplyBatches) {
    let (queue, batches) = channel(QUEUED_MAX);
    let queue = ReplyQueue {
        queue,
        observer,
        full,
    };
    (queue, ReplyBatches(batches))
}

impl ReplyQueue {
    /// Takes a reply, or drops it when too many wait: it counts as missed.
    pub(crate) fn push(&self, reply: Reply) {
        if self.queue.try_send(reply).is_err() {
            self.observer.saw(&Observation::Full(self.full));
        }
    }
}

impl ReplyBatches {
    /// Waits for replies; none are left and none will come when it returns none.
    pub(crate) async fn next(&mut self) -> Vec<Reply> {
        let mut batch = Vec::new();
        if self.0.recv_many(&mut batch, AT_ONCE).await == 0 {
            return batch;
        }
        let over = Instant::now() + GATHER;
        while batch.len() < AT_ONCE {
            let room = AT_ONCE - batch.len();
            match tokio::time::timeout_at(over, self.0.recv_many(&mut batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use application::testing::Unobserved;

    use super::*;

    fn reply(sequence: u64) -> Reply {
        Reply {
            connection: "000000ab-00000000000000cd".parse().unwrap(),
            user: "u-1".parse().unwrap(),
            sequence,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn replies_wait_for_others_but_not_long() {
        let (queue, mut batches) = reply_queue(Arc::new(Unobserved), "replies");
        let started = Instant::now();
        queue.push(reply(1));
        let sending = async {
            tokio::time::advance(Duration::from_millis(20)).await;
            queue.push(reply(2));
        };
        let (batch, ()) = tokio::join!(batches.next(), sending);
        assert_eq!(batch, [reply(1), reply(2)]);
        assert!(
            started.elapsed() <= Duration::from_millis(51),
            "{:?}",
            started.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_waits_for_nobody() {
        let (queue, mut batches) = reply_queue(Arc::new(Unobserved), "replies");
        let started = Instant::now();
        (0..600).for_each(|n| queue.push(reply(n)));
        assert_eq!(batches.next().await.len(), 500);
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(batches.next().await.len(), 100);
    }
}
