//! Postgres: the durable store, and what nodes share beside it.
//!
//! Nothing here is shared between purposes that could hold each other up: the writer, the tail, people's reads and
//! other writes each have connections of their own.

mod audit;
mod bus;
mod connect;
mod crowd;
mod epoch;
mod migrate;
mod moment;
mod need;
mod outbox;
mod registry;
mod settings;
mod store;
mod tally;
mod tls;

pub use audit::PgAudit;
pub use bus::PgBus;
pub use connect::{ConnectError, Database};
pub use migrate::{MigrateError, migrate};
pub use outbox::PgOutbox;
pub use registry::PgRegistry;
pub use settings::PgSettings;
pub use store::{PgStore, PgStoreConfig};
pub use tally::PgTally;
