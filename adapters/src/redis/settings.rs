//! Settings in Redis.

use std::time::Duration;

use application::ports::{Document, Settings, SettingsError, Version};
use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, RedisResult, Script};

use super::connect::Server;
use super::link::Link;

/// Nobody waits longer for Redis.
const PATIENCE: Duration = Duration::from_secs(1);

/// Small versioned documents in Redis: a hash for each. How durable they are is Redis' own configuration.
pub struct RedisSettings {
    link: Link,
    put: Script,
}

impl RedisSettings {
    /// Connects when it is first asked.
    pub fn new(server: &Server) -> Self {
        Self {
            link: Link::new(server.clone()),
            put: Script::new(include_str!("lua/put.lua")),
        }
    }

    fn key(&self, name: &str) -> String {
        self.link.server().key(&format!("settings:{name}"))
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, SettingsError> {
        let failure = match tokio::time::timeout(PATIENCE, self.link.run(question)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(error = failure, settings = "redis", "a question was not answered");
        Err(SettingsError::Unavailable)
    }
}

#[async_trait]
impl Settings for RedisSettings {
    async fn get(&self, name: &str) -> Result<Option<Document>, SettingsError> {
        let key = self.key(name);
        let (version, text): (Option<Version>, Option<String>) = self
            .ask(async |mut redis| redis.hmget(key, &["version", "text"]).await)
            .await?;
        Ok(version
            .zip(text)
            .map(|(version, text)| Document { version, text }))
    }

    async fn put(&self, name: &str, expected: Version, text: String) -> Result<Version, SettingsError> {
        let key = self.key(name);
        let (written, version): (bool, Version) = self
            .ask(async |mut redis| {
                let mut put = self.put.key(key);
                put.arg(expected).arg(text).invoke_async(&mut redis).await
            })
            .await?;
        if written {
            Ok(version)
        } else {
            Err(SettingsError::Conflict { current: version })
        }
    }
}
