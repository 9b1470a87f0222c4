//! Redis: the fast bus, presence and tickets, settings. One instance, or a primary that Sentinels name; no cluster.

mod bus;
mod connect;
mod link;

pub use bus::{Own, RedisBus};
pub use connect::{ConnectError, Server};
