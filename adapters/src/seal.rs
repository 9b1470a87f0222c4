//! Seals for tickets and cookies.

use std::sync::Arc;

use application::ports::{Entropy, Seal, Settings, SettingsError};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The settings document that holds the key, in base64url without padding.
pub const KEY_DOCUMENT: &str = "seal-key";

/// Losing the race to write the key once is enough to find it written.
const ATTEMPTS: usize = 3;

/// A key for seals.
#[derive(Clone)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// Takes 32 bytes that nobody can guess.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn draw(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 32];
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&entropy.bits().to_ne_bytes());
        }
        Self(bytes)
    }

    fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SealKeyError {
    /// The settings did not answer, or other nodes kept writing.
    #[error("the key for seals cannot be loaded from the settings")]
    Settings(#[from] SettingsError),
    /// The document holds something else. It is not replaced: every ticket in use hangs on it.
    #[error("the settings document {KEY_DOCUMENT} is not a key of 32 bytes in base64url")]
    Malformed,
    /// The cryptographic library refused a key of the right length.
    #[error("the cryptographic library takes no key")]
    Refused,
}

/// Loads the cluster's key from the settings; the first node that asks makes it. Whoever loses the race takes the
/// winner's, so that all nodes agree.
pub async fn load_or_create_key(
    settings: &dyn Settings,
    entropy: &dyn Entropy,
) -> Result<SealKey, SealKeyError> {
    let mut lost = SettingsError::Unavailable;
    for _ in 0..ATTEMPTS {
        if let Some(document) = settings.get(KEY_DOCUMENT).await? {
            return SealKey::read(&document.text).ok_or(SealKeyError::Malformed);
        }
        let key = SealKey::draw(entropy);
        match settings.put(KEY_DOCUMENT, 0, key.write()).await {
            Ok(_) => return Ok(key),
            Err(conflict @ SettingsError::Conflict { .. }) => lost = conflict,
            Err(error) => return Err(error.into()),
        }
    }
    Err(lost.into())
}

/// Seals with AES-256-GCM-SIV (RFC 8452). Text form: base64url of nonce (12 bytes), ciphertext and tag (16 bytes).
///
/// The key lives as long as the cluster, and every node draws nonces of 96 bits on its own. Plain AES-GCM would
/// bound that key to 2³² seals (NIST SP 800-38D, 8.3), 50 days at 1,000 a second, and a repeated nonce would give
/// its authentication away. Here a repeated nonce shows no more than that two seals hold the same.
pub struct AeadSeal {
    key: LessSafeKey,
    entropy: Arc<dyn Entropy>,
}

impl AeadSeal {
    /// Prepares the key.
    pub fn new(key: &SealKey, entropy: Arc<dyn Entropy>) -> Result<Self, SealKeyError> {
        let key = UnboundKey::new(&AES_256_GCM_SIV, &key.0).map_err(|_| SealKeyError::Refused)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            entropy,
        })
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        for part in nonce.chunks_mut(8) {
            part.copy_from_slice(&self.entropy.bits().to_ne_bytes()[..part.len()]);
        }
        nonce
    }
}

