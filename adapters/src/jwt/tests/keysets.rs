//! Secrets and key sets, fit and unfit.

use application::testing::SeededEntropy;

use super::issuer::encoded;
use super::*;

#[test]
fn a_short_secret_is_refused_with_its_length() {
    assert_eq!(Secret::try_new("").unwrap_err(), SecretTooShort { bytes: 0 });
    let error = Secret::try_new(&"x".repeat(31)).unwrap_err();
    assert_eq!(error.to_string(), "the secret has 31 bytes, it takes at least 32");
    assert!(Secret::try_new(&"x".repeat(32)).is_ok());
}

#[test]
fn a_secret_shows_itself_to_nobody() {
    assert_eq!(format!("{:?}", Secret::try_new(SECRET).unwrap()), "Secret(…)");
}

#[tokio::test]
async fn drawn_secrets_differ() {
    let entropy = SeededEntropy::new(1);
    let (one, other) = (Secret::draw(&entropy), Secret::draw(&entropy));
    assert_ne!(
        one.decoding().try_get_as_bytes().unwrap(),
        other.decoding().try_get_as_bytes().unwrap()
    );
    assert_eq!(one.decoding().try_get_as_bytes().unwrap().len(), 43);
}

/// What is said of a set in which no key counts.
fn refusal(jwks: &[Value]) -> String {
    match keys_in_a_file(jwks) {
        Err(KeysError::Unfit { source, .. }) => source.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("taken: {jwks:?}"),
    }
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

#[test]
fn a_symmetric_key_in_a_set_is_refused() {
    let shared = Signer::shared(SECRET).jwk("k-1");
    assert_eq!(
        refusal(&[shared]),
        "it holds no usable key: key 1 (k-1): a symmetric key in a key set is no secret"
    );
}

#[tokio::test]
async fn a_symmetric_key_beside_a_public_one_signs_nothing() {
    let (shared, p256) = (Signer::shared(SECRET), Signer::p256());
    let verifier = Verifier::trusting(&[shared.jwk("k-1"), p256.jwk("k-2")]);
    let outcome = verifier.verify(&shared.token("k-1", &claims())).await;
    assert_eq!(outcome, Err(TokenError::AlgorithmNotAccepted));
    assert!(verifier.verify(&p256.token("k-2", &claims())).await.is_ok());
}

#[test]
fn keys_for_something_else_do_not_count() {
    let p256 = Signer::p256().jwk("k");
    let rsa = Signer::rsa().jwk("k");
    for (unfit, reason) in [
        (with(p256.clone(), "use", json!("enc")), "not for signatures"),
        (
            with(p256.clone(), "key_ops", json!(["sign"])),
            "not for verifying",
        ),
        (
            with(p256.clone(), "alg", json!("ES384")),
            "none of RS256, ES256, EdDSA",
        ),
        (with(p256.clone(), "alg", json!("RS256")), "not for such a key"),
        (with(p256.clone(), "alg", json!("HS256")), "not for such a key"),
        (
            with(rsa.clone(), "alg", json!("RS512")),
            "none of RS256, ES256, EdDSA",
        ),
        (
            with(rsa.clone(), "alg", json!("RSA-OAEP")),
            "none of RS256, ES256, EdDSA",
        ),
        (
            with(rsa.clone(), "kty", json!("RSA2")),
            "neither RSA, P-256 nor Ed25519",
        ),
        (Signer::p384().jwk("k"), "neither RSA, P-256 nor Ed25519"),
        (
            with(p256.clone(), "crv", json!("secp256k1")),
            "neither RSA, P-256 nor Ed25519",
        ),
        (with(p256.clone(), "kid", json!(7)), "no JWK"),
        (json!("k"), "no JWK"),
        (json!({}), "no JWK"),
    ] {
        let said = refusal(std::slice::from_ref(&unfit));
        assert!(said.contains(reason), "{unfit}: {said}");
    }
}

#[test]
fn malformed_and_weak_keys_do_not_count() {
    let (p256, ed25519, rsa) = (
        Signer::p256().jwk("k"),
        Signer::ed25519().jwk("k"),
        Signer::rsa().jwk("k"),
    );
    for (unfit, reason) in [
        (
            with(p256.clone(), "x", json!(encoded([1; 31]))),
            "no point of P-256",
        ),
        (
            with(p256.clone(), "y", json!(encoded([1; 32]))),
            "no point of P-256",
        ),
        (with(p256.clone(), "y", json!("not base64!")), "no point of P-256"),
        (with(p256.clone(), "y", Value::Null), "no point of P-256"),
        (
            with(ed25519.clone(), "x", json!(encoded([1; 33]))),
            "no key of Ed25519",
        ),
        (
            with(rsa.clone(), "n", json!(encoded([255; 128]))),
            "no RSA key of 2048 to 8192 bits",
        ),
        (
            with(rsa.clone(), "n", json!(encoded([255; 1025]))),
            "no RSA key of 2048 to 8192 bits",
        ),
        (
            with(rsa.clone(), "n", json!("")),
            "no RSA key of 2048 to 8192 bits",
        ),
        (
            with(rsa.clone(), "e", json!(encoded([0]))),
            "no RSA key of 2048 to 8192 bits",
        ),
    ] {
        let said = refusal(std::slice::from_ref(&unfit));
        assert!(said.contains(reason), "{unfit}: {said}");
    }
}

#[tokio::test]
async fn a_modulus_with_a_sign_byte_is_the_same_number() {
    let rsa = Signer::rsa();
    let Signer::Rsa(pair) = &rsa else {
        panic!("an RSA key");
    };
    let modulus = aws_lc_rs::signature::KeyPair::public_key(&**pair)
        .modulus()
        .big_endian_without_leading_zero()
        .to_vec();
    let signed = encoded([vec![0], modulus].concat());
    let verifier = Verifier::trusting(&[with(rsa.jwk("k"), "n", json!(signed))]);
    assert!(verifier.verify(&rsa.token("k", &claims())).await.is_ok());
}

#[tokio::test]
async fn a_token_without_key_id_is_taken_where_one_key_alone_can_be_meant() {
    let (one, other, third) = (Signer::p256(), Signer::p256(), Signer::ed25519());
    let without_kid = |signer: &Signer| signer.token_with(&json!({ "alg": signer.algorithm() }), &claims());
    let alone = Verifier::trusting(&[one.jwk("k-1"), third.jwk("k-3")]);
    assert!(alone.verify(&without_kid(&one)).await.is_ok());
    assert!(alone.verify(&without_kid(&third)).await.is_ok());
    let several = Verifier::trusting(&[one.jwk("k-1"), other.jwk("k-2")]);
    assert_eq!(
        several.verify(&without_kid(&one)).await,
        Err(TokenError::UnknownKey)
    );
}

#[tokio::test]
async fn a_key_without_id_is_not_meant_by_a_token_with_one() {
    let one = Signer::p256();
    let mut jwk = one.jwk("k-1");
    jwk.as_object_mut().unwrap().remove("kid");
    let verifier = Verifier::trusting(&[jwk]);
    assert_eq!(
        verifier.verify(&one.token("k-1", &claims())).await,
        Err(TokenError::UnknownKey)
    );
    assert!(
        verifier
            .verify(&one.token_with(&json!({ "alg": "ES256" }), &claims()))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn of_two_keys_with_one_id_the_first_counts_and_the_kinds_stay_apart() {
    let (one, other, third) = (Signer::p256(), Signer::p256(), Signer::ed25519());
    let verifier = Verifier::trusting(&[one.jwk("k"), other.jwk("k"), third.jwk("k")]);
    assert!(verifier.verify(&one.token("k", &claims())).await.is_ok());
    assert_eq!(
        verifier.verify(&other.token("k", &claims())).await,
        Err(TokenError::BadSignature)
    );
    assert!(verifier.verify(&third.token("k", &claims())).await.is_ok());
}

#[test]
fn a_file_that_holds_no_set_is_refused() {
    let many = json!({ "keys": vec![Signer::p256().jwk("k"); 101] }).to_string();
    let long = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(256 * 1_024));
    for text in [
        "",
        "{}",
        "[]",
        "{\"keys\":{}}",
        "[[]]",
        "{\"keys\":[]",
        &many,
        &long,
    ] {
        let outcome = keys_in_a_file_of(text.as_bytes());
        assert!(
            matches!(
                outcome,
                Err(KeysError::Unfit {
                    source: UnfitSet::NotASet,
                    ..
                })
            ),
            "{text:.40}"
        );
    }
    let missing = Keys::file(std::path::Path::new("/nonexistent/jwks.json"));
    assert!(matches!(missing, Err(KeysError::Unreadable { .. })));
}

#[test]
fn keys_come_from_https_or_from_this_machine() {
    let address = |url: &str| {
        let tasks = tokio_util::task::TaskTracker::new();
        Keys::address(url, Arc::new(SimClock::new()), tasks)
    };
    for taken in [
        "https://id.example/jwks",
        "https://id.example:8443/jwks?x=1",
        "http://127.0.0.1:8080/jwks",
        "http://127.8.0.1/jwks",
        "http://[::1]:8080/jwks",
        "http://localhost/jwks",
    ] {
        assert!(address(taken).is_ok(), "{taken}");
    }
    for refused in [
        "",
        "jwks.json",
        "/etc/jwks.json",
        "file:///etc/jwks.json",
        "http://id.example/jwks",
        "http://10.0.0.1/jwks",
        "http://localhost.id.example/jwks",
        "http://127.0.0.1.id.example/jwks",
        "https://user@id.example/jwks",
        "https://user:pass@id.example/jwks",
        "ftp://127.0.0.1/jwks",
        "https://",
    ] {
        assert!(
            matches!(address(refused), Err(KeysError::Address(AddressRefused))),
            "{refused}"
        );
    }
}
