//! The use cases of Arauto, and the ports through which they reach the world.
//!
//! A use case is a struct of ports with one verb. What can be decided with values in hand is decided in
//! `domain`; here stands the order of calls, what is atomic, and what happens when a port fails.

#![warn(missing_docs)]

pub mod ports;
#[cfg(feature = "testing")]
pub mod testing;
