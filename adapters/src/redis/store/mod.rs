//! The store in Redis: one instance, or a primary that Sentinels name; no cluster.
//!
//! Each method is one script, which Redis runs whole or not at all; what depends on how a person stands takes two, of
//! which the second does nothing unless they still stand so. How the data lie is written in `lua/store/names.lua`.

mod accept;
pub(super) mod failure;
pub(super) mod fitness;
mod history;
mod keeping;
mod page;
mod people;
mod reply;
pub(super) mod rows;
mod scripts;
mod session;

use std::sync::Arc;
use std::time::Duration;

use application::ports::{
    Acceptance, Accepted, ChannelsQuery, Durability, Entropy, EventPage, Head, Idempotency, InboxItem,
    InboxPage, InboxQuery, Marking, Observation, Observer, Promoted, Pruned, ReadError, Reader, Recalled,
    Refusal, Retraction, Store, StoreError, Unread, Written,
};
use async_trait::async_trait;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::event::Control;
use domain::ids::{NotificationId, UserId};
use domain::state::Mark;
use tokio::sync::Semaphore;

use self::failure::{Failure, Kind, unavailable};
use self::history::History;
use self::people::Desk;
use self::rows::{PLACE_MAX, texts};
use self::scripts::Scripts;
use self::session::Session;
use super::connect::Server;

pub use fitness::Unfit;

/// The name of a full queue among the metrics.
const FULL: &str = "redis_store";
/// Batches that wait for Redis. Beyond it the store says that it is away.
const WAITING_MAX: usize = 1_024;
/// A page holds no more events, whatever is asked for.
const PAGE_MAX: usize = 8_192;
/// What one look at channels walks through at most; a channel adds no less than [`LIST_MIN`].
const WALK: usize = 4_000;
const LIST_MIN: usize = 64;

/// The bounds of the store. What is bounded by age, number and bytes is dropped by [`Store::prune`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisStoreConfig {
    /// Events leave the history at this age.
    pub history_ttl: Duration,
    /// The history holds at most this many events.
    pub history_max_events: usize,
    /// The history holds at most this many bytes.
    pub history_max_bytes: usize,
    /// Notifications leave the inbox at this age.
    pub inbox_ttl: Duration,
    /// What was read this long ago counts as archived.
    pub archive_read_after: Duration,
    /// The inbox holds at most this many items: one for each channel that carries a notification.
    pub inbox_max_items: usize,
    /// Idempotency keys are remembered for this long.
    pub key_ttl: Duration,
    /// At most this many idempotency keys are remembered; then keyed publishes are refused.
    pub keys_max: usize,
    /// At most this many notifications are scheduled; then more are refused.
    pub scheduled_max: usize,
    /// Scheduled notifications hold at most this many bytes; then more are refused.
    pub scheduled_max_bytes: usize,
}

impl Default for RedisStoreConfig {
    /// As the store in memory: it is memory that holds this one, too.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            history_ttl: DAY * 7,
            history_max_events: 1_000_000,
            history_max_bytes: 1 << 30,
            inbox_ttl: DAY * 90,
            archive_read_after: DAY * 30,
            inbox_max_items: 2_000_000,
            key_ttl: DAY,
            keys_max: 1_000_000,
            scheduled_max: 100_000,
            scheduled_max_bytes: 256 << 20,
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// This Redis cannot hold a store.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// It does not answer, or not with what was asked.
    #[error("Redis cannot be used: {0}")]
    Unusable(String),
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unfit(unfit) => Self::Unfit(unfit),
            failure => {
                let cause = std::error::Error::source(&failure).map(ToString::to_string);
                Self::Unusable(cause.unwrap_or_else(|| failure.to_string()))
            }
        }
    }
}

/// A store in Redis: what it has acknowledged survives what Redis' own persistence settings say.
pub struct RedisStore {
    /// For tails, which nobody else's pages hold up.
    tail: Session,
    work: Session,
    scripts: Arc<Scripts>,
    history: Arc<History>,
    waiting: Semaphore,
    observer: Arc<dyn Observer>,
    config: RedisStoreConfig,
}

impl RedisStore {
    /// Opens the store of a Redis, and begins an epoch where it needs one. One that would drop what it has acknowledged is
    /// refused.
    pub async fn open(
        server: &Server,
        config: RedisStoreConfig,
        entropy: Arc<dyn Entropy>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, OpenError> {
        let (scripts, history) = (Arc::new(Scripts::new()), Arc::new(History::new(entropy)));
        let store = Self {
            tail: Session::new(server, &scripts, &history),
            work: Session::new(server, &scripts, &history),
            scripts,
            history,
            waiting: Semaphore::new(WAITING_MAX),
            observer,
            config,
        };
        store.look().await?;
        Ok(store)
    }

    /// Begins a new epoch by hand, for after a restore: every client reloads.
    pub async fn begin_epoch(&self) -> Result<Cursor, StoreError> {
        let begun = self.work.begin_epoch().await;
        begun.map_err(|failure| said(&failure))?;
        Ok(self.head().await?.cursor)
    }

    /// Reads the head. One that is below what this node has seen begins a new epoch: Redis has lost what it had
    /// acknowledged.
    async fn look(&self) -> Result<Head, Failure> {
        let seen = self.history.seen();
        let mut head = self.read_head().await?;
        let lost = |seen: Cursor| seen.epoch == head.cursor.epoch && head.cursor.position < seen.position;
        if seen.is_some_and(lost) {
            self.tail.doubt();
            head = self.read_head().await?;
        }
        self.history.note(head.cursor);
        Ok(head)
    }

    async fn read_head(&self) -> Result<Head, Failure> {
        let call = self.tail.call(&self.scripts.head);
        let answer = self.tail.ask(&call, None, &mut false).await?;
        Ok(rows::head(&mut answer.only()?)?)
    }

    fn desk<'a>(&'a self, reader: &'a Reader) -> Desk<'a> {
        let at = (&self.work, &*self.scripts);
        Desk::new(at, reader, self.config.archive_read_after)
    }
}

#[async_trait]
impl Store for RedisStore {
    fn durability(&self) -> Durability {
        Durability::Redis
    }

