//! The rollout of Ably: the one in force on this node, and how it is changed for all nodes.
//!
//! It is one settings document. Whoever changes it writes at the version that they read, so that of two who change it
//! at once the second is told; every node follows it. The kill switch alone is written at whatever version there is.

mod administer;
mod in_force;

pub use self::administer::{AdministerRollout, ChangeRollout, Documented, RolloutError};
pub use self::in_force::{FollowRollout, InForce, RolloutInForce};

#[cfg(test)]
mod tests;
