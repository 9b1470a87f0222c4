//! The parts that nodes share, by the store that is configured.

use std::sync::Arc;

use adapters::buses::Buses;
use adapters::guarded::{Circuits, GuardedRegistry};
use adapters::memory::{
    MemoryAudit, MemoryBus, MemoryOutbox, MemoryRegistry, MemorySettings, MemoryStore, MemoryStoreConfig,
    MemoryTally,
};
use adapters::metrics::Metrics;
use adapters::postgres::{
    Database, PgAudit, PgBus, PgOutbox, PgRegistry, PgSettings, PgStore, PgStoreConfig, PgTally, migrate,
};
use adapters::redis::{Own, RedisBus, RedisProbe, RedisRegistry, Server};
use adapters::registries::Registries;
use adapters::system::{SystemClock, SystemEntropy};
use anyhow::{Context as _, bail};
use application::audit::PublishRecords;
use application::ports::{
    Audit, Bus, Clock, Entropy, Limiter, Observer, Outbox, Probe, PublishTrail, Registry, Settings, Store,
    Tally,
};
use application::settings::ChangeSettings;
use domain::ids::NodeId;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{breakers, limits, node_id};
use crate::config::{Config, HistoryConfig, StoreKind};

/// The parts that nodes share.
pub(super) struct Backends {
    pub(super) store: Arc<dyn Store>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) registry: Arc<dyn Registry>,
    pub(super) settings: Arc<dyn Settings>,
    /// What became of events over pushed transports.
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) audit: Arc<dyn Audit>,
    /// How publishes come into the trail, and from where if that is the log.
    pub(super) publishes: (PublishRecords, Option<Arc<dyn PublishTrail>>),
    /// How publishes there went.
    pub(super) tally: Arc<dyn Tally>,
    pub(super) limiter: Arc<dyn Limiter>,
    /// What is connected beside the store, and could be done without.
    pub(super) probes: Vec<Arc<dyn Probe>>,
}

/// What every part may ask for.
pub(super) struct Surroundings<'a> {
    pub(super) node: NodeId,
    pub(super) circuits: &'a Circuits,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) entropy: &'a Arc<dyn Entropy>,
    pub(super) observer: &'a Arc<dyn Observer>,
    pub(super) tasks: &'a TaskTracker,
    pub(super) cancel: &'a CancellationToken,
}

impl Backends {
    pub(super) async fn open(config: &Config, around: &Surroundings<'_>) -> anyhow::Result<Self> {
        match config.store.kind {
            StoreKind::Memory => Ok(Self::memory(config, around)),
            StoreKind::Postgres => Self::postgres(config, around).await,
            StoreKind::Redis => super::on_redis::open(config, around).await,
        }
    }

    fn memory(config: &Config, around: &Surroundings<'_>) -> Self {
        let store = MemoryStore::new(
            memory(&config.history),
            Arc::clone(around.clock),
            Arc::clone(around.entropy),
        );
        Self {
            store: Arc::new(store),
            bus: Arc::new(MemoryBus::new()),
            registry: Arc::new(MemoryRegistry::new(
                Arc::clone(around.clock),
                Arc::clone(around.observer),
            )),
            settings: Arc::new(MemorySettings::default()),
            outbox: Arc::new(MemoryOutbox::new(Arc::clone(around.clock))),
            audit: Arc::new(MemoryAudit::default()),
            publishes: (PublishRecords::Beside, None),
            tally: Arc::new(MemoryTally::new(Arc::clone(around.clock))),
            limiter: limits::own(around),
            probes: Vec::new(),
        }
    }

