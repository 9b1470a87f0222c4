//! The bell that rings when a transaction commits: `LISTEN` and `NOTIFY`.
//!
//! The store rings it inside each transaction that appends to the log, with the head that it leaves:
//! `h <epoch>-<position>`. So [`Bus::announce`] has nothing to do here, and no commit goes unheard for longer than a
//! connection is lost. Replies to heartbeats travel the same way: `r <json>`, several at once.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Bus, Doorbell, Listener, Observation, Observer, Reply, Rung};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};
use tokio_postgres::{AsyncMessage, Client};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connect::{Database, Purpose};
use crate::record::{Unreadable, from_text, to_text};

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

/// Rings that a slow listener may be behind before it is told that it missed some.
const RINGS_MAX: usize = 1_024;
/// Replies that wait to be sent on. Beyond it they are lost, and count as missed.
const REPLIES_MAX: usize = 4_096;
/// The name of full replies among the metrics.
const FULL: &str = "bus_replies";
/// Replies wait this long for company.
const COMPANY: Duration = Duration::from_millis(20);
/// A notification takes less than 8,000 bytes; a reply some 110.
const REPLIES_AT_ONCE: usize = 60;
/// The first pause before a lost connection is opened again, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A connection that says nothing is asked whether it still listens.
const ASK_AFTER: Duration = Duration::from_secs(5);

/// Hears every commit of every node.
pub struct PgBus {
    rings: broadcast::Sender<Rung>,
    replies: mpsc::Sender<Reply>,
    observer: Arc<dyn Observer>,
}

impl PgBus {
    /// Begins to listen and to forward, until `cancel`. Lost connections are opened again, with growing pauses.
    pub fn start(
        database: &Database,
        observer: Arc<dyn Observer>,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Self {
        let rings = broadcast::Sender::new(RINGS_MAX);
        let (replies, waiting) = mpsc::channel(REPLIES_MAX);
        let listening = listen(database.clone(), rings.clone(), tasks.clone());
        tasks.spawn(cancel.clone().run_until_cancelled_owned(listening));
        let forwarding = forward(database.clone(), waiting, tasks.clone());
        tasks.spawn(cancel.clone().run_until_cancelled_owned(forwarding));
        Self {
            rings,
            replies,
            observer,
        }
    }
}

#[async_trait]
impl Bus for PgBus {
    /// Does nothing: the store rang when it committed.
    async fn announce(&self, _: Doorbell) {}

    fn forward(&self, reply: Reply) {
        if self.replies.try_send(reply).is_err() {
            self.observer.saw(&Observation::Full(FULL));
        }
    }

