//! What the cases share: a store with its time, people, channels, and things to publish.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{
    Acceptance, Accepted, ChannelsQuery, EventPage, Idempotency, Ids, InboxItem, InboxPage, InboxQuery,
    Marking, Pruned, ReadError, Reader, Receipt, Refusal, Store, Written,
};
use application::testing::CountingIds;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::delivery::{DeliveryPlan, Due};
use domain::event::{Change, Event, Marked};
use domain::ids::NotificationId;
use domain::notification::{Content, Notification, NotificationType, Priority};
use domain::state::{ItemState, Mark, StateFilter};
use domain::time::Timestamp;

use super::{Bounds, StoreFactory};

pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const HALF_HOUR: Duration = Duration::from_secs(30 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn user(id: &str) -> Channel {
    Channel::User(id.parse().unwrap())
}

pub(super) fn unit(id: &str) -> Channel {
    Channel::Unit(id.parse().unwrap())
}

/// A person with their own channel, the system's, and these.
pub(super) fn reader(id: &str, groups: &[Channel]) -> Reader {
    let mut channels = vec![user(id), Channel::System];
    channels.extend_from_slice(groups);
    Reader {
        user: id.parse().unwrap(),
        channels,
    }
}

pub(super) fn key(publisher: &str, key: &str, digest: u8) -> Idempotency {
    Idempotency {
        publisher: publisher.parse().unwrap(),
        key: key.to_owned(),
        digest: [digest; 32],
    }
}

/// Something to publish.
#[derive(Debug, Clone)]
pub(super) struct Item {
    channels: Vec<Channel>,
    kind: &'static str,
    priority: Priority,
    body: String,
    expires_in: Option<Duration>,
    due_in: Option<Duration>,
    key: Option<Idempotency>,
}

pub(super) fn to(channels: &[Channel]) -> Item {
    Item {
        channels: channels.to_vec(),
        kind: "sistema.comunicado",
        priority: Priority::Normal,
        body: "Corpo".to_owned(),
        expires_in: None,
        due_in: None,
        key: None,
    }
}

impl Item {
    pub(super) fn kind(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    pub(super) fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    pub(super) fn body(self, body: String) -> Self {
        Self { body, ..self }
    }

    pub(super) fn expires_in(self, duration: Duration) -> Self {
        Self {
            expires_in: Some(duration),
            ..self
        }
    }

    pub(super) fn due_in(self, duration: Duration) -> Self {
        Self {
            due_in: Some(duration),
            ..self
        }
    }

    pub(super) fn key(self, key: Idempotency) -> Self {
        Self {
            key: Some(key),
            ..self
        }
    }
}

/// A store with its time.
pub(super) struct Scene<'a> {
    pub(super) store: Arc<dyn Store>,
    time: &'a dyn StoreFactory,
    ids: CountingIds,
}

impl<'a> Scene<'a> {
    pub(super) async fn open(time: &'a dyn StoreFactory) -> Self {
        Self::within(time, Bounds::default()).await
    }

    pub(super) async fn within(time: &'a dyn StoreFactory, bounds: Bounds) -> Self {
        Self {
            store: time.open(bounds).await,
            time,
            ids: CountingIds::default(),
        }
    }

    pub(super) async fn now(&self) -> Timestamp {
        self.time.now().await
    }

    pub(super) async fn advance(&self, by: Duration) {
        self.time.advance(by).await;
    }

    /// Gives something to publish an id and moments.
    pub(super) async fn acceptance(&self, item: Item) -> Acceptance {
        let now = self.now().await;
        let content = Content {
            kind: NotificationType::parse(item.kind).unwrap(),
            priority: item.priority,
            title: "Título".into(),
            body: item.body.into(),
            link: None,
            data: "{}".into(),
            requires_ack: false,
            expires_at: item.expires_in.map(|after| now.plus(after)),
        };
        Acceptance {
            notification: Notification {
                id: self.ids.notification(),
                content,
                published_at: now,
            },
            plan: DeliveryPlan {
                channels: item.channels,
                due: item.due_in.map_or(Due::Now, |after| Due::At(now.plus(after))),
            },
            idempotency: item.key,
            publisher: None,
        }
    }

    pub(super) async fn accept(&self, items: Vec<Item>) -> Written<Vec<Result<Accepted, Refusal>>> {
        let mut batch = Vec::new();
        for item in items {
            batch.push(self.acceptance(item).await);
        }
        self.store.accept(batch).await.unwrap()
    }

    /// Accepts one item that is not refused.
    pub(super) async fn take(&self, item: Item) -> Accepted {
        let written = self.accept(vec![item]).await;
        written.value.into_iter().next().unwrap().unwrap()
    }

    pub(super) async fn publish(&self, item: Item) -> Receipt {
        self.take(item).await.receipt
    }

    /// Publishes one item and returns its id and the place of its last event.
    pub(super) async fn place(&self, item: Item) -> (NotificationId, Position) {
        let receipt = self.publish(item).await;
        (receipt.id, receipt.cursor.unwrap().position)
    }

    pub(super) async fn head(&self) -> Position {
        self.store.head().await.unwrap().cursor.position
    }

    pub(super) async fn cursor(&self, position: Position) -> Cursor {
        Cursor {
            position,
            ..self.store.head().await.unwrap().cursor
        }
    }

    /// Reads every event that is still there.
    pub(super) async fn log(&self) -> Vec<Arc<Event>> {
        let oldest = self.store.head().await.unwrap().oldest;
        let after = self.cursor(oldest.prior()).await;
        self.store.read(after, usize::MAX).await.unwrap().events
    }

    pub(super) async fn read_channels(
        &self,
        channels: &[Channel],
        after: Position,
        limit: usize,
    ) -> Result<EventPage, ReadError> {
        let query = ChannelsQuery {
            channels: channels.to_vec(),
            after: self.cursor(after).await,
            up_to: Position(u64::MAX),
            limit,
        };
        self.store.read_channels(&query).await
    }

    /// Reads a page of a reader's inbox.
    pub(super) async fn page(&self, reader: &Reader, query: InboxQuery) -> InboxPage {
        self.store.inbox(reader, &query).await.unwrap()
    }

    /// Lists what a filter shows a reader, newest first.
    pub(super) async fn shown(&self, reader: &Reader, filter: StateFilter) -> Vec<NotificationId> {
        let query = InboxQuery {
            limit: usize::MAX,
            filter,
            ..InboxQuery::default()
        };
        ids(&self.page(reader, query).await)
    }

    pub(super) async fn item(&self, reader: &Reader, id: NotificationId) -> Option<InboxItem> {
        self.store.item(reader, id).await.unwrap()
    }

    /// Reads what a reader has done with a notification of theirs.
    pub(super) async fn state(&self, reader: &Reader, id: NotificationId) -> ItemState {
        self.item(reader, id).await.unwrap().state
    }

    pub(super) async fn unread(&self, reader: &Reader) -> u64 {
        self.store.unread(reader).await.unwrap().unread
    }

    /// Marks a notification that is the reader's.
    pub(super) async fn mark(&self, reader: &Reader, id: NotificationId, mark: Mark) -> Written<Marking> {
        self.store.mark(reader, id, mark).await.unwrap().unwrap()
    }

    pub(super) async fn read_all(&self, reader: &Reader) -> u64 {
        self.store.read_all(reader, None).await.unwrap().value.unread
    }

    /// Prunes until nothing is left to prune; returns how many events, notifications and keys went.
    pub(super) async fn prune(&self) -> (usize, usize, usize) {
        let (mut events, mut items, mut keys) = (0, 0, 0);
        loop {
            let pruned = self.store.prune().await.unwrap();
            if pruned == Pruned::default() {
                return (events, items, keys);
            }
            events += pruned.events;
            items += pruned.items;
            keys += pruned.keys;
        }
    }
}

pub(super) fn ids(page: &InboxPage) -> Vec<NotificationId> {
    page.items.iter().map(|item| item.notification.id).collect()
}

pub(super) fn positions(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|event| event.position.0).collect()
}

/// Returns the notification that an event publishes.
pub(super) fn published(event: &Event) -> Option<NotificationId> {
    match &event.change {
        Change::Published { notification, .. } => Some(notification.id),
        _ => None,
    }
}

/// Returns the marks that an event tells of.
pub(super) fn marked(event: &Event) -> Option<(&Channel, &Marked)> {
    match &event.change {
        Change::Marked { channel, marks } => Some((channel, marks)),
        _ => None,
    }
}
