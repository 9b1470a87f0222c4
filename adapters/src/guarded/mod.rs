//! Circuit breakers around whatever crosses a network: while one is open, nobody waits for an answer that will not come.
//!
//! A breaker refuses a call before it is made, or lets it go its way: it never cuts off one that may have written. So a
//! refusal means that nothing was written, and an outcome that is not known stays one.

mod circuit;
mod limiter;
mod ports;
mod registry;
mod store;
mod transport;
mod trouble;

pub use self::circuit::{Circuit, Circuits};
pub use self::limiter::GuardedLimiter;
pub use self::ports::{GuardedOutbox, GuardedSettings};
pub use self::registry::GuardedRegistry;
pub use self::store::GuardedStore;
pub use self::transport::GuardedTransport;