    fn listen(&self) -> Box<dyn Listener> {
        Box::new(PgListener(self.rings.subscribe()))
    }
}

struct PgListener(broadcast::Receiver<Rung>);

#[async_trait]
impl Listener for PgListener {
    async fn next(&mut self) -> Rung {
        match self.0.recv().await {
            Ok(rung) => rung,
            Err(broadcast::error::RecvError::Lagged(_)) => Rung::Missed,
            // The bus is gone and nothing will ever ring.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

async fn listen(database: Database, rings: broadcast::Sender<Rung>, tasks: TaskTracker) {
    let mut pause = PAUSE_MIN;
    loop {
        match hear(&database, &rings, &tasks).await {
            // It was heard for a while: the next attempt may come soon.
            Ok(()) => pause = PAUSE_MIN,
            Err(error) => tracing::warn!(%error, "the database's bell cannot be heard; the log is polled"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Listens until the connection ends.
async fn hear(
    database: &Database,
    rings: &broadcast::Sender<Rung>,
    tasks: &TaskTracker,
) -> Result<(), super::ConnectError> {
    let (client, mut messages) = database.listen(LISTENING, tasks).await?;
    let listening = client.batch_execute("LISTEN arauto");
    listening.await.map_err(super::ConnectError::Unreachable)?;
    // Whatever was rung before this moment was not heard.
    let _ = rings.send(Rung::Missed);
    loop {
        match tokio::time::timeout(ASK_AFTER, messages.recv()).await {
            Ok(Some(AsyncMessage::Notification(note))) if note.channel() == CHANNEL => {
                let _ = rings.send(read(note.payload()));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(_) if answers(&client).await => {}
            Err(_) => return Ok(()),
        }
    }
}

async fn answers(client: &Client) -> bool {
    let asked = LISTENING.in_time(async { Ok(client.batch_execute("").await?) });
    asked.await.is_ok()
}

/// What cannot be read may have been anything: the log tells.
fn read(payload: &str) -> Rung {
    match payload.split_once(' ') {
        Some(("h", head)) => head.parse().map_or(Rung::Missed, Rung::Head),
        Some(("r", replies)) => read_replies(replies).map_or(Rung::Missed, Rung::Replies),
        _ => Rung::Missed,
    }
}

async fn forward(database: Database, mut waiting: mpsc::Receiver<Reply>, tasks: TaskTracker) {
    let mut client: Option<Client> = None;
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, REPLIES_AT_ONCE).await > 0 {
        if batch.len() < REPLIES_AT_ONCE {
            tokio::time::sleep(COMPANY).await;
            while batch.len() < REPLIES_AT_ONCE
                && let Ok(reply) = waiting.try_recv()
            {
                batch.push(reply);
            }
        }
        let payload = format!("r {}", write_replies(&batch));
        batch.clear();
        if client.as_ref().is_none_or(Client::is_closed) {
            client = database.connect(FORWARDING, &tasks).await.ok();
        }
        // Without a connection they are lost, and their streams are asked again.
        let Some(open) = &client else { continue };
        let notified = FORWARDING.in_time(async {
            Ok(open
                .execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &payload])
                .await?)
        });
        if notified.await.is_err() {
            client = None;
        }
    }
}

#[derive(Serialize, Deserialize)]
struct ReplyRecord {
    c: String,
    u: String,
    s: u64,
}

fn write_replies(replies: &[Reply]) -> String {
    let record = |reply: &Reply| ReplyRecord {
        c: reply.connection.to_string(),
        u: reply.user.to_string(),
        s: reply.sequence,
    };
    to_text(&replies.iter().map(record).collect::<Vec<_>>())
}

fn read_replies(text: &str) -> Result<Arc<[Reply]>, Unreadable> {
    let records: Vec<ReplyRecord> = from_text(text)?;
    let reply = |record: ReplyRecord| {
        Ok(Reply {
            connection: record.c.parse().map_err(|_| Unreadable::new("connection"))?,
            user: record.u.parse().map_err(|_| Unreadable::new("user"))?,
            sequence: record.s,
        })
    };
    records.into_iter().map(reply).collect()
}

#[cfg(test)]
mod tests {
    use domain::ids::{ConnectionId, ID_MAX_CHARS, NodeId};

    use super::*;

    fn reply(n: u64) -> Reply {
        Reply {
            connection: ConnectionId {
                node: NodeId(u32::MAX),
                serial: n,
            },
            user: "x".repeat(ID_MAX_CHARS).parse().unwrap(),
            sequence: (1 << 53) - 1,
        }
    }

    #[test]
    fn replies_read_back_as_they_were_written_and_fit_a_notification() {
        let replies: Vec<Reply> = (0..REPLIES_AT_ONCE as u64).map(reply).collect();
        let payload = format!("r {}", write_replies(&replies));
        assert!(payload.len() < 8_000, "{} bytes", payload.len());
        assert_eq!(read(&payload), Rung::Replies(replies.into()));
    }

    #[test]
    fn a_head_is_read_and_what_is_none_counts_as_missed() {
        assert_eq!(read("h 8f3a-1042"), Rung::Head("8f3a-1042".parse().unwrap()));
        for odd in ["", "h", "h x", "r", "r [1]", "z 1"] {
            assert_eq!(read(odd), Rung::Missed, "{odd:?}");
        }
    }
}
