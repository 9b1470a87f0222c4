//! The probe of Redis.

use application::ports::{NotServing, Part, Probe};
use async_trait::async_trait;
use redis::{AsyncCommands as _, SetExpiry, SetOptions};

use super::connect::Server;
use super::link::Link;

/// The key that is written goes by itself.
const KEPT_MS: u64 = 1_000;

/// Writes a key that goes after a second: one that only says `PONG` may be full, or a replica.
pub struct RedisProbe {
    link: Link,
    key: String,
}

impl RedisProbe {
    /// Probes that server, over a connection of its own, which is opened by the first probe.
    pub fn new(server: &Server) -> Self {
        Self {
            link: Link::new(server.clone()),
            key: server.key("probe"),
        }
    }
}

#[async_trait]
impl Probe for RedisProbe {
    fn part(&self) -> Part {
        Part::Redis
    }

    async fn probe(&self) -> Result<(), NotServing> {
        let kept = SetOptions::default().with_expiration(SetExpiry::PX(KEPT_MS));
        let write = async |mut redis: redis::aio::MultiplexedConnection| {
            redis.set_options::<_, _, ()>(&self.key, 1, kept).await
        };
        self.link.run(write).await.map_err(|_| NotServing)
    }
}
