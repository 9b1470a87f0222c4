//! A store in Postgres, in a database of its own whose time is moved with it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adapters::postgres::{PgStore, PgStoreConfig};
use application::ports::Store;
use application::testing::{SeededEntropy, Unobserved};
use async_trait::async_trait;
use domain::time::Timestamp;
use tests::postgres::{Database, database};
use tokio_postgres::Client;
use tokio_util::task::TaskTracker;

use super::{Bounds, StoreFactory};

pub(crate) struct PgStores {
    database: Database,
    /// Asks for the time.
    client: Client,
    tasks: TaskTracker,
}

impl PgStores {
    pub(crate) async fn begin() -> Self {
        let database = database().await.unwrap();
        Self {
            client: database.connect().await.unwrap(),
            database,
            tasks: TaskTracker::new(),
        }
    }
}

#[async_trait]
impl StoreFactory for PgStores {
    async fn open(&self, bounds: Bounds) -> Arc<dyn Store> {
        let config = PgStoreConfig {
            history_max_events: bounds.history_max_events,
            history_max_bytes: bounds.history_max_bytes,
            inbox_max_items: bounds.inbox_max_items,
            keys_max: bounds.keys_max,
            scheduled_max: bounds.scheduled_max,
            ..PgStoreConfig::default()
        };
        let place = self.database.url().parse().unwrap();
        let store = PgStore::open(
            &place,
            config,
            Arc::new(SeededEntropy::new(7)),
            Arc::new(Unobserved),
            &self.tasks,
        );
        Arc::new(store.await.unwrap())
    }

    async fn advance(&self, by: Duration) {
        self.database.advance(by).await.unwrap();
    }

    async fn now(&self) -> Timestamp {
        let row = self.client.query_one("SELECT store_now()", &[]).await.unwrap();
        let now: SystemTime = row.get(0);
        let millis = now.duration_since(UNIX_EPOCH).unwrap().as_millis();
        Timestamp::from_millis(i64::try_from(millis).unwrap())
    }
}
