//! Arauto's edge: HTTP, event streams, the WebSocket, configuration.

pub mod socket;
pub mod wire;
