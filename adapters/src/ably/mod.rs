//! Ably, a transport beside the streams: tokens with which browsers listen there.
//!
//! Two keys, for two purposes. Tokens are signed with the weaker one, which can do no more than subscribe and read
//! history, so that a mistake here can never let a browser publish: Ably gives a token what both it and its key
//! allow.

mod cache;
mod capability;
mod jwt;
mod key;
mod request;
mod signer;

pub use capability::{Capability, ChannelPrefix, InvalidPrefix};
pub use key::{InvalidKey, Key};
pub use request::Unsigned;
pub use signer::TokenSigner;
