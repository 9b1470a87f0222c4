//! The store in memory: one mutex, what it guards, and the clock.

mod config;
mod inbox;
mod keys;
mod log;
mod merge;
mod people;
mod posted;
mod reading;
mod runs;
mod schedule;
mod state;
#[cfg(test)]
mod tests;
mod view;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use application::ports::{
    Acceptance, Accepted, ChannelsQuery, Clock, Durability, Entropy, EventPage, Head, Idempotency, InboxItem,
    InboxPage, InboxQuery, Marking, Promoted, Pruned, ReadError, Reader, Recalled, Refusal, Retraction,
    Store, StoreError, Unread, Written,
};
use async_trait::async_trait;
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch, Position};
use domain::event::Control;
use domain::ids::{NotificationId, UserId};
use domain::state::Mark;
use domain::time::Timestamp;

pub use config::MemoryStoreConfig;
use state::State;

/// Two stores that start in the same millisecond still differ in these many random bits of their epochs.
const EPOCH_RANDOM_BITS: u32 = 20;

/// A store that a panic has torn is only cured by a restart.
const TORN_RETRY: Duration = Duration::from_secs(30);

/// A store in memory. What it holds survives nothing: another start is another epoch.
///
/// Every step is taken under one mutex and costs what it returns, not what is held. What is bounded by age is
/// dropped by [`Store::prune`], a few milliseconds' worth a call: call it until it reports nothing. What is
/// bounded by number and bytes is also dropped by the writes that pass the bound.
pub struct MemoryStore {
    /// Never held over an await.
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

impl MemoryStore {
    /// Opens an empty store, whose epoch is later than those of all stores opened in earlier milliseconds.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "adapters are given their ports for good"
    )]
    pub fn new(config: MemoryStoreConfig, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let epoch = epoch(clock.now(), entropy.bits());
        Self {
            state: Mutex::new(State::new(config, epoch)),
            clock,
        }
    }

    /// Takes one step.
    fn step<T>(&self, step: impl FnOnce(&mut State, Timestamp) -> T) -> Result<T, StoreError> {
        let mut state = self.lock()?;
        let now = self.clock.now();
        Ok(step(&mut state, now))
    }

    /// Takes one step in which nothing expired is left in the inbox. Where a crowd expires at once, it goes in
    /// parts, between which others come by.
    async fn fresh_step<T>(&self, step: impl FnOnce(&mut State, Timestamp) -> T) -> Result<T, StoreError> {
        loop {
            {
                let mut state = self.lock()?;
                let now = self.clock.now();
                if state.drop_expired(now) {
                    return Ok(step(&mut state, now));
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Where a step panicked, part of it may be missing, and nothing that the rest says can be trusted.
    fn lock(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        self.state.lock().map_err(|_| StoreError::Unavailable {
            retry_after: TORN_RETRY,
        })
    }
}

/// Milliseconds above, chance below.
fn epoch(now: Timestamp, chance: u64) -> Epoch {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    Epoch(millis << EPOCH_RANDOM_BITS | chance >> (u64::BITS - EPOCH_RANDOM_BITS))
}

#[async_trait]
impl Store for MemoryStore {
    fn durability(&self) -> Durability {
        Durability::Memory
    }

    async fn accept(
        &self,
        batch: Vec<Acceptance>,
    ) -> Result<Written<Vec<Result<Accepted, Refusal>>>, StoreError> {
        self.step(|state, now| state.accept(batch, now))
    }

    async fn recall(&self, key: &Idempotency) -> Result<Option<Recalled>, StoreError> {
        self.step(|state, now| state.recall(key, now))
    }

    async fn control(&self, control: Control) -> Result<Written<()>, StoreError> {
        self.step(|state, now| state.control(control, now))
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.step(|state, _| state.head())
    }

    async fn read(&self, after: Cursor, limit: usize) -> Result<EventPage, ReadError> {
        self.step(|state, _| state.read(after, limit))?
    }

    async fn read_channels(&self, query: &ChannelsQuery) -> Result<EventPage, ReadError> {
        self.step(|state, now| state.read_channels(query, now))?
    }

    async fn meet(&self, user: &UserId) -> Result<(), StoreError> {
        self.step(|state, now| state.meet(user, now))
    }

    async fn inbox(&self, reader: &Reader, query: &InboxQuery) -> Result<InboxPage, StoreError> {
        self.fresh_step(|state, now| state.inbox(reader, query, now))
            .await
    }

    async fn item(&self, reader: &Reader, id: NotificationId) -> Result<Option<InboxItem>, StoreError> {
        self.fresh_step(|state, now| state.item(reader, id, now)).await
    }

    async fn unread(&self, reader: &Reader) -> Result<Unread, StoreError> {
        self.fresh_step(|state, now| state.unread(reader, now)).await
    }

    async fn mark(
        &self,
        reader: &Reader,
        id: NotificationId,
        mark: Mark,
    ) -> Result<Option<Written<Marking>>, StoreError> {
        self.fresh_step(|state, now| state.mark(reader, id, mark, now))
            .await
    }

    async fn read_all(
        &self,
        reader: &Reader,
        up_to: Option<Position>,
    ) -> Result<Written<Unread>, StoreError> {
        self.fresh_step(|state, now| state.read_all(reader, up_to, now))
            .await
    }

    async fn channels_of(&self, id: NotificationId) -> Result<Option<Vec<Channel>>, StoreError> {
        self.step(|state, _| state.channels_of(id))
    }

    async fn retract(&self, id: NotificationId) -> Result<Written<Retraction>, StoreError> {
        self.step(|state, now| state.retract(id, now))
    }

    async fn promote(&self, limit: usize) -> Result<Written<Promoted>, StoreError> {
        self.step(|state, now| state.promote(limit, now))
    }

    async fn prune(&self) -> Result<Pruned, StoreError> {
        self.step(State::prune)
    }
}
