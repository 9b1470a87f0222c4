//! The revocations that this node goes by.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use domain::capability::Principal;
use domain::revocation::{Revocation, Revocations};

use crate::ports::{
    Clock, RevocationsFormat, Settings, SettingsError, TokenError, Tokens, UnreadableRevocations, Version,
};
use crate::settings::REVOCATIONS;

/// The revocations in force on this node, which are replaced while the service runs.
pub struct RevocationsInForce {
    clock: Arc<dyn Clock>,
    /// Held for a swap; never over an await.
    current: RwLock<(Version, Arc<Revocations>)>,
}

impl RevocationsInForce {
    /// Begins with none.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let current = RwLock::default();
        Self { clock, current }
    }

    /// Returns them, with the version of the settings that they came from; 0 where none were ever written.
    pub fn current(&self) -> (Version, Arc<Revocations>) {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        (current.0, Arc::clone(&current.1))
    }

    /// Puts others in force.
    pub fn replace(&self, version: Version, revocations: Revocations) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (version, Arc::new(revocations));
    }

    /// Tells whether the token that somebody showed was taken back.
    pub fn hit(&self, person: &Principal) -> bool {
        let (_, revocations) = self.current();
        revocations.hit(person, self.clock.now()).is_some()
    }
}

/// Verifies tokens, and refuses those that were taken back.
pub struct Unrevoked {
    /// Verifies them.
    pub tokens: Arc<dyn Tokens>,
    /// Which were taken back.
    pub revocations: Arc<RevocationsInForce>,
}

#[async_trait]
impl Tokens for Unrevoked {
    async fn verify(&self, token: &str) -> Result<Principal, TokenError> {
        let person = self.tokens.verify(token).await?;
        if self.revocations.hit(&person) {
            return Err(TokenError::Revoked);
        }
        Ok(person)
    }
}

/// Why the revocations could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The settings failed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Another version of the service wrote them.
    #[error("the revocations of the settings cannot be read")]
    Unreadable(#[source] UnreadableRevocations),
}

/// Something that is told of tokens that were taken back since it was told last, after they are refused here.
pub type Told = Box<dyn Fn(&[Revocation]) + Send + Sync>;

/// Takes what the settings say into force on this node.
pub struct FollowRevocations {
    settings: Arc<dyn Settings>,
    format: Arc<dyn RevocationsFormat>,
    in_force: Arc<RevocationsInForce>,
    told: Vec<Told>,
    /// The version that was looked at last, whether it could be read or not.
    seen: Version,
}

impl FollowRevocations {
    /// Follows from the beginning.
    pub fn new(
        settings: Arc<dyn Settings>,
        format: Arc<dyn RevocationsFormat>,
        in_force: Arc<RevocationsInForce>,
    ) -> Self {
        Self {
            settings,
            format,
            in_force,
            told: Vec::new(),
            seen: 0,
        }
    }

    /// Tells somebody of what comes from now on.
    pub fn tell(&mut self, told: Told) {
        self.told.push(told);
    }

    /// Looks once, and takes what has changed. What cannot be read leaves the last ones in force.
    pub async fn look(&mut self) -> Result<(), FollowError> {
        let document = self.settings.get(REVOCATIONS).await?;
        let version = document.as_ref().map_or(0, |document| document.version);
        if version == self.seen {
            return Ok(());
        }
        self.seen = version;
        let text = document.map(|document| document.text).unwrap_or_default();
        let next = self.format.read(&text).map_err(FollowError::Unreadable)?;
        let (_, known) = self.in_force.current();
        let is_new = |revocation: &&Revocation| !known.all().iter().any(|known| known.id == revocation.id);
        let new: Vec<Revocation> = next.all().iter().filter(is_new).cloned().collect();
        tracing::info!(
            version,
            new = new.len(),
            all = next.all().len(),
            "other revocations are in force"
        );
        self.in_force.replace(version, next);
        if !new.is_empty() {
            self.told.iter().for_each(|told| told(&new));
        }
        Ok(())
    }
}
