//! Requests for tokens: signed here, exchanged by the client at Ably.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Key;

/// A request for a token before it is signed.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned<'a> {
    /// How long the token is to count, in milliseconds; an hour where nothing is said. Never zero: that would be
    /// signed as nothing and sent as zero.
    pub ttl_ms: Option<u64>,
    /// The rights as text.
    pub capability: &'a str,
    /// Who the token is for; anonymous where nothing is said.
    pub client_id: Option<&'a str>,
    /// When it is signed, in milliseconds since the Unix epoch. Ably takes it within two minutes of that.
    pub timestamp_ms: i64,
    /// At least 16 characters, used once.
    pub nonce: &'a str,
}

impl Unsigned<'_> {
    /// Signs: HMAC-SHA256 over each field and a line feed, with nothing in the place of what is absent, in padded
    /// base64 (Ably, token request spec).
    pub fn mac(&self, key: &Key) -> String {
        let ttl = self.ttl_ms.map_or_else(String::new, |ttl| ttl.to_string());
        let text = format!(
            "{}\n{ttl}\n{}\n{}\n{}\n{}\n",
            key.name(),
            self.capability,
            self.client_id.unwrap_or_default(),
            self.timestamp_ms,
            self.nonce,
        );
        let key = hmac::Key::new(HMAC_SHA256, key.secret());
        STANDARD.encode(hmac::sign(&key, text.as_bytes()))
    }
}
