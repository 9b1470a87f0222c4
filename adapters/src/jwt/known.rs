//! Tokens that were verified before: a back end that publishes a thousand times a second shows the same one each time.
//!
//! What is kept is what verification found out, under the digest of the token: no token stays in memory. Each time it is
//! asked anew whether the issuer's key is still the same one and whether the token's time has come and not run out.
//! Forged tokens take no place, because only what was verified is kept.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::{Algorithm, DecodingKey};
use lru::LruCache;

use super::claims::Claimed;

/// Beyond it the one that was shown least recently goes. Back ends that publish are fewer.
pub(super) const KNOWN_MAX: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// What a longer one says is not kept: all of them take a few megabytes at most.
pub(super) const KNOWN_MAX_BYTES: usize = 4 * 1024;

/// The digest of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Shown([u8; 32]);

impl Shown {
    pub(super) fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }
}

/// What verification found out.
pub(super) struct Verified {
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
    /// What it was verified with.
    pub(super) key: Arc<DecodingKey>,
    pub(super) claimed: Claimed,
}

/// The tokens that were shown last.
pub(super) struct Known(Mutex<LruCache<Shown, Arc<Verified>>>);

impl Known {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(KNOWN_MAX)))
    }

    pub(super) fn find(&self, shown: Shown) -> Option<Arc<Verified>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&shown).cloned()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(super) fn forget(&self, shown: Shown) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.pop(&shown);
    }

    pub(super) fn keep(&self, shown: Shown, verified: Verified) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.put(shown, Arc::new(verified));
    }
}
