//! JSON Web Tokens as Ably takes them.

use application::ports::AblyGrant;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::{Capability, Key};

/// `ably-js` encodes a JWT in base64 once more for its REST calls, and Ably takes about 8 KiB of headers: 5,600 bytes
/// become 7,467.
pub(super) const JWT_MAX_BYTES: usize = 5_600;

#[derive(Serialize)]
struct Claims<'a> {
    iat: i64,
    exp: i64,
    #[serde(rename = "x-ably-capability")]
    capability: &'a str,
    #[serde(rename = "x-ably-clientId")]
    client_id: &'a str,
    #[serde(rename = "x-ably-revocation-key")]
    revocation_key: &'a str,
}

/// Signs a JWT for a grant with HS256, which is what Ably takes. Its times are whole seconds, rounded down, so it
/// never counts beyond the grant's end. `None` when it cannot be written.
pub(super) fn sign(key: &Key, grant: &AblyGrant, capability: &Capability) -> Option<String> {
    let claims = Claims {
        iat: grant.issued_at.as_millis().div_euclid(1_000),
        exp: grant.expires_at.as_millis().div_euclid(1_000),
        capability: capability.as_str(),
        client_id: grant.person.as_str(),
        revocation_key: &grant.session,
    };
    let header = Header {
        kid: Some(key.name().to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(key.secret())).ok()
}
