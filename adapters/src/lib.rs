//! The parts behind Arauto's ports: they translate, and decide nothing about the business.

#![warn(missing_docs)]

pub mod ably;
mod bus;
pub mod buses;
mod delay;
pub mod guarded;
pub mod hub;
pub mod jwt;
pub mod limiters;
pub mod memory;
pub mod metrics;
pub mod postgres;
mod record;
pub mod redis;
pub mod registries;
mod registry;
pub mod sanitize;
pub mod seal;
pub mod system;
pub mod vitals;

pub use record::{BlocksJson, RevocationsJson, RolloutJson};
