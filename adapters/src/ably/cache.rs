//! JWTs that can be given out again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use application::ports::AblyGrant;
use aws_lc_rs::digest::{Context, SHA256};
use domain::time::Timestamp;

use super::Capability;

/// About 1 KiB each for a person with few memberships, 5.5 KiB at most.
pub(super) const TOKENS_MAX: usize = 4_096;

/// Person, session and rights. Other rights are another key, so a token never outlives a change of rights here.
type Identity = [u8; 32];

struct Kept {
    token: String,
    issued_at: Timestamp,
    /// From here on a fresh one is better.
    fresh_until: Timestamp,
    expires_at: Timestamp,
}

/// JWTs that can be given out again, each for the first four fifths of its life.
#[derive(Default)]
pub(super) struct Cache {
    /// No await is held under it.
    tokens: Mutex<HashMap<Identity, Kept>>,
}

/// There is no room for another token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Cache {
    /// Finds a token that fits the grant and does not count beyond its end.
    pub(super) fn find(&self, grant: &AblyGrant, capability: &Capability) -> Option<String> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = tokens.get(&identity(grant, capability))?;
        // A clock that was set back would make a token of the future.
        let fresh = kept.issued_at <= grant.issued_at && grant.issued_at < kept.fresh_until;
        (fresh && kept.expires_at <= grant.expires_at).then(|| kept.token.clone())
    }

    /// Keeps a token that was signed for this grant.
    pub(super) fn keep(&self, grant: &AblyGrant, capability: &Capability, token: &str) -> Result<(), Full> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = identity(grant, capability);
        if tokens.len() >= TOKENS_MAX && !tokens.contains_key(&identity) {
            tokens.retain(|_, kept| grant.issued_at < kept.fresh_until);
            if tokens.len() >= TOKENS_MAX {
                return Err(Full);
            }
        }
        let lives = grant.expires_at.since(grant.issued_at);
        let kept = Kept {
            token: token.to_owned(),
            issued_at: grant.issued_at,
            fresh_until: grant.issued_at.plus(lives * 4 / 5),
            expires_at: grant.expires_at,
        };
        tokens.insert(identity, kept);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).len()
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
