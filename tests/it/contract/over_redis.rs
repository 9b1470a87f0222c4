//! The adapters over Redis, as the suites open them: each test has keys of its own in the run's Redis.

use std::sync::Arc;

use adapters::redis::{Own, RedisBus, Server};
use application::ports::Bus;
use application::testing::Unobserved;
use async_trait::async_trait;
use domain::ids::NodeId;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::bus::BusFactory;

/// Adapters over Redis, which end with their test.
pub(crate) struct OverRedis {
    server: Server,
    tasks: TaskTracker,
    cancel: CancellationToken,
    _end: DropGuard,
}

/// Takes keys of its own.
pub(crate) async fn over_redis() -> OverRedis {
    let url = tokio::task::spawn_blocking(tests::redis::shared)
        .await
        .unwrap()
        .unwrap();
    let prefix = format!("t-{:016x}:", tests::port::random());
    let cancel = CancellationToken::new();
    OverRedis {
        server: url.parse::<Server>().unwrap().with_prefix(&prefix),
        tasks: TaskTracker::new(),
        _end: cancel.clone().drop_guard(),
        cancel,
    }
}

pub(crate) use over_redis as buses;

impl OverRedis {
    /// Opens the bus of a node, which already hears.
    async fn bus(&self, node: u32) -> Arc<RedisBus> {
        let bus = RedisBus::start(
            &self.server,
            (NodeId(node), Own::Heard),
            &(Arc::new(Unobserved) as _),
            (&self.tasks, &self.cancel),
        );
        bus.hears().wait_for(|hears| *hears).await.unwrap();
        Arc::new(bus)
    }
}

#[async_trait]
impl BusFactory for OverRedis {
    async fn open(&self) -> [Arc<dyn Bus>; 2] {
        [self.bus(1).await, self.bus(2).await]
    }
}
