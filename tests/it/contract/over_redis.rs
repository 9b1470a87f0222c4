//! The adapters over Redis, as the suites open them: each test has keys of its own in the run's Redis.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapters::redis::{
    Own, RedisAudit, RedisBus, RedisLimiter, RedisOutbox, RedisRegistry, RedisSettings, Server,
};
use application::ports::{Audit, Bus, Limiter, Observer, Outbox, Registry, Settings, Tally};
use application::testing::Unobserved;
use async_trait::async_trait;
use domain::ids::NodeId;
use domain::time::Timestamp;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use tokio::runtime::Runtime;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::audit::AuditFactory;
use super::bus::BusFactory;
use super::leases::{LeaseFactory, Node};
use super::limiter::LimiterFactory;
use super::outbox::OutboxFactory;
use super::registry::RegistryFactory;
use super::settings::SettingsFactory;
use super::tally::TallyFactory;

/// Adapters over Redis, which end with their test.
pub(crate) struct OverRedis {
    url: String,
    prefix: String,
    server: Server,
    tasks: TaskTracker,
    cancel: CancellationToken,
    registries: Mutex<Vec<Arc<RedisRegistry>>>,
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
        url: url.clone(),
        prefix: prefix.clone(),
        server: url.parse::<Server>().unwrap().with_prefix(&prefix),
        tasks: TaskTracker::new(),
        registries: Mutex::default(),
        _end: cancel.clone().drop_guard(),
        cancel,
    }
}

impl OverRedis {
    /// Opens the bus of a node, which already hears.
    pub(super) async fn bus(&self, node: u32, own: Own) -> Arc<RedisBus> {
        let bus = RedisBus::start(
            &self.server,
            (NodeId(node), own),
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
        [self.bus(1, Own::Heard).await, self.bus(2, Own::Heard).await]
    }
}

/// Time in Redis is how long keys have left to live, so it passes when they have less. KEYS is for tests alone.
const PASS: &str = r"
    for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
      local left = redis.call('PTTL', key)
      if left >= 0 then
        redis.call('PEXPIRE', key, left - ARGV[2])
      end
    end";

impl OverRedis {
    async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url.as_str()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    pub(super) fn registry(&self, node: u32) -> Arc<RedisRegistry> {
        let parts = (&self.tasks, &self.cancel);
        let registry = RedisRegistry::start(&self.server, NodeId(node), &(Arc::new(Unobserved) as _), parts);
        let registry = Arc::new(registry);
        self.registries.lock().unwrap().push(registry.clone());
        registry
    }
}

#[async_trait]
impl RegistryFactory for OverRedis {
    async fn open(&self) -> [Arc<dyn Registry>; 2] {
        [self.registry(0), self.registry(1)]
    }

    async fn settle(&self) {
        let registries = self.registries.lock().unwrap().clone();
        for registry in registries {
            registry.flush().await;
        }
    }

    async fn advance(&self, by: Duration) {
        let pass = redis::Script::new(PASS);
        let millis = u64::try_from(by.as_millis()).unwrap();
        let mut call = pass.arg(&self.prefix);
        call.arg(millis);
        call.invoke_async::<()>(&mut self.connect().await).await.unwrap();
    }

    async fn now(&self) -> Timestamp {
        let time = redis::cmd("TIME");
        let (seconds, micros): (i64, i64) = time.query_async(&mut self.connect().await).await.unwrap();
        Timestamp::from_millis(seconds * 1_000 + micros / 1_000)
    }
}

#[async_trait]
impl LeaseFactory for OverRedis {
    async fn node(&self, node: u32) -> Node {
        let runtime = Runtime::new().unwrap();
        let (tasks, goodbye) = (TaskTracker::new(), CancellationToken::new());
        let registry = {
            let _inside = runtime.enter();
            let observer: Arc<dyn Observer> = Arc::new(Unobserved);
            Arc::new(RedisRegistry::start(
                &self.server,
                NodeId(node),
                &observer,
                (&tasks, &goodbye),
            ))
        };
        Node {
            registry,
            runtime,
            goodbye,
            tasks,
        }
    }

