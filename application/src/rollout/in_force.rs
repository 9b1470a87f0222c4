//! The rollout that this node goes by.

use std::sync::{Arc, PoisonError, RwLock};

use domain::cohort::Salt;
use domain::rollout::{AuditedRollout, Rollout};

use crate::ports::{Document, RolloutFormat, Settings, SettingsError, Version};
use crate::settings::{ROLLOUT, Watched};

/// The rollout in force on this node, which is replaced while the service runs.
#[derive(Debug)]
pub struct RolloutInForce(RwLock<Arc<InForce>>);

/// A rollout with the version of the settings that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The version; 0 where none was ever written, or none was read yet.
    pub version: Version,
    /// The rollout with its latest changes.
    pub audited: AuditedRollout,
}

impl InForce {
    /// Returns the rollout.
    pub const fn rollout(&self) -> &Rollout {
        &self.audited.rollout
    }
}

impl Default for RolloutInForce {
    /// Starts with nobody: until the settings were read, everybody is on the streams.
    fn default() -> Self {
        Self(RwLock::new(Arc::new(InForce {
            version: 0,
            // It deals nobody: there is no share.
            audited: AuditedRollout::new(Salt::from_bits(0, 0)),
        })))
    }
}

impl RolloutInForce {
    /// Returns the rollout in force. Cheap: nothing is copied, and nobody waits longer than a swap takes.
    pub fn current(&self) -> Arc<InForce> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another rollout in force.
    pub fn replace(&self, next: InForce) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}

/// Takes what the settings say into force on this node.
pub struct FollowRollout {
    watched: Watched,
    format: Arc<dyn RolloutFormat>,
    in_force: Arc<RolloutInForce>,
}

impl FollowRollout {
    /// Follows from the beginning.
    pub fn new(
        settings: Arc<dyn Settings>,
        format: Arc<dyn RolloutFormat>,
        in_force: Arc<RolloutInForce>,
    ) -> Self {
        Self {
            watched: Watched::new(settings, ROLLOUT),
            format,
            in_force,
        }
    }

    /// Looks once, and takes what has changed. What cannot be read leaves the last rollout in force, and is said once.
    pub async fn look(&mut self) -> Result<(), SettingsError> {
        let Some(Document { version, text }) = self.watched.news().await? else {
            return Ok(());
        };
        if version == 0 {
            tracing::warn!("the rollout is gone from the settings: nobody is on Ably");
            self.in_force
                .replace((*RolloutInForce::default().current()).clone());
            return Ok(());
        }
        match self.format.read(&text) {
            Ok(audited) => {
                let rollout = &audited.rollout;
                tracing::info!(
                    version,
                    share = %rollout.share,
                    killed = rollout.kill_switch.is_some(),
                    "another rollout is in force"
                );
                self.in_force.replace(InForce { version, audited });
            }
            Err(error) => {
                let in_force = self.in_force.current().version;
                tracing::error!(version, in_force, %error, "the rollout of the settings is refused");
            }
        }
        Ok(())
    }
}
