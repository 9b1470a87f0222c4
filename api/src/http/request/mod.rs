//! What requests carry: who is calling, parameters, headers, bodies.

mod body;
mod budget;
mod caller;
mod cookie;
mod object;
mod param;
pub(crate) mod raw_json;

pub(crate) use self::body::{JsonBody, RequestBody, parse};
pub use self::budget::BodyBudget;
pub(crate) use self::caller::{Caller, MaybeCaller, forged};
pub(crate) use self::cookie::{StreamCookie, stream_cookie};
pub(crate) use self::object::object;
pub(crate) use self::param::{Asked, Faults, FromTexts, Named, Sent, once};
