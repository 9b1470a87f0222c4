//! The registry in Redis: presence and tickets for all nodes.

mod ledger;
mod scripts;

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Observer, Presence, Registry, RegistryError, Spent, TicketId};
use async_trait::async_trait;
use domain::capability::Principal;
use domain::ids::{ConnectionId, NodeId, UserId};
use domain::time::Timestamp;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, RedisResult};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::ledger::RedisLedger;
use self::scripts::{Keys, Scripts};
use super::connect::Server;
use super::link::Link;
use crate::record::{PrincipalRecord, from_text};
use crate::registry::{Books, Bounds, Mark, TICKET_KEPT_MAX, keep};

/// Nobody waits longer for Redis.
const PATIENCE: Duration = Duration::from_millis(480);

/// Who is connected, and which tickets were spent, in Redis.
///
/// Streams are entered and taken out in batches by one background task, which also keeps this node's lease of 15 s and
/// clears up behind dead nodes. While Redis is away every question is answered by [`RegistryError::Unavailable`] within
/// half a second, most at once; when it is back, whatever it lost, this node's streams are entered again. What waits to
/// be written is bounded; where that is full the observer sees `Full("redis_registry")`.
pub struct RedisRegistry {
    books: Arc<Books>,
    link: Arc<Link>,
    keys: Keys,
    scripts: Arc<Scripts>,
}

impl RedisRegistry {
    /// Begins to keep this node's books in the background, whether Redis answers yet or not.
    pub fn start(
        server: &Server,
        node: NodeId,
        observer: &Arc<dyn Observer>,
        (tasks, cancel): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let bounds = Bounds {
            patience: PATIENCE,
            full: "redis_registry",
        };
        let books = Arc::new(Books::new(bounds, Arc::clone(observer)));
        let link = Arc::new(Link::new(server.clone()));
        let (keys, scripts) = (Keys::new(server), Arc::new(Scripts::new()));
        let ledger = RedisLedger {
            link: Arc::clone(&link),
            node,
            keys: keys.clone(),
            scripts: Arc::clone(&scripts),
        };
        tasks.spawn(keep(
            "redis",
            Arc::clone(&books),
            Arc::new(ledger),
            cancel.clone(),
        ));
        Self {
            books,
            link,
            keys,
            scripts,
        }
    }

    /// Waits until what was written behind has reached Redis, or cannot.
    pub async fn flush(&self) {
        self.books.flush().await;
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, RegistryError> {
        let failure = match tokio::time::timeout(PATIENCE, self.link.run(question)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::debug!(error = failure, registry = "redis", "a question was not answered");
        Err(RegistryError::Unavailable)
    }
}

#[async_trait]
impl Registry for RedisRegistry {
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
        self.ask(async |mut redis| self.scripts.count(&self.keys).invoke_async(&mut redis).await)
            .await
    }

    async fn list(&self, after: Option<ConnectionId>, limit: usize) -> Result<Vec<Presence>, RegistryError> {
        let listed: Vec<(String, i64, String)> = self
            .ask(async |mut redis| {
                let question = self.scripts.list(&self.keys, after, limit);
                question.invoke_async(&mut redis).await
            })
            .await?;
        Ok(listed.iter().filter_map(presence).collect())
    }

    async fn owner(&self, connection: ConnectionId) -> Result<Option<UserId>, RegistryError> {
        let owner: Option<String> = self
            .ask(async |mut redis| {
                let question = self.scripts.owner(&self.keys, connection);
                question.invoke_async(&mut redis).await
            })
            .await?;
        Ok(owner.and_then(|user| user.parse().ok()))
    }

    async fn spend(&self, ticket: TicketId, keep: Duration) -> Result<Spent, RegistryError> {
        let spent: u8 = self
            .ask(async |mut redis| {
                let question = self.scripts.spend(&self.keys, ticket, keep);
                question.invoke_async(&mut redis).await
            })
            .await?;
        Ok(match spent {
            0 => Spent::First,
            1 => Spent::Again,
            _ => Spent::Ended,
        })
    }

    fn renew(&self, ticket: TicketId, principal: Arc<Principal>) {
        self.books.mark(Mark::Renewed { ticket, principal });
    }

    async fn renewed(&self, ticket: TicketId) -> Result<Option<Arc<Principal>>, RegistryError> {
        let key = self.keys.ticket(ticket);
        let record: Option<String> = self
            .ask(async |mut redis| redis.hget(key, "renewed").await)
            .await?;
        let Some(record) = record else {
            return Ok(None);
        };
        let read = from_text::<PrincipalRecord>(&record).and_then(Principal::try_from);
        read.map(|principal| Some(Arc::new(principal))).map_err(|error| {
            tracing::warn!(%error, registry = "redis", "a renewed session cannot be read");
            RegistryError::Unavailable
        })
    }

    fn end(&self, ticket: TicketId, keep: Duration) {
        let keep = keep.min(TICKET_KEPT_MAX);
        self.books.mark(Mark::Ended { ticket, keep });
    }
}

/// What cannot be read was entered by another service with the same prefix: it is none of ours.
fn presence((connection, opened_at, user): &(String, i64, String)) -> Option<Presence> {
    Some(Presence {
        connection: connection.parse().ok()?,
        user: user.parse().ok()?,
        opened_at: Timestamp::from_millis(*opened_at),
    })
}
