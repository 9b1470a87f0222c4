//! Shutting out whoever tries again and again what they have no right to.
//!
//! Each node counts for itself; a block is a settings document, and in force on every node within a second. Whether
//! somebody is blocked is asked with their turn of the limits ([`crate::limits::Limits::admit`]).

mod administer;
mod detect;

pub use self::administer::{AdministerBlocks, BlockError, ListedBlocks};
pub use self::detect::{Alarm, Detector, Watch, detector};

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::abuse::{Blocks, Suspect};

use crate::ports::{BlocksFormat, Clock, Settings, SettingsError, Version};
use crate::settings::BLOCKS;

/// The blocks in force on this node.
pub struct BlocksInForce {
    clock: Arc<dyn Clock>,
    /// Held for a swap; never over an await.
    current: RwLock<(Version, Arc<Blocks>)>,
}

impl BlocksInForce {
    /// Begins with none.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let current = RwLock::default();
        Self { clock, current }
    }

    /// Returns them, with the version of the settings that they came from; 0 where none were ever written.
    pub fn current(&self) -> (Version, Arc<Blocks>) {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        (current.0, Arc::clone(&current.1))
    }

    /// Puts others in force.
    pub fn replace(&self, version: Version, blocks: Blocks) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (version, Arc::new(blocks));
    }

    /// Returns how long somebody is shut out yet; `None` for whoever is not. Who it is, is only named where anybody is
    /// blocked at all.
    pub fn rest(&self, suspect: impl FnOnce() -> Suspect) -> Option<Duration> {
        let (_, blocks) = self.current();
        if blocks.is_empty() {
            return None;
        }
        blocks.rest(&suspect(), self.clock.now())
    }
}

/// Takes what the settings say into force on this node.
pub struct FollowBlocks {
    settings: Arc<dyn Settings>,
    format: Arc<dyn BlocksFormat>,
    in_force: Arc<BlocksInForce>,
    /// The version that was looked at last, whether it could be read or not.
    seen: Version,
}

impl FollowBlocks {
    /// Follows from the beginning.
    pub fn new(
        settings: Arc<dyn Settings>,
        format: Arc<dyn BlocksFormat>,
        in_force: Arc<BlocksInForce>,
    ) -> Self {
        let seen = 0;
        Self {
            settings,
            format,
            in_force,
            seen,
        }
    }

    /// Looks once, and takes what has changed. What cannot be read leaves the last ones in force.
    pub async fn look(&mut self) -> Result<(), SettingsError> {
        let document = self.settings.get(BLOCKS).await?;
        let version = document.as_ref().map_or(0, |document| document.version);
        if version == self.seen {
            return Ok(());
        }
        self.seen = version;
        let text = document.map(|document| document.text).unwrap_or_default();
        match self.format.read(&text) {
            Ok(blocks) => self.in_force.replace(version, blocks),
            Err(error) => tracing::error!(version, %error, "the blocks of the settings are refused"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
