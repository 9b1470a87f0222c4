//! The text that blocks are kept as.

use domain::abuse::Blocks;

/// A text that holds no blocks that this version of the service knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored blocks cannot be read: {what}")]
pub struct UnreadableBlocks {
    /// What is wrong, without its content.
    pub what: String,
}

/// Writes blocks as texts for the settings, and reads them. An empty text holds none.
pub trait BlocksFormat: Send + Sync {
    /// Reads blocks.
    fn read(&self, text: &str) -> Result<Blocks, UnreadableBlocks>;

    /// Writes blocks.
    fn write(&self, blocks: &Blocks) -> String;
}
