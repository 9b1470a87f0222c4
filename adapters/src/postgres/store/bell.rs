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

/// What comes in while the bell breathes is told together: after a ring, so long for each event that it told of. Below a
/// thousand events a second each is told by itself; the more there are, the more of them go together, up to the longest
/// breath. A receipt at another node is to take three milliseconds at five hundred a second.
const BREATH_AN_EVENT: Duration = Duration::from_micros(750);
const BREATH_MIN: Duration = Duration::from_millis(1);
const BREATH_MAX: Duration = Duration::from_millis(4);
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
    /// Nobody is to be told before.
    silent_until: Option<Instant>,
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
        if grown.silent_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
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

impl Rope {
    fn be_silent(&self, until: Instant) {
        let mut grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        *grown = Grown {
            silent_until: Some(until),
            ..Grown::default()
        };
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
        let breath = breath_after(grown.events.len());
        match ringer.tell(grown).await {
            Ok(true) => breathe(alarm.as_ref(), breath).await,
            Ok(false) => match ringer.silent_until() {
                Some(until) => rope.be_silent(until),
                None => breathe(alarm.as_ref(), BREATH_MIN).await,
            },
            Err(error) => {
                tracing::debug!(%error, "other nodes were not told of a commit");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// How long the bell is silent after it told of so many events.
fn breath_after(told: usize) -> Duration {
    let told = u32::try_from(told).unwrap_or(u32::MAX);
    BREATH_AN_EVENT.saturating_mul(told).clamp(BREATH_MIN, BREATH_MAX)
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
    /// Rings if anybody needs it. Returns whether anybody does.
    async fn tell(&mut self, grown: Grown) -> Result<bool, Failure> {
        if !self.cut_off() && self.known() && !self.needed {
            return Ok(false);
        }
        let client = self.pool.get().await?;
        let told = RINGING.in_time(async {
            if !self.known() {
                self.needed = others_need(&client, self.database.node()).await?;
                self.asked_at = Some(Instant::now());
            }
            let rings = self.needed || self.cut_off();
            if rings {
                let notify = client.prepare_cached(NOTIFY).await?;
                client
                    .execute(&notify, &[&grown.said(self.database.node())])
                    .await?;
            }
            Ok(rings)
        });
        let told = told.await;
        if told.is_err() {
            // Nobody knows what this connection still does.
            drop(deadpool_postgres::Object::take(client));
        }
        told
    }

    /// Until when nobody needs it. Beside a bus that carries copies that may change at any moment.
    fn silent_until(&self) -> Option<Instant> {
        let asked_at = self.asked_at.filter(|_| self.database.copies().is_none());
        asked_at.map(|asked_at| asked_at + ASK_EVERY)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The breath that the bell comes to at a steady rate, after a ring that told of so many.
    fn settled(told: usize, a_second: u128) -> Duration {
        let next = |breath: Duration| {
            breath_after(usize::try_from(a_second * breath.as_micros() / 1_000_000).unwrap())
        };
        (0..50).fold(breath_after(told), |breath, _| next(breath))
    }

    #[test]
    fn few_events_are_told_one_by_one_again_after_a_burst_and_many_together() {
        for told in [0, 1, 3, 200, COPIES_MAX] {
            assert_eq!(settled(told, 500), BREATH_MIN, "after {told}");
            assert_eq!(settled(told, 10_000), BREATH_MAX, "after {told}");
        }
    }
}
