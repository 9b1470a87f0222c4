//! What the tests stand on: the service as a process, scripts of other ecosystems, an event-stream parser.

pub mod script;
pub mod server;
pub mod whatwg;
