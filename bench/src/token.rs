//! Tokens for the run: a secret nobody else knows and the claims of the people who take part.

use anyhow::Result;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::Serialize;

/// Longer than any run, so that no stream is told to renew.
const LIFETIME_SECONDS: u64 = 6 * 3600;

/// Who publishes.
pub(crate) const PUBLISHER: &str = "bench-publisher";

/// Mints the tokens of one run.
pub(crate) struct Mint {
    secret: String,
    key: EncodingKey,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    jti: String,
    roles: [&'a str; 1],
    units: &'a [String],
    benefits: [&'a str; 0],
}

impl Mint {
    /// A mint with a fresh secret: 32 random bytes in hexadecimal.
    pub(crate) fn new() -> Result<Self> {
        let mut bytes = [0_u8; 32];
        getrandom(&mut bytes, GetRandomFlags::empty())?;
        let secret = bytes.map(|byte| format!("{byte:02x}")).concat();
        let key = EncodingKey::from_secret(secret.as_bytes());
        Ok(Self { secret, key })
    }

    /// What the server is told through `ARAUTO_JWT_SECRET`.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    pub(crate) fn reader(&self, index: usize) -> Result<String> {
        self.token(&reader(index), "CIDADAO", &[])
    }

    pub(crate) fn publisher(&self) -> Result<String> {
        self.token(PUBLISHER, "SERVICE", &[])
    }

    pub(crate) fn admin(&self) -> Result<String> {
        self.token("bench-admin", "ADMIN", &[])
    }

    /// Somebody who works in a unit, and so sees its channel.
    pub(crate) fn member(&self, user: &str, unit: String) -> Result<String> {
        self.token(user, "TECNICO", &[unit])
    }

    fn token(&self, subject: &str, role: &str, units: &[String]) -> Result<String> {
        let now = crate::clock::unix_seconds();
        let claims = Claims {
            sub: subject,
            iat: now,
            exp: now + LIFETIME_SECONDS,
            jti: format!("{subject}-{now}"),
            roles: [role],
            units,
            benefits: [],
        };
        Ok(jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &self.key,
        )?)
    }
}

/// The user id of reader `index`. One stream each: five to a person is the limit.
pub(crate) fn reader(index: usize) -> String {
    format!("bench-{index:05}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_verifies_with_the_secret_of_its_run_and_no_other() {
        let mint = Mint::new().unwrap();
        let token = mint.reader(7).unwrap();
        let verify = |secret: &str| {
            let key = jsonwebtoken::DecodingKey::from_secret(secret.as_bytes());
            let rules = jsonwebtoken::Validation::new(Algorithm::HS256);
            jsonwebtoken::decode::<serde_json::Value>(&token, &key, &rules)
        };
        assert!(verify(Mint::new().unwrap().secret()).is_err());
        let claims = verify(mint.secret()).unwrap().claims;
        assert_eq!(claims["sub"], "bench-00007");
        assert_eq!(claims["roles"], serde_json::json!(["CIDADAO"]));
        assert_eq!(claims["units"], serde_json::json!([]));
    }
}
