//! Listing, adding and lifting blocks.

use std::sync::Arc;

use domain::abuse::{Block, Blocks, BlocksFull, Suspect};

use super::BlocksInForce;
use crate::ports::{BlocksFormat, Clock, Observation, Observer, SettingsError, UnreadableBlocks, Version};
use crate::settings::{BLOCKS, ChangeError, ChangeSettings};

/// Each attempt is lost to somebody else's change.
const ATTEMPTS: usize = 10;

/// Why blocks were not shown or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The end is over.
    #[error("must lie in the future")]
    Over,
    /// There is no such block.
    #[error("there is no such block")]
    Unknown,
    /// There are as many as there may be.
    #[error(transparent)]
    Full(#[from] BlocksFull),
    /// Another version of the service wrote them.
    #[error("another version of the service wrote the blocks that are stored")]
    Unreadable(#[source] UnreadableBlocks),
    /// Others kept changing them.
    #[error("the blocks were changed by others {} times meanwhile", ATTEMPTS)]
    Contended,
    /// The settings failed, and nothing was changed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// The blocks as the settings hold them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBlocks {
    /// How often they were written; 0 for never.
    pub version: Version,
    /// The version in force on the node that was asked.
    pub in_force: Version,
    /// All of them.
    pub blocks: Blocks,
}

/// Changes the blocks, for administrators and for [`super::Detector`].
pub struct AdministerBlocks {
    /// Writes the settings and tells the nodes.
    pub change: ChangeSettings,
    /// How blocks are kept.
    pub format: Arc<dyn BlocksFormat>,
    /// What this node goes by.
    pub in_force: Arc<BlocksInForce>,
    /// When.
    pub clock: Arc<dyn Clock>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
}

impl AdministerBlocks {
    /// Lists the blocks that are stored.
    pub async fn list(&self) -> Result<ListedBlocks, BlockError> {
        let (version, blocks) = self.stored().await?;
        let (in_force, _) = self.in_force.current();
        Ok(ListedBlocks {
            version,
            in_force,
            blocks,
        })
    }

    /// Adds blocks, on every node within a second: all of them, or none.
    pub async fn add(&self, added: &[Block]) -> Result<(), BlockError> {
        let now = self.clock.now();
        if added.iter().any(|block| block.ends_at <= now) {
            return Err(BlockError::Over);
        }
        self.insist(|known| {
            let all = added
                .iter()
                .try_fold(known.clone(), |known, block| known.with(block.clone(), now));
            Ok(all.inspect_err(|_| self.observer.saw(&Observation::Full("blocks")))?)
        })
        .await
    }

    /// Lifts a block, on every node within a second.
    pub async fn lift(&self, suspect: &Suspect) -> Result<(), BlockError> {
        self.insist(|known| known.without(suspect).ok_or(BlockError::Unknown))
            .await
    }

    async fn stored(&self) -> Result<(Version, Blocks), BlockError> {
        let Some(document) = self.change.settings.get(BLOCKS).await? else {
            return Ok((0, Blocks::default()));
        };
        let read = self.format.read(&document.text).map_err(BlockError::Unreadable)?;
        Ok((document.version, read))
    }

    /// Writes a change at whatever version there is.
    async fn insist(&self, change: impl Fn(&Blocks) -> Result<Blocks, BlockError>) -> Result<(), BlockError> {
        for _ in 0..ATTEMPTS {
            let (version, known) = self.stored().await?;
            let text = self.format.write(&change(&known)?);
            match self.change.run(BLOCKS, version, text).await {
                Ok(_) => return Ok(()),
                Err(ChangeError::Settings(SettingsError::Conflict { .. })) => {}
                Err(ChangeError::Settings(error)) => return Err(error.into()),
                // They are written. Nodes that were not told look by themselves.
                Err(error @ ChangeError::NotTold(_)) => {
                    tracing::warn!(%error, "blocks come into force later");
                    return Ok(());
                }
            }
        }
        Err(BlockError::Contended)
    }
}
