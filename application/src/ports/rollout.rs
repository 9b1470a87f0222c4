//! The text that a rollout is kept as.

use domain::rollout::AuditedRollout;

/// A text that is no rollout that this version of the service knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored rollout cannot be read: {what}")]
pub struct UnreadableRollout {
    /// What is wrong, without its content.
    pub what: String,
}

/// Writes rollouts as texts for the settings, and reads them.
///
/// Nodes of two versions share the text while they are exchanged. So reading MUST pass over fields that it does not
/// know, and writing MUST keep those that stand at the top of the text it replaces. A text that cannot be followed
/// without knowing its new fields says so by its format number, and MUST be unreadable to whoever does not know that.
/// Tests: `adapters/src/record/rollout.rs`.
pub trait RolloutFormat: Send + Sync {
    /// Reads a rollout.
    fn read(&self, text: &str) -> Result<AuditedRollout, UnreadableRollout>;

    /// Writes a rollout in place of `replaced`, which is empty where there was none.
    fn write(&self, rollout: &AuditedRollout, replaced: &str) -> String;
}
