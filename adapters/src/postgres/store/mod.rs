//! The durable store.
//!
//! Publishing goes through the [writer]; everything else that [appends](self::append) takes the log's
//! lock for itself. Reading needs no lock: each answer is one snapshot.

mod alarm;
mod append;
mod batch;
mod bell;
mod columns;
mod fast;
mod gathering;
mod inbox;
mod log;
mod marks;
mod met;
mod person;
mod pools;
mod prune;
mod queue;
mod retract;
mod rows;
mod schedule;
mod shared;
mod single;
mod tally;
mod turns;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use application::ports::{
    Acceptance, Accepted, ChannelsQuery, Durability, Entropy, EventPage, Head, Idempotency, InboxItem,
    InboxPage, InboxQuery, Marking, Observer, Promoted, Pruned, ReadError, Reader, Recalled, Refusal,
    Retraction, Store, StoreError, Unread, Written,
};
use async_trait::async_trait;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::event::{Change, Control};
use domain::ids::{NotificationId, UserId};
use domain::state::Mark;
use tokio_util::task::TaskTracker;

use super::connect::{ConnectError, Database};
use append::{Entry, written};
use bell::Bell;
use inbox::Desk;
use marks::Pen;
use met::Met;
use pools::{History, Pools};
use queue::WriterHandle;
use turns::Turns;

pub(super) use append::LOG_LOCK;

/// The bounds of the store. What is bounded by age and number is dropped by [`Store::prune`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgStoreConfig {
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
    /// Connections for what people read, and as many again for what they write.
    pub connections: usize,
}

impl Default for PgStoreConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            history_ttl: DAY * 7,
            history_max_events: 1_000_000,
            history_max_bytes: 1 << 30,
            inbox_ttl: DAY * 90,
            archive_read_after: DAY * 30,
            // Ninety days at ten times the volumes seen, tenfold.
            inbox_max_items: 100_000_000,
            key_ttl: DAY,
            keys_max: 10_000_000,
            scheduled_max: 1_000_000,
            scheduled_max_bytes: 4 << 30,
            connections: 8,
        }
    }
}

/// A store in Postgres: what it has acknowledged survives a crash of everything.
pub struct PgStore {
    pools: Pools,
    writer: WriterHandle,
    bell: Bell,
    turns: Turns,
    met: Met,
    config: PgStoreConfig,
}

impl PgStore {
    /// Opens the store of a database whose schema is [migrated](super::migrate()), and begins an epoch where it needs
    /// one. The writer runs until the store is dropped.
    pub async fn open(
        database: &Database,
        config: PgStoreConfig,
        entropy: Arc<dyn Entropy>,
        observer: Arc<dyn Observer>,
        tasks: &TaskTracker,
    ) -> Result<Self, StoreError> {
        let history = Arc::new(History::new(entropy));
        let pools = Pools::open(database, config.connections, &history)?;
        let (bell, rope) = Bell::new();
        tasks.spawn(bell::ring(pools.bell.clone(), database.clone(), rope));
        let (writer, work) = writer::writer(&pools, config.clone(), bell.clone(), observer);
        tasks.spawn(work.run());
        let store = Self {
            pools,
            writer,
            bell,
            turns: Turns::default(),
            met: Met::default(),
            config,
        };
        store.pools.warm().await?;
        store.head().await?;
        Ok(store)
    }

    /// Begins a new epoch by hand, for after a restore: every client reloads.
    pub async fn begin_epoch(&self) -> Result<Cursor, StoreError> {
        self.pools.begin_epoch().await?;
        Ok(self.head().await?.cursor)
    }
}

impl From<ConnectError> for StoreError {
    fn from(error: ConnectError) -> Self {
        tracing::warn!(%error, "the database cannot be used");
        super::connect::unavailable()
    }
}

#[async_trait]
impl Store for PgStore {
    fn durability(&self) -> Durability {
        Durability::Postgres
    }

    async fn accept(
        &self,
        batch: Vec<Acceptance>,
    ) -> Result<Written<Vec<Result<Accepted, Refusal>>>, StoreError> {
        self.writer.accept(batch).await
    }

    async fn recall(&self, key: &Idempotency) -> Result<Option<Recalled>, StoreError> {
        let lease = self.pools.reading().await?;
        let recalled = lease.in_time(batch::recall(&lease, key)).await;
        lease.settle(recalled)
    }

