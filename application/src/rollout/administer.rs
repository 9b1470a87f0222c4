//! Looking at the rollout and changing it, for administrators.

use std::sync::Arc;

use domain::cohort::{Salt, Share};
use domain::ids::UserId;
use domain::rollout::{AuditedRollout, Change, Overrides, Rollout, Schedule, Stages, Why};

use super::RolloutInForce;
use crate::ports::{Clock, Document, Entropy, RolloutFormat, SettingsError, UnreadableRollout, Version};
use crate::settings::{ChangeError, ChangeSettings, ROLLOUT};

/// Each attempt is lost to somebody else's change. So many at once are not made by people.
const ATTEMPTS: usize = 10;

/// Why the rollout was not shown or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolloutError {
    /// Somebody else changed it first.
    #[error("the rollout is at version {current} by now")]
    Conflict {
        /// Its version now.
        current: Version,
    },
    /// Another version of the service wrote it.
    #[error(
        "another version of the service wrote the rollout that is stored; the kill switch works all the same"
    )]
    Unreadable(#[source] UnreadableRollout),
    /// Others kept changing it.
    #[error("the rollout was changed by others {} times meanwhile", ATTEMPTS)]
    Contended,
    /// The settings failed.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl From<SettingsError> for RolloutError {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::Conflict { current } => Self::Conflict { current },
            SettingsError::Unavailable => Self::Change(error.into()),
        }
    }
}

/// A change of the rollout; what is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRollout {
    /// The version that it was decided upon.
    pub expected: Version,
    /// Why.
    pub why: Why,
    /// The share of all people.
    pub share: Option<Share>,
    /// All overrides.
    pub overrides: Option<Overrides>,
    /// All stages.
    pub stages: Option<Stages>,
    /// Whether it goes through them by itself.
    pub schedule: Option<Schedule>,
}

/// The rollout as the settings hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documented {
    /// How often it was written; 0 for never.
    pub version: Version,
    /// The rollout with its latest changes.
    pub audited: AuditedRollout,
    /// The version in force on the node that was asked.
    pub in_force: Version,
}

/// Shows and changes the rollout. Whether the caller administers the service is known before.
pub struct AdministerRollout {
    /// Writes the settings and tells the nodes.
    pub change: ChangeSettings,
    /// How a rollout is kept.
    pub format: Arc<dyn RolloutFormat>,
    /// What this node goes by.
    pub in_force: Arc<RolloutInForce>,
    /// When a change was made.
    pub clock: Arc<dyn Clock>,
    /// What the salt is drawn from.
    pub entropy: Arc<dyn Entropy>,
}

/// What is stored, before it is read.
struct Stored {
    version: Version,
    text: String,
}

impl AdministerRollout {
    /// Shows the rollout that is stored.
    pub async fn show(&self) -> Result<Documented, RolloutError> {
        let stored = self.stored().await?;
        let audited = self.read(&stored)?;
        Ok(self.documented(stored.version, audited))
    }

    /// Changes the rollout at the version that is expected. What changes nothing is not written.
    pub async fn change(&self, by: &UserId, change: ChangeRollout) -> Result<Documented, RolloutError> {
        let stored = self.stored().await?;
        if stored.version != change.expected {
            let current = stored.version;
            return Err(RolloutError::Conflict { current });
        }
        let audited = self.read(&stored)?;
        let now = audited.rollout.clone();
        let next = Rollout {
            share: change.share.unwrap_or(now.share),
            overrides: change.overrides.unwrap_or(now.overrides),
            stages: change.stages.unwrap_or(now.stages),
            schedule: change.schedule.unwrap_or(now.schedule),
            ..now
        };
        let changed = audited.change(next, by.clone(), Some(change.why), self.clock.now());
        self.write(&stored, audited, changed).await
    }

    /// Throws the kill switch, whatever is stored. One that is thrown stays as it is, and the nodes are told again.
    pub async fn kill(&self, by: &UserId, why: &Why) -> Result<Documented, RolloutError> {
        let thrown = |audited: &AuditedRollout| audited.kill(by.clone(), why.clone(), self.clock.now());
        self.insist(thrown, |stored| Ok(self.read_or_in_force(stored)))
            .await
    }

