//! Request ids: what a person who asks for help can quote.

use application::ports::Entropy;
use poem::http::HeaderMap;

const CHARS_MAX: usize = 64;

/// Takes the id that a proxy or client gave if it is 1 to 64 of `A-Z a-z 0-9 _ -`, and draws one otherwise.
pub(super) fn of(headers: &HeaderMap, entropy: &dyn Entropy) -> String {
    headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| acceptable(id))
        .map_or_else(|| format!("{:016x}", entropy.bits()), ToOwned::to_owned)
}

/// Ids go into headers, logs and JSON: nothing in them may end a line or a text.
fn acceptable(id: &str) -> bool {
    (1..=CHARS_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use application::testing::SeededEntropy;

    use super::*;

    fn id(given: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", given.parse().unwrap());
        of(&headers, &SeededEntropy::new(1))
    }

    #[test]
    fn a_good_id_is_kept_and_any_other_replaced() {
        assert_eq!(id("Req_1-a"), "Req_1-a");
        assert_eq!(id(&"a".repeat(64)), "a".repeat(64));
        let drawn = of(&HeaderMap::new(), &SeededEntropy::new(1));
        assert_eq!(drawn.len(), 16);
        for bad in ["", "a b", "a\"b", "a/b", &"a".repeat(65)] {
            assert_eq!(id(bad), drawn, "{bad}");
        }
    }
}
