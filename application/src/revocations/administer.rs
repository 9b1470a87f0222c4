//! Taking tokens back and lifting that, for administrators.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::UserId;
use domain::revocation::{Revocation, RevocationId, Revocations, RevocationsFull, Target};
use domain::rollout::Why;
use domain::time::Timestamp;

use super::RevocationsInForce;
use crate::ports::{
    Clock, Entropy, Observation, Observer, RevocationsFormat, SettingsError, UnreadableRevocations, Version,
};
use crate::settings::{ChangeError, ChangeSettings, REVOCATIONS};

/// Each attempt is lost to somebody else's change. So many at once are not made by people.
const ATTEMPTS: usize = 10;

/// A clock that is this far ahead of ours still means "now".
const AHEAD_MAX: Duration = Duration::from_secs(30);

/// Why tokens were not taken back, or that was not lifted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// The moment before which tokens were issued lies ahead.
    #[error("must not lie in the future: tokens that do not exist yet are shut out by their subject")]
    Ahead,
    /// The end is over.
    #[error("must lie in the future")]
    Over,
    /// There is no such revocation.
    #[error("there is no such revocation")]
    Unknown,
    /// There are as many as there may be.
    #[error(transparent)]
    Full(#[from] RevocationsFull),
    /// Another version of the service wrote them.
    #[error("another version of the service wrote the revocations that are stored")]
    Unreadable(#[source] UnreadableRevocations),
    /// Others kept changing them.
    #[error("the revocations were changed by others {} times meanwhile", ATTEMPTS)]
    Contended,
    /// The settings failed, and nothing was changed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// Which tokens are to be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Which tokens.
    pub target: Target,
    /// Why.
    pub why: Why,
    /// Until when; `None` for as long as tokens live by the configuration.
    pub ends_at: Option<Timestamp>,
}

/// The revocations as the settings hold them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// How often they were written; 0 for never.
    pub version: Version,
    /// The version in force on the node that was asked.
    pub in_force: Version,
    /// All of them.
    pub revocations: Revocations,
}

/// Takes note of a revocation that was stored, for what lies outside.
pub type Revocable = Box<dyn Fn(&Revocation) + Send + Sync>;

/// Takes tokens back. Whether the caller administers the service is known before.
pub struct RevokeTokens {
    /// Writes the settings and tells the nodes.
    pub change: ChangeSettings,
    /// How revocations are kept.
    pub format: Arc<dyn RevocationsFormat>,
    /// What this node goes by.
    pub in_force: Arc<RevocationsInForce>,
    /// When.
    pub clock: Arc<dyn Clock>,
    /// What ids are drawn from.
    pub entropy: Arc<dyn Entropy>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
    /// How long a revocation counts at least: as long as any token lives.
    pub kept: Duration,
    /// Ably, where it is told.
    pub outside: Option<Revocable>,
}

impl RevokeTokens {
    /// Lists the revocations that are stored.
    pub async fn list(&self) -> Result<Listed, RevokeError> {
        let (version, revocations) = self.stored().await?;
        let (in_force, _) = self.in_force.current();
        Ok(Listed {
            version,
            in_force,
            revocations,
        })
    }

    /// Takes tokens back, on every node within a second.
    pub async fn revoke(&self, by: &UserId, wish: Wish) -> Result<Revocation, RevokeError> {
        let revocation = self.draw(by, wish)?;
        let now = revocation.at;
        self.insist(|known| {
            let next = known.with(&revocation, now);
            Ok(next.inspect_err(|_| self.observer.saw(&Observation::Full("revocations")))?)
        })
        .await?;
        tracing::info!(id = %revocation.id, "tokens were taken back");
        if let Some(outside) = &self.outside {
            outside(&revocation);
        }
        Ok(revocation)
    }

    /// Lifts a revocation. Streams that it closed stay closed; their people come back by themselves.
    pub async fn lift(&self, id: RevocationId) -> Result<(), RevokeError> {
        self.insist(|known| known.without(id).ok_or(RevokeError::Unknown))
            .await?;
        tracing::info!(%id, "a revocation was lifted");
        Ok(())
    }

    fn draw(&self, by: &UserId, wish: Wish) -> Result<Revocation, RevokeError> {
        let at = self.clock.now();
        let target = match wish.target {
            Target::IssuedBefore { before, .. } if before > at.plus(AHEAD_MAX) => {
                return Err(RevokeError::Ahead);
            }
            Target::IssuedBefore { subject, before } => Target::IssuedBefore {
                subject,
                before: before.min(at),
            },
            other => other,
        };
        let ends_at = wish.ends_at.unwrap_or_else(|| at.plus(self.kept));
        if ends_at <= at {
            return Err(RevokeError::Over);
        }
        Ok(Revocation {
            id: RevocationId(self.entropy.bits()),
            target,
            by: by.clone(),
            why: wish.why,
            at,
            ends_at,
        })
    }

    async fn stored(&self) -> Result<(Version, Revocations), RevokeError> {
        let document = self.change.settings.get(REVOCATIONS).await?;
        let Some(document) = document else {
            return Ok((0, Revocations::default()));
        };
        let read = self
            .format
            .read(&document.text)
            .map_err(RevokeError::Unreadable)?;
        Ok((document.version, read))
    }

    /// Writes a change at whatever version there is.
    async fn insist(
        &self,
        change: impl Fn(&Revocations) -> Result<Revocations, RevokeError>,
    ) -> Result<(), RevokeError> {
        for _ in 0..ATTEMPTS {
            let (version, known) = self.stored().await?;
            let text = self.format.write(&change(&known)?);
            match self.change.run(REVOCATIONS, version, text).await {
                Ok(_) => return Ok(()),
                Err(ChangeError::Settings(SettingsError::Conflict { .. })) => {}
                Err(ChangeError::Settings(error)) => return Err(error.into()),
                // They are written. Nodes that were not told look by themselves.
                Err(error @ ChangeError::NotTold(_)) => {
                    tracing::warn!(%error, "revocations come into force later");
                    return Ok(());
                }
            }
        }
        Err(RevokeError::Contended)
    }
}
