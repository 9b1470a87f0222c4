//! JSON Web Tokens: who is calling, as an issuer says.
//!
//! The key decides which algorithm a token may have been signed with, never the token (RFC 8725, 3.1). Addresses
//! and keys that a token brings along (`jku`, `x5u`, `jwk`, `x5c`) are not even read. Nothing that a token claims
//! is believed before its signature was verified.
//!
//! The library verifies and signs; the claims are checked here, against the [`Clock`], because its own check reads
//! the system's clock.

mod claims;
mod compact;
mod keys;
mod known;
mod mint;
mod remote;
mod secret;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use application::ports::{Clock, TokenError, Tokens};
use async_trait::async_trait;
use domain::capability::Principal;

use compact::{Compact, TOKEN_MAX_BYTES};
use known::{KNOWN_MAX_BYTES, Known, Shown, Verified};

pub use keys::{Keys, KeysError, UnfitSet};
pub use mint::JwtMint;
pub use remote::AddressRefused;
pub use secret::{Secret, SecretTooShort};

/// What tokens must say about where they come from and whom they are for. What is not set is not checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The one issuer, `iss`.
    pub issuer: Option<String>,
    /// This service's name, which `aud` must be or hold.
    pub audience: Option<String>,
}

/// Verifies tokens of one issuer with the keys of that issuer, so that a `kid` of another can never meet them.
pub struct JwtTokens {
    keys: Keys,
    expected: Expected,
    clock: Arc<dyn Clock>,
    known: Known,
}

impl JwtTokens {
    /// Verifies with these keys.
    pub fn new(keys: Keys, expected: Expected, clock: Arc<dyn Clock>) -> Self {
        Self {
            keys,
            expected,
            clock,
            known: Known::new(),
        }
    }

    async fn verify_anew(&self, token: &str) -> Result<Verified, TokenError> {
        let token = Compact::parse(token)?;
        let key = self.keys.find(token.kid.as_deref(), token.algorithm).await?;
        let payload = token.verify(&key)?;
        let claimed = claims::believed(&payload, &self.expected, self.clock.now())?;
        Ok(Verified {
            kid: token.kid,
            algorithm: token.algorithm,
            key,
            claimed,
        })
    }
}

#[async_trait]
impl Tokens for JwtTokens {
    async fn verify(&self, token: &str) -> Result<Principal, TokenError> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(TokenError::Malformed("it is longer than 16 KiB"));
        }
        let shown = Shown::of(token);
        if let Some(known) = self.known.find(shown) {
            let key = self.keys.find(known.kid.as_deref(), known.algorithm).await?;
            if Arc::ptr_eq(&key, &known.key) {
                let counts = known.claimed.check_times(self.clock.now());
                counts.inspect_err(|_| self.known.forget(shown))?;
                return Ok(known.claimed.principal.clone());
            }
        }
        let verified = self.verify_anew(token).await?;
        let principal = verified.claimed.principal.clone();
        if token.len() <= KNOWN_MAX_BYTES {
            self.known.keep(shown, verified);
        }
        Ok(principal)
    }
}
