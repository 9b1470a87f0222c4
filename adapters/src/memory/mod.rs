//! Adapters that keep everything in this process.

pub mod bus;
pub mod registry;
pub mod settings;
