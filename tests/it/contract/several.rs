//! Several adapters as one, as a node with Postgres and Redis has them.

use std::sync::Arc;
use std::time::Duration;

use adapters::buses::Buses;
use adapters::limiters::Limiters;
use adapters::memory::{MemoryBus, MemoryLimiter};
use adapters::redis::Own;
use adapters::registries::Registries;
use application::ports::{Bus, Limiter, Registry};
use application::testing::{SimClock, Unobserved};
use async_trait::async_trait;
use domain::time::Timestamp;
use tokio_util::task::TaskTracker;

use super::bus::BusFactory;
use super::limiter::LimiterFactory;
use super::over_postgres::{OverPostgres, over_postgres};
use super::over_redis::{OverRedis, over_redis};
use super::registry::RegistryFactory;

pub(super) struct Several {
    postgres: OverPostgres,
    redis: OverRedis,
}

pub(super) async fn several() -> Several {
    Several {
        postgres: over_postgres().await,
        redis: over_redis().await,
    }
}

#[async_trait]
impl BusFactory for Several {
    async fn open(&self) -> [Arc<dyn Bus>; 2] {
        let [one, other] = BusFactory::open(&self.postgres).await;
        [self.node(1, one).await, self.node(2, other).await]
    }
}

impl Several {
    async fn node(&self, node: u32, postgres: Arc<dyn Bus>) -> Arc<dyn Bus> {
        let redis = self.redis.bus(node, Own::Skipped).await;
        let hears = redis.hears();
        let buses = Buses::new(vec![Arc::new(MemoryBus::new()), postgres]);
        Arc::new(buses.with_copies(redis, hears))
    }
}

#[async_trait]
impl RegistryFactory for Several {
    async fn open(&self) -> [Arc<dyn Registry>; 2] {
        let tasks = TaskTracker::new();
        [0, 1].map(|node| {
            let (fast, safe) = (
                self.redis.registry(node),
                self.postgres.shared_registry(node, &tasks),
            );
            Arc::new(Registries::new(fast, safe, Arc::new(Unobserved))) as Arc<dyn Registry>
        })
    }

    async fn settle(&self) {
        self.redis.settle().await;
        self.postgres.settle().await;
    }

    async fn advance(&self, by: Duration) {
        RegistryFactory::advance(&self.redis, by).await;
        self.postgres.advance(by).await;
    }

    async fn now(&self) -> Timestamp {
        RegistryFactory::now(&self.postgres).await
    }
}

/// Limits that nodes share, with each node's own behind them.
pub(super) struct SharedLimits(OverRedis);

pub(super) async fn limiters() -> SharedLimits {
    SharedLimits(over_redis().await)
}

#[async_trait]
impl LimiterFactory for SharedLimits {
    async fn open(&self) -> [Arc<dyn Limiter>; 2] {
        [0, 1].map(|node| {
            let own = MemoryLimiter::new(Arc::new(SimClock::new()), Arc::new(Unobserved));
            let shared = self.0.limiter(node);
            Limiters::start(shared, Arc::new(own), Arc::new(Unobserved), self.0.life()) as Arc<dyn Limiter>
        })
    }

    async fn advance(&self, by: Duration) {
        LimiterFactory::advance(&self.0, by).await;
    }
}
