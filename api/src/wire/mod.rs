//! Wire formats: what clients are sent, byte for byte.
//!
//! `shapes` says what the `data` of each event looks like, `json` writes it as one line that nothing can break
//! out of, and [`WireEncoder`] puts it into a frame of an event stream or a WebSocket. `gzip` is how a stream of frames is
//! compressed without anything of it being compressed twice.

mod encoder;
mod gzip;
mod json;
mod shapes;

pub use self::encoder::{WireEncoder, render_event};
#[cfg(test)]
pub(crate) use self::gzip::piece;
pub use self::gzip::{COMMENT, Member, Saved, page as gzip_page};
pub use self::json::to_json;
pub use self::shapes::{Moment, NotificationShape, ResetShape};
