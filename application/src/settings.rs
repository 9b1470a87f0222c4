//! Settings that change while the service runs: written once, in force on every node.

use std::sync::Arc;

use domain::event::Control;

use crate::announce::announce;
use crate::ports::{Bus, Document, Settings, SettingsError, Store, StoreError, Version};

/// The document that holds the capability matrix. Empty or absent: each node's own file, or what is built in.
pub const CAPABILITIES: &str = "capabilities";
/// The document that holds the rollout with its latest changes. Absent: nobody is on Ably.
pub const ROLLOUT: &str = "rollout";

/// The document that holds the tokens that were taken back. Absent: none was.
pub const REVOCATIONS: &str = "revocations";

/// The document that holds who is shut out for a while. Absent: nobody.
pub const BLOCKS: &str = "blocks";

/// Why settings were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// They were not written.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// They were written, but the log did not take the word: nodes find out when they look by themselves.
    #[error("the settings were written, but nodes could not be told; they look within half a minute")]
    NotTold(#[source] StoreError),
}

/// Changes settings for the whole cluster.
pub struct ChangeSettings {
    /// Where documents are.
    pub settings: Arc<dyn Settings>,
    /// The log that tells nodes of the change.
    pub store: Arc<dyn Store>,
    /// Where nodes hear of it.
    pub bus: Arc<dyn Bus>,
}

impl ChangeSettings {
    /// Writes a document at the version that it is expected to have and tells every node. Returns the new version.
    pub async fn run(&self, document: &str, expected: Version, text: String) -> Result<Version, ChangeError> {
        let version = self.settings.put(document, expected, text).await?;
        self.tell(document, version).await?;
        Ok(version)
    }

    /// Tells every node of a version that was written: once more where whoever wrote it may not have come to that.
    pub async fn tell(&self, document: &str, version: Version) -> Result<(), ChangeError> {
        let told = self
            .store
            .control(Control::Changed {
                document: document.into(),
                version,
            })
            .await;
        announce(&*self.bus, told.map_err(ChangeError::NotTold)?).await;
        Ok(())
    }
}

/// A document that is looked at now and then.
pub struct Watched {
    settings: Arc<dyn Settings>,
    document: &'static str,
    /// The version that was given out last; 0 where there was no document.
    seen: Version,
}

impl Watched {
    /// Begins as if there were no document.
    pub const fn new(settings: Arc<dyn Settings>, document: &'static str) -> Self {
        Self {
            settings,
            document,
            seen: 0,
        }
    }

    /// Returns the document where it is another than the last time; one that is gone is empty, at version 0.
    pub async fn news(&mut self) -> Result<Option<Document>, SettingsError> {
        let document = self.settings.get(self.document).await?.unwrap_or_default();
        if document.version == self.seen {
            return Ok(None);
        }
        self.seen = document.version;
        Ok(Some(document))
    }
}

#[cfg(test)]
mod tests {
    use domain::cursor::Epoch;
    use mockall::Sequence;
    use mockall::predicate::{always, eq};

    use super::*;
    use crate::ports::{MockBus, MockSettings, MockStore, Written};

    #[tokio::test]
    async fn nodes_are_told_after_the_document_was_written_and_never_before() {
        let mut order = Sequence::new();
        let (mut settings, mut store) = (MockSettings::new(), MockStore::new());
        settings
            .expect_put()
            .with(eq(CAPABILITIES), eq(3), eq("text".to_owned()))
            .once()
            .in_sequence(&mut order)
            .returning(|_, _, _| Ok(4));
        let told = Control::Changed {
            document: CAPABILITIES.into(),
            version: 4,
        };
        store
            .expect_control()
            .with(eq(told))
            .once()
            .in_sequence(&mut order)
            .returning(|_| {
                Ok(Written {
                    value: (),
                    epoch: Epoch(1),
                    events: Vec::new(),
                })
            });
        let change = ChangeSettings {
            settings: Arc::new(settings),
            store: Arc::new(store),
            bus: Arc::new(MockBus::new()),
        };
        assert_eq!(change.run(CAPABILITIES, 3, "text".to_owned()).await, Ok(4));
    }

    #[tokio::test]
    async fn a_conflict_tells_nobody() {
        let mut settings = MockSettings::new();
        settings
            .expect_put()
            .with(always(), always(), always())
            .returning(|_, _, _| Err(SettingsError::Conflict { current: 9 }));
        let change = ChangeSettings {
            settings: Arc::new(settings),
            store: Arc::new(MockStore::new()),
            bus: Arc::new(MockBus::new()),
        };
        let refused = change.run(CAPABILITIES, 3, String::new()).await;
        assert_eq!(
            refused,
            Err(ChangeError::Settings(SettingsError::Conflict { current: 9 }))
        );
    }
}
