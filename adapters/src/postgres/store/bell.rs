//! The bell: tells other nodes, through Postgres, how far the log has grown.
//!
//! It rings when something has been committed, not within its transaction: a `NOTIFY` costs the committing session as
//! much time as the rows do, and makes every other commit of the database wait for it. One task a node rings, and what
//! grew while it did is told by its next ring. A ring that is lost costs a quarter of a second: tails read the head
//! that often.
//!
//! For the same reason nobody rings whom no other node [needs](super::super::need) to hear: one that is alone, or one
//! of several that pass copies to one another by a faster bus.

use std::time::Duration;

use application::ports::Written;
use deadpool_postgres::Pool;
use domain::cursor::Cursor;
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::connect::{Database, Failure, Purpose};
use super::super::need::others_need;
use crate::bus::head;

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
SELECT set_config('synchronous_commit', 'off', true), pg_notify('arauto', $1)";

/// Where whoever has committed says how far the log has grown.
#[derive(Clone)]
pub(super) struct Bell(watch::Sender<Option<Cursor>>);

impl Bell {
    /// Makes a bell, and what [`ring`] takes.
    pub(super) fn new() -> (Self, watch::Receiver<Option<Cursor>>) {
        let (heads, grown) = watch::channel(None);
        (Self(heads), grown)
    }

    /// Rings for what was appended, if anything was.
    pub(super) fn after<T>(&self, written: &Written<T>) {
        if let Some(last) = written.events.last() {
            self.at(Cursor {
                epoch: written.epoch,
                position: last.position,
            });
        }
    }

    /// Rings with the log's end. Of several that commit at once the furthest counts.
    pub(super) fn at(&self, end: Cursor) {
        self.0.send_if_modified(|told| {
            let grown = told.is_none_or(|told| told < end);
            if grown {
                *told = Some(end);
            }
            grown
        });
    }
}

/// Rings through one connection of the pool until every sender is gone.
pub(super) async fn ring(pool: Pool, database: Database, mut heads: watch::Receiver<Option<Cursor>>) {
    let mut ringer = Ringer {
        pool,
        database,
        needed: true,
        asked_at: None,
    };
    while heads.changed().await.is_ok() {
        let Some(cursor) = *heads.borrow_and_update() else {
            continue;
        };
        if let Err(error) = ringer.tell(cursor).await {
            tracing::debug!(%error, "other nodes were not told of a commit");
            tokio::time::sleep(PAUSE).await;
        }
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
    async fn tell(&mut self, end: Cursor) -> Result<(), Failure> {
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
                client.execute(&notify, &[&head(end, self.database.node())]).await?;
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
