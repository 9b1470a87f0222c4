//! Arauto's edge: configuration, the command line, the accept loop, HTTP, event streams and WebSocket.

pub mod bootstrap;
pub mod capabilities;
pub mod cli;
pub mod config;
mod deliveries;
mod follow;
mod guard;
pub mod http;
mod limits;
pub mod logging;
pub mod openapi;
mod probing;
pub mod server;
pub mod socket;
mod upkeep;
pub mod wire;
mod worker;

pub use cli::run;
