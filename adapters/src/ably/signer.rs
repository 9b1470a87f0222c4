//! The signer of tokens.

use std::sync::Arc;

use application::ports::{
    AblyFormat, AblyGrant, AblySigner, AblyToken, AblyTokenError, AblyTokenRequest, Entropy, Observation,
    Observer,
};
use domain::revocation::Revocation;

use super::cache::{Cache, Full};
use super::jwt::{self, JWT_MAX_BYTES};
use super::{Capability, ChannelPrefix, Key, Unsigned};

/// Signs tokens with one key, and gives JWTs out again while they are fresh.
pub struct TokenSigner {
    key: Key,
    prefix: Option<ChannelPrefix>,
    entropy: Arc<dyn Entropy>,
    observer: Arc<dyn Observer>,
    cache: Cache,
}

impl TokenSigner {
    /// Signs with the key for tokens, never with the one that publishes.
    pub fn new(
        key: Key,
        prefix: Option<ChannelPrefix>,
        entropy: Arc<dyn Entropy>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            key,
            prefix,
            entropy,
            observer,
            cache: Cache::default(),
        }
    }

    fn request(&self, grant: &AblyGrant, capability: &Capability) -> AblyTokenRequest {
        let ttl = grant.expires_at.since(grant.issued_at);
        let nonce = format!("{:016x}{:016x}", self.entropy.bits(), self.entropy.bits());
        let unsigned = Unsigned {
            ttl_ms: u64::try_from(ttl.as_millis()).ok(),
            capability: capability.as_str(),
            client_id: Some(grant.person.as_str()),
            timestamp_ms: grant.issued_at.as_millis(),
            nonce: &nonce,
        };
        AblyTokenRequest {
            mac: unsigned.mac(&self.key),
            key_name: self.key.name().to_owned(),
            ttl,
            capability: capability.to_string(),
            client_id: grant.person.to_string(),
            timestamp: grant.issued_at,
            nonce,
        }
    }

    fn jwt(&self, grant: &AblyGrant, capability: &Capability) -> Result<AblyToken, AblyTokenError> {
        if let Some(token) = self.cache.find(grant, capability) {
            return Ok(AblyToken::CachedJwt(token));
        }
        let token = jwt::sign(&self.key, grant, capability).ok_or(AblyTokenError::Unwritable)?;
        if token.len() > JWT_MAX_BYTES {
            return Ok(AblyToken::Request(self.request(grant, capability)));
        }
        if self.cache.keep(grant, capability, &token) == Err(Full) {
            self.observer.saw(&Observation::Full("ably_tokens"));
        }
        Ok(AblyToken::Jwt(token))
    }
}

impl AblySigner for TokenSigner {
    fn sign(&self, grant: &AblyGrant, format: AblyFormat) -> Result<AblyToken, AblyTokenError> {
        if grant.channels.is_empty() {
            return Err(AblyTokenError::NoChannel);
        }
        let capability = Capability::reading(&grant.channels, self.prefix.as_ref());
        match format {
            AblyFormat::Jwt => self.jwt(grant, &capability),
            AblyFormat::Request => Ok(AblyToken::Request(self.request(grant, &capability))),
        }
    }

    fn forget(&self, revocation: &Revocation) {
        self.cache.forget(revocation);
    }
}

#[cfg(test)]
mod tests;
