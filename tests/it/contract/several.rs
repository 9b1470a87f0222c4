//! Several adapters as one, as a node with Postgres and Redis has them.

use std::sync::Arc;

use adapters::buses::Buses;
use adapters::memory::MemoryBus;
use adapters::redis::Own;
use application::ports::Bus;
use async_trait::async_trait;

use super::bus::BusFactory;
use super::over_postgres::{OverPostgres, over_postgres};
use super::over_redis::{OverRedis, over_redis};

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
