//! Tokens: JWTs that others signed, signed requests, and the native tokens that are given for them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ErrorInfo;
use super::capability::Capability;
use super::grant::{Client, Grant, Life};
use super::key::AccountKey;
use crate::port::random;

/// A request counts this long before and after the moment that it was signed at.
const REQUEST_WINDOW_MS: i64 = 2 * 60 * 1_000;
const NONCE_MIN: usize = 16;
const LIFE_MS: i64 = 60 * 60 * 1_000;
/// More tokens and nonces than any test or demo uses; those that ended give way first.
const KEPT_MAX: usize = 100_000;

/// The tokens that were issued here, and the nonces that were used for them.
#[derive(Debug, Default)]
pub(super) struct Issued {
    tokens: HashMap<String, Grant>,
    nonces: HashMap<String, i64>,
}

impl Issued {
    /// Finds a native token. One from before a loss of memory is not recognised.
    pub(super) fn find(&self, token: &str) -> Result<Grant, ErrorInfo> {
        let unknown = || ErrorInfo::new(40143, 401, "token unrecognised");
        self.tokens.get(token).cloned().ok_or_else(unknown)
    }

    /// Exchanges a signed request for a token.
    pub(super) fn exchange(
        &mut self,
        key: &AccountKey,
        body: &Value,
        now_ms: i64,
    ) -> Result<Value, ErrorInfo> {
        let request = TokenRequest::read(body)?;
        request.check(key, now_ms)?;
        self.make_room(now_ms);
        if self.nonces.contains_key(&request.nonce) {
            return Err(ErrorInfo::new(40105, 401, "nonce value replayed"));
        }
        let life_ms = request.life_ms(key)?;
        let asked = match &request.capability {
            Some(text) => Capability::parse(text)?,
            None => key.rights.clone(),
        };
        let rights = asked.within(&key.rights);
        if rights.is_empty() {
            return Err(ErrorInfo::new(
                40160,
                401,
                "the key has none of the rights that were asked for",
            ));
        }
        self.nonces.insert(request.nonce, now_ms);
        let app = key.name().split('.').next().unwrap_or_default();
        let token = format!("{app}.{:016x}{:016x}{:016x}", random(), random(), random());
        let mut answer = json!({
            "token": token,
            "keyName": key.name(),
            "issued": now_ms,
            "expires": now_ms + life_ms,
            "capability": rights.to_string(),
        });
        if let Some(client) = &request.client_id {
            answer["clientId"] = json!(client);
        }
        let grant = Grant {
            key_name: key.name().to_owned(),
            rights,
            client: Client::of(request.client_id),
            life: Life::Token {
                issued_ms: now_ms,
                expires_ms: now_ms + life_ms,
            },
            revocation_key: None,
        };
        self.tokens.insert(token, grant);
        Ok(answer)
    }

    fn make_room(&mut self, now_ms: i64) {
        // A request whose window is over is refused by its time, whatever its nonce.
        self.nonces
            .retain(|_, used_ms| *used_ms > now_ms - 2 * REQUEST_WINDOW_MS);
        if self.tokens.len() >= KEPT_MAX {
            self.tokens.retain(|_, grant| !grant.has_expired(now_ms));
        }
        if self.tokens.len() >= KEPT_MAX {
            self.tokens.clear();
        }
        if self.nonces.len() >= KEPT_MAX {
            self.nonces.clear();
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest {
    key_name: String,
    ttl: Option<i64>,
    capability: Option<String>,
    client_id: Option<String>,
    timestamp: i64,
    nonce: String,
    mac: String,
}

impl TokenRequest {
    fn read(body: &Value) -> Result<Self, ErrorInfo> {
        let request = Self::deserialize(body);
        request.map_err(|error| ErrorInfo::new(40000, 400, format!("no request for a token: {error}")))
    }

    fn check(&self, key: &AccountKey, now_ms: i64) -> Result<(), ErrorInfo> {
        let refused = || ErrorInfo::new(40101, 401, "invalid credentials: the mac does not match");
        if self.key_name != key.name() {
            return Err(refused());
        }
        if self.client_id.as_deref() == Some("") {
            return Err(ErrorInfo::new(40012, 400, "invalid clientId: it is empty"));
        }
        let mac = STANDARD.decode(&self.mac).map_err(|_| refused())?;
        if !key.signed(&self.signed_text(), &mac) {
            return Err(refused());
        }
        if (self.timestamp - now_ms).abs() > REQUEST_WINDOW_MS {
            return Err(ErrorInfo::new(40104, 401, "timestamp not current"));
        }
        if self.nonce.len() < NONCE_MIN {
            return Err(ErrorInfo::new(40105, 401, "a nonce has at least 16 characters"));
        }
        Ok(())
    }

    /// One line feed after every field, and nothing in the place of what is absent.
    fn signed_text(&self) -> String {
        let ttl = self.ttl.map_or_else(String::new, |ttl| ttl.to_string());
        let fields = [
            self.key_name.as_str(),
            &ttl,
            self.capability.as_deref().unwrap_or_default(),
            self.client_id.as_deref().unwrap_or_default(),
            &self.timestamp.to_string(),
            &self.nonce,
        ];
        fields.map(|field| format!("{field}\n")).concat()
    }

    fn life_ms(&self, key: &AccountKey) -> Result<i64, ErrorInfo> {
        let life_ms = self.ttl.unwrap_or(LIFE_MS);
        if life_ms <= 0 || life_ms > key.token_life_max_ms() {
            return Err(ErrorInfo::new(40003, 400, format!("invalid ttl: {life_ms} ms")));
        }
        Ok(life_ms)
    }
}

#[derive(Deserialize)]
struct Claims {
    iat: Option<i64>,
    exp: Option<i64>,
    #[serde(rename = "x-ably-capability")]
    capability: Option<String>,
    #[serde(rename = "x-ably-clientId")]
    client_id: Option<String>,
    #[serde(rename = "x-ably-revocation-key")]
    revocation_key: Option<String>,
}

/// Returns which key signed a JWT, or `None` for what is no JWT.
pub(super) fn jwt_key_name(token: &str) -> Option<String> {
    jsonwebtoken::decode_header(token).ok()?.kid
}

/// Verifies a JWT. Whether it has ended is looked at by whoever takes it.
pub(super) fn verify_jwt(key: &AccountKey, token: &str) -> Result<Grant, ErrorInfo> {
    let bad = |why: &str| ErrorInfo::new(40144, 401, format!("invalid JWT: {why}"));
    let mut validation = Validation::new(Algorithm::HS256);
    // The clock is ours.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let secret = DecodingKey::from_secret(key.secret());
    let claims = jsonwebtoken::decode::<Claims>(token, &secret, &validation);
    let claims = claims.map_err(|error| bad(&error.to_string()))?.claims;
    let (Some(iat), Some(exp)) = (claims.iat, claims.exp) else {
        return Err(bad("iat and exp are required"));
    };
    let (issued_ms, expires_ms) = (iat.saturating_mul(1_000), exp.saturating_mul(1_000));
    if expires_ms <= issued_ms || expires_ms - issued_ms > key.token_life_max_ms() {
        return Err(bad("it lives for longer than its key allows, or for no time"));
    }
    let asked = match &claims.capability {
        Some(text) => Capability::parse(text).map_err(|error| bad(&error.message))?,
        None => key.rights.clone(),
    };
    Ok(Grant {
        key_name: key.name().to_owned(),
        rights: asked.within(&key.rights),
        client: Client::of(claims.client_id),
        life: Life::Token {
            issued_ms,
            expires_ms,
        },
        revocation_key: claims.revocation_key,
    })
}
