//! Tokens that were taken back: the revocations in force on this node, and how they are made and lifted for all nodes.
//!
//! They are one settings document. The log tells every node of a change, which then refuses the tokens, closes the
//! streams and forgets what it had signed for Ably. Ably itself is told by [`RevokeAtAbly`], and nobody waits for that.

mod administer;
mod at_ably;
mod in_force;

pub use self::administer::{Listed, Revocable, RevokeError, RevokeTokens, Wish};
pub use self::at_ably::RevokeAtAbly;
pub use self::in_force::{FollowError, FollowRevocations, RevocationsInForce, Told, Unrevoked};

#[cfg(test)]
mod tests;
