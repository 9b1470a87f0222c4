//! The compact form of a signed token (RFC 7515, 7.1).

use application::ports::TokenError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A person with 100 memberships of 64 characters needs about 9 KiB, and proxies pass 16 KiB of headers at most.
pub(super) const TOKEN_MAX_BYTES: usize = 16 * 1024;

/// A token taken apart. Nothing of it is verified yet.
#[derive(Debug)]
pub(super) struct Compact<'a> {
    /// One of those that this service takes.
    pub(super) algorithm: Algorithm,
    /// Which of the issuer's keys signed it, as it says.
    pub(super) kid: Option<String>,
    signed: &'a str,
    signature: &'a str,
}

/// What counts in a header. Anything else in it is skipped unread.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Compact<'a> {
    /// Takes a token apart.
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenError> {
        let parts = TokenError::Malformed("it is not three parts with dots between");
        let (signed, signature) = token.rsplit_once('.').ok_or(parts.clone())?;
        let (header, payload) = signed.split_once('.').ok_or(parts.clone())?;
        if payload.contains('.') {
            return Err(parts);
        }
        let header: Header = URL_SAFE_NO_PAD
            .decode(header)
            .ok()
            .and_then(|json| read_object(&json))
            .ok_or(TokenError::Malformed(
                "its header is not a JSON object in base64url",
            ))?;
        // RFC 7515, 4.1.11: what must be understood and is not makes the token invalid.
        if header.crit.is_some() {
            return Err(TokenError::Malformed("its header demands an extension"));
        }
        Ok(Self {
            algorithm: accepted(&header.alg).ok_or(TokenError::AlgorithmNotAccepted)?,
            kid: header.kid,
            signed,
            signature,
        })
    }

    /// Verifies the signature and gives the claims as JSON text.
    pub(super) fn verify(&self, key: &DecodingKey) -> Result<Vec<u8>, TokenError> {
        let message = self.signed.as_bytes();
        match jsonwebtoken::crypto::verify(self.signature, message, key, self.algorithm) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(TokenError::BadSignature),
        }
        let (_, payload) = self.signed.split_once('.').unwrap_or_default();
        URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_| TokenError::Malformed("its claims are not in base64url"))
    }
}

/// Reads the name of an algorithm that this service takes.
pub(super) fn accepted(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::HS256),
        "HS384" => Some(Algorithm::HS384),
        "HS512" => Some(Algorithm::HS512),
        "RS256" => Some(Algorithm::RS256),
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// Reads a JSON object in which no known member stands twice. An array is no object, though it could fill one.
pub(super) fn read_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let object = json.trim_ascii_start().starts_with(b"{");
    object.then(|| serde_json::from_slice(json).ok()).flatten()
}
