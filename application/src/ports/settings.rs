//! Settings: small versioned documents.

use async_trait::async_trait;

/// How often a document has been written; 0 before the first time.
pub type Version = u64;

/// A document with its version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// How often it has been written.
    pub version: Version,
    /// Its text.
    pub text: String,
}

/// Why a document was not written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Somebody else wrote first.
    #[error("the document is at version {current} by now")]
    Conflict {
        /// Its version now.
        current: Version,
    },
    /// The settings cannot be reached.
    #[error("the settings are unavailable")]
    Unavailable,
}

/// Small versioned documents with compare-and-set.
///
/// An adapter MUST write only at the expected version, atomically: of two writers at one version exactly one
/// succeeds. Contract suite: `tests/it/contract/settings.rs`.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Settings: Send + Sync {
    /// Reads a document; `None` before it was first written.
    async fn get(&self, name: &str) -> Result<Option<Document>, SettingsError>;

    /// Writes a document if it still has the expected version (0: does not exist) and returns the new version.
    async fn put(&self, name: &str, expected: Version, text: String) -> Result<Version, SettingsError>;
}
