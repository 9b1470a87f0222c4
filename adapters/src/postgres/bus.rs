//! The bell that rings when a transaction commits: `LISTEN` and `NOTIFY`.
//!
//! The store rings it inside each transaction that appends to the log, with the head that it leaves. So
//! [`Bus::announce`] has nothing to do here, and no commit goes unheard for longer than a connection is lost. Replies
//! to heartbeats travel the same way.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use application::ports::{Bus, Doorbell, Listener, Observer, Reply};
use async_trait::async_trait;
use tokio_postgres::{AsyncMessage, Client};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connect::{ConnectError, Database, Purpose};
use crate::bus::{Line, ReplyBatches, ReplyQueue, Wire, hear, listen, replies, reply_queue};

/// The channel that the store notifies.
const CHANNEL: &str = "arauto";

const LISTENING: Purpose = Purpose {
    name: "arauto-listen",
    statement: Duration::from_secs(2),
};
const FORWARDING: Purpose = Purpose {
    name: "arauto-replies",
    statement: Duration::from_secs(2),
};

/// A notification takes less than 8,000 bytes (`NOTIFY` in the manual of PostgreSQL); a reply up to 130.
const REPLIES_AT_ONCE: usize = 50;
/// A connection that says nothing is asked whether it still listens.
const ASK_AFTER: Duration = Duration::from_secs(5);

/// Hears every commit of every node.
pub struct PgBus {
    line: Line,
    replies: ReplyQueue,
}

impl PgBus {
    /// Begins to listen and to forward, until `cancel`. Lost connections are opened again by themselves.
    pub fn start(
        database: &Database,
        observer: &Arc<dyn Observer>,
        (tasks, cancel): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let (replies, batches) = reply_queue(Arc::clone(observer), "postgres_bus_replies");
        let forwarding = forward(database.clone(), batches, tasks.clone());
        tasks.spawn(cancel.clone().run_until_cancelled_owned(forwarding));
        let wire = PgWire {
            database: database.clone(),
            tasks: tasks.clone(),
        };
        let line = listen(
            "postgres",
            "postgres_bus_listener",
            wire,
            Arc::clone(observer),
            (tasks, cancel.clone()),
        );
        Self { line, replies }
    }
}

#[async_trait]
impl Bus for PgBus {
    /// Does nothing: the store rang when it committed.
    async fn announce(&self, _: Doorbell) {}

    fn forward(&self, reply: Reply) {
        self.replies.push(reply);
    }

    fn listen(&self) -> Box<dyn Listener> {
        self.line.listener()
    }
}

struct PgWire {
    database: Database,
    tasks: TaskTracker,
}

#[async_trait]
impl Wire for PgWire {
    async fn hear(&mut self, line: &Line) -> Box<dyn Error + Send + Sync> {
        match self.stay(line).await {
            Err(error) => error.into(),
            Ok(()) => "the connection ended".into(),
        }
    }
}

impl PgWire {
    async fn stay(&self, line: &Line) -> Result<(), ConnectError> {
        let (client, mut messages) = self.database.listen(LISTENING, &self.tasks).await?;
        let listening = LISTENING.in_time(async { Ok(client.batch_execute("LISTEN arauto").await?) });
        listening.await.map_err(|_| ConnectError::Silent)?;
        line.up();
        loop {
            match tokio::time::timeout(ASK_AFTER, messages.recv()).await {
                Ok(Some(AsyncMessage::Notification(note))) if note.channel() == CHANNEL => {
                    line.ring(hear(note.payload()));
                }
                Ok(Some(_)) => {}
                Err(_) if answers(&client).await => {}
                Ok(None) | Err(_) => return Ok(()),
            }
        }
    }
}

async fn answers(client: &Client) -> bool {
    let asked = LISTENING.in_time(async { Ok(client.batch_execute("").await?) });
    asked.await.is_ok()
}

async fn forward(database: Database, mut batches: ReplyBatches, tasks: TaskTracker) {
    let mut client: Option<Client> = None;
    loop {
        let batch = batches.next().await;
        if batch.is_empty() {
            return;
        }
        if client.as_ref().is_none_or(Client::is_closed) {
            client = database.connect(FORWARDING, &tasks).await.ok();
        }
        // Without a connection they are lost, and their streams are asked again.
        let Some(open) = &client else { continue };
        let payloads: Vec<String> = batch.chunks(REPLIES_AT_ONCE).map(replies).collect();
        let notified = FORWARDING.in_time(async {
            let notify = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload";
            Ok(open.execute(notify, &[&CHANNEL, &payloads]).await?)
        });
        if notified.await.is_err() {
            client = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use application::ports::Rung;
    use domain::ids::{ConnectionId, ID_MAX_CHARS, NodeId};

    use super::*;

    #[test]
    fn the_longest_replies_fit_a_notification() {
        let reply = |n: usize| Reply {
            connection: ConnectionId {
                node: NodeId(u32::MAX),
                serial: n as u64,
            },
            user: "x".repeat(ID_MAX_CHARS).parse().unwrap(),
            sequence: (1 << 53) - 1,
        };
        let batch: Vec<Reply> = (0..REPLIES_AT_ONCE).map(reply).collect();
        let payload = replies(&batch);
        assert!(payload.len() < 8_000, "{} bytes", payload.len());
        assert_eq!(hear(&payload), Rung::Replies(batch.into()));
    }
}
