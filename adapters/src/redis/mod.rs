//! Redis: the store, the fast bus, presence and tickets, limits, deliveries, settings. One instance, or a primary that
//! Sentinels name; no cluster.

mod audit;
mod bus;
mod connect;
mod limiter;
mod link;
mod outbox;
mod probe;
mod registry;
mod script;
mod settings;
mod store;

pub use audit::RedisAudit;
pub use bus::{Own, RedisBus};
pub use connect::{ConnectError, Server};
pub use limiter::RedisLimiter;
pub use outbox::RedisOutbox;
pub use probe::RedisProbe;
pub use registry::RedisRegistry;
pub use settings::RedisSettings;
pub use store::{OpenError, RedisStore, RedisStoreConfig, Unfit};
