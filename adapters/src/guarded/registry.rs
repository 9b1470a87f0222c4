//! A registry behind a circuit breaker.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Presence, Registry, RegistryError, Spent, TicketId};
use async_trait::async_trait;
use domain::capability::Principal;
use domain::ids::{ConnectionId, UserId};

use super::circuit::Circuit;
use crate::registries::Standby;

/// A registry behind a breaker, which holds back questions alone. Whatever enters, leaves or ends goes through: registries
/// keep that in their own books until the part is back, and do not wait for one that they know to be away.
pub struct GuardedRegistry<R: ?Sized> {
    inner: Arc<R>,
    answers: Arc<Circuit>,
}

impl<R: Registry + ?Sized> GuardedRegistry<R> {
    /// Stands in front of a registry.
    pub fn new(inner: Arc<R>, answers: Arc<Circuit>) -> Self {
        Self { inner, answers }
    }
}

#[async_trait]
impl<R: Registry + ?Sized> Registry for GuardedRegistry<R> {
    async fn enter(&self, presence: Presence, limit: usize) -> Result<Vec<ConnectionId>, RegistryError> {
        self.inner.enter(presence, limit).await
    }

    async fn surplus(&self) -> Vec<ConnectionId> {
        self.inner.surplus().await
    }

    fn leave(&self, user: &UserId, connection: ConnectionId) {
        self.inner.leave(user, connection);
    }

    async fn count(&self) -> Result<usize, RegistryError> {
        self.answers.ask("registry.count", self.inner.count()).await
    }

    async fn list(&self, after: Option<ConnectionId>, limit: usize) -> Result<Vec<Presence>, RegistryError> {
        self.answers
            .ask("registry.list", self.inner.list(after, limit))
            .await
    }

    async fn owner(&self, connection: ConnectionId) -> Result<Option<UserId>, RegistryError> {
        self.answers
            .ask("registry.owner", self.inner.owner(connection))
            .await
    }

    async fn spend(&self, ticket: TicketId, keep: Duration) -> Result<Spent, RegistryError> {
        self.answers
            .guard("registry.spend", self.inner.spend(ticket, keep))
            .await
    }

    fn renew(&self, ticket: TicketId, principal: Arc<Principal>) {
        self.inner.renew(ticket, principal);
    }

    async fn renewed(&self, ticket: TicketId) -> Result<Option<Arc<Principal>>, RegistryError> {
        self.answers
            .ask("registry.renewed", self.inner.renewed(ticket))
            .await
    }

    fn end(&self, ticket: TicketId, keep: Duration) {
        self.inner.end(ticket, keep);
    }
}

impl<R: Standby + ?Sized> Standby for GuardedRegistry<R> {
    fn note(&self, presence: Presence, limit: usize) {
        self.inner.note(presence, limit);
    }
}
