//! Tokens that were shown before.

use super::super::known::{KNOWN_MAX, KNOWN_MAX_BYTES};
use super::*;

fn known(verifier: &Verifier) -> usize {
    verifier.tokens.known.len()
}

#[tokio::test]
async fn whoever_comes_again_is_who_they_were() {
    let verifier = Verifier::sharing(SECRET);
    let signer = Signer::shared(SECRET);
    let tokens = ["u-1", "u-2"].map(|sub| signer.token("", &claims_with(&json!({ "sub": sub }))));
    let mut first = Vec::new();
    for token in &tokens {
        first.push(verifier.verify(token).await.unwrap());
    }
    assert_eq!(known(&verifier), 2);
    assert_ne!(first[0].user, first[1].user);
    for (token, person) in tokens.iter().zip(first) {
        assert_eq!(verifier.verify(token).await, Ok(person));
    }
    assert_eq!(known(&verifier), 2);
}

#[tokio::test]
async fn one_character_makes_another_token() {
    let verifier = Verifier::sharing(SECRET);
    let token = Signer::shared(SECRET).token("", &claims());
    assert!(verifier.verify(&token).await.is_ok());
    // The last character of a signature holds bits that say nothing: they must be zero.
    for at in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert!(verifier.verify(&forged).await.is_err(), "{at}");
    }
    assert_eq!(known(&verifier), 1, "what was refused takes no place");
}

#[tokio::test]
async fn what_is_over_or_long_is_not_kept() {
    let verifier = Verifier::sharing(SECRET);
    let signer = Signer::shared(SECRET);
    let token = signer.token("", &claims());
    assert!(verifier.verify(&token).await.is_ok());
    verifier.clock.advance(after(2 * 3_600));
    assert_eq!(verifier.verify(&token).await, Err(TokenError::Expired));
    assert_eq!(known(&verifier), 0);
    let claims = claims_with(&json!({ "exp": start() + 10 * 3_600, "jti": "x".repeat(KNOWN_MAX_BYTES) }));
    assert!(verifier.verify(&signer.token("", &claims)).await.is_ok());
    assert_eq!(known(&verifier), 0);
}

#[tokio::test]
async fn no_more_are_known_than_there_is_room_for() {
    let verifier = Verifier::sharing(SECRET);
    let signer = Signer::shared(SECRET);
    let token = |n: usize| signer.token("", &claims_with(&json!({ "sub": format!("u-{n}") })));
    for n in 0..KNOWN_MAX.get() + 10 {
        assert!(verifier.verify(&token(n)).await.is_ok());
    }
    assert_eq!(known(&verifier), KNOWN_MAX.get());
    assert_eq!(verifier.verify(&token(0)).await.unwrap().user.as_str(), "u-0");
}
