//! Tokens for Ably: who may listen there, to what, and for how long.
//!
//! Whoever asks is known by their own token alone. Whatever else a client sends along (`clientId`, `capability`,
//! `ttl`, `timestamp`) is a wish of somebody who may be hostile, and is not even read.

mod pace;

use std::sync::Arc;
use std::time::Duration;

use domain::capability::Principal;
use domain::time::Timestamp;

use self::pace::{Pace, Taken};
use crate::ably_use::AblyUse;
use crate::error::Error;
use crate::ports::{
    AblyFormat, AblyGrant, AblySigner, AblyToken, AblyTokenError, Clock, Observation, Observer, Outbox,
    Selection, TokenHolder,
};
use crate::revocations::RevocationsInForce;
use crate::rights::Rights;

/// Ably takes at most an hour for keys whose tokens can be revoked.
pub const TTL_MAX: Duration = Duration::from_secs(3_600);

/// JWTs count whole seconds: a shorter token would be none.
const TTL_MIN: Duration = Duration::from_secs(1);

/// How many tokens a minute one person gets. Five tabs that all reconnect need five; `ably-js` asked 220 times a
/// second when a REST client met an expired token (ably-js, issue 2193).
pub const PER_MINUTE: u32 = 10;

/// Whether people are held to [`PER_MINUTE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// They are.
    Enforced,
    /// The operator has switched all limits off.
    Off,
}

/// Issues tokens for Ably.
pub struct AblyTokens {
    rights: Arc<Rights>,
    signer: Arc<dyn AblySigner>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    pace: Option<Pace>,
    holders: Option<Arc<dyn Outbox>>,
    revocations: Option<Arc<RevocationsInForce>>,
    used: Option<Arc<AblyUse>>,
}

impl AblyTokens {
    /// Issues what the signer signs.
    pub fn new(
        rights: Arc<Rights>,
        signer: Arc<dyn AblySigner>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
        limit: Limit,
    ) -> Self {
        Self {
            rights,
            signer,
            clock,
            observer,
            pace: (limit == Limit::Enforced).then(Pace::default),
            holders: None,
            revocations: None,
            used: None,
        }
    }

    /// Gives nothing to whoever's token was taken back while theirs was signed.
    #[must_use]
    pub fn unless_revoked(mut self, revocations: Arc<RevocationsInForce>) -> Self {
        self.revocations = Some(revocations);
        self
    }

    /// Remembers who holds a token, so that their own notifications are sent to Ably.
    #[must_use]
    pub fn remembered_in(mut self, outbox: Arc<dyn Outbox>) -> Self {
        self.holders = Some(outbox);
        self
    }

    /// Counts who holds a token.
    #[must_use]
    pub fn counted_in(mut self, used: Arc<AblyUse>) -> Self {
        self.used = Some(used);
        self
    }

    /// Issues a token and remembers who holds it. Where that cannot be remembered the token counts all the same: what
    /// is then not sent to Ably is on the streams, and its client learns that it has to look there.
    pub async fn give(&self, person: &Principal, format: AblyFormat) -> Result<AblyToken, Error> {
        let token = self.issue(person, format)?;
        if let Some(used) = &self.used {
            used.held(&person.user);
        }
        if let Some(outbox) = &self.holders {
            let now = self.clock.now();
            let holder = TokenHolder {
                user: person.user.clone(),
                units: person.units.clone(),
                roles: person.roles.clone(),
                until: now.plus(person.expires_at.since(now).min(TTL_MAX)),
            };
            if let Err(error) = outbox.hold(holder).await {
                tracing::warn!(%error, "who holds a token for Ably was not remembered");
            }
        }
        Ok(token)
    }

    /// Issues a token for the channels that the person's stream would carry. It ends with the person's own token.
    pub fn issue(&self, person: &Principal, format: AblyFormat) -> Result<AblyToken, Error> {
        let issued = self.try_issue(person, format);
        self.observer.saw(&match &issued {
            Ok(token) => Observation::AblyTokenIssued(token.as_str()),
            Err(error) => Observation::AblyTokenRefused(refusal(error)),
        });
        issued
    }

    fn try_issue(&self, person: &Principal, format: AblyFormat) -> Result<AblyToken, Error> {
        let now = self.clock.now();
        let left = person.expires_at.since(now);
        if left < TTL_MIN {
            return Err(Error::SessionOver);
        }
        let grant = self.grant(person, now, left.min(TTL_MAX))?;
        self.take_turn(person)?;
        let signed = self.signer.sign(&grant, format).map_err(|error| match error {
            AblyTokenError::NoChannel => nothing_to_hear(),
            AblyTokenError::Unwritable => Error::Unavailable {
                part: "signer of Ably tokens",
                retry_after: TTL_MIN,
            },
        })?;
        // Asked after it was signed: a revocation that came between would have been told to Ably too early for it.
        if self
            .revocations
            .as_ref()
            .is_some_and(|revocations| revocations.hit(person))
        {
            return Err(Error::Forbidden("the token was revoked".to_owned()));
        }
        Ok(signed)
    }

    fn grant(&self, person: &Principal, now: Timestamp, ttl: Duration) -> Result<AblyGrant, Error> {
        let channels = self.rights.stream_channels(person, &Selection::Default);
        if channels.is_empty() {
            return Err(nothing_to_hear());
        }
        Ok(AblyGrant {
            person: person.user.clone(),
            channels,
            session: session(person),
            issued_at: now,
            expires_at: now.plus(ttl),
        })
    }

    fn take_turn(&self, person: &Principal) -> Result<(), Error> {
        let Some(pace) = &self.pace else { return Ok(()) };
        match pace.take(&person.user, self.clock.uptime()) {
            Taken::Turn => Ok(()),
            // The limit is there against loops. It must not keep people out who come all at once.
            Taken::Uncounted => {
                self.observer.saw(&Observation::Full("ably_pace"));
                Ok(())
            }
            Taken::Later(retry_after) => Err(Error::Limited {
                limit: PER_MINUTE,
                retry_after,
            }),
        }
    }
}

fn nothing_to_hear() -> Error {
    Error::Forbidden("none of your roles may subscribe to any channel".to_owned())
}

/// Names the session for revocation: by the token's own id where that is a plain word, else by the person.
fn session(person: &Principal) -> String {
    let session = person.token_id.as_deref().and_then(session_of);
    session.unwrap_or_else(|| format!("user.{}", person.user))
}

/// Names the session of a token by the token's own id; `None` where that is no plain word.
pub fn session_of(token_id: &str) -> Option<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_word = (1..=64).contains(&token_id.len()) && token_id.bytes().all(fits);
    is_word.then(|| format!("session.{token_id}"))
}

const fn refusal(error: &Error) -> &'static str {
    match error {
        Error::SessionOver => "expired",
        Error::Forbidden(_) => "forbidden",
        Error::Limited { .. } => "limited",
        _ => "unavailable",
    }
}

#[cfg(test)]
mod tests;
