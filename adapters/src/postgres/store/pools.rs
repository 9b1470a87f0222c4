//! Connections by purpose, each verified to be of the history in force.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use application::ports::{Entropy, Head, StoreError};
use deadpool_postgres::{ClientWrapper, Hook, HookError, Object, Pool};
use domain::cursor::{Cursor, Epoch, Position};

use super::super::connect::{ConnectError, Database, Failure, Purpose};
use super::super::crowd::Crowd;
use super::super::epoch;
use super::bell::RINGING;
use super::log;

/// Publishing. A statement that hangs holds the log's lock, and with it the cluster, for two seconds at most.
pub(super) const WRITING: Purpose = Purpose {
    name: "arauto-writer",
    statement: Duration::from_secs(2),
};
/// What people do one by one.
const MARKING: Purpose = Purpose {
    name: "arauto-marks",
    statement: Duration::from_secs(2),
};
/// Following the log.
const TAILING: Purpose = Purpose {
    name: "arauto-tail",
    statement: Duration::from_secs(2),
};
/// Reading for people.
const READING: Purpose = Purpose {
    name: "arauto-reads",
    statement: Duration::from_secs(5),
};
/// Schedules and bounds, which nobody waits for.
pub(super) const KEEPING: Purpose = Purpose {
    name: "arauto-housekeeping",
    statement: Duration::from_secs(10),
};

/// The tail reads the log, and all who want to know the head ask together: neither waits for the other.
const TAIL_CONNECTIONS: usize = 2;
const KEEPING_CONNECTIONS: usize = 2;

/// What this node has seen of the history, so that it notices when some of it is gone.
pub(super) struct History {
    entropy: Arc<dyn Entropy>,
    /// Never held over an await.
    seen: Mutex<Option<(Epoch, Position)>>,
}

impl History {
    pub(super) fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self {
            entropy,
            seen: Mutex::new(None),
        }
    }

    fn seen(&self) -> Option<(Epoch, Position)> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, cursor: Cursor) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = (*seen).max(Some((cursor.epoch, cursor.position)));
    }

    async fn verify(&self, client: &mut ClientWrapper) -> Result<Epoch, Failure> {
        // Noted before the log is looked at: what is seen meanwhile is no sign of loss.
        let seen = self.seen();
        // The wrapper's own transaction keeps its statements for later; this is asked once a connection.
        let client: &mut tokio_postgres::Client = client;
        epoch::verify(client.transaction().await?, seen, self.entropy.bits()).await
    }
}

/// A connection, given back only when what was asked is answered: one that was given up in the middle is closed.
pub(super) struct Lease {
    object: Option<Object>,
    purpose: Purpose,
}

impl Lease {
    async fn of(pool: &Pool, purpose: Purpose) -> Result<Self, StoreError> {
        let object = pool.get().await.map_err(Failure::from)?;
        Ok(Self {
            object: Some(object),
            purpose,
        })
    }

    /// Waits for an answer no longer than one can take.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.purpose.in_time(work).await
    }

    /// Gives the connection back after an answer; after a failure it is closed.
    pub(super) fn settle<T>(mut self, outcome: Result<T, Failure>) -> Result<T, StoreError> {
        if outcome.is_ok() {
            drop(self.object.take());
        }
        Ok(outcome?)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

impl Deref for Lease {
    type Target = ClientWrapper;

    #[expect(
        clippy::expect_used,
        reason = "only `settle` and `drop` take it, and they end the lease"
    )]
    fn deref(&self) -> &ClientWrapper {
        self.object.as_ref().expect("a lease holds its connection")
    }
}

impl DerefMut for Lease {
    #[expect(
        clippy::expect_used,
        reason = "only `settle` and `drop` take it, and they end the lease"
    )]
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        self.object.as_mut().expect("a lease holds its connection")
    }
}

/// The pools of one store.
pub(super) struct Pools {
    /// One connection, for the writer alone.
    pub(super) writer: Pool,
    /// One connection, for the bell alone.
    pub(super) bell: Pool,
    marks: Pool,
    tail: Pool,
    reads: Pool,
    keeping: Pool,
    history: Arc<History>,
    heads: Crowd<(), Head>,
}