    async fn accept(
        &self,
        batch: Vec<Acceptance>,
    ) -> Result<Written<Vec<Result<Accepted, Refusal>>>, StoreError> {
        let Ok(_place) = self.waiting.try_acquire() else {
            self.observer.saw(&Observation::Full(FULL));
            return Err(unavailable());
        };
        let mut call = self.work.call(&self.scripts.accept);
        accept::arguments(&mut call, &batch, &self.config);
        accept::accept(&self.work, &call, &batch).await
    }

    async fn recall(&self, key: &Idempotency) -> Result<Option<Recalled>, StoreError> {
        self.recall_key(key).await
    }

    async fn control(&self, control: Control) -> Result<Written<()>, StoreError> {
        self.append_control(control).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.look().await.map_err(|failure| said(&failure))
    }

    async fn read(&self, after: Cursor, limit: usize) -> Result<EventPage, ReadError> {
        let mut call = self.tail.call(&self.scripts.read);
        call.arg(after.epoch.to_string())
            .arg(after.position.0.min(PLACE_MAX))
            .arg(limit.min(PAGE_MAX));
        let answer = self.tail.ask_plainly(&call, None, Kind::Reads).await?;
        let page = answer.only().and_then(|mut reply| {
            let head = rows::head(&mut reply)?;
            Ok(rows::page(&mut reply, head, after.position)?)
        });
        readable(after, page.map_err(|failure| said(&failure))?)
    }

    async fn read_channels(&self, query: &ChannelsQuery) -> Result<EventPage, ReadError> {
        let channels = rows::distinct(&query.channels);
        let limit = query.limit.min(PAGE_MAX);
        // One more tells whether the page is all.
        let each = (WALK / channels.len().max(1)).max(LIST_MIN).min(limit + 1);
        let mut call = self.work.call(&self.scripts.read_channels);
        call.arg(query.after.epoch.to_string())
            .arg(query.after.position.0.min(PLACE_MAX))
            .arg(query.up_to.0.min(PLACE_MAX))
            .arg(limit)
            .arg(each.max(1))
            .arg(texts(&channels));
        let answer = self.work.ask_plainly(&call, None, Kind::Reads).await?;
        let page = answer.only().and_then(|mut reply| {
            let head = rows::head(&mut reply)?;
            let mut page = rows::page(&mut reply, head, query.after.position)?;
            let more: u8 = reply.number()?;
            if more == 0 {
                page.scanned_to = query.up_to.min(head.cursor.position).max(query.after.position);
            }
            Ok(page)
        });
        readable(query.after, page.map_err(|failure| said(&failure))?)
    }

    async fn meet(&self, user: &UserId) -> Result<(), StoreError> {
        let mut call = self.work.call(&self.scripts.meet);
        call.arg(user.as_str());
        self.work.ask_plainly(&call, None, Kind::Reads).await.map(drop)
    }

    async fn inbox(&self, reader: &Reader, query: &InboxQuery) -> Result<InboxPage, StoreError> {
        self.desk(reader).page(query).await
    }

    async fn item(&self, reader: &Reader, id: NotificationId) -> Result<Option<InboxItem>, StoreError> {
        self.desk(reader).item(id).await
    }

    async fn unread(&self, reader: &Reader) -> Result<Unread, StoreError> {
        self.desk(reader).unread().await
    }

    async fn mark(
        &self,
        reader: &Reader,
        id: NotificationId,
        mark: Mark,
    ) -> Result<Option<Written<Marking>>, StoreError> {
        self.desk(reader).mark(id, mark).await
    }

    async fn read_all(
        &self,
        reader: &Reader,
        up_to: Option<Position>,
    ) -> Result<Written<Unread>, StoreError> {
        self.desk(reader).read_all(up_to).await
    }

    async fn channels_of(&self, id: NotificationId) -> Result<Option<Vec<Channel>>, StoreError> {
        self.find_channels(id).await
    }

    async fn retract(&self, id: NotificationId) -> Result<Written<Retraction>, StoreError> {
        self.erase(id).await
    }

    async fn promote(&self, limit: usize) -> Result<Written<Promoted>, StoreError> {
        self.publish_due(limit).await
    }

    async fn prune(&self) -> Result<Pruned, StoreError> {
        self.drop_old().await
    }
}

/// Tells whether what follows a cursor can be read.
fn readable(after: Cursor, page: EventPage) -> Result<EventPage, ReadError> {
    let head = page.head;
    if after.epoch != head.cursor.epoch {
        return Err(ReadError::EpochChanged { head });
    }
    if after.position.next() < head.oldest {
        return Err(ReadError::Expired { head });
    }
    Ok(page)
}

/// Says once in the log why there is no answer.
fn said(failure: &Failure) -> StoreError {
    failure.log();
    unavailable()
}
