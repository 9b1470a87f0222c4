//! Tokens of every kind, honest and forged.

mod claims;
mod forgery;
mod issuer;
mod keysets;
mod known;
mod minting;
mod outage;

use std::sync::Arc;
use std::time::Duration;

use application::ports::{TokenError, Tokens};
use application::testing::SimClock;
use domain::capability::Principal;
use serde_json::{Value, json};

use self::issuer::Signer;
use super::*;

/// A verifier with a clock that stands until it is moved.
struct Verifier {
    tokens: JwtTokens,
    clock: Arc<SimClock>,
}

impl Verifier {
    fn new(keys: Keys, expected: Expected) -> Self {
        let clock = Arc::new(SimClock::new());
        let tokens = JwtTokens::new(keys, expected, clock.clone());
        Self { tokens, clock }
    }

    /// Knows one shared secret and expects nothing.
    fn sharing(secret: &str) -> Self {
        let secret = Secret::try_new(secret).unwrap();
        Self::new(Keys::secret(&secret), Expected::default())
    }

    /// Knows these public keys and expects nothing.
    fn trusting(jwks: &[Value]) -> Self {
        Self::new(keys_in_a_file(jwks).unwrap(), Expected::default())
    }

    async fn verify(&self, token: &str) -> Result<Principal, TokenError> {
        self.tokens.verify(token).await
    }
}

fn keys_in_a_file(jwks: &[Value]) -> Result<Keys, KeysError> {
    keys_in_a_file_of(json!({ "keys": jwks }).to_string().as_bytes())
}

fn keys_in_a_file_of(text: &[u8]) -> Result<Keys, KeysError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Keys::file(file.path())
}

const SECRET: &str = "a secret of at least thirty-two bytes";

/// Seconds at which every [`SimClock`] starts.
fn start() -> i64 {
    SimClock::START.as_millis() / 1_000
}

/// Claims that count for an hour.
fn claims() -> Value {
    json!({ "sub": "u-1", "exp": start() + 3_600, "roles": ["CIDADAO"] })
}

/// The claims with some set otherwise; `null` takes one away.
fn claims_with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn after(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
