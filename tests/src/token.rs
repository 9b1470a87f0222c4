//! Tokens as an identity provider would issue them, for nodes that share a secret.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::port::random;

/// Longer than any test, so that no stream is told to renew.
const LIFETIME_SECONDS: u64 = 24 * 60 * 60;

/// Issues tokens that are signed with one secret.
#[derive(Debug, Clone)]
pub struct Issuer {
    secret: String,
}

impl Issuer {
    /// An issuer whose secret nobody else knows.
    pub fn new() -> Self {
        Self {
            secret: format!("{:016x}{:016x}{:016x}", random(), random(), random()),
        }
    }

    /// What nodes are told through `ARAUTO_JWT_SECRET`.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// A token for somebody with one role, and the units that they belong to.
    pub fn token(&self, user: &str, role: &str, units: &[String]) -> anyhow::Result<String> {
        self.sign(&json!({ "sub": user, "roles": [role], "units": units, "benefits": [] }))
    }

    /// A token that says this, and when it was issued and ends.
    pub fn sign(&self, said: &Value) -> anyhow::Result<String> {
        let now = jsonwebtoken::get_current_timestamp();
        let mut claims = said.clone();
        claims["iat"] = now.into();
        claims["exp"] = (now + LIFETIME_SECONDS).into();
        claims["jti"] = format!("{:016x}", random()).into();
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        Ok(jsonwebtoken::encode(&Header::default(), &claims, &key)?)
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Self::new()
    }
}