    async fn kept(&self) -> usize {
        let mut redis = self.connect().await;
        let mut kept = 0;
        for keys in ["registry:node:*", "registry:user:*"] {
            let keys: Vec<String> = redis.keys(format!("{}{keys}", self.prefix)).await.unwrap();
            for key in keys {
                let entries: usize = redis.zcard(key).await.unwrap();
                kept += entries;
            }
        }
        kept
    }
}

impl OverRedis {
    /// How far the outbox's clock has been moved on, in milliseconds: a key that only tests write.
    fn outbox_clock(&self) -> String {
        format!("{}outbox:clock", self.prefix)
    }
}

#[async_trait]
impl OutboxFactory for OverRedis {
    async fn open(&self) -> [Arc<dyn Outbox>; 2] {
        let node = async || Arc::new(RedisOutbox::open(&self.server).await.unwrap()) as Arc<dyn Outbox>;
        [node().await, node().await]
    }

    async fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap();
        let mut redis = self.connect().await;
        redis.incr::<_, _, ()>(self.outbox_clock(), millis).await.unwrap();
    }

    async fn now(&self) -> Timestamp {
        let moved: Option<u64> = self.connect().await.get(self.outbox_clock()).await.unwrap();
        let now = RegistryFactory::now(self).await;
        now.plus(Duration::from_millis(moved.unwrap_or(0)))
    }
}

#[async_trait]
impl AuditFactory for OverRedis {
    async fn open(&self) -> [Arc<dyn Audit>; 2] {
        [0, 1].map(|_| Arc::new(RedisAudit::new(&self.server)) as _)
    }
}

#[async_trait]
impl TallyFactory for OverRedis {
    async fn open(&self) -> [Arc<dyn Tally>; 2] {
        let node = async || Arc::new(RedisOutbox::open(&self.server).await.unwrap()) as Arc<dyn Tally>;
        [node().await, node().await]
    }

    async fn advance(&self, by: Duration) {
        OutboxFactory::advance(self, by).await;
    }

    async fn kept(&self) -> usize {
        let tally = format!("{}outbox:tally", self.prefix);
        self.connect().await.zcard(tally).await.unwrap()
    }
}

#[async_trait]
impl SettingsFactory for OverRedis {
    async fn open(&self) -> [Arc<dyn Settings>; 2] {
        [0, 1].map(|_| Arc::new(RedisSettings::new(&self.server)) as _)
    }
}

/// Time passes for limits when everything that was let through is older.
const AGE: &str = r"
    for _, key in ipairs(redis.call('KEYS', ARGV[1] .. 'limit:*')) do
      local left = redis.call('PTTL', key) - ARGV[2]
      local runs = cmsgpack.unpack(redis.call('GET', key))
      for at = 1, #runs, 2 do
        runs[at] = runs[at] - ARGV[2]
      end
      if left > 0 then
        redis.call('SET', key, cmsgpack.pack(runs), 'PX', left)
      else
        redis.call('DEL', key)
      end
    end";

impl OverRedis {
    /// A thousand calls at once, on a machine that does much else, may take their time.
    pub(super) fn limiter(&self, node: u32) -> Arc<RedisLimiter> {
        Arc::new(RedisLimiter::patient(
            &self.server,
            NodeId(node),
            Duration::from_secs(20),
        ))
    }

    /// Begins tasks that end with the test.
    pub(super) fn life(&self) -> (&TaskTracker, &CancellationToken) {
        (&self.tasks, &self.cancel)
    }
}

#[async_trait]
impl LimiterFactory for OverRedis {
    async fn open(&self) -> [Arc<dyn Limiter>; 2] {
        [self.limiter(0), self.limiter(1)]
    }

    async fn advance(&self, by: Duration) {
        let age = redis::Script::new(AGE);
        let mut call = age.arg(&self.prefix);
        call.arg(u64::try_from(by.as_millis()).unwrap());
        call.invoke_async::<()>(&mut self.connect().await).await.unwrap();
    }
}
