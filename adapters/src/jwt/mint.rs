//! Tokens of our own making, for development and scripts.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Clock, Entropy, Mint, TokenError};
use domain::capability::{Principal, Role};
use domain::ids::{BenefitId, UnitId};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::{Expected, Secret};

/// Makes HS256 tokens with the secret that verifies them.
pub struct JwtMint {
    key: EncodingKey,
    expected: Expected,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

#[derive(Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    sub: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    roles: Vec<&'a str>,
    units: Vec<&'a str>,
    benefits: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
}

impl JwtMint {
    /// Makes tokens that say what is expected of them.
    pub fn new(
        secret: &Secret,
        expected: Expected,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            key: secret.encoding(),
            expected,
            clock,
            entropy,
        }
    }
}

impl Mint for JwtMint {
    fn mint(&self, principal: &Principal, ttl: Duration) -> Result<String, TokenError> {
        let now = self.clock.now();
        let claims = Claims {
            iss: self.expected.issuer.as_deref(),
            aud: self.expected.audience.as_deref(),
            sub: principal.user.as_str(),
            iat: now.as_millis().div_euclid(1_000),
            exp: now.plus(ttl).as_millis().div_euclid(1_000),
            jti: format!("{:016x}{:016x}", self.entropy.bits(), self.entropy.bits()),
            roles: principal.roles.iter().map(Role::as_str).collect(),
            units: principal.units.iter().map(UnitId::as_str).collect(),
            benefits: principal.benefits.iter().map(BenefitId::as_str).collect(),
            profile: principal.profile.as_deref(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
            .map_err(|_| TokenError::Malformed("it cannot be written"))
    }
}