impl Pools {
    pub(super) fn open(
        database: &Database,
        connections: usize,
        history: &Arc<History>,
    ) -> Result<Self, ConnectError> {
        // Whoever holds the log's lock, and whoever follows the log, waits for no walk through a table.
        let by_index = database.by_index();
        let pool = |purpose, size| database.pool_with(purpose, size, verified(history));
        let looking_up = |purpose, size| by_index.pool_with(purpose, size, verified(history));
        Ok(Self {
            writer: looking_up(WRITING, 1)?,
            bell: database.pool(RINGING, 1)?,
            marks: looking_up(MARKING, connections)?,
            tail: looking_up(TAILING, TAIL_CONNECTIONS)?,
            reads: pool(READING, connections)?,
            keeping: pool(KEEPING, KEEPING_CONNECTIONS)?,
            history: Arc::clone(history),
            heads: Crowd::default(),
        })
    }

    pub(super) async fn writing(&self) -> Result<Lease, StoreError> {
        Lease::of(&self.marks, MARKING).await
    }

    pub(super) async fn tailing(&self) -> Result<Lease, StoreError> {
        Lease::of(&self.tail, TAILING).await
    }

    pub(super) async fn reading(&self) -> Result<Lease, StoreError> {
        Lease::of(&self.reads, READING).await
    }

    pub(super) async fn keeping(&self) -> Result<Lease, StoreError> {
        Lease::of(&self.keeping, KEEPING).await
    }

    /// Opens every connection that says where the log stands. A database that has become slow is not asked for another one
    /// first: readiness gives it a second.
    pub(super) async fn warm(&self) -> Result<(), StoreError> {
        let mut leases = Vec::with_capacity(TAIL_CONNECTIONS);
        for _ in 0..TAIL_CONNECTIONS {
            leases.push(self.tailing().await?);
        }
        for lease in leases {
            let head = lease.in_time(log::read_head(&lease)).await;
            lease.settle(head)?;
        }
        Ok(())
    }

    /// Reads the head, once for all who ask at the same time.
    pub(super) async fn head(&self) -> Result<Head, StoreError> {
        let together = |askers: Vec<()>| async move { Ok(vec![self.read_head().await?; askers.len()]) };
        self.heads.ask((), together).await
    }

    /// Reads the head. One that is below what this node has seen begins a new epoch: the database has lost what it
    /// had acknowledged.
    async fn read_head(&self) -> Result<Head, StoreError> {
        let mut lease = self.tailing().await?;
        let seen = self.history.seen();
        let head = lease.in_time(log::read_head(&lease)).await;
        let head = match head {
            Ok(head) if lost(seen, head) => {
                let history = Arc::clone(&self.history);
                TAILING
                    .in_time(async {
                        history.verify(&mut lease).await?;
                        log::read_head(&lease).await
                    })
                    .await
            }
            head => head,
        };
        if let Ok(head) = &head {
            self.history.note(head.cursor);
        }
        lease.settle(head)
    }

    pub(super) async fn begin_epoch(&self) -> Result<Epoch, StoreError> {
        let mut lease = self.keeping().await?;
        let chance = self.history.entropy.bits();
        let begun = KEEPING
            .in_time(async {
                let client: &mut tokio_postgres::Client = &mut lease;
                epoch::renew(client.transaction().await?, chance).await
            })
            .await;
        lease.settle(begun)
    }
}

fn lost(seen: Option<(Epoch, Position)>, head: Head) -> bool {
    seen.is_some_and(|(epoch, position)| epoch == head.cursor.epoch && head.cursor.position < position)
}

/// Verifies each new connection.
fn verified(history: &Arc<History>) -> Hook {
    let history = Arc::clone(history);
    Hook::async_fn(move |client: &mut ClientWrapper, _| {
        let history = Arc::clone(&history);
        Box::pin(async move {
            match TAILING.in_time(history.verify(client)).await {
                Ok(_) => Ok(()),
                Err(failure) => Err(HookError::message(failure.to_string())),
            }
        })
    })
}
