//! Secrets that issuer and service share.

use std::fmt;

use application::ports::Entropy;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};

/// A key for HS256 is at least as long as its hash (RFC 7518, 3.2). Shorter ones are guessed from one token.
const SECRET_MIN_BYTES: usize = 32;

/// A secret of at least 32 bytes, taken as it is written: it is not decoded.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

/// A secret that could be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret has {bytes} bytes, it takes at least {SECRET_MIN_BYTES}")]
pub struct SecretTooShort {
    /// How long it is.
    pub bytes: usize,
}

impl Secret {
    /// Takes a secret.
    pub fn try_new(text: &str) -> Result<Self, SecretTooShort> {
        let bytes = text.len();
        if bytes < SECRET_MIN_BYTES {
            return Err(SecretTooShort { bytes });
        }
        Ok(Self(text.as_bytes().into()))
    }

    /// Draws one, for development: 256 bits, written as 43 characters.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        let bytes = [(); 4].map(|()| entropy.bits().to_ne_bytes()).concat();
        Self(URL_SAFE_NO_PAD.encode(bytes).into_bytes().into())
    }

    pub(super) fn decoding(&self) -> DecodingKey {
        DecodingKey::from_secret(&self.0)
    }

    pub(super) fn encoding(&self) -> EncodingKey {
        EncodingKey::from_secret(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
