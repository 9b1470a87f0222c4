//! What Arauto can decide with values in hand.
//!
//! Nothing here waits, reads a clock, draws a random number or knows a wire format: time and chance are
//! arguments, and every type that can be built is valid. Read the modules in this order:
//! [`ids`], [`time`], [`channel`], [`audience`], [`notification`], [`capability`], [`cursor`], [`event`],
//! [`state`], [`standing`], [`delivery`], [`heartbeat`], [`stream`], [`retry`], [`breaker`],
//! [`transport`], [`cohort`], [`rollout`], [`revocation`], [`audit`], [`abuse`], [`outbox`], [`policy`], [`guard`],
//! [`safe`], [`limit`], [`degrade`], [`availability`].

#![warn(missing_docs)]

pub mod abuse;
pub mod active;
pub mod audience;
pub mod audit;
pub mod availability;
pub mod breaker;
pub mod capability;
pub mod channel;
pub mod cohort;
pub mod cost;
pub mod cursor;
pub mod degrade;
pub mod delivery;
pub mod event;
pub mod guard;
pub mod health;
pub mod heartbeat;
pub mod ids;
pub mod limit;
pub mod notification;
pub mod outbox;
pub mod policy;
pub mod retry;
pub mod revocation;
pub mod rollout;
pub mod safe;
pub mod standing;
pub mod state;
pub mod stream;
pub mod time;
pub mod transport;
mod window;
