//! Wire formats: what clients are sent, byte for byte.
//!
//! `shapes` says what the `data` of each event looks like, `json` writes it as one line that nothing can break
//! out of, and [`WireEncoder`] puts it into a frame of an event stream or a WebSocket.

mod encoder;
mod json;
mod shapes;

pub use self::encoder::{WireEncoder, render_event};
pub use self::json::to_json;
pub use self::shapes::{Moment, NotificationShape, ResetShape};