impl Seal for AeadSeal {
    /// What cannot be sealed gives the empty text, which opens as nothing. The library refuses only texts of many
    /// gigabytes.
    fn seal(&self, purpose: &str, plain: &[u8]) -> String {
        let nonce = self.nonce();
        let mut sealed = plain.to_vec();
        let done = self.key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(purpose.as_bytes()),
            &mut sealed,
        );
        if done.is_err() {
            return String::new();
        }
        URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
    }

    fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut plain = ciphertext.to_vec();
        let length = self
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(purpose.as_bytes()),
                &mut plain,
            )
            .ok()?
            .len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use application::ports::MockSettings;
    use application::testing::SeededEntropy;
    use proptest::prelude::*;

    use super::*;
    use crate::memory::MemorySettings;

    fn seal(key: u8) -> AeadSeal {
        AeadSeal::new(&SealKey::new([key; 32]), Arc::new(SeededEntropy::new(7))).unwrap()
    }

    #[test]
    fn a_seal_opens_for_its_purpose_alone() {
        let seal = seal(1);
        let sealed = seal.seal("ticket", b"u-1");
        assert_eq!(seal.open("ticket", &sealed).as_deref(), Some(&b"u-1"[..]));
        assert_eq!(seal.open("cookie", &sealed), None);
        assert_eq!(seal.open("", &sealed), None);
    }

    #[test]
    fn another_key_opens_nothing() {
        let sealed = seal(1).seal("ticket", b"u-1");
        assert_eq!(seal(2).open("ticket", &sealed), None);
    }

    #[test]
    fn the_same_text_never_looks_the_same_twice() {
        let seal = seal(1);
        assert_ne!(seal.seal("ticket", b"u-1"), seal.seal("ticket", b"u-1"));
    }

    #[test]
    fn a_seal_is_twelve_and_sixteen_bytes_longer_than_its_text() {
        let sealed = seal(1).seal("ticket", &[0; 32]);
        assert_eq!(URL_SAFE_NO_PAD.decode(sealed).unwrap().len(), 12 + 32 + 16);
    }

    #[test]
    fn malformed_seals_open_as_nothing() {
        let seal = seal(1);
        let good = seal.seal("ticket", b"u-1");
        let padded = format!("{good}=");
        for bad in [
            "",
            "A",
            "AAAA",
            "####",
            &good[1..],
            &good[..good.len() - 1],
            &padded,
            &good.repeat(2),
            "ação",
        ] {
            assert_eq!(seal.open("ticket", bad), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn nodes_that_start_together_agree_on_one_key() {
        let settings = MemorySettings::default();
        let first = load_or_create_key(&settings, &SeededEntropy::new(1))
            .await
            .unwrap();
        let second = load_or_create_key(&settings, &SeededEntropy::new(2))
            .await
            .unwrap();
        assert_eq!(first.0, second.0);
    }

    #[tokio::test]
    async fn whoever_loses_the_race_takes_the_winners_key() {
        let winner = SealKey::new([9; 32]);
        let text = winner.write();
        let mut settings = MockSettings::new();
        let mut reads = 0;
        settings.expect_get().times(2).returning(move |_| {
            reads += 1;
            let written = application::ports::Document {
                version: 1,
                text: text.clone(),
            };
            Ok((reads > 1).then_some(written))
        });
        settings
            .expect_put()
            .times(1)
            .returning(|_, _, _| Err(SettingsError::Conflict { current: 1 }));
        let key = load_or_create_key(&settings, &SeededEntropy::new(1))
            .await
            .unwrap();
        assert_eq!(key.0, winner.0);
    }

    #[tokio::test]
    async fn a_document_that_is_no_key_is_reported_and_kept() {
        let settings = MemorySettings::default();
        for (expected, bad) in ["", "c2hvcnQ", "not base64!"].into_iter().enumerate() {
            let expected = u64::try_from(expected).unwrap();
            settings.put(KEY_DOCUMENT, expected, bad.into()).await.unwrap();
            let outcome = load_or_create_key(&settings, &SeededEntropy::new(1)).await;
            assert!(matches!(outcome, Err(SealKeyError::Malformed)), "{bad:?}");
            assert_eq!(settings.get(KEY_DOCUMENT).await.unwrap().unwrap().text, bad);
        }
    }

    #[tokio::test]
    async fn settings_that_are_away_give_no_key() {
        let mut settings = MockSettings::new();
        settings
            .expect_get()
            .returning(|_| Err(SettingsError::Unavailable));
        let outcome = load_or_create_key(&settings, &SeededEntropy::new(1)).await;
        assert!(matches!(
            outcome,
            Err(SealKeyError::Settings(SettingsError::Unavailable))
        ));
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_opens_again(purpose in ".{0,20}", plain: Vec<u8>) {
            let seal = seal(1);
            let sealed = seal.seal(&purpose, &plain);
            prop_assert!(sealed.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
            prop_assert_eq!(seal.open(&purpose, &sealed), Some(plain));
        }

        #[test]
        fn a_seal_with_one_bit_turned_opens_as_nothing(plain: Vec<u8>, at: prop::sample::Index, bit in 0_u8..8) {
            let seal = seal(1);
            let mut bytes = URL_SAFE_NO_PAD.decode(seal.seal("ticket", &plain)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(seal.open("ticket", &URL_SAFE_NO_PAD.encode(bytes)), None);
        }

        #[test]
        fn nothing_else_opens(text in "[A-Za-z0-9_-]{0,120}") {
            prop_assert_eq!(seal(1).open("ticket", &text), None);
        }
    }
}