    async fn control(&self, control: Control) -> Result<Written<()>, StoreError> {
        let mut lease = self.pools.writing().await?;
        let done = pools::WRITING.in_time(async {
            let transaction = lease.transaction().await?;
            let end = append::hold(&transaction).await?;
            let entry = Entry::new(Change::Control(control));
            let events = append::append(&transaction, end, vec![entry]).await?;
            transaction.commit().await?;
            Ok(written(&end, (), events))
        });
        let done = done.await;
        let done = lease.settle(done)?;
        self.bell.after(&done);
        Ok(done)
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.pools.head().await
    }

    async fn read(&self, after: Cursor, limit: usize) -> Result<EventPage, ReadError> {
        let lease = self.pools.tailing().await?;
        let page = lease.in_time(log::read(&lease, after, limit)).await;
        lease.settle(page)?
    }

    async fn read_channels(&self, query: &ChannelsQuery) -> Result<EventPage, ReadError> {
        let lease = self.pools.reading().await?;
        let page = lease.in_time(log::read_channels(&lease, query)).await;
        lease.settle(page)?
    }

    async fn meet(&self, user: &UserId) -> Result<(), StoreError> {
        if self.met.knows(user) {
            return Ok(());
        }
        let lease = self.pools.reading().await?;
        let met = lease.in_time(person::meet(&lease, user)).await;
        lease.settle(met)?;
        self.met.add(user);
        Ok(())
    }

    async fn inbox(&self, reader: &Reader, query: &InboxQuery) -> Result<InboxPage, StoreError> {
        let lease = self.pools.reading().await?;
        let page = lease.in_time(self.desk(&lease, reader).page(query)).await;
        lease.settle(page)
    }

    async fn item(&self, reader: &Reader, id: NotificationId) -> Result<Option<InboxItem>, StoreError> {
        let lease = self.pools.reading().await?;
        let item = lease.in_time(self.desk(&lease, reader).item(id)).await;
        lease.settle(item)
    }

    async fn unread(&self, reader: &Reader) -> Result<Unread, StoreError> {
        let lease = self.pools.reading().await?;
        let unread = lease.in_time(self.desk(&lease, reader).unread()).await;
        lease.settle(unread)
    }

    async fn mark(
        &self,
        reader: &Reader,
        id: NotificationId,
        mark: Mark,
    ) -> Result<Option<Written<Marking>>, StoreError> {
        let _turn = self.turns.of(&reader.user).await;
        let mut lease = self.pools.writing().await?;
        let pen = Pen {
            archive_read_after: self.config.archive_read_after,
            client: &mut lease,
            reader,
        };
        let marked = pools::WRITING.in_time(pen.mark(id, mark)).await;
        let marked = lease.settle(marked)?;
        if let Some(marked) = &marked {
            self.bell.after(marked);
        }
        Ok(marked)
    }

    async fn read_all(
        &self,
        reader: &Reader,
        up_to: Option<Position>,
    ) -> Result<Written<Unread>, StoreError> {
        let _turn = self.turns.of(&reader.user).await;
        let mut lease = self.pools.writing().await?;
        let pen = Pen {
            archive_read_after: self.config.archive_read_after,
            client: &mut lease,
            reader,
        };
        let read = pools::WRITING.in_time(pen.read_all(up_to)).await;
        let read = lease.settle(read)?;
        self.bell.after(&read);
        Ok(read)
    }

    async fn channels_of(&self, id: NotificationId) -> Result<Option<Vec<Channel>>, StoreError> {
        let lease = self.pools.reading().await?;
        let channels = lease.in_time(retract::channels_of(&lease, id)).await;
        lease.settle(channels)
    }

    async fn retract(&self, id: NotificationId) -> Result<Written<Retraction>, StoreError> {
        let mut lease = self.pools.writing().await?;
        let retracted = pools::WRITING.in_time(retract::retract(&mut lease, id)).await;
        let retracted = lease.settle(retracted)?;
        self.bell.after(&retracted);
        Ok(retracted)
    }

    async fn promote(&self, limit: usize) -> Result<Written<Promoted>, StoreError> {
        let head = self.head().await?;
        let mut lease = self.pools.keeping().await?;
        let promoted = pools::KEEPING
            .in_time(schedule::promote(&mut lease, head, limit))
            .await;
        let promoted = lease.settle(promoted)?;
        self.bell.after(&promoted);
        Ok(promoted)
    }

    async fn prune(&self) -> Result<Pruned, StoreError> {
        let mut lease = self.pools.keeping().await?;
        let pruned = pools::KEEPING
            .in_time(prune::prune(&mut lease, &self.config))
            .await;
        lease.settle(pruned)
    }
}

impl PgStore {
    fn desk<'a>(&self, lease: &'a pools::Lease, reader: &'a Reader) -> Desk<'a> {
        Desk {
            client: lease,
            reader,
            archive_read_after: self.config.archive_read_after,
        }
    }
}
