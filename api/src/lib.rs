//! Arauto's edge: HTTP, event streams, the WebSocket, configuration.

pub mod http;
pub mod openapi;
pub mod socket;
pub mod wire;
