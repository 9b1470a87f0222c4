//! Settings in a drawer, and rollouts on a shelf.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use domain::rollout::AuditedRollout;

use crate::ports::{Document, RolloutFormat, Settings, SettingsError, UnreadableRollout, Version};

/// Settings of one process, with somebody else at hand who writes first, and a lock.
#[derive(Debug, Default)]
pub struct Drawer {
    /// Never held across an await.
    documents: Mutex<HashMap<String, Document>>,
    others: AtomicUsize,
    locked: AtomicBool,
}

impl Drawer {
    /// Lets somebody else write the same once more before each of the next `times` writes.
    pub fn let_others_write_first(&self, times: usize) {
        self.others.store(times, Ordering::SeqCst);
    }

    /// Locks it: from now on nothing is read or written.
    pub fn lock(&self) {
        self.locked.store(true, Ordering::SeqCst);
    }

    /// Puts a text in, whatever is there, and returns its version.
    pub fn stuff(&self, name: &str, text: &str) -> Version {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let version = documents.get(name).map_or(0, |document| document.version) + 1;
        let text = text.to_owned();
        documents.insert(name.to_owned(), Document { version, text });
        version
    }

    fn document(&self, name: &str) -> Result<Option<Document>, SettingsError> {
        if self.locked.load(Ordering::SeqCst) {
            return Err(SettingsError::Unavailable);
        }
        let documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(documents.get(name).cloned())
    }
}

#[async_trait]
impl Settings for Drawer {
    async fn get(&self, name: &str) -> Result<Option<Document>, SettingsError> {
        self.document(name)
    }

    async fn put(&self, name: &str, expected: Version, text: String) -> Result<Version, SettingsError> {
        let less = |others: usize| others.checked_sub(1);
        let known = self.document(name)?;
        if self
            .others
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
        {
            let theirs = known.map_or_else(|| text.clone(), |document| document.text);
            self.stuff(name, &theirs);
        }
        let current = self.document(name)?.map_or(0, |document| document.version);
        if current != expected {
            return Err(SettingsError::Conflict { current });
        }
        Ok(self.stuff(name, &text))
    }
}

/// Rollouts whose text is the place where they stand.
#[derive(Debug, Default)]
pub struct Shelf(
    /// Never held across an await.
    Mutex<Vec<AuditedRollout>>,
);

impl RolloutFormat for Shelf {
    fn read(&self, text: &str) -> Result<AuditedRollout, UnreadableRollout> {
        let rollouts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place: Option<usize> = text.parse().ok();
        let found = place.and_then(|place| rollouts.get(place)).cloned();
        found.ok_or_else(|| UnreadableRollout {
            what: "no place".to_owned(),
        })
    }

    fn write(&self, rollout: &AuditedRollout, _replaced: &str) -> String {
        let mut rollouts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rollouts.push(rollout.clone());
        (rollouts.len() - 1).to_string()
    }
}
