//! The bell: tells other nodes, through Postgres, how far the log has grown.
//!
//! It rings when something has been committed, not within its transaction: a `NOTIFY` costs the committing session as
//! much time as the rows do, and makes every other commit of the database wait for it. One task a node rings, and what
//! grew while it did is told by its next ring. A ring that is lost costs a quarter of a second: tails read the head
//! that often.

use std::time::Duration;

use application::ports::Written;
use deadpool_postgres::Pool;
use domain::cursor::Cursor;
use domain::ids::NodeId;
use tokio::sync::watch;

use super::super::connect::{Failure, Purpose};
use crate::bus::head;

pub(super) const RINGING: Purpose = Purpose {
    name: "arauto-bell",
    statement: Duration::from_secs(2),
};

/// A database that does not take it is tried again with what is then new.
const PAUSE: Duration = Duration::from_millis(100);

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
pub(super) async fn ring(pool: Pool, node: Option<NodeId>, mut heads: watch::Receiver<Option<Cursor>>) {
    while heads.changed().await.is_ok() {
        let Some(cursor) = *heads.borrow_and_update() else {
            continue;
        };
        if let Err(error) = notify(&pool, head(cursor, node)).await {
            tracing::debug!(%error, "other nodes were not told of a commit");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn notify(pool: &Pool, said: String) -> Result<(), Failure> {
    let client = pool.get().await?;
    let told = RINGING.in_time(async {
        let notify = client.prepare_cached(NOTIFY).await?;
        client.execute(&notify, &[&said]).await?;
        Ok(())
    });
    let told = told.await;
    if told.is_err() {
        // Nobody knows what this connection still does.
        drop(deadpool_postgres::Object::take(client));
    }
    told
}
