//! The hub: every open stream of this node.
//!
//! The [tail] follows the log into the [ring]; [shards](self::shard) wake the connections of
//! an event's channel; each connection's [reader](self::subscription) pulls what follows its position; the
//! [ticker] asks, once a second, whoever is due. A connection costs a position, its channels and a wake
//! flag. There is no queue to fill.

mod beat;
mod books;
mod connection;
mod ring;
mod shard;
mod streams;
mod subscription;
mod tail;
mod ticker;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use application::boundary::bounded_now;
use application::load::Load;
use application::ports::{Bus, Clock, Encoder, Entropy, Observer, Registry, Store};
use application::revocations::RevocationsInForce;
use application::rights::Rights;
use application::stream_start::reload_after;
use domain::event::Event;
use domain::heartbeat::PaceLimits;
use domain::stream::{CloseReason, Jitter, ReconnectSpread};
use domain::time::Timestamp;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::beat::{Beat, SendTimes, Wheel};
use self::books::Left;
use self::connection::{Connection, RIGHTS};
use self::ring::Ring;
use self::shard::Shard;
use self::tail::Tail;
use self::ticker::Ticker;

/// Batches that a shard may be behind the tail before the tail waits for it.
const SHARD_BACKLOG: usize = 64;
/// Draining closes streams in this many steps over its window.
const DRAIN_STEPS: u32 = 50;

/// The bounds of a hub.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Bytes of recent events held in memory.
    pub ring_bytes_max: usize,
    /// Streams on this node.
    pub connections_max: usize,
    /// How heartbeats are paced.
    pub pace: PaceLimits,
    /// How clients are spread when they come back.
    pub spread: ReconnectSpread,
    /// A `session` event comes this long before the session's end.
    pub session_warning: Duration,
    /// Connections that may read the store's history at once.
    pub store_replays: usize,
    /// Into how many shards connections are split.
    pub shards: usize,
}

/// What a hub works with.
#[derive(Clone)]
pub struct HubParts {
    /// The log.
    pub store: Arc<dyn Store>,
    /// The doorbell.
    pub bus: Arc<dyn Bus>,
    /// Who is connected in the cluster, and ended tickets.
    pub registry: Arc<dyn Registry>,
    /// The capability matrix in force.
    pub rights: Arc<Rights>,
    /// The tokens that were taken back.
    pub revocations: Arc<RevocationsInForce>,
    /// The wire formats.
    pub encoder: Arc<dyn Encoder>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
    /// How hard this node is pressed.
    pub load: Arc<Load>,
}

/// Every open stream of this node.
pub struct Hub {
    me: Weak<Hub>,
    config: HubConfig,
    store: Arc<dyn Store>,
    registry: Arc<dyn Registry>,
    rights: Arc<Rights>,
    revocations: Arc<RevocationsInForce>,
    encoder: Arc<dyn Encoder>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    observer: Arc<dyn Observer>,
    load: Arc<Load>,
    ring: Ring,
    shards: Vec<Shard>,
    bells: Vec<mpsc::Sender<Arc<[Arc<Event>]>>>,
    /// The locks below are held for a look-up or a change; never over an await.
    wheel: Mutex<Wheel>,
    times: Mutex<SendTimes>,
    beat: RwLock<Option<Arc<Beat>>>,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    sessions: Mutex<BTreeSet<(Timestamp, u64)>>,
    left: Mutex<Left>,
    replays: Semaphore,
    store_reads: AtomicU64,
    head: AtomicU64,
    /// When this node last had everything that was in the log, by [`Clock::uptime`].
    level_at_ms: AtomicU64,
    tailing: AtomicBool,
    draining: AtomicBool,
    /// How often control said that settings have changed.
    changes: watch::Sender<u64>,
}

