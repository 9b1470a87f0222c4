//! Adapters that live in this process alone: what a small deployment runs, and what tests run on.

mod audit;
mod bus;
mod limiter;
mod outbox;
mod registry;
mod settings;
mod store;
mod tally;

pub use audit::MemoryAudit;
pub use bus::MemoryBus;
pub use limiter::MemoryLimiter;
pub use outbox::MemoryOutbox;
pub use registry::MemoryRegistry;
pub use settings::MemorySettings;
pub use store::{MemoryStore, MemoryStoreConfig};
pub use tally::MemoryTally;
