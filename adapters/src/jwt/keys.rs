//! Keys, and which algorithm each is for.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use application::ports::{Clock, TokenError};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio_util::task::TaskTracker;

use super::Secret;
use super::compact::read_object;
use super::remote::{AddressRefused, RemoteKeys};

/// The largest sets in use hold a dozen keys, 20 KiB.
pub(super) const SET_MAX_BYTES: usize = 256 * 1024;
const SET_MAX_KEYS: usize = 100;

/// AWS-LC verifies with RSA keys of these sizes.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// Where the keys of an issuer come from.
pub struct Keys(Source);

enum Source {
    Secret(Arc<DecodingKey>),
    Fixed(KeySet),
    Remote(Arc<RemoteKeys>),
}

/// Why there are no keys to begin with.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("the key set {} cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else, or no key that counts.
    #[error("the key set {} does not count", path.display())]
    Unfit {
        /// Which.
        path: PathBuf,
        /// Why.
        source: UnfitSet,
    },
    /// The address is none that keys may come from.
    #[error(transparent)]
    Address(#[from] AddressRefused),
    /// No TLS client can be made on this system.
    #[error("no HTTPS client can be made")]
    Client(#[source] reqwest::Error),
}

impl Keys {
    /// Takes HS256, HS384 and HS512 tokens made with this secret.
    pub fn secret(secret: &Secret) -> Self {
        Self(Source::Secret(Arc::new(secret.decoding())))
    }

    /// Takes tokens of the keys in this JWKS file (RFC 7517), read once.
    pub fn file(path: &Path) -> Result<Self, KeysError> {
        let unreadable = |source| KeysError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut text = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        let bound = u64::try_from(SET_MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        file.take(bound).read_to_end(&mut text).map_err(unreadable)?;
        let set = KeySet::parse(&text).map_err(|source| KeysError::Unfit {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self(Source::Fixed(set)))
    }

    /// Takes tokens of the keys that this address serves as JWKS: https, or http on this machine. They are fetched
    /// when first needed, by a task of `tasks`.
    pub fn address(url: &str, clock: Arc<dyn Clock>, tasks: TaskTracker) -> Result<Self, KeysError> {
        Ok(Self(Source::Remote(Arc::new(RemoteKeys::new(
            url, clock, tasks,
        )?))))
    }

    /// Finds the key that a token must have been signed with. The algorithm must be the one the key is for.
    pub(super) async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<DecodingKey>, TokenError> {
        let symmetric = algorithm.family() == AlgorithmFamily::Hmac;
        match &self.0 {
            Source::Secret(key) if symmetric => Ok(Arc::clone(key)),
            Source::Fixed(set) if !symmetric => set.find(kid, algorithm),
            Source::Remote(remote) if !symmetric => remote.find(kid, algorithm).await,
            _ => Err(TokenError::AlgorithmNotAccepted),
        }
    }
}

/// The public keys of one issuer.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<PublicKey>);

#[derive(Debug)]
struct PublicKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: Arc<DecodingKey>,
}

/// Why a key set does not count.
#[derive(Debug, thiserror::Error)]
pub enum UnfitSet {
    /// It is too long, or no JSON object with an array `keys`.
    #[error("it is not a JWKS of at most 256 KiB and 100 keys")]
    NotASet,
    /// It holds no key that counts.
    #[error("it holds no usable key: {}", refused.join("; "))]
    Empty {
        /// Each key with why it does not count.
        refused: Vec<String>,
    },
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

/// What counts in a key. A private part is skipped unread.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set. Keys for other purposes and algorithms do not count, and are named in the log.
    pub(super) fn parse(json: &[u8]) -> Result<Self, UnfitSet> {
        let jwks = (json.len() <= SET_MAX_BYTES)
            .then(|| read_object::<Jwks>(json))
            .flatten();
        let jwks = jwks
            .filter(|jwks| jwks.keys.len() <= SET_MAX_KEYS)
            .ok_or(UnfitSet::NotASet)?;
        let mut set = Self::default();
        let mut refused = Vec::new();
        for (index, key) in jwks.keys.into_iter().enumerate() {
            let name = key.get("kid").and_then(Value::as_str).unwrap_or("without kid");
            let name = format!("key {} ({name})", index + 1);
            match PublicKey::read(key) {
                Ok(key) if set.holds(&key) => refused.push(format!("{name}: its kid stands twice")),
                Ok(key) => set.0.push(key),
                Err(reason) => refused.push(format!("{name}: {reason}")),
            }
        }
        if set.0.is_empty() {
            return Err(UnfitSet::Empty { refused });
        }
        if !refused.is_empty() {
            tracing::warn!(?refused, "keys of the key set do not count");
        }
        Ok(set)
    }

    fn holds(&self, key: &PublicKey) -> bool {
        let same = |held: &PublicKey| held.kid == key.kid && held.algorithm == key.algorithm;
        key.kid.is_some() && self.0.iter().any(same)
    }

    /// Finds the key of this id for this algorithm. A token without `kid` is taken where only one key can be meant.
    pub(super) fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<DecodingKey>, TokenError> {
        let meant = |key: &&PublicKey| kid.is_none() || key.kid.as_deref() == kid;
        let mut fitting = self
            .0
            .iter()
            .filter(meant)
            .filter(|key| key.algorithm == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(Arc::clone(&key.key)),
            (None, _) if self.0.iter().any(|key| meant(&key)) => Err(TokenError::AlgorithmNotAccepted),
            _ => Err(TokenError::UnknownKey),
        }
    }
}

impl PublicKey {
    fn read(key: Value) -> Result<Self, &'static str> {
        let jwk: Jwk = serde_json::from_value(key).map_err(|_| "it is no JWK")?;
        if jwk.r#use.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("it is not for signatures");
        }
        if jwk
            .key_ops
            .as_ref()
            .is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
        {
            return Err("it is not for verifying");
        }
        let (algorithm, key) = match (&*jwk.kty, jwk.crv.as_deref()) {
            ("RSA", _) => (Algorithm::RS256, jwk.rsa()?),
            ("EC", Some("P-256")) => (Algorithm::ES256, jwk.p256()?),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, jwk.ed25519()?),
            ("oct", _) => return Err("a symmetric key in a key set is no secret"),
            _ => return Err("it is neither RSA, P-256 nor Ed25519"),
        };
        let named = jwk.alg.as_deref();
        if named.is_some_and(|name| super::compact::accepted(name) != Some(algorithm)) {
            return Err("its algorithm is none of RS256, ES256, EdDSA, or not for such a key");
        }
        Ok(Self {
            kid: jwk.kid,
            algorithm,
            key: Arc::new(key),
        })
    }
}

