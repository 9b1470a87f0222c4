//! API keys of Ably.

use std::fmt;

/// An API key: `appId.keyId:secret`.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    name: String,
    secret: String,
}

/// A text that is no API key. It is not repeated here: it may be one with a slip in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an API key of Ably is APP.KEY:SECRET, without blanks, and with neither dots nor colons in the secret"
)]
pub struct InvalidKey;

impl Key {
    /// Reads a key by the rule of Ably's own clients (ably-js: `^([^:\s]+):([^:.\s]+)$`), with both parts of the
    /// name there.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let (name, secret) = text.split_once(':').ok_or(InvalidKey)?;
        let (app, id) = name.split_once('.').ok_or(InvalidKey)?;
        let unfit = |part: &str| part.is_empty() || part.contains(char::is_whitespace);
        if unfit(app) || unfit(id) || unfit(secret) || secret.contains([':', '.']) {
            return Err(InvalidKey);
        }
        Ok(Self {
            name: name.to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// Returns the part in front of the secret. It is no secret: every token names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the secret, for signing.
    pub(super) fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}:…)", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_name_of_two_parts_and_a_secret() {
        let key = Key::parse("app.key:s3cr-et_").unwrap();
        assert_eq!((key.name(), key.secret()), ("app.key", &b"s3cr-et_"[..]));
        for text in [
            "",
            "app.key",
            "appkey:secret",
            ".key:secret",
            "app.:secret",
            "app.key:",
            "app.key:se:cret",
            "app.key:se.cret",
            "app.key:se cret",
            "app.key:secret\n",
            "a pp.key:secret",
        ] {
            assert_eq!(Key::parse(text), Err(InvalidKey), "{text:?}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let key = Key::parse("app.key:hunter2").unwrap();
        assert_eq!(format!("{key:?}"), "Key(app.key:…)");
    }
}