    async fn postgres(config: &Config, around: &Surroundings<'_>) -> anyhow::Result<Self> {
        let (life, observer) = ((around.tasks, around.cancel), around.observer);
        let mut database = database(config)?.on_behalf_of(around.node);
        let server = redis(config)?;
        let fast = server
            .as_ref()
            .map(|server| RedisBus::start(server, (around.node, Own::Skipped), observer, life));
        if let Some(fast) = &fast {
            database = database.beside(fast.hears());
        }
        bring_up_to_date(&database).await?;
        let store = PgStore::open(
            &database,
            postgres(&config.history),
            Arc::clone(around.entropy),
            Arc::clone(around.observer),
            around.tasks,
        )
        .await
        .with_context(|| format!("the database at {} cannot be used", database.place()))?;
        let guard = breakers::of_the_store(&breakers::POSTGRES, Arc::new(store), around);
        let bell = PgBus::start(&database, observer, life);
        let mut buses = Buses::new(vec![Arc::new(MemoryBus::new()), Arc::new(bell)]);
        if let Some(fast) = fast {
            let hears = fast.hears();
            buses = buses.with_copies(Arc::new(fast), hears);
        }
        let presence = Arc::new(PgRegistry::start(&database, around.node, observer, life)?);
        let presence = Arc::new(GuardedRegistry::new(presence, Arc::clone(&guard.answers)));
        let mut registry: Arc<dyn Registry> = Arc::clone(&presence) as Arc<dyn Registry>;
        let mut probes: Vec<Arc<dyn Probe>> = Vec::new();
        let mut limiter = limits::own(around);
        if let Some(server) = server {
            let probe: Arc<dyn Probe> = Arc::new(RedisProbe::new(&server));
            let answers = breakers::of_redis(&probe, around);
            let fast = Arc::new(RedisRegistry::start(&server, around.node, observer, life));
            let fast = GuardedRegistry::new(fast, Arc::clone(&answers));
            registry = Arc::new(Registries::new(Arc::new(fast), presence, Arc::clone(observer)));
            limiter = limits::shared(&server, answers, around);
            probes.push(probe);
        }
        let audit = Arc::new(PgAudit::open(&database)?);
        let from_log = Arc::clone(&audit) as Arc<dyn PublishTrail>;
        Ok(Self {
            settings: guard.settings(Arc::new(PgSettings::open(&database)?)),
            outbox: guard.outbox(Arc::new(PgOutbox::open(&database)?)),
            store: guard.store,
            bus: Arc::new(buses),
            registry,
            audit,
            publishes: (PublishRecords::FromLog, Some(from_log)),
            tally: Arc::new(PgTally::open(&database)?),
            limiter,
            probes,
        })
    }
}

/// Brings the database's schema to this version and says what was done.
pub(super) async fn bring_up_to_date(database: &Database) -> anyhow::Result<Vec<String>> {
    let applied = migrate(database)
        .await
        .with_context(|| format!("the database at {}", database.place()))?;
    for name in &applied {
        tracing::info!(name, "migrated");
    }
    Ok(applied)
}

/// Returns where the database is.
pub(super) fn database(config: &Config) -> anyhow::Result<Database> {
    let url = config
        .store
        .database_url
        .as_ref()
        .context("ARAUTO_DATABASE_URL is missing")?;
    url.expose().parse().context("ARAUTO_DATABASE_URL")
}

/// Returns where Redis is, if it is to be used.
pub(super) fn redis(config: &Config) -> anyhow::Result<Option<Server>> {
    let url = config.store.redis_url.as_ref();
    url.map(|url| url.expose().parse::<Server>())
        .transpose()
        .context("ARAUTO_REDIS_URL")
}

fn memory(history: &HistoryConfig) -> MemoryStoreConfig {
    MemoryStoreConfig {
        history_ttl: history.ttl,
        history_max_events: history.max_events,
        history_max_bytes: history.max_bytes,
        inbox_ttl: history.inbox_ttl,
        archive_read_after: history.archive_read_after,
        key_ttl: history.idempotency_ttl,
        ..MemoryStoreConfig::default()
    }
}

fn postgres(history: &HistoryConfig) -> PgStoreConfig {
    PgStoreConfig {
        history_ttl: history.ttl,
        history_max_events: history.max_events,
        history_max_bytes: history.max_bytes,
        inbox_ttl: history.inbox_ttl,
        archive_read_after: history.archive_read_after,
        key_ttl: history.idempotency_ttl,
        ..PgStoreConfig::default()
    }
}

/// Opens what changes settings, for the command line. Its tasks end with what is returned beside it.
pub(super) async fn change_settings(config: &Config) -> anyhow::Result<(ChangeSettings, DropGuard)> {
    if config.store.kind == StoreKind::Memory {
        bail!(
            "the memory store has no settings that outlive a node: set ARAUTO_CAPABILITIES_FILE and restart it"
        );
    }
    let cancel = CancellationToken::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let observer: Arc<dyn Observer> = Arc::new(Metrics::new()?);
    let circuits = Circuits::new(Arc::clone(&clock), Arc::clone(&observer));
    let around = Surroundings {
        node: node_id(&*entropy),
        circuits: &circuits,
        clock: &clock,
        entropy: &entropy,
        observer: &observer,
        tasks: &TaskTracker::new(),
        cancel: &cancel,
    };
    let shared = Backends::open(config, &around).await?;
    let change = ChangeSettings {
        settings: shared.settings,
        store: shared.store,
        bus: shared.bus,
    };
    Ok((change, cancel.drop_guard()))
}

/// Opens the store alone, for the command line.
pub(super) async fn postgres_store(
    config: &Config,
    entropy: Arc<dyn Entropy>,
    observer: Arc<dyn Observer>,
    tasks: &TaskTracker,
) -> anyhow::Result<PgStore> {
    let database = database(config)?;
    PgStore::open(&database, postgres(&config.history), entropy, observer, tasks)
        .await
        .with_context(|| format!("the database at {} cannot be used", database.place()))
}