    /// Takes the kill switch away. Where it is not thrown, nothing is written, and the nodes are told again.
    pub async fn release(&self, by: &UserId, why: Option<&Why>) -> Result<Documented, RolloutError> {
        let released = |audited: &AuditedRollout| audited.release(by.clone(), why.cloned(), self.clock.now());
        self.insist(released, |stored| self.read(stored)).await
    }

    /// Writes a change at whatever version there is.
    async fn insist(
        &self,
        change: impl Fn(&AuditedRollout) -> Option<AuditedRollout>,
        read: impl Fn(&Stored) -> Result<AuditedRollout, RolloutError>,
    ) -> Result<Documented, RolloutError> {
        for _ in 0..ATTEMPTS {
            let stored = self.stored().await?;
            let audited = read(&stored)?;
            let changed = change(&audited);
            match self.write(&stored, audited, changed).await {
                Err(RolloutError::Conflict { .. }) => {}
                done => return done,
            }
        }
        Err(RolloutError::Contended)
    }

    async fn stored(&self) -> Result<Stored, RolloutError> {
        let document = self.change.settings.get(ROLLOUT).await?;
        let document = document.unwrap_or(Document {
            version: 0,
            text: String::new(),
        });
        Ok(Stored {
            version: document.version,
            text: document.text,
        })
    }

    /// Reads what is stored; where there is nothing, draws the salt that the first write keeps for good.
    fn read(&self, stored: &Stored) -> Result<AuditedRollout, RolloutError> {
        if stored.version == 0 {
            let salt = Salt::from_bits(self.entropy.bits(), self.entropy.bits());
            return Ok(AuditedRollout::new(salt));
        }
        self.format.read(&stored.text).map_err(RolloutError::Unreadable)
    }

    /// Takes what this node goes by for what it cannot read: the kill switch waits for nobody.
    fn read_or_in_force(&self, stored: &Stored) -> AuditedRollout {
        self.read(stored).unwrap_or_else(|error| {
            tracing::error!(version = stored.version, %error, "the rollout of the settings is replaced");
            let in_force = self.in_force.current();
            if in_force.version == 0 {
                let salt = Salt::from_bits(self.entropy.bits(), self.entropy.bits());
                return AuditedRollout::new(salt);
            }
            in_force.audited.clone()
        })
    }

    async fn write(
        &self,
        stored: &Stored,
        audited: AuditedRollout,
        changed: Option<AuditedRollout>,
    ) -> Result<Documented, RolloutError> {
        let Some(changed) = changed else {
            // Whoever wrote it may have gone before the nodes were told.
            if stored.version > 0 {
                self.change.tell(ROLLOUT, stored.version).await?;
            }
            return Ok(self.documented(stored.version, audited));
        };
        let text = self.format.write(&changed, &stored.text);
        let written = self.change.run(ROLLOUT, stored.version, text).await;
        let version = written.map_err(|error| match error {
            ChangeError::Settings(error) => error.into(),
            untold @ ChangeError::NotTold(_) => {
                log(stored.version + 1, &changed);
                RolloutError::Change(untold)
            }
        })?;
        log(version, &changed);
        Ok(self.documented(version, changed))
    }

    fn documented(&self, version: Version, audited: AuditedRollout) -> Documented {
        Documented {
            version,
            audited,
            in_force: self.in_force.current().version,
        }
    }
}

/// Says what was changed. Who did it and why stands in the document: both may be personal.
fn log(version: Version, changed: &AuditedRollout) {
    let Some(Change { what, .. }) = changed.changes().first() else {
        return;
    };
    let [from, to] = what
        .share
        .map_or([None, None], |(from, to)| [Some(from), Some(to)]);
    tracing::info!(
        version,
        share_from = from.map(tracing::field::display),
        share_to = to.map(tracing::field::display),
        overrides = what.overrides.as_ref().map(|change| change.count),
        stages = what.stages.as_ref().map(|stages| stages.as_slice().len()),
        kill_switch = what.kill_switch.map(tracing::field::debug),
        schedule = what.schedule.map(Schedule::as_str),
        "the rollout was changed"
    );
}
