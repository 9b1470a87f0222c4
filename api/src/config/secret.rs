//! Values that are never shown.

use std::fmt;

use application::ports::Entropy;

/// A value that no log line, error or listing ever shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value into custody.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Makes up 256 bits, written as 64 hexadecimal digits, for a process that may forget them.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let [a, b, c, d] = std::array::from_fn(|_| entropy.bits());
        Self(format!("{a:016x}{b:016x}{c:016x}{d:016x}"))
    }

    /// Hands the value to the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use application::testing::SeededEntropy;

    use super::*;

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(***)");
    }

    #[test]
    fn a_generated_secret_is_long_enough_and_its_own() {
        let entropy = SeededEntropy::new(7);
        let (first, second) = (Secret::generate(&entropy), Secret::generate(&entropy));
        assert_eq!(first.expose().len(), 64);
        assert_ne!(first, second);
    }
}
