//! Two registries as one: presence from the fast one, which may vanish, and everything that must not from the safe one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::{Observation, Observer, Presence, Registry, RegistryError, Spent, TicketId};
use async_trait::async_trait;
use domain::capability::Principal;
use domain::ids::{ConnectionId, UserId};
use tokio::time::Instant;

/// The name of the fast registry among the metrics.
const PART: &str = "registry";
/// A registry that comes back answers some questions sooner than others: it counts as back after this long without a
/// refusal, so that each outage is said once.
const STEADY: Duration = Duration::from_secs(3);

/// A registry that can stand in for another.
pub trait Standby: Registry {
    /// Enters a stream without waiting and without asking who is beyond the limit.
    fn note(&self, presence: Presence, limit: usize);
}

/// Presence from a fast registry, with a safe one that stands in for it; tickets always from the safe one.
///
/// Both hear of every stream, so that whoever has to ask the safe one is told as much. The fast one is asked first each
/// time: one that is away refuses at once, and when it answers again it is used again by itself. Each change is said
/// once, as [`Observation::Degraded`] and [`Observation::Recovered`] with the name `registry`, and in the log.
pub struct Registries {
    fast: Arc<dyn Registry>,
    safe: Arc<dyn Standby>,
    observer: Arc<dyn Observer>,
    /// When the fast one last refused, until it counts as back. Never held across an await.
    refused_at: Mutex<Option<Instant>>,
}

impl Registries {
    /// Joins two registries.
    pub const fn new(fast: Arc<dyn Registry>, safe: Arc<dyn Standby>, observer: Arc<dyn Observer>) -> Self {
        Self {
            fast,
            safe,
            observer,
            refused_at: Mutex::new(None),
        }
    }

    /// Says whether the safe registry has to stand in for the fast one, or had to a moment ago.
    pub fn degraded(&self) -> bool {
        self.refused_at().is_some()
    }

    fn refused_at(&self) -> MutexGuard<'_, Option<Instant>> {
        // One moment, written in one step.
        self.refused_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of whether the fast registry answered.
    fn heard<T>(&self, answer: Result<T, RegistryError>) -> Option<T> {
        let now = Instant::now();
        let mut refused_at = self.refused_at();
        if answer.is_err() {
            let before = refused_at.replace(now);
            drop(refused_at);
            if before.is_none() {
                self.observer.saw(&Observation::Degraded(PART));
                tracing::warn!("presence is kept in the database alone: the fast registry does not answer");
            }
        } else if refused_at.is_some_and(|last| now - last >= STEADY) {
            *refused_at = None;
            drop(refused_at);
            self.observer.saw(&Observation::Recovered(PART));
            tracing::info!("presence is asked of the fast registry again");
        }
        answer.ok()
    }
}

#[async_trait]
impl Registry for Registries {
    async fn enter(&self, presence: Presence, limit: usize) -> Result<Vec<ConnectionId>, RegistryError> {
        match self.heard(self.fast.enter(presence.clone(), limit).await) {
            Some(beyond) => {
                self.safe.note(presence, limit);
                Ok(beyond)
            }
            None => self.safe.enter(presence, limit).await,
        }
    }

    async fn surplus(&self) -> Vec<ConnectionId> {
        tokio::select! {
            surplus = self.fast.surplus() => surplus,
            surplus = self.safe.surplus() => surplus,
        }
    }

    fn leave(&self, user: &UserId, connection: ConnectionId) {
        self.fast.leave(user, connection);
        self.safe.leave(user, connection);
    }

    async fn count(&self) -> Result<usize, RegistryError> {
        match self.heard(self.fast.count().await) {
            Some(count) => Ok(count),
            None => self.safe.count().await,
        }
    }

    async fn list(&self, after: Option<ConnectionId>, limit: usize) -> Result<Vec<Presence>, RegistryError> {
        match self.heard(self.fast.list(after, limit).await) {
            Some(list) => Ok(list),
            None => self.safe.list(after, limit).await,
        }
    }

    /// A node that cannot reach the fast registry has its streams in the safe one alone.
    async fn owner(&self, connection: ConnectionId) -> Result<Option<UserId>, RegistryError> {
        match self.heard(self.fast.owner(connection).await).flatten() {
            Some(owner) => Ok(Some(owner)),
            None => self.safe.owner(connection).await,
        }
    }

    async fn spend(&self, ticket: TicketId, keep: Duration) -> Result<Spent, RegistryError> {
        self.safe.spend(ticket, keep).await
    }

    fn renew(&self, ticket: TicketId, principal: Arc<Principal>) {
        self.safe.renew(ticket, principal);
    }

    async fn renewed(&self, ticket: TicketId) -> Result<Option<Arc<Principal>>, RegistryError> {
        self.safe.renewed(ticket).await
    }

    fn end(&self, ticket: TicketId, keep: Duration) {
        self.safe.end(ticket, keep);
    }
}
