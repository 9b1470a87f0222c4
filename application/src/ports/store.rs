//! The store: the log, the notifications, and what each person has done with them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch, Position};
use domain::delivery::DeliveryPlan;
use domain::event::{Control, Event};
use domain::ids::{NotificationId, UserId};
use domain::notification::{Notification, NotificationType, Priority};
use domain::state::{ItemState, Mark, StateFilter};
use domain::time::Timestamp;

/// The log, the notifications, and what each person has done with them.
///
/// Guarantees every adapter MUST give (held by the contract suite `tests/it/contract/store.rs`):
///
/// * **Order.** Positions are contiguous within an epoch. A lower position never becomes visible after a higher
///   one, to any reader.
/// * **Atomicity.** Each method is one step: all of it is visible, or none. The positions that one acceptance
///   gets are contiguous and in the order of its channels.
/// * **Durability.** When a writing method returns `Ok`, what it wrote survives at [`Store::durability`].
/// * **Time.** Expiry, schedules and key lifetimes follow the store's own clock.
/// * **Bounds.** History, inbox, idempotency keys, people and schedules are bounded; what falls out is reported
///   by [`Pruned`] or refused by name.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Store: Send + Sync {
    /// Says what an accepted publish survives.
    fn durability(&self) -> Durability;

    /// Stores a batch, one result for each item, in order. Items stand alone: one that is refused changes
    /// nothing for the others. An item whose idempotency key is known at the same digest MUST answer the first
    /// receipt and write nothing; at another digest it MUST be refused with [`Refusal::KeyReused`]; two items of
    /// one batch with the same key are treated as if they came one after the other. A notification id that is
    /// already stored counts as a repeat too, so that whoever lost the answer may ask again. An item that the
    /// store cannot hold is [`Refusal::Unstorable`] and does not touch the others.
    ///
    /// On `Err` nothing is known to be stored; the same call may be repeated with the same keys.
    async fn accept(
        &self,
        batch: Vec<Acceptance>,
    ) -> Result<Written<Vec<Result<Accepted, Refusal>>>, StoreError>;

    /// Looks an idempotency key up without writing.
    async fn recall(&self, key: &Idempotency) -> Result<Option<Recalled>, StoreError>;

    /// Appends control for nodes to the log.
    async fn control(&self, control: Control) -> Result<Written<()>, StoreError>;

    /// Reads where the log stands, from the primary.
    async fn head(&self) -> Result<Head, StoreError>;

    /// Reads every event after a cursor, control included, for tails. `oldest` and `head` come from the same
    /// snapshot; `after + 1 < oldest` MUST be [`ReadError::Expired`], never a shorter page.
    async fn read(&self, after: Cursor, limit: usize) -> Result<EventPage, ReadError>;

    /// Reads the events of some channels after a cursor and up to a position, for people. Retracted and expired
    /// notifications are left out. `scanned_to` is where to go on, also when the page is empty.
    async fn read_channels(&self, query: &ChannelsQuery) -> Result<EventPage, ReadError>;

    /// Remembers a person from their first request on: group notifications before it do not count as unread.
    /// Repeating is harmless. Every method that takes a [`Reader`] does this by itself.
    async fn meet(&self, user: &UserId) -> Result<(), StoreError>;

    /// Reads a page of a person's inbox, newest first.
    async fn inbox(&self, reader: &Reader, query: &InboxQuery) -> Result<InboxPage, StoreError>;

    /// Reads one notification of a person's inbox; `None` when it is not theirs, expired or unknown.
    async fn item(&self, reader: &Reader, id: NotificationId) -> Result<Option<InboxItem>, StoreError>;

    /// Counts what is unread for a person.
    async fn unread(&self, reader: &Reader) -> Result<Unread, StoreError>;

    /// Marks one notification for a person; `None` when it is not theirs. A mark that changes nothing writes no
    /// event.
    async fn mark(
        &self,
        reader: &Reader,
        id: NotificationId,
        mark: Mark,
    ) -> Result<Option<Written<Marking>>, StoreError>;

    /// Marks everything on the reader's channels up to a position (or the head) as read.
    async fn read_all(&self, reader: &Reader, up_to: Option<Position>)
    -> Result<Written<Unread>, StoreError>;

    /// Reads which channels a notification was or will be published on; `None` when it is unknown or gone.
    async fn channels_of(&self, id: NotificationId) -> Result<Option<Vec<Channel>>, StoreError>;

    /// Erases a notification from inboxes, history and schedule. One that was published leaves a `retracted`
    /// event on each channel that carried it; one that was only scheduled leaves none.
    async fn retract(&self, id: NotificationId) -> Result<Written<Retraction>, StoreError>;

    /// Publishes up to `limit` scheduled notifications whose moment has come, oldest first.
    async fn promote(&self, limit: usize) -> Result<Written<Promoted>, StoreError>;

    /// Drops what has fallen out of its bounds. `oldest` moves before events go.
    async fn prune(&self) -> Result<Pruned, StoreError>;
}

/// What an accepted publish survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing but this process.
    Memory,
    /// What Redis' own persistence settings say.
    Redis,
    /// A crash of everything: it was committed and flushed.
    Postgres,
}

impl Durability {
    /// Returns the name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }
}

/// A value, and the events that were appended to the log in the same step, to be announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written<T> {
    /// What was asked for.
    pub value: T,
    /// The history that the events belong to.
    pub epoch: Epoch,
    /// The events, in position order.
    pub events: Vec<Arc<Event>>,
}

