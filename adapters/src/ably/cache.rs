//! JWTs that can be given out again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use application::ably_tokens::session_of;
use application::ports::AblyGrant;
use aws_lc_rs::digest::{Context, SHA256};
use domain::ids::UserId;
use domain::revocation::{Revocation, Target};
use domain::time::Timestamp;

use super::Capability;

/// About 1 KiB each for a person with few memberships, 5.5 KiB at most.
pub(super) const TOKENS_MAX: usize = 4_096;

/// Person, session and rights. Other rights are another key, so a token never outlives a change of rights here.
type Identity = [u8; 32];

struct Kept {
    token: String,
    person: UserId,
    session: String,
    issued_at: Timestamp,
    /// From here on a fresh one is better.
    fresh_until: Timestamp,
    expires_at: Timestamp,
}

/// JWTs that can be given out again, each for the first four fifths of its life.
#[derive(Default)]
pub(super) struct Cache {
    /// No await is held under it.
    tokens: Mutex<Tokens>,
}

#[derive(Default)]
struct Tokens {
    kept: HashMap<Identity, Kept>,
    /// What was signed up to this second may be taken for something that was taken back, and is given out once.
    not_up_to: Option<i64>,
}

impl Tokens {
    /// Tokens say when they were issued in whole seconds.
    fn may_keep(&self, issued_at: Timestamp) -> bool {
        self.not_up_to
            .is_none_or(|second| issued_at.as_millis().div_euclid(1_000) > second)
    }
}

/// There is no room for another token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Cache {
    /// Finds a token that fits the grant and does not count beyond its end.
    pub(super) fn find(&self, grant: &AblyGrant, capability: &Capability) -> Option<String> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = tokens.kept.get(&identity(grant, capability))?;
        // A clock that was set back would make a token of the future.
        let fresh = kept.issued_at <= grant.issued_at && grant.issued_at < kept.fresh_until;
        (fresh && kept.expires_at <= grant.expires_at).then(|| kept.token.clone())
    }

    /// Keeps a token that was signed for this grant.
    pub(super) fn keep(&self, grant: &AblyGrant, capability: &Capability, token: &str) -> Result<(), Full> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if !tokens.may_keep(grant.issued_at) {
            return Ok(());
        }
        let identity = identity(grant, capability);
        if tokens.kept.len() >= TOKENS_MAX && !tokens.kept.contains_key(&identity) {
            tokens.kept.retain(|_, kept| grant.issued_at < kept.fresh_until);
            if tokens.kept.len() >= TOKENS_MAX {
                return Err(Full);
            }
        }
        let lives = grant.expires_at.since(grant.issued_at);
        let kept = Kept {
            token: token.to_owned(),
            person: grant.person.clone(),
            session: grant.session.clone(),
            issued_at: grant.issued_at,
            fresh_until: grant.issued_at.plus(lives * 4 / 5),
            expires_at: grant.expires_at,
        };
        tokens.kept.insert(identity, kept);
        Ok(())
    }

    /// Forgets what a revocation hits, and keeps nothing that was signed before it settles.
    pub(super) fn forget(&self, revocation: &Revocation) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let second = revocation.settled_at().as_millis().div_euclid(1_000);
        tokens.not_up_to = tokens.not_up_to.max(Some(second));
        let session = match &revocation.target {
            Target::Token(id) => session_of(id.as_str()),
            _ => None,
        };
        tokens.kept.retain(|_, kept| match &revocation.target {
            // A session that is not named after its token could be anybody's.
            Target::Token(_) => session.as_ref().is_some_and(|session| *session != kept.session),
            Target::Subject(user)
            | Target::IssuedBefore {
                subject: Some(user), ..
            } => kept.person != *user,
            Target::IssuedBefore { subject: None, .. } => false,
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .kept
            .len()
    }
}

/// None of the parts holds a line feed, so no two grants share a text.
fn identity(grant: &AblyGrant, capability: &Capability) -> Identity {
    let mut context = Context::new(&SHA256);
    for part in [grant.person.as_str(), &grant.session, capability.as_str()] {
        context.update(part.as_bytes());
        context.update(b"\n");
    }
    let mut identity = Identity::default();
    identity.copy_from_slice(context.finish().as_ref());
    identity
}
