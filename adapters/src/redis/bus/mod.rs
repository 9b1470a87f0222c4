//! The bus over Redis' Pub/Sub: the fast one, which carries copies.

mod publishing;
mod wire;

use std::sync::Arc;

use application::ports::{Bus, Doorbell, Listener, Observer, Reply};
use async_trait::async_trait;
use domain::ids::NodeId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::publishing::{Outbox, Publisher};
use self::wire::RedisWire;
use super::connect::Server;
use crate::bus::{Line, ReplyQueue, listen, reply_queue};

/// What a node does with what it said itself, which Redis brings back like everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// It hears itself, too.
    Heard,
    /// It takes no notice, because it hears itself another way.
    Skipped,
}

/// Rings over one channel of Redis.
///
/// A batch of up to 64 KiB travels as a copy, a larger one as the head alone. Whoever announces hands over to a
/// bounded queue and waits for nothing; where that is full, the doorbell is left out, the observer sees
/// `Full("redis_bus")` and the next message says how far the log has grown meanwhile. While Redis is away nothing is
/// heard; it is subscribed to again by itself, and then listeners hear that something may have been missed.
pub struct RedisBus {
    outbox: Outbox,
    replies: ReplyQueue,
    line: Line,
}

impl RedisBus {
    /// Begins to listen and to speak in the background, whether Redis answers yet or not.
    pub fn start(
        server: &Server,
        (node, own): (NodeId, Own),
        observer: &Arc<dyn Observer>,
        (tasks, cancel): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let (replies, batches) = reply_queue(Arc::clone(observer), "redis_bus_replies");
        let (outbox, queue) = Outbox::new(Arc::clone(observer));
        let publisher = Publisher::new(server.clone(), node, outbox.unsaid());
        let announcing = publisher.clone();
        let quiet = cancel.clone();
        tasks.spawn(async move { quiet.run_until_cancelled(announcing.announce(queue)).await });
        let quiet = cancel.clone();
        tasks.spawn(async move { quiet.run_until_cancelled(publisher.forward(batches)).await });
        let wire = RedisWire::new(server.clone(), node, own);
        let line = listen(
            "redis",
            "redis_bus_listener",
            wire,
            Arc::clone(observer),
            (tasks, cancel.clone()),
        );
        Self {
            outbox,
            replies,
            line,
        }
    }

    /// Says whether other nodes are heard at present, and when that changes.
    pub fn hears(&self) -> watch::Receiver<bool> {
        self.line.hears()
    }
}

#[async_trait]
impl Bus for RedisBus {
    async fn announce(&self, doorbell: Doorbell) {
        self.outbox.announce(doorbell);
    }

    fn forward(&self, reply: Reply) {
        self.replies.push(reply);
    }

    fn listen(&self) -> Box<dyn Listener> {
        self.line.listener()
    }
}

/// The channel that all nodes share.
fn channel(server: &Server) -> String {
    server.key("bus")
}

/// What a node says begins with its name.
fn signature(node: NodeId) -> String {
    format!("{:08x}", node.0)
}
