//! The use cases of Arauto, and the ports through which they reach the world.
//!
//! A use case is a struct of ports with one verb, or a few where they share everything. What can be decided with
//! values in hand is decided in `domain`; here stands the order of calls, what is atomic, and what happens when a
//! port fails.

#![warn(missing_docs)]

pub mod ably_examine;
pub mod ably_health;
pub mod ably_tokens;
pub mod ably_use;
pub mod abuse;
pub mod admission;
mod announce;
pub mod audit;
pub mod availability;
pub mod boundary;
pub mod degrade;
pub mod deliver;
pub mod deliveries;
pub mod error;
pub mod explain;
pub mod guard;
pub mod housekeeping;
pub mod import;
pub mod inbox;
pub mod limits;
pub mod load;
pub mod ports;
pub mod publish;
pub mod replay;
pub mod retract;
pub mod revocations;
pub mod rights;
pub mod rollout;
pub mod room;
pub mod select_transport;
pub mod settings;
pub mod stream_start;
pub mod subscribe;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tickets;
