//! Tokens that nobody issued.

use proptest::prelude::*;

use super::issuer::encoded;
use super::*;

#[tokio::test]
async fn each_kind_of_key_verifies_its_own_tokens() {
    for signer in [Signer::rsa(), Signer::p256(), Signer::ed25519()] {
        let verifier = Verifier::trusting(&[signer.jwk("k-1")]);
        let outcome = verifier.verify(&signer.token("k-1", &claims())).await;
        assert!(outcome.is_ok(), "{}: {outcome:?}", signer.algorithm());
    }
    let shared = Signer::shared(SECRET);
    for algorithm in ["HS256", "HS384", "HS512"] {
        let token = shared.token_with(&json!({ "alg": algorithm }), &claims());
        let outcome = Verifier::sharing(SECRET).verify(&token).await;
        assert!(outcome.is_ok(), "{algorithm}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_foreign_key_signs_nothing() {
    for (own, foreign) in [
        (Signer::rsa(), Signer::rsa()),
        (Signer::p256(), Signer::p256()),
        (Signer::ed25519(), Signer::ed25519()),
    ] {
        let verifier = Verifier::trusting(&[own.jwk("k-1")]);
        let outcome = verifier.verify(&foreign.token("k-1", &claims())).await;
        assert_eq!(outcome, Err(TokenError::BadSignature), "{}", own.algorithm());
    }
    let foreign = Signer::shared("another secret of thirty-two bytes or more");
    let outcome = Verifier::sharing(SECRET)
        .verify(&foreign.token("", &claims()))
        .await;
    assert_eq!(outcome, Err(TokenError::BadSignature));
}

#[tokio::test]
async fn none_is_no_algorithm() {
    let jwk = Signer::p256().jwk("k-1");
    for name in ["none", "None", "NONE", "nOnE", "", "null", " none"] {
        let message = format!(
            "{}.{}",
            encoded(json!({ "alg": name, "kid": "k-1" }).to_string()),
            encoded(claims().to_string())
        );
        for token in [format!("{message}."), format!("{message}.{}", encoded("x"))] {
            for verifier in [
                Verifier::sharing(SECRET),
                Verifier::trusting(std::slice::from_ref(&jwk)),
            ] {
                let outcome = verifier.verify(&token).await;
                assert_eq!(outcome, Err(TokenError::AlgorithmNotAccepted), "{name:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_secret() {
    let rsa = Signer::rsa();
    let verifier = Verifier::trusting(&[rsa.jwk("k-1")]);
    for form in rsa.public_forms() {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let token =
                Signer::shared(&form).token_with(&json!({ "alg": algorithm, "kid": "k-1" }), &claims());
            assert_eq!(
                verifier.verify(&token).await,
                Err(TokenError::AlgorithmNotAccepted)
            );
        }
    }
}

#[tokio::test]
async fn a_key_takes_no_other_algorithm_than_its_own() {
    let (rsa, p256, ed25519) = (Signer::rsa(), Signer::p256(), Signer::ed25519());
    let jwks = [rsa.jwk("rsa"), p256.jwk("p256"), ed25519.jwk("ed25519")];
    let verifier = Verifier::trusting(&jwks);
    for (kid, signer) in [("rsa", &rsa), ("p256", &p256), ("ed25519", &ed25519)] {
        for algorithm in [
            "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES256K", "EdDSA", "HS256", "rs256",
        ] {
            if algorithm == signer.algorithm() {
                continue;
            }
            let token = signer.token_with(&json!({ "alg": algorithm, "kid": kid }), &claims());
            let outcome = verifier.verify(&token).await;
            assert_eq!(
                outcome,
                Err(TokenError::AlgorithmNotAccepted),
                "{algorithm} with {kid}"
            );
        }
    }
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let token = Signer::shared(SECRET).token_with(&json!({ "alg": algorithm }), &claims());
        let outcome = Verifier::sharing(SECRET).verify(&token).await;
        assert_eq!(
            outcome,
            Err(TokenError::AlgorithmNotAccepted),
            "{algorithm} with a secret"
        );
    }
}

#[tokio::test]
async fn keys_and_addresses_in_a_token_are_not_looked_at() {
    let (own, attacker) = (Signer::p256(), Signer::p256());
    let verifier = Verifier::trusting(&[own.jwk("k-1")]);
    for (name, value) in [
        ("jwk", attacker.jwk("k-1")),
        ("jku", json!("http://127.0.0.1:9/jwks")),
        ("x5u", json!("http://127.0.0.1:9/chain")),
        ("x5c", json!(["AAAA"])),
        ("jwk", json!(7)),
    ] {
        let mut header = json!({ "alg": "ES256", "kid": "k-1" });
        header[name] = value;
        let forged = attacker.token_with(&header, &claims());
        assert_eq!(
            verifier.verify(&forged).await,
            Err(TokenError::BadSignature),
            "{name}"
        );
        let honest = own.token_with(&header, &claims());
        assert!(verifier.verify(&honest).await.is_ok(), "{name}");
        header["kid"] = json!("k-2");
        let forged = attacker.token_with(&header, &claims());
        assert_eq!(
            verifier.verify(&forged).await,
            Err(TokenError::UnknownKey),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_key_id_of_another_issuer_does_not_meet_ours() {
    let (ours, theirs) = (Signer::p256(), Signer::p256());
    let expecting = |signer: &Signer, issuer: &str| {
        let expected = Expected {
            issuer: Some(issuer.into()),
            audience: None,
        };
        Verifier::new(keys_in_a_file(&[signer.jwk("2026-01")]).unwrap(), expected)
    };
    let (our_service, their_service) = (expecting(&ours, "us"), expecting(&theirs, "them"));
    let issued =
        |signer: &Signer, issuer: &str| signer.token("2026-01", &claims_with(&json!({ "iss": issuer })));
    assert!(our_service.verify(&issued(&ours, "us")).await.is_ok());
    assert!(their_service.verify(&issued(&theirs, "them")).await.is_ok());
    for (service, token, refused) in [
        (&our_service, issued(&theirs, "them"), TokenError::BadSignature),
        (&our_service, issued(&theirs, "us"), TokenError::BadSignature),
        (&our_service, issued(&ours, "them"), TokenError::WrongIssuer),
        (&their_service, issued(&ours, "them"), TokenError::BadSignature),
    ] {
        assert_eq!(service.verify(&token).await, Err(refused));
    }
}

#[tokio::test]
async fn what_is_no_token_is_malformed() {
    let good = Signer::shared(SECRET).token("", &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("three parts");
    };
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "a.b.c".into(),
        "Bearer x".into(),
        format!("{header}.{payload}"),
        format!("{good}.{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{}.{payload}.{signature}", encoded("[\"HS256\",null,null]")),
        format!("{}.{payload}.{signature}", encoded("{\"alg\":1}")),
        format!("{}.{payload}.{signature}", encoded("{}")),
        format!(
            "{}.{payload}.{signature}",
            encoded("{\"alg\":\"HS256\",\"alg\":\"HS256\"}")
        ),
        format!(
            "{}.{payload}.{signature}",
            encoded("{\"alg\":\"HS256\",\"kid\":1}")
        ),
        format!(" {good}"),
    ] {
        let outcome = Verifier::sharing(SECRET).verify(&bad).await;
        assert!(
            matches!(outcome, Err(TokenError::Malformed(_))),
            "{bad}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_header_that_demands_an_extension_is_refused() {
    for crit in [json!(["exp"]), json!([]), json!(["b64"])] {
        let header = json!({ "alg": "HS256", "crit": crit, "b64": false });
        let token = Signer::shared(SECRET).token_with(&header, &claims());
        let outcome = Verifier::sharing(SECRET).verify(&token).await;
        let refused = Err(TokenError::Malformed("its header demands an extension"));
        assert_eq!(outcome, refused, "{crit}");
    }
}

#[tokio::test]
async fn a_token_is_read_up_to_sixteen_kibibytes() {
    let padded = |bytes: usize| {
        let header = r#"{"alg":"HS256"}"#;
        let claims = |padding: usize| format!(r#"{{"sub":"u-1","exp":1e300,"x":"{}"}}"#, "x".repeat(padding));
        let unpadded = Signer::shared(SECRET).token_of(header, &claims(0)).len();
        (0..8)
            .map(|more| Signer::shared(SECRET).token_of(header, &claims((bytes - unpadded) * 3 / 4 + more)))
            .find(|token| token.len() >= bytes)
            .unwrap()
    };
    let fits = padded(16 * 1_024 - 1);
    assert!(fits.len() <= 16 * 1_024);
    assert!(Verifier::sharing(SECRET).verify(&fits).await.is_ok());
    let outcome = Verifier::sharing(SECRET).verify(&padded(16 * 1_024 + 1)).await;
    assert_eq!(outcome, Err(TokenError::Malformed("it is longer than 16 KiB")));
}

#[tokio::test]
async fn the_signature_is_looked_at_before_the_claims() {
    let foreign = Signer::shared("another secret of thirty-two bytes or more");
    for changes in [
        json!({ "exp": 1 }),
        json!({ "sub": "a:b" }),
        json!({ "roles": 7 }),
    ] {
        let token = foreign.token("", &claims_with(&changes));
        let outcome = Verifier::sharing(SECRET).verify(&token).await;
        assert_eq!(outcome, Err(TokenError::BadSignature), "{changes}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_token_with_one_character_changed_counts_for_nobody(at: prop::sample::Index, with in "[A-Za-z0-9_.-]") {
        let token = Signer::shared(SECRET).token("", &claims());
        let mut forged = token.clone();
        let at = at.index(forged.len());
        forged.replace_range(at..=at, &with);
        prop_assume!(forged != token);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert!(runtime.block_on(Verifier::sharing(SECRET).verify(&forged)).is_err());
    }

    #[test]
    fn no_text_makes_it_panic(token in "(\\PC{0,40}|[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40})") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert!(runtime.block_on(Verifier::sharing(SECRET).verify(&token)).is_err());
    }
}
