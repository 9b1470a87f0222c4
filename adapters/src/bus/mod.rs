//! What the buses across a network share: what they say, how they batch, how they listen.

mod listening;
mod message;
mod replies;

pub(crate) use listening::{Line, Wire, listen};
pub(crate) use message::{copies, doorbell, head, hear, hear_as, replies};
pub(crate) use replies::{ReplyBatches, ReplyQueue, reply_queue};
