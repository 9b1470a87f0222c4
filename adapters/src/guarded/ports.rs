//! Deliveries and settings behind circuit breakers.

use std::sync::Arc;

use application::ports::{
    Backlog, DeliveryPage, DeliveryRow, Document, Outbox, Settings, SettingsError, StoreError, TokenHolder,
    Version,
};
use async_trait::async_trait;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::ids::UserId;
use domain::outbox::Delivery;

use super::circuit::Circuit;
use super::trouble::{Trouble as _, come_back};

/// Deliveries behind the breakers of the store that they are in.
pub struct GuardedOutbox {
    inner: Arc<dyn Outbox>,
    answers: Arc<Circuit>,
    writes: Arc<Circuit>,
}

impl GuardedOutbox {
    /// Stands in front of deliveries.
    pub fn new(inner: Arc<dyn Outbox>, answers: Arc<Circuit>, writes: Arc<Circuit>) -> Self {
        Self {
            inner,
            answers,
            writes,
        }
    }

    async fn write<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.answers
            .pass()
            .map_err(|refused| StoreError::held(come_back(refused)))?;
        self.writes.guard(name, work).await
    }
}

#[async_trait]
impl Outbox for GuardedOutbox {
    async fn planned(&self) -> Result<Option<Cursor>, StoreError> {
        self.answers.ask("planned", self.inner.planned()).await
    }

    async fn plan(
        &self,
        from: Option<Cursor>,
        to: Cursor,
        deliveries: Vec<(Position, Channel, Delivery)>,
    ) -> Result<bool, StoreError> {
        self.write("plan", self.inner.plan(from, to, deliveries)).await
    }

    async fn heads(&self, after: Option<Channel>, limit: usize) -> Result<DeliveryPage, StoreError> {
        self.answers.ask("heads", self.inner.heads(after, limit)).await
    }

    async fn update(&self, rows: Vec<DeliveryRow>) -> Result<Vec<bool>, StoreError> {
        self.write("update", self.inner.update(rows)).await
    }

    async fn find(&self, positions: &[Position]) -> Result<DeliveryPage, StoreError> {
        self.answers.ask("find", self.inner.find(positions)).await
    }

    async fn dead(&self, after: Option<Position>, limit: usize) -> Result<DeliveryPage, StoreError> {
        self.answers.ask("dead", self.inner.dead(after, limit)).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.answers.ask("backlog", self.inner.backlog()).await
    }

    async fn forget(&self, before: Position, limit: usize) -> Result<usize, StoreError> {
        self.write("forget", self.inner.forget(before, limit)).await
    }

    async fn hold(&self, holder: TokenHolder) -> Result<(), StoreError> {
        self.write("hold", self.inner.hold(holder)).await
    }

    async fn holders(&self, users: &[UserId]) -> Result<Vec<TokenHolder>, StoreError> {
        self.answers.ask("holders", self.inner.holders(users)).await
    }
}

/// Settings behind the breaker of the store that they are in. The one for writes does not hold them back: a kill switch
/// is worth a try.
pub struct GuardedSettings {
    inner: Arc<dyn Settings>,
    answers: Arc<Circuit>,
}

impl GuardedSettings {
    /// Stands in front of settings.
    pub fn new(inner: Arc<dyn Settings>, answers: Arc<Circuit>) -> Self {
        Self { inner, answers }
    }
}

#[async_trait]
impl Settings for GuardedSettings {
    async fn get(&self, name: &str) -> Result<Option<Document>, SettingsError> {
        self.answers.ask("settings.get", self.inner.get(name)).await
    }

    async fn put(&self, name: &str, expected: Version, text: String) -> Result<Version, SettingsError> {
        if let Err(refused) = self.answers.pass() {
            return Err(SettingsError::held(come_back(refused)));
        }
        self.inner.put(name, expected, text).await
    }
}
