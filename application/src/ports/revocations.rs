//! The text that revocations are kept as.

use domain::revocation::Revocations;

/// A text that holds no revocations that this version of the service knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored revocations cannot be read: {what}")]
pub struct UnreadableRevocations {
    /// What is wrong, without its content.
    pub what: String,
}

/// Writes revocations as texts for the settings, and reads them. An empty text holds none. One that holds a kind of
/// revocation that is not known MUST be unreadable as a whole: to pass over it would let somebody in.
pub trait RevocationsFormat: Send + Sync {
    /// Reads revocations.
    fn read(&self, text: &str) -> Result<Revocations, UnreadableRevocations>;

    /// Writes revocations.
    fn write(&self, revocations: &Revocations) -> String;
}
