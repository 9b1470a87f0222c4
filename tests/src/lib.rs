//! What the tests stand on: the service as a process, the servers that it uses as processes that can be killed, scripts
//! of other ecosystems, an event-stream parser, a stand-in for Ably.

mod certificate;
pub mod follower;
pub mod forwarder;
pub mod nginx;
pub mod node;
pub mod port;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod script;
pub mod seed;
pub mod server;
mod shared;
pub mod standin;
pub mod token;
pub mod whatwg;
pub mod wire_cut;
