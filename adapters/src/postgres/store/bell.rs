//! The bell: tells other nodes, through Postgres, how far the log has grown.
//!
//! It rings when something has been committed, not within its transaction: a `NOTIFY` costs the committing session as
//! much time as the rows do, and makes every other commit of the database wait for it. One task a node rings, and what
//! grew while it did is told by its next ring. A ring that is lost costs a quarter of a second: tails read the head
//! that often.
//!
//! What was appended goes along where it fits, so that nobody has to read it.
//!
//! For the same reason nobody rings whom no other node [needs](super::super::need) to hear: one that is alone, or one
//! of several that pass copies to one another by a faster bus.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use application::ports::{Doorbell, Written};
use deadpool_postgres::Pool;
use domain::cursor::{Cursor, Epoch};
use domain::event::Event;
use domain::ids::NodeId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::connect::{Database, Failure, Purpose};
use super::super::need::others_need;
use super::alarm::Alarm;
use crate::bus::{copies, head};

pub(super) const RINGING: Purpose = Purpose {
    name: "arauto-bell",
    statement: Duration::from_secs(2),
};

/// A database that does not take it is tried again with what is then new.
const PAUSE: Duration = Duration::from_millis(100);
/// Whether others need it is asked this often, at most. Until a node that came in between is known of, it reads the
/// head.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Nothing is written that would have to survive: the commit waits for no disk.
const NOTIFY: &str = "
SELECT set_config('synchronous_commit', 'off', true), pg_notify('arauto', said)
FROM unnest($1::text[]) AS said";

/// After a ring that told of one event, and after one that told of several: what comes in meanwhile is told together. A
/// receipt at another node is to take three milliseconds.
const BREATH: Duration = Duration::from_millis(1);
const DEEP_BREATH: Duration = Duration::from_millis(2);
/// A notification takes less than 8,000 bytes; where the copy of one event does not fit, its place is told alone.
const SAID_MAX: usize = 7_900;
/// One ring copies at most this many events, what a node publishes in some ten milliseconds; of more the head is told
/// alone.
const COPIES_MAX: usize = 256;

/// How the log has grown since the last ring.
#[derive(Debug, Default)]
pub(super) struct Grown {
    end: Option<Cursor>,
    /// What it grew by, in the order of commits; more than fits is as good as none.
    events: Vec<Arc<Event>>,
    too_many: bool,
}

/// Where whoever has committed says how the log has grown.
#[derive(Clone)]
pub(super) struct Bell {
    /// Never held over an await.
    grown: Arc<Mutex<Grown>>,
    pull: mpsc::Sender<()>,
}

/// The other end of the bell.
pub(super) struct Rope {
    grown: Arc<Mutex<Grown>>,
    pulled: mpsc::Receiver<()>,
}

impl Bell {
    /// Makes a bell, and what [`ring`] takes.
    pub(super) fn new() -> (Self, Rope) {
        let grown = Arc::default();
        let (pull, pulled) = mpsc::channel(1);
        let rope = Rope {
            grown: Arc::clone(&grown),
            pulled,
        };
        (Self { grown, pull }, rope)
    }

    /// Rings for what was appended, if anything was.
    pub(super) fn after<T>(&self, written: &Written<T>) {
        self.grew(written.epoch, &written.events);
    }

    /// Rings for what was appended to a history, in position order.
    pub(super) fn grew<'a>(&self, epoch: Epoch, events: impl IntoIterator<Item = &'a Arc<Event>>) {
        let mut events = events.into_iter().peekable();
        if events.peek().is_none() {
            return;
        }
        let mut grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        grown.by(epoch, events);
        drop(grown);
        // One that is pulled already will tell of this, too.
        let _ = self.pull.try_send(());
    }
}

