//! Tokens of our own making.

use application::ports::Mint;
use application::testing::SeededEntropy;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::capability::Role;

use super::*;

fn expected() -> Expected {
    Expected {
        issuer: Some("https://id.example".into()),
        audience: Some("arauto".into()),
    }
}

fn minting() -> (JwtMint, Verifier) {
    let secret = Secret::try_new(SECRET).unwrap();
    let verifier = Verifier::new(Keys::secret(&secret), expected());
    let mint = JwtMint::new(
        &secret,
        expected(),
        verifier.clock.clone(),
        Arc::new(SeededEntropy::new(1)),
    );
    (mint, verifier)
}

fn person() -> Principal {
    let mut person = Principal::new("u-42".parse().unwrap(), [Role::new("TECNICO")])
        .with_memberships(
            vec!["cras-1".parse().unwrap()],
            vec!["natalidade".parse().unwrap()],
        )
        .unwrap();
    person.profile = Some("premium".into());
    person.token_id = Some("ignored".into());
    person
}

fn read(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_minted_token_describes_the_person_it_was_made_for() {
    let (mint, verifier) = minting();
    let token = mint.mint(&person(), after(600)).unwrap();
    let described = verifier.verify(&token).await.unwrap();
    assert_eq!(described.expires_at, SimClock::START.plus(after(600)));
    let known = Principal {
        token_id: described.token_id.clone(),
        issued_at: Some(SimClock::START),
        expires_at: described.expires_at,
        ..person()
    };
    assert_eq!(described, known);
}

#[tokio::test]
async fn a_minted_token_says_what_is_expected_of_it() {
    let (mint, _) = minting();
    let claims = read(&mint.mint(&person(), after(600)).unwrap());
    for (claim, value) in [
        ("iss", json!("https://id.example")),
        ("aud", json!("arauto")),
        ("iat", json!(start())),
        ("exp", json!(start() + 600)),
    ] {
        assert_eq!(claims[claim], value, "{claim}");
    }
}

#[tokio::test]
async fn no_two_minted_tokens_have_one_id() {
    let (mint, _) = minting();
    let id = || read(&mint.mint(&person(), after(600)).unwrap())["jti"].clone();
    let (one, other) = (id(), id());
    assert_ne!(one, other);
    assert_eq!(one.as_str().map(str::len), Some(32));
}

#[tokio::test]
async fn a_minted_token_ends_when_its_time_is_over() {
    let (mint, verifier) = minting();
    let token = mint.mint(&person(), after(600)).unwrap();
    verifier.clock.advance(after(630));
    assert_eq!(verifier.verify(&token).await, Err(TokenError::Expired));
}

#[tokio::test]
async fn another_secret_mints_nothing() {
    let (_, verifier) = minting();
    let other = Secret::try_new(&SECRET.to_uppercase()).unwrap();
    let mint = JwtMint::new(
        &other,
        expected(),
        verifier.clock.clone(),
        Arc::new(SeededEntropy::new(1)),
    );
    let token = mint.mint(&person(), after(600)).unwrap();
    assert_eq!(verifier.verify(&token).await, Err(TokenError::BadSignature));
}
