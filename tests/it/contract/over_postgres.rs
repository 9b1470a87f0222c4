//! The parts that nodes share in Postgres, each as two nodes of one database see it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adapters::postgres::{PgAudit, PgBus, PgOutbox, PgRegistry, PgSettings, PgTally};
use application::ports::{
    Audit, Bus, Doorbell, Listener, Observer, Outbox, Registry, Reply, Settings, Tally,
};
use application::testing::Unobserved;
use async_trait::async_trait;
use domain::cursor::{Cursor, Position};
use domain::ids::NodeId;
use domain::time::Timestamp;
use tests::postgres::{Database, database};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::audit::AuditFactory;
use super::bus::BusFactory;
use super::leases::{LeaseFactory, Node};
use super::outbox::OutboxFactory;
use super::registry::RegistryFactory;
use super::settings::SettingsFactory;
use super::tally::TallyFactory;

pub(super) struct OverPostgres {
    database: Database,
    cancel: CancellationToken,
    registries: Mutex<Vec<Arc<PgRegistry>>>,
}

pub(super) async fn over_postgres() -> OverPostgres {
    OverPostgres {
        database: database().await.unwrap(),
        cancel: CancellationToken::new(),
        registries: Mutex::default(),
    }
}

impl Drop for OverPostgres {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

#[async_trait]
impl SettingsFactory for OverPostgres {
    async fn open(&self) -> [Arc<dyn Settings>; 2] {
        let place = self.database.url().parse().unwrap();
        [0, 1].map(|_| Arc::new(PgSettings::open(&place).unwrap()) as Arc<dyn Settings>)
    }
}

#[async_trait]
impl AuditFactory for OverPostgres {
    async fn open(&self) -> [Arc<dyn Audit>; 2] {
        let place = self.database.url().parse().unwrap();
        [0, 1].map(|_| Arc::new(PgAudit::open(&place).unwrap()) as _)
    }
}

#[async_trait]
impl BusFactory for OverPostgres {
    async fn open(&self) -> [Arc<dyn Bus>; 2] {
        let place = self.database.url().parse().unwrap();
        let tasks = TaskTracker::new();
        let mut nodes = Vec::new();
        for _ in 0..2 {
            let observer: Arc<dyn Observer> = Arc::new(Unobserved);
            let bus = PgBus::start(&place, &observer, (&tasks, &self.cancel));
            // The first ring says that it listens from here on.
            bus.listen().next().await;
            let (commits, committed) = mpsc::unbounded_channel();
            tasks.spawn(ring(self.database.connect().await.unwrap(), committed));
            nodes.push(Arc::new(RungByTheStore { bus, commits }) as Arc<dyn Bus>);
        }
        nodes.try_into().ok().unwrap()
    }
}

/// The store rings this bell when it commits; here somebody does so in its place.
struct RungByTheStore {
    bus: PgBus,
    commits: mpsc::UnboundedSender<String>,
}

/// Rings for several commits at once, so that a suite of many thousands ends.
async fn ring(store: Client, mut committed: mpsc::UnboundedReceiver<String>) {
    let mut heads = Vec::new();
    while committed.recv_many(&mut heads, 500).await > 0 {
        let ring = "SELECT pg_notify('arauto', 'h ' || head) FROM unnest($1::text[]) AS head";
        store.execute(ring, &[&heads]).await.unwrap();
        heads.clear();
    }
}

#[async_trait]
impl Bus for RungByTheStore {
    async fn announce(&self, doorbell: Doorbell) {
        let last = doorbell.events.last().map_or(Position(0), |event| event.position);
        let head = Cursor {
            epoch: doorbell.epoch,
            position: last,
        };
        self.commits.send(head.to_string()).unwrap();
        self.bus.announce(doorbell).await;
    }

    fn forward(&self, reply: Reply) {
        self.bus.forward(reply);
    }

    fn listen(&self) -> Box<dyn Listener> {
        self.bus.listen()
    }
}

impl OverPostgres {
    /// Opens a registry that is waited for by `settle`.
    pub(super) fn shared_registry(&self, node: u32, tasks: &TaskTracker) -> Arc<PgRegistry> {
        let registry = self.registry(node, (tasks, &self.cancel));
        self.registries.lock().unwrap().push(registry.clone());
        registry
    }

    fn registry(&self, node: u32, life: (&TaskTracker, &CancellationToken)) -> Arc<PgRegistry> {
        let (place, observer) = (self.database.url().parse().unwrap(), Arc::new(Unobserved));
        Arc::new(PgRegistry::start(&place, NodeId(node), &(observer as _), life).unwrap())
    }

    async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(&self, question: &str) -> T {
        let client = self.database.connect().await.unwrap();
        client.query_one(question, &[]).await.unwrap().get(0)
    }
}

#[async_trait]
impl RegistryFactory for OverPostgres {
    async fn open(&self) -> [Arc<dyn Registry>; 2] {
        let tasks = TaskTracker::new();
        [0, 1].map(|node| self.shared_registry(node, &tasks) as Arc<dyn Registry>)
    }

    async fn settle(&self) {
        let registries = self.registries.lock().unwrap().clone();
        for registry in registries {
            registry.flush().await;
        }
    }

    async fn advance(&self, by: Duration) {
        self.database.advance(by).await.unwrap();
    }

    async fn now(&self) -> Timestamp {
        let now: SystemTime = self.one("SELECT store_now()").await;
        let since = now.duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
    }
}

#[async_trait]
impl OutboxFactory for OverPostgres {
    async fn open(&self) -> [Arc<dyn Outbox>; 2] {
        let place = self.database.url().parse().unwrap();
        [0, 1].map(|_| Arc::new(PgOutbox::open(&place).unwrap()) as Arc<dyn Outbox>)
    }

    async fn advance(&self, by: Duration) {
        RegistryFactory::advance(self, by).await;
    }

    async fn now(&self) -> Timestamp {
        RegistryFactory::now(self).await
    }
}

#[async_trait]
impl TallyFactory for OverPostgres {
    async fn open(&self) -> [Arc<dyn Tally>; 2] {
        let place = self.database.url().parse().unwrap();
        [0, 1].map(|_| Arc::new(PgTally::open(&place).unwrap()) as Arc<dyn Tally>)
    }

    async fn advance(&self, by: Duration) {
        RegistryFactory::advance(self, by).await;
    }

    async fn kept(&self) -> usize {
        let kept: i64 = self.one("SELECT count(*) FROM publish_tally").await;
        usize::try_from(kept).unwrap()
    }
}

#[async_trait]
impl LeaseFactory for OverPostgres {
    async fn node(&self, node: u32) -> Node {
        let runtime = Runtime::new().unwrap();
        let (tasks, goodbye) = (TaskTracker::new(), CancellationToken::new());
        let registry = {
            let _inside = runtime.enter();
            self.registry(node, (&tasks, &goodbye))
        };
        Node {
            registry,
            runtime,
            goodbye,
            tasks,
        }
    }

    async fn kept(&self) -> usize {
        let kept: i64 = self.one("SELECT count(*) FROM registry_streams").await;
        usize::try_from(kept).unwrap()
    }
}
