//! The registry in the database: presence and tickets for all nodes.

mod ledger;
mod marks;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Observer, Presence, Registry, RegistryError, Spent, TicketId};
use async_trait::async_trait;
use deadpool_postgres::{ClientWrapper, Object, Pool};
use domain::capability::Principal;
use domain::ids::{ConnectionId, NodeId, UserId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::ledger::PgLedger;
use super::connect::{ConnectError, Database, Failure, Purpose};
use crate::registries::Standby;
use crate::registry::{Books, Bounds, Mark, TICKET_KEPT_MAX, keep};

const PURPOSE: Purpose = Purpose {
    name: "arauto-registry",
    statement: Duration::from_secs(2),
};

/// Nobody waits longer for a stream to be entered.
const PATIENCE: Duration = Duration::from_secs(2);
/// Nobody waits longer for a connection.
const CONNECTION_WAIT: Duration = Duration::from_secs(1);
/// The keeper writes one batch after the other.
const KEEPER_CONNECTIONS: usize = 1;
/// Tickets and questions are single rows: four at once are thousands a second.
const ASKING_CONNECTIONS: usize = 4;

/// Who is connected, and which tickets were spent, in Postgres.
///
/// Streams are entered and taken out in batches by one background task, which also keeps this node's lease of 15 s by
/// the database's clock, clears up behind dead nodes and forgets old tickets. While the database is away, questions are
/// answered by [`RegistryError::Unavailable`] within four seconds, entering at once; when it is back, this node's
/// streams are entered again. What waits to be written is bounded; where that is full the observer sees
/// `Full("postgres_registry")`.
pub struct PgRegistry {
    books: Arc<Books>,
    pool: Pool,
}

impl PgRegistry {
    /// Begins to keep this node's books in the background, until `cancel`, in a database whose schema is
    /// [migrated](super::migrate()), whether it answers yet or not.
    pub fn start(
        database: &Database,
        node: NodeId,
        observer: &Arc<dyn Observer>,
        (tasks, cancel): (&TaskTracker, &CancellationToken),
    ) -> Result<Self, ConnectError> {
        let bounds = Bounds {
            patience: PATIENCE,
            full: "postgres_registry",
        };
        let books = Arc::new(Books::new(bounds, Arc::clone(observer)));
        let pool = database.pool(PURPOSE, KEEPER_CONNECTIONS)?;
        let ledger = Arc::new(PgLedger { pool, node });
        tasks.spawn(keep("postgres", Arc::clone(&books), ledger, cancel.clone()));
        Ok(Self {
            books,
            pool: database.pool(PURPOSE, ASKING_CONNECTIONS)?,
        })
    }

    /// Waits until what was written behind has reached the database, or cannot.
    pub async fn flush(&self) {
        self.books.flush().await;
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&ClientWrapper) -> Result<T, Failure>,
    ) -> Result<T, RegistryError> {
        ask(&self.pool, question).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::debug!(%error, cause, registry = "postgres", "a question was not answered");
            RegistryError::Unavailable
        })
    }
}

impl Standby for PgRegistry {
    fn note(&self, presence: Presence, limit: usize) {
        self.books.note(presence, limit);
    }
}

/// Asks in bounded time. A connection that did not answer is closed.
async fn ask<T>(
    pool: &Pool,
    question: impl AsyncFnOnce(&ClientWrapper) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let connection = tokio::time::timeout(CONNECTION_WAIT, pool.get()).await??;
    let outcome = PURPOSE.in_time(question(&connection)).await;
    if outcome.is_err() {
        drop(Object::take(connection));
    }
    outcome
}

#[async_trait]
impl Registry for PgRegistry {
    async fn enter(&self, presence: Presence, limit: usize) -> Result<Vec<ConnectionId>, RegistryError> {
        self.books.enter(presence, limit).await
    }

    async fn surplus(&self) -> Vec<ConnectionId> {
        self.books.surplus().await
    }

    fn leave(&self, user: &UserId, connection: ConnectionId) {
        self.books.leave(user, connection);
    }

    async fn count(&self) -> Result<usize, RegistryError> {
        self.ask(async |client| streams::count(client).await).await
    }

    async fn list(&self, after: Option<ConnectionId>, limit: usize) -> Result<Vec<Presence>, RegistryError> {
        self.ask(async |client| streams::list(client, after, limit).await)
            .await
    }

    async fn owner(&self, connection: ConnectionId) -> Result<Option<UserId>, RegistryError> {
        self.ask(async |client| streams::owner(client, connection).await)
            .await
    }

    async fn spend(&self, ticket: TicketId, keep: Duration) -> Result<Spent, RegistryError> {
        let keep = keep.min(TICKET_KEPT_MAX);
        self.ask(async |client| marks::spend(client, ticket, keep).await)
            .await
    }

    fn renew(&self, ticket: TicketId, principal: Arc<Principal>) {
        self.books.mark(Mark::Renewed { ticket, principal });
    }

    async fn renewed(&self, ticket: TicketId) -> Result<Option<Arc<Principal>>, RegistryError> {
        self.ask(async |client| marks::renewed(client, ticket).await)
            .await
    }

    fn end(&self, ticket: TicketId, keep: Duration) {
        let keep = keep.min(TICKET_KEPT_MAX);
        self.books.mark(Mark::Ended { ticket, keep });
    }
}
