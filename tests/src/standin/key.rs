//! API keys, each with rights of its own.

use std::fmt;

use anyhow::{Context as _, ensure};
use aws_lc_rs::hmac::{self, HMAC_SHA256};

use super::capability::Capability;

/// An API key that the stand-in knows.
#[derive(Clone)]
pub struct AccountKey {
    name: String,
    secret: String,
    pub(super) rights: Capability,
    pub(super) tokens: Tokens,
}

/// What becomes of the tokens that a key issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// They can be revoked, and live for an hour at most.
    Revocable,
    /// They live until they end, for a day at most.
    Lasting,
}

impl AccountKey {
    /// Reads `APP.KEY:SECRET` by the rule of Ably's own clients, and the key's capability, such as `{"*":["publish"]}`.
    pub fn parse(text: &str, capability: &str, tokens: Tokens) -> anyhow::Result<Self> {
        let (name, secret) = text.split_once(':').context("a key is APP.KEY:SECRET")?;
        let unfit = |part: &str| part.is_empty() || part.contains(char::is_whitespace);
        let (app, id) = name.split_once('.').context("a key is APP.KEY:SECRET")?;
        ensure!(
            !unfit(app) && !unfit(id) && !unfit(secret) && !secret.contains([':', '.']),
            "a key is APP.KEY:SECRET, without blanks, and with neither dots nor colons in the secret"
        );
        let rights = Capability::parse(capability).map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Self {
            name: name.to_owned(),
            secret: secret.to_owned(),
            rights,
            tokens,
        })
    }

    /// The part in front of the secret.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole key, as a client is told.
    pub fn text(&self) -> String {
        format!("{}:{}", self.name, self.secret)
    }

    pub(super) fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// The longest life of a token, in milliseconds.
    pub(super) const fn token_life_max_ms(&self) -> i64 {
        match self.tokens {
            Tokens::Revocable => 60 * 60 * 1_000,
            Tokens::Lasting => 24 * 60 * 60 * 1_000,
        }
    }

    /// Tells whether a MAC is this key's over a text, in a time that does not depend on where it differs.
    pub(super) fn signed(&self, text: &str, mac: &[u8]) -> bool {
        let key = hmac::Key::new(HMAC_SHA256, self.secret());
        hmac::verify(&key, text.as_bytes(), mac).is_ok()
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountKey({}:…)", self.name)
    }
}
