//! Settings in this process: gone when it ends.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use application::ports::{Document, Settings, SettingsError, Version};
use async_trait::async_trait;

/// Documents by name. Names come from the code, so their number is fixed.
#[derive(Debug, Default)]
pub struct MemorySettings {
    /// Never held across an await.
    documents: Mutex<HashMap<String, Document>>,
}

impl MemorySettings {
    fn documents(&self) -> MutexGuard<'_, HashMap<String, Document>> {
        // A document is replaced in one step, so a panic elsewhere left none half written.
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Settings for MemorySettings {
    async fn get(&self, name: &str) -> Result<Option<Document>, SettingsError> {
        Ok(self.documents().get(name).cloned())
    }

    async fn put(&self, name: &str, expected: Version, text: String) -> Result<Version, SettingsError> {
        let mut documents = self.documents();
        let current = documents.get(name).map_or(0, |document| document.version);
        if current != expected {
            return Err(SettingsError::Conflict { current });
        }
        let version = current + 1;
        documents.insert(name.to_owned(), Document { version, text });
        Ok(version)
    }
}
