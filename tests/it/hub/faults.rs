//! Faults that can be planted, each of which the property must find.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use application::ports::{
    Acceptance, Accepted, Bus, ChannelsQuery, Doorbell, Durability, EventPage, Head, Idempotency, InboxItem,
    InboxPage, InboxQuery, Listener, Marking, Promoted, Pruned, ReadError, Reader, Recalled, Refusal, Reply,
    Retraction, Store, StoreError, Unread, Written,
};
use async_trait::async_trait;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::event::{Control, Event};
use domain::ids::{NotificationId, UserId};
use domain::state::Mark;

/// A fault in what readers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// None: the property must hold.
    None,
    /// A page of history loses an event.
    Drop,
    /// A page of history holds an event twice.
    Duplicate,
    /// A page of history has two events the wrong way round.
    Swap,
    /// A page of history is read without asking whose it is.
    Unauthorised,
    /// The tail is given a page that lacks its last event but claims to reach the head.
    TailSkips,
}

/// A store with a fault.
pub(super) struct FaultyStore {
    inner: Arc<dyn Store>,
    fault: Fault,
    reads: AtomicUsize,
    away: AtomicBool,
    panics: AtomicBool,
}

impl FaultyStore {
    pub(super) fn new(inner: Arc<dyn Store>, fault: Fault) -> Self {
        Self {
            inner,
            fault,
            reads: 0.into(),
            away: false.into(),
            panics: false.into(),
        }
    }

    /// How often a connection was served from here.
    pub(super) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    /// Has it panic whenever it is asked where the log stands, or no longer.
    pub(super) fn set_panics(&self, panics: bool) {
        self.panics.store(panics, Ordering::Relaxed);
    }

    /// Lets the store vanish, or come back.
    pub(super) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    fn present(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable {
                retry_after: Duration::from_secs(1),
            });
        }
        Ok(())
    }

    fn spoil(&self, events: &mut Vec<Arc<Event>>) {
        if events.len() < 2 {
            return;
        }
        match self.fault {
            Fault::Drop => drop(events.remove(0)),
            Fault::Duplicate => events.insert(0, Arc::clone(&events[0])),
            Fault::Swap => events.swap(0, 1),
            Fault::None | Fault::Unauthorised | Fault::TailSkips => {}
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn read(&self, after: Cursor, limit: usize) -> Result<EventPage, ReadError> {
        self.present()?;
        let mut page = self.inner.read(after, limit).await?;
        if self.fault == Fault::TailSkips && page.events.len() > 1 {
            // Renumbering would be caught by the tail; losing the content behind a number must be caught by clients.
            let last = page.events.len() - 2;
            let erased = Event {
                change: domain::event::Change::Erased,
                ..(*page.events[last]).clone()
            };
            page.events[last] = Arc::new(erased);
        }
        Ok(page)
    }

    async fn read_channels(&self, query: &ChannelsQuery) -> Result<EventPage, ReadError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.present()?;
        if self.fault == Fault::Unauthorised {
            let mut page = self.inner.read(query.after, query.limit).await?;
            page.events.retain(|event| event.position <= query.up_to);
            return Ok(page);
        }
        let mut page = self.inner.read_channels(query).await?;
        self.spoil(&mut page.events);
        Ok(page)
    }

    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    async fn accept(
        &self,
        batch: Vec<Acceptance>,
    ) -> Result<Written<Vec<Result<Accepted, Refusal>>>, StoreError> {
        self.inner.accept(batch).await
    }

    async fn recall(&self, key: &Idempotency) -> Result<Option<Recalled>, StoreError> {
        self.inner.recall(key).await
    }

    async fn control(&self, control: Control) -> Result<Written<()>, StoreError> {
        self.inner.control(control).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        assert!(!self.panics.load(Ordering::Relaxed), "planted");
        self.present()?;
        self.inner.head().await
    }

    async fn meet(&self, user: &UserId) -> Result<(), StoreError> {
        self.inner.meet(user).await
    }

    async fn inbox(&self, reader: &Reader, query: &InboxQuery) -> Result<InboxPage, StoreError> {
        self.inner.inbox(reader, query).await
    }

    async fn item(&self, reader: &Reader, id: NotificationId) -> Result<Option<InboxItem>, StoreError> {
        self.inner.item(reader, id).await
    }

    async fn unread(&self, reader: &Reader) -> Result<Unread, StoreError> {
        self.inner.unread(reader).await
    }

    async fn mark(
        &self,
        reader: &Reader,
        id: NotificationId,
        mark: Mark,
    ) -> Result<Option<Written<Marking>>, StoreError> {
        self.inner.mark(reader, id, mark).await
    }

    async fn read_all(
        &self,
        reader: &Reader,
        up_to: Option<Position>,
    ) -> Result<Written<Unread>, StoreError> {
        self.inner.read_all(reader, up_to).await
    }

    async fn channels_of(&self, id: NotificationId) -> Result<Option<Vec<Channel>>, StoreError> {
        self.inner.channels_of(id).await
    }

    async fn retract(&self, id: NotificationId) -> Result<Written<Retraction>, StoreError> {
        self.inner.retract(id).await
    }

    async fn promote(&self, limit: usize) -> Result<Written<Promoted>, StoreError> {
        self.inner.promote(limit).await
    }

    async fn prune(&self) -> Result<Pruned, StoreError> {
        self.inner.prune().await
    }
}

/// A bus that writes everything down, and may lose, repeat or hold back what it passes on: a bus is only a hint.
pub(super) struct LossyBus {
    pub(super) inner: Arc<dyn Bus>,
    pub(super) noted: std::sync::Mutex<Vec<Arc<Event>>>,
    held: std::sync::Mutex<Option<Doorbell>>,
    count: AtomicUsize,
}

impl LossyBus {
    pub(super) fn new(inner: Arc<dyn Bus>) -> Self {
        Self {
            inner,
            noted: Vec::new().into(),
            held: None.into(),
            count: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl Bus for LossyBus {
    async fn announce(&self, doorbell: Doorbell) {
        self.noted.lock().unwrap().extend(doorbell.events.iter().cloned());
        match self.count.fetch_add(1, Ordering::Relaxed) % 7 {
            1 => {}
            3 => {
                self.inner.announce(doorbell.clone()).await;
                self.inner.announce(doorbell).await;
            }
            5 => *self.held.lock().unwrap() = Some(doorbell),
            _ => {
                self.inner.announce(doorbell).await;
                let held = self.held.lock().unwrap().take();
                if let Some(held) = held {
                    self.inner.announce(held).await;
                }
            }
        }
    }

    fn forward(&self, reply: Reply) {
        self.inner.forward(reply);
    }

    fn listen(&self) -> Box<dyn Listener> {
        self.inner.listen()
    }
}
