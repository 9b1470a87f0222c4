//! Redis: the store, the fast bus, presence and tickets, settings. One instance, or a primary that Sentinels name; no cluster.

mod bus;
mod connect;
mod link;
mod probe;
mod registry;
mod settings;
mod store;

pub use bus::{Own, RedisBus};
pub use connect::{ConnectError, Server};
pub use probe::RedisProbe;
pub use registry::RedisRegistry;
pub use settings::RedisSettings;
pub use store::{OpenError, RedisStore, RedisStoreConfig, Unfit};