/// One notification to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// The notification. `published_at` is set again by the store when it is promoted.
    pub notification: Notification,
    /// Where it goes, and when.
    pub plan: DeliveryPlan,
    /// The key under which a repeat is recognised.
    pub idempotency: Option<Idempotency>,
    /// Who publishes it, for a store whose log the audit trail is written from; `None` where nobody asked for it.
    pub publisher: Option<UserId>,
}

/// SHA-256 of a draft's canonical bytes.
pub type Digest = [u8; 32];

/// A key under which a repeated publish is recognised for 24 hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Whose key it is: keys of two publishers never meet.
    pub publisher: UserId,
    /// 1 to 128 printable ASCII characters.
    pub key: String,
    /// What was asked for.
    pub digest: Digest,
}

/// What a known idempotency key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recalled {
    /// The same draft was accepted before.
    Same(Receipt),
    /// Another draft was accepted under this key.
    Other,
}

/// One accepted item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The receipt, the first one if it was a repeat.
    pub receipt: Receipt,
    /// Whether this was a repeat.
    pub replayed: bool,
}

/// What a publisher is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The notification.
    pub id: NotificationId,
    /// Published or scheduled.
    pub status: ReceiptStatus,
    /// How many events carry it.
    pub events: u32,
    /// The last event's cursor; absent when scheduled.
    pub cursor: Option<Cursor>,
    /// What it survives.
    pub durability: Durability,
    /// When it was stored.
    pub accepted_at: Timestamp,
}

/// Whether the events are out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptStatus {
    /// They are in the log.
    Published,
    /// They will be, at their moment.
    Scheduled,
}

/// Why one item was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The idempotency key stands for another draft.
    #[error("the idempotency key was used for another notification")]
    KeyReused,
    /// A bound is reached.
    #[error("the {what} are full")]
    Full {
        /// What is full, in the plural: `scheduled notifications`, `idempotency keys`.
        what: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// The store takes everything else but this item.
    #[error("the store cannot hold this notification")]
    Unstorable,
}

/// Where the log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last event.
    pub cursor: Cursor,
    /// The first event that can still be read; one past the last when none can.
    pub oldest: Position,
}

/// Part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events, in position order.
    pub events: Vec<Arc<Event>>,
    /// Everything asked for up to here is in the page.
    pub scanned_to: Position,
    /// Where the log stood in the same snapshot.
    pub head: Head,
}

/// Which events a person reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelsQuery {
    /// The channels.
    pub channels: Vec<Channel>,
    /// Events after this one.
    pub after: Cursor,
    /// Events up to this place.
    pub up_to: Position,
    /// At most this many.
    pub limit: usize,
}

/// A person reading their own inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// Who.
    pub user: UserId,
    /// The channels of their default set on which they have history.
    pub channels: Vec<Channel>,
}

/// Which page of an inbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InboxQuery {
    /// Items older than this place; the newest when absent.
    pub before: Option<Position>,
    /// At most this many.
    pub limit: usize,
    /// By what the person has done with them.
    pub filter: StateFilter,
    /// Of this type alone.
    pub kind: Option<NotificationType>,
    /// Of this priority alone.
    pub priority: Option<Priority>,
    /// Of this channel alone, which MUST be among the reader's.
    pub channel: Option<Channel>,
}

/// One notification in an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxItem {
    /// Its event's place.
    pub position: Position,
    /// The channel that carried it.
    pub channel: Channel,
    /// The notification.
    pub notification: Arc<Notification>,
    /// What the person has done with it.
    pub state: ItemState,
}

/// A page of an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxPage {
    /// The items, newest first.
    pub items: Vec<InboxItem>,
    /// Whether older ones follow.
    pub has_more: bool,
    /// The place in the log at which the page is exact.
    pub as_of: Cursor,
}

/// How many are unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread {
    /// The number.
    pub unread: u64,
    /// The place in the log at which it is exact.
    pub as_of: Cursor,
}

/// The outcome of marking one notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marking {
    /// The state it is now in.
    pub state: ItemState,
    /// How many are unread now.
    pub unread: Unread,
}

/// What retracting came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retraction {
    /// It was published and is gone.
    Retracted,
    /// It was scheduled and will not be published.
    Cancelled,
    /// There is no such notification.
    Unknown,
}

/// What a promotion came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promoted {
    /// How many notifications were published.
    pub published: usize,
    /// How many had expired before their moment and were dropped.
    pub expired: usize,
    /// When the next one is due.
    pub next_due: Option<Timestamp>,
}

/// What pruning dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Events that fell out of the history.
    pub events: usize,
    /// Notifications that fell out of the inbox.
    pub items: usize,
    /// Idempotency keys whose day is over.
    pub keys: usize,
}

/// Why the store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or does not answer; nothing was written.
    #[error("the store is unavailable")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// It did not say whether it wrote. Repeating with the same idempotency key settles it.
    #[error("the store did not say whether it wrote")]
    OutcomeUnknown {
        /// When to try again.
        retry_after: Duration,
    },
}

/// Why part of the log cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The events right after the cursor are gone.
    #[error("history before {} is gone", head.oldest)]
    Expired {
        /// Where the log stands.
        head: Head,
    },
    /// The cursor belongs to another history.
    #[error("the history has changed to epoch {}", head.cursor.epoch)]
    EpochChanged {
        /// Where the log stands.
        head: Head,
    },
    /// The store did not answer.
    #[error("history cannot be read")]
    Store(#[from] StoreError),
}
