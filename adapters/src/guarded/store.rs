//! A store behind circuit breakers.

use std::sync::Arc;

use application::ports::{
    Acceptance, Accepted, ChannelsQuery, Durability, EventPage, Head, Idempotency, InboxItem, InboxPage,
    InboxQuery, Marking, Promoted, Pruned, ReadError, Reader, Recalled, Refusal, Retraction, Store,
    StoreError, Unread, Written,
};
use async_trait::async_trait;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::event::Control;
use domain::ids::{NotificationId, UserId};
use domain::state::Mark;

use super::circuit::Circuit;
use super::trouble::{Trouble as _, come_back};

/// A store behind two breakers: one for whether it answers, one for whether it takes what it is given. A database whose
/// disk is full, or that has become a standby, answers every question: what it is asked to write is refused at once
/// then, and people read on.
pub struct GuardedStore {
    inner: Arc<dyn Store>,
    answers: Arc<Circuit>,
    writes: Arc<Circuit>,
}

impl GuardedStore {
    /// Stands in front of a store.
    pub fn new(inner: Arc<dyn Store>, answers: Arc<Circuit>, writes: Arc<Circuit>) -> Self {
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

    /// Asks for what may come to nothing, such as a person who is known or a schedule that holds nothing due. It is
    /// held back with the writes, and an answer does not count for them: it proves nothing.
    async fn perhaps<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        for circuit in [&self.answers, &self.writes] {
            circuit
                .pass()
                .map_err(|refused| StoreError::held(come_back(refused)))?;
        }
        work.await
    }
}

#[async_trait]
impl Store for GuardedStore {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    async fn accept(
        &self,
        batch: Vec<Acceptance>,
    ) -> Result<Written<Vec<Result<Accepted, Refusal>>>, StoreError> {
        self.write("accept", self.inner.accept(batch)).await
    }

    async fn recall(&self, key: &Idempotency) -> Result<Option<Recalled>, StoreError> {
        self.answers.ask("recall", self.inner.recall(key)).await
    }

    async fn control(&self, control: Control) -> Result<Written<()>, StoreError> {
        self.write("control", self.inner.control(control)).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.answers.ask("head", self.inner.head()).await
    }

    async fn read(&self, after: Cursor, limit: usize) -> Result<EventPage, ReadError> {
        self.answers.ask("read", self.inner.read(after, limit)).await
    }

    async fn read_channels(&self, query: &ChannelsQuery) -> Result<EventPage, ReadError> {
        let work = self.inner.read_channels(query);
        self.answers.ask("read_channels", work).await
    }

    async fn meet(&self, user: &UserId) -> Result<(), StoreError> {
        self.perhaps(self.inner.meet(user)).await
    }

    async fn inbox(&self, reader: &Reader, query: &InboxQuery) -> Result<InboxPage, StoreError> {
        self.answers.ask("inbox", self.inner.inbox(reader, query)).await
    }

    async fn item(&self, reader: &Reader, id: NotificationId) -> Result<Option<InboxItem>, StoreError> {
        self.answers.ask("item", self.inner.item(reader, id)).await
    }

    async fn unread(&self, reader: &Reader) -> Result<Unread, StoreError> {
        self.answers.ask("unread", self.inner.unread(reader)).await
    }

    async fn mark(
        &self,
        reader: &Reader,
        id: NotificationId,
        mark: Mark,
    ) -> Result<Option<Written<Marking>>, StoreError> {
        self.write("mark", self.inner.mark(reader, id, mark)).await
    }

    async fn read_all(
        &self,
        reader: &Reader,
        up_to: Option<Position>,
    ) -> Result<Written<Unread>, StoreError> {
        self.write("read_all", self.inner.read_all(reader, up_to)).await
    }

    async fn channels_of(&self, id: NotificationId) -> Result<Option<Vec<Channel>>, StoreError> {
        self.answers.ask("channels_of", self.inner.channels_of(id)).await
    }

    async fn retract(&self, id: NotificationId) -> Result<Written<Retraction>, StoreError> {
        self.write("retract", self.inner.retract(id)).await
    }

    async fn promote(&self, limit: usize) -> Result<Written<Promoted>, StoreError> {
        self.perhaps(self.inner.promote(limit)).await
    }

    async fn prune(&self) -> Result<Pruned, StoreError> {
        self.perhaps(self.inner.prune()).await
    }
}

#[cfg(test)]
mod tests;