impl Grown {
    fn by<'a>(&mut self, epoch: Epoch, events: impl Iterator<Item = &'a Arc<Event>>) {
        // Copies of two histories do not go in one ring.
        self.too_many |= self.end.is_some_and(|end| end.epoch != epoch);
        for event in events {
            let position = event.position;
            self.end = self.end.max(Some(Cursor { epoch, position }));
            self.too_many |= self.events.len() == COPIES_MAX;
            if !self.too_many {
                self.events.push(Arc::clone(event));
            }
        }
    }

    /// What there is to say, in pieces.
    fn said(mut self, node: Option<NodeId>) -> Vec<String> {
        let Some(end) = self.end else {
            return Vec::new();
        };
        let Some(node) = node.filter(|_| !self.too_many) else {
            return vec![head(end, node)];
        };
        // Marks and publishes commit side by side.
        self.events.sort_unstable_by_key(|event| event.position);
        let mut said = Vec::new();
        pieces(end.epoch, node, &self.events, &mut said);
        said
    }
}

/// Says a run of events, in halves where it does not fit.
fn pieces(epoch: Epoch, node: NodeId, run: &[Arc<Event>], said: &mut Vec<String>) {
    let Some(last) = run.last() else { return };
    let end = Cursor {
        epoch,
        position: last.position,
    };
    let doorbell = Doorbell {
        epoch,
        events: run.into(),
    };
    let copied = copies(end, node, &doorbell);
    if copied.len() <= SAID_MAX {
        said.push(copied);
    } else if run.len() == 1 {
        said.push(head(end, Some(node)));
    } else {
        let (first, second) = run.split_at(run.len() / 2);
        pieces(epoch, node, first, said);
        pieces(epoch, node, second, said);
    }
}

/// Rings through one connection of the pool until every sender is gone.
pub(super) async fn ring(pool: Pool, database: Database, mut rope: Rope) {
    let alarm = Alarm::new().ok();
    let mut ringer = Ringer {
        pool,
        database,
        needed: true,
        asked_at: None,
    };
    while rope.pulled.recv().await.is_some() {
        let grown = std::mem::take(&mut *rope.grown.lock().unwrap_or_else(PoisonError::into_inner));
        if grown.end.is_none() {
            // The ring before told of what this one was pulled for.
            continue;
        }
        let breath = if grown.events.len() > 1 {
            DEEP_BREATH
        } else {
            BREATH
        };
        if let Err(error) = ringer.tell(grown).await {
            tracing::debug!(%error, "other nodes were not told of a commit");
            tokio::time::sleep(PAUSE).await;
        }
        breathe(alarm.as_ref(), breath).await;
    }
}

/// The runtime's timer would take up to twice as long.
async fn breathe(alarm: Option<&Alarm>, breath: Duration) {
    let rang = match alarm {
        Some(alarm) => alarm.after(breath).await.is_ok(),
        None => false,
    };
    if !rang {
        tokio::time::sleep(breath).await;
    }
}

struct Ringer {
    pool: Pool,
    database: Database,
    /// Whether another node needed it when that was asked.
    needed: bool,
    asked_at: Option<Instant>,
}

impl Ringer {
    /// Rings if anybody needs it.
    async fn tell(&mut self, grown: Grown) -> Result<(), Failure> {
        if !self.cut_off() && self.known() && !self.needed {
            return Ok(());
        }
        let client = self.pool.get().await?;
        let told = RINGING.in_time(async {
            if !self.known() {
                self.needed = others_need(&client, self.database.node()).await?;
                self.asked_at = Some(Instant::now());
            }
            if self.needed || self.cut_off() {
                let notify = client.prepare_cached(NOTIFY).await?;
                client
                    .execute(&notify, &[&grown.said(self.database.node())])
                    .await?;
            }
            Ok(())
        });
        let told = told.await;
        if told.is_err() {
            // Nobody knows what this connection still does.
            drop(deadpool_postgres::Object::take(client));
        }
        told
    }

    fn known(&self) -> bool {
        self.asked_at
            .is_some_and(|asked_at| asked_at.elapsed() < ASK_EVERY)
    }

    /// Whether other nodes wait for copies that this one cannot send.
    fn cut_off(&self) -> bool {
        let copies = self.database.copies();
        copies.is_some_and(|copies| !*copies.borrow())
    }
}
