//! The bell that rings when a transaction has committed: `LISTEN` and `NOTIFY`.
//!
//! The store rings it whenever it has appended to the log and somebody [needs](super::need) it, with the head that this
//! left: `h <epoch>-<position> <node>`, and with copies of what it appended where they fit. So [`Bus::announce`] has
//! nothing to do here, and no commit goes unheard for longer than a connection is lost. Replies to heartbeats travel the
//! same way: `r <json>`, several at once.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use application::ports::{Bus, Doorbell, Listener, Observer, Reply};
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_postgres::{AsyncMessage, Client};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connect::{Database, Failure, Purpose};
use super::need::Need;
use crate::bus::{Line, ReplyBatches, ReplyQueue, Wire, hear_as, listen, replies, reply_queue};
use crate::delay::Delay;

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

/// A notification takes less than 8,000 bytes; a reply at most 151.
const REPLIES_IN_ONE: usize = 50;
/// A connection that says nothing is asked whether it still listens.
const ASK_AFTER: Duration = Duration::from_secs(2);
/// A database that does not take replies is tried again after this long, and later each time.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(5);

const NOTIFY: &str = "
SELECT pg_notify($1, said)
FROM unnest($2::text[]) AS said";

/// Hears every commit of every node.
///
/// Lost connections are opened again, with growing delays; after each, listeners hear that something may have been
/// missed. Replies that the database does not take are lost, and count as missed; those that wait are bounded, and
/// where that is full the observer sees `Full("postgres_bus_replies")`.
pub struct PgBus {
    line: Line,
    replies: ReplyQueue,
}

impl PgBus {
    /// Begins to listen and to forward in the background, until `cancel`, whether the database answers yet or not.
    pub fn start(
        database: &Database,
        observer: &Arc<dyn Observer>,
        (tasks, cancel): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let (replies, batches) = reply_queue(Arc::clone(observer), "postgres_bus_replies");
        let forwarder = Forwarder::new(database.clone(), tasks.clone());
        let forwarding = forwarder.run(batches);
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

    /// Says whether commits are heard at present, and when that changes.
    pub fn hears(&self) -> watch::Receiver<bool> {
        self.line.hears()
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

/// One connection that listens.
struct PgWire {
    database: Database,
    tasks: TaskTracker,
}

#[async_trait]
impl Wire for PgWire {
    async fn hear(&mut self, line: &Line) -> Box<dyn Error + Send + Sync> {
        match self.stay(line).await {
            Ok(()) => "the connection was closed".into(),
            Err(error) => error,
        }
    }
}

impl PgWire {
    /// Listens until the connection ends.
    async fn stay(&self, line: &Line) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (client, mut messages) = self.database.listen(LISTENING, &self.tasks).await?;
        let mut need = Need::of(&self.database);
        LISTENING
            .in_time(async { Ok(client.batch_execute("LISTEN arauto").await?) })
            .await?;
        LISTENING.in_time(need.say(&client)).await?;
        line.up();
        loop {
            let message = tokio::select! {
                message = tokio::time::timeout(ASK_AFTER, messages.recv()) => message,
                () = need.changed() => {
                    LISTENING.in_time(need.say(&client)).await?;
                    continue;
                }
            };
            match message {
                Ok(Some(AsyncMessage::Notification(note))) if note.channel() == CHANNEL => {
                    line.ring(hear_as(self.database.node(), note.payload()));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(_) => {
                    LISTENING
                        .in_time(async { Ok(client.batch_execute("").await?) })
                        .await?;
                }
            }
        }
    }
}

/// Sends replies on, over a connection of its own.
struct Forwarder {
    database: Database,
    tasks: TaskTracker,
    open: Option<Client>,
    delay: Delay,
    /// Nobody connects before.
    closed_until: Option<Instant>,
}

impl Forwarder {
    const fn new(database: Database, tasks: TaskTracker) -> Self {
        Self {
            database,
            tasks,
            open: None,
            delay: Delay::new(FIRST_DELAY, LAST_DELAY),
            closed_until: None,
        }
    }

    async fn run(mut self, mut batches: ReplyBatches) {
        loop {
            let batch = batches.next().await;
            if batch.is_empty() {
                return;
            }
            if self.closed_until.is_some_and(|until| Instant::now() < until) {
                continue;
            }
            let said = batch.chunks(REPLIES_IN_ONE).map(replies).collect();
            match self.send(said).await {
                Ok(()) => {
                    self.delay.reset();
                    self.closed_until = None;
                }
                Err(error) => {
                    self.open = None;
                    self.closed_until = Some(Instant::now() + self.delay.next());
                    tracing::debug!(%error, bus = "postgres", "replies were not forwarded");
                }
            }
        }
    }

    async fn send(&mut self, said: Vec<String>) -> Result<(), Failure> {
        let open = match self.open.take() {
            Some(open) if !open.is_closed() => open,
            _ => {
                let connecting = self.database.connect(FORWARDING, &self.tasks);
                connecting.await.map_err(|_| Failure::Silent)?
            }
        };
        let sent = async { Ok(open.execute(NOTIFY, &[&CHANNEL, &said]).await?) };
        FORWARDING.in_time(sent).await?;
        self.open = Some(open);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use application::ports::Rung;
    use domain::ids::{ConnectionId, ID_MAX_CHARS, NodeId};

    use super::*;
    use crate::bus::hear;

    #[test]
    fn as_many_replies_as_are_sent_in_one_fit_a_notification() {
        let longest = Reply {
            connection: ConnectionId {
                node: NodeId(u32::MAX),
                serial: u64::MAX,
            },
            user: "x".repeat(ID_MAX_CHARS).parse().unwrap(),
            sequence: u64::MAX,
        };
        let batch = vec![longest; REPLIES_IN_ONE];
        let said = replies(&batch);
        assert!(said.len() < 8_000, "{} bytes", said.len());
        assert_eq!(hear(&said), Rung::Replies(batch.into()));
    }
}
