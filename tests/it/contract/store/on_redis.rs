//! A store in Redis, under keys of its own, whose time is moved by a key that only tests write.

use std::sync::Arc;
use std::time::Duration;

use adapters::redis::{RedisStore, RedisStoreConfig, Server};
use application::ports::Store;
use application::testing::{SeededEntropy, Unobserved};
use async_trait::async_trait;
use domain::time::Timestamp;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;

use super::{Bounds, StoreFactory};

pub(crate) struct RedisStores {
    server: Server,
    prefix: String,
    redis: MultiplexedConnection,
}

impl RedisStores {
    /// Takes keys of its own in the run's Redis.
    pub(crate) async fn begin() -> Self {
        let url = tokio::task::spawn_blocking(tests::redis::shared)
            .await
            .unwrap()
            .unwrap();
        Self::at(&url).await
    }

    /// Takes keys of its own in this Redis.
    pub(super) async fn at(url: &str) -> Self {
        let prefix = format!("t-{:016x}:", tests::port::random());
        let client = redis::Client::open(url).unwrap();
        Self {
            server: url.parse::<Server>().unwrap().with_prefix(&prefix),
            prefix,
            redis: client.get_multiplexed_async_connection().await.unwrap(),
        }
    }
}

#[async_trait]
impl StoreFactory for RedisStores {
    async fn open(&self, bounds: Bounds) -> Arc<dyn Store> {
        let config = RedisStoreConfig {
            history_max_events: bounds.history_max_events,
            history_max_bytes: bounds.history_max_bytes,
            inbox_max_items: bounds.inbox_max_items,
            keys_max: bounds.keys_max,
            scheduled_max: bounds.scheduled_max,
            ..RedisStoreConfig::default()
        };
        let store = RedisStore::open(
            &self.server,
            config,
            Arc::new(SeededEntropy::new(7)),
            Arc::new(Unobserved),
        );
        Arc::new(store.await.unwrap())
    }

    async fn advance(&self, by: Duration) {
        let key = format!("{}store:clock", self.prefix);
        let millis = u64::try_from(by.as_millis()).unwrap();
        self.redis.clone().incr::<_, _, ()>(key, millis).await.unwrap();
    }

    async fn now(&self) -> Timestamp {
        let mut redis = self.redis.clone();
        let key = format!("{}store:clock", self.prefix);
        let moved: Option<i64> = redis.get(key).await.unwrap();
        let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
        Timestamp::from_millis(seconds * 1_000 + micros / 1_000 + moved.unwrap_or(0))
    }
}