impl Jwk {
    fn rsa(&self) -> Result<DecodingKey, &'static str> {
        const MALFORMED: &str = "it is no RSA key of 2048 to 8192 bits";
        // Some issuers write the sign byte of DER, which is none of the number (RFC 7518, 6.3.1.1).
        let number = |text: &Option<String>| {
            let bytes = decoded(text.as_ref())?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            Some(bytes[zeros..].to_vec())
        };
        let (n, e) = number(&self.n).zip(number(&self.e)).ok_or(MALFORMED)?;
        let first = n.first().ok_or(MALFORMED)?;
        let bits = n.len() * 8 - first.leading_zeros() as usize;
        let whole = RsaPublicKeyComponents { n: &n, e: &e }.as_der().is_ok();
        let fits = whole && RSA_BITS.contains(&bits);
        fits.then(|| DecodingKey::from_rsa_raw_components(&n, &e))
            .ok_or(MALFORMED)
    }

    fn p256(&self) -> Result<DecodingKey, &'static str> {
        let coordinates = decoded(self.x.as_ref()).zip(decoded(self.y.as_ref()));
        coordinates
            .filter(|(x, y)| x.len() == 32 && y.len() == 32)
            .map(|(x, y)| [&[4], &*x, &*y].concat())
            .filter(|point| on_curve(&ECDSA_P256_SHA256_FIXED, point))
            .map(|point| DecodingKey::from_ec_der(&point))
            .ok_or("it is no point of P-256")
    }

    fn ed25519(&self) -> Result<DecodingKey, &'static str> {
        decoded(self.x.as_ref())
            .filter(|x| x.len() == 32 && on_curve(&ED25519, x))
            .map(|x| DecodingKey::from_ed_der(&x))
            .ok_or("it is no key of Ed25519")
    }
}

fn decoded(text: Option<&String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

fn on_curve(algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> bool {
    ParsedPublicKey::new(algorithm, key).is_ok()
}
