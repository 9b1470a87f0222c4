//! The parts that nodes share where Redis is all there is.

use std::sync::Arc;

use adapters::buses::Buses;
use adapters::guarded::GuardedRegistry;
use adapters::memory::MemoryBus;
use adapters::redis::{
    Own, RedisAudit, RedisBus, RedisOutbox, RedisRegistry, RedisSettings, RedisStore, RedisStoreConfig,
    Server,
};
use anyhow::Context as _;
use application::audit::PublishRecords;
use application::ports::{Entropy, Observer, Outbox};

use super::backends::{Backends, Surroundings, redis};
use super::{breakers, limits};
use crate::config::{Config, HistoryConfig};

/// Opens everything in one Redis. A node hears itself through memory, and the others by copies.
pub(super) async fn open(config: &Config, around: &Surroundings<'_>) -> anyhow::Result<Backends> {
    let server = server(config)?;
    let store = store(config, Arc::clone(around.entropy), Arc::clone(around.observer)).await?;
    let outbox = RedisOutbox::open(&server).await;
    let outbox = Arc::new(outbox.with_context(|| format!("the store redis at {}", server.place()))?);
    let (life, observer) = ((around.tasks, around.cancel), around.observer);
    let fast = RedisBus::start(&server, (around.node, Own::Skipped), observer, life);
    let hears = fast.hears();
    let buses = Buses::new(vec![Arc::new(MemoryBus::new())]).with_copies(Arc::new(fast), hears);
    let guard = breakers::of_the_store(&breakers::REDIS, Arc::new(store), around);
    let registry = Arc::new(RedisRegistry::start(&server, around.node, observer, life));
    Ok(Backends {
        settings: guard.settings(Arc::new(RedisSettings::new(&server))),
        outbox: guard.outbox(Arc::clone(&outbox) as Arc<dyn Outbox>),
        limiter: limits::shared(&server, Arc::clone(&guard.answers), around),
        registry: Arc::new(GuardedRegistry::new(registry, Arc::clone(&guard.answers))),
        store: guard.store,
        bus: Arc::new(buses),
        audit: Arc::new(RedisAudit::new(&server)),
        publishes: (PublishRecords::First, None),
        tally: outbox,
        // Redis is the store itself.
        probes: Vec::new(),
    })
}

/// Opens the store alone.
pub(super) async fn store(
    config: &Config,
    entropy: Arc<dyn Entropy>,
    observer: Arc<dyn Observer>,
) -> anyhow::Result<RedisStore> {
    let server = server(config)?;
    RedisStore::open(&server, bounds(&config.history), entropy, observer)
        .await
        .with_context(|| format!("the store redis at {}", server.place()))
}

fn server(config: &Config) -> anyhow::Result<Server> {
    redis(config)?.context("ARAUTO_REDIS_URL is missing")
}

fn bounds(history: &HistoryConfig) -> RedisStoreConfig {
    RedisStoreConfig {
        history_ttl: history.ttl,
        history_max_events: history.max_events,
        history_max_bytes: history.max_bytes,
        inbox_ttl: history.inbox_ttl,
        archive_read_after: history.archive_read_after,
        key_ttl: history.idempotency_ttl,
        ..RedisStoreConfig::default()
    }
}
