//! The WebSocket, `arauto.v1`: JSON text frames.
//!
//! ```text
//! client → {"op":"hello","token":"…","cursor":"…"?}      first, within 5 s, unless a header or ticket said who it is
//!          {"op":"heartbeat","sequence":7}
//!          {"op":"ack"|"read","notification_id":"…"}
//!          {"op":"renew","token":"…"}
//! server → {"event":"…","id":"…"?,"data":{…}}            the same events as on an event stream
//!          {"event":"error","data":{"type":"…","title":"…","op":"…"|null}}
//! ```
//!
//! What to do is decided without I/O in [`Machine`]; [`serve()`] is the one loop that reads, writes, waits and calls;
//! [`Socket`] keeps frames small and buffers bounded; [`Handshake`] turns a request into a socket. A stream that
//! ends is told why by a `closing` event, a client that broke the rules by an `error`, and then both by a
//! [`CloseCode`].

mod alarm;
mod calls;
mod close;
mod link;
mod machine;
mod op;
mod problem;
mod serve;
mod transport;
mod upgrade;

pub use self::calls::{Door, NotOpened, Opened, Session, SessionTimes};
pub use self::close::CloseCode;
pub use self::machine::{Action, Answer, Call, Identity, Input, Machine};
pub use self::op::{Hello, Op, Rejected, Token};
pub use self::problem::{Mistake, Problem};
pub use self::serve::{Ending, serve};
pub use self::transport::{Fault, Inbound, Socket};
pub use self::upgrade::{Handshake, NotUpgraded, SUBPROTOCOL, Upgrade};