impl Hub {
    /// Builds a hub and starts its tail, shards and ticker, which run until `cancel`.
    pub fn start(
        parts: HubParts,
        config: HubConfig,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Arc<Self> {
        let shards = config.shards.max(1);
        let (bells, ears): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::channel(SHARD_BACKLOG)).unzip();
        let hub = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            ring: Ring::new(config.ring_bytes_max),
            shards: (0..shards).map(|_| Shard::default()).collect(),
            bells,
            wheel: Mutex::new(Wheel::new(&config.pace)),
            times: Mutex::new(SendTimes::new()),
            beat: RwLock::new(None),
            connections: Mutex::new(HashMap::new()),
            sessions: Mutex::new(BTreeSet::new()),
            left: Mutex::default(),
            replays: Semaphore::new(config.store_replays.max(1)),
            store_reads: AtomicU64::new(0),
            head: AtomicU64::new(0),
            level_at_ms: AtomicU64::new(0),
            tailing: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            changes: watch::Sender::new(0),
            store: Arc::clone(&parts.store),
            registry: parts.registry,
            rights: parts.rights,
            revocations: parts.revocations,
            encoder: parts.encoder,
            clock: parts.clock,
            entropy: parts.entropy,
            observer: parts.observer,
            load: parts.load,
            config,
        });
        for (index, ear) in ears.into_iter().enumerate() {
            tasks.spawn(wake_listeners(Arc::clone(&hub), index, ear, cancel.clone()));
        }
        tasks.spawn(Tail::new(Arc::clone(&hub), parts.store, &*parts.bus).run(cancel.clone()));
        tasks.spawn(Ticker::new(Arc::clone(&hub)).run(cancel.clone()));
        hub
    }

    /// Takes no more streams and closes the open ones, spread over the window.
    pub async fn drain(&self, window: Duration) {
        self.draining.store(true, Ordering::Release);
        let mut open: Vec<_> = self.connections().values().cloned().collect();
        // Serials are random, so their order is a fair draw.
        open.sort_unstable_by_key(|connection| connection.id.serial);
        let per_step = open.len().div_ceil(DRAIN_STEPS as usize).max(1);
        for step in open.chunks(per_step) {
            for connection in step {
                connection.close(CloseReason::ShuttingDown);
            }
            tokio::time::sleep(window / DRAIN_STEPS).await;
        }
    }

    /// Returns what moves whenever the log says that settings have changed, or may have.
    pub fn settings_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Lets every stream take its rights again, after the capability matrix was replaced.
    pub fn recheck_rights(&self) {
        self.connections()
            .values()
            .for_each(|connection| connection.signal(RIGHTS));
    }

    /// Closes every stream whose token was taken back, after other revocations came into force.
    pub fn close_revoked(&self) {
        let open: Vec<_> = self.connections().values().cloned().collect();
        for connection in open {
            self.close_if_revoked(&connection);
        }
    }

    /// A stream that was registered before it is looked at here is found either by this look or by
    /// [`close_revoked`](Self::close_revoked).
    fn close_if_revoked(&self, connection: &Connection) {
        let principal = Arc::clone(&connection.state().principal);
        if self.revocations.hit(&principal) {
            connection.close(CloseReason::Revoked);
        }
    }

    fn shard(&self, connection: &Connection) -> &Shard {
        let index = connection.id.serial % self.shards.len() as u64;
        &self.shards[usize::try_from(index).unwrap_or_default()]
    }

    fn wheel(&self) -> MutexGuard<'_, Wheel> {
        self.wheel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn times(&self) -> MutexGuard<'_, SendTimes> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, u64)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self) -> Option<Arc<Beat>> {
        self.beat.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_beat(&self, beat: Beat) {
        *self.beat.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(beat));
    }

    fn jitter(&self) -> Jitter {
        Jitter::from_bits(self.entropy.bits())
    }

    fn reload_after(&self) -> Duration {
        reload_after(self.jitter())
    }

    fn reconnect_after(&self) -> Duration {
        // A herd that comes back is there before its streams are open.
        let arrivals = self.load.arrivals(self.clock.uptime());
        let connections = self.connections().len().max(arrivals);
        self.config.spread.delay(connections, self.jitter())
    }
}

async fn wake_listeners(
    hub: Arc<Hub>,
    index: usize,
    mut ear: mpsc::Receiver<Arc<[Arc<Event>]>>,
    cancel: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            batch = ear.recv() => match batch {
                Some(events) => {
                    let wake = || hub.shards[index].wake(&events);
                    if bounded_now(&*hub.observer, "shard", wake).is_err() {
                        hub.wake_all();
                    }
                }
                None => return,
            },
        }
    }
}
