//! Ably, a transport beside the streams: tokens with which browsers listen there, and the publisher.
//!
//! Two keys, for two purposes. Tokens are signed with the weaker one, which can do no more than subscribe and read
//! history, so that a mistake here can never let a browser publish: Ably gives a token what both it and its key
//! allow.

mod answer;
mod cache;
mod capability;
mod echo;
mod hosts;
mod jwt;
mod key;
mod publisher;
mod request;
mod revoker;
mod shape;
mod signer;
mod throttle;

pub use capability::{Capability, ChannelPrefix, InvalidPrefix};
pub use echo::EventStreams;
pub use hosts::Endpoint;
pub use key::{InvalidKey, Key};
pub use publisher::{Patience, Publisher, PublisherConfig, PublisherError};
pub use request::Unsigned;
pub use revoker::Revoker;
pub use shape::{Shaped, publish_one, publish_several};
pub use signer::TokenSigner;
