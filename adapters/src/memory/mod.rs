//! Adapters that live in this process alone: what a small deployment runs, and what tests run on.

mod store;

pub use store::{MemoryStore, MemoryStoreConfig};
