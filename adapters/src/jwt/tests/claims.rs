//! What verified claims must look like.

use domain::capability::Role;
use domain::time::Timestamp;

use super::*;

async fn refusal(changes: &Value) -> Result<(), TokenError> {
    let token = Signer::shared(SECRET).token("", &claims_with(changes));
    Verifier::sharing(SECRET).verify(&token).await.map(drop)
}

#[tokio::test]
async fn a_token_says_all_there_is_to_know_about_a_person() {
    let token = Signer::shared(SECRET).token(
        "",
        &json!({
            "iss": "https://id.example", "aud": "arauto", "sub": "u-42",
            "exp": start() + 60, "nbf": start(), "iat": start(), "jti": "t-1",
            "roles": ["Tecnico", "offline_access"], "units": ["cras-1", "cras-2", "cras-1"],
            "benefits": ["aluguel-social"], "profile": "premium", "email": "x@example.com",
        }),
    );
    let person = Verifier::sharing(SECRET).verify(&token).await.unwrap();
    let expected = Principal {
        profile: Some("premium".into()),
        token_id: Some("t-1".into()),
        issued_at: Some(Timestamp::from_millis(start() * 1_000)),
        expires_at: Timestamp::from_millis((start() + 60) * 1_000),
        ..Principal::new(
            "u-42".parse().unwrap(),
            [Role::new("TECNICO"), Role::new("OFFLINE_ACCESS")],
        )
    };
    let units = vec!["cras-1".parse().unwrap(), "cras-2".parse().unwrap()];
    let benefits = vec!["aluguel-social".parse().unwrap()];
    assert_eq!(person, expected.with_memberships(units, benefits).unwrap());
}

#[tokio::test]
async fn what_is_absent_is_empty() {
    let token = Signer::shared(SECRET).token("", &json!({ "sub": "u-1", "exp": start() + 60 }));
    let person = Verifier::sharing(SECRET).verify(&token).await.unwrap();
    assert!(person.roles.is_empty() && person.units.is_empty() && person.benefits.is_empty());
    assert_eq!((person.profile, person.token_id), (None, None));
}

#[tokio::test]
async fn a_claim_of_the_wrong_shape_is_named() {
    for (claim, wrong) in [
        ("exp", json!("1767225600")),
        ("exp", json!([1])),
        ("exp", json!({})),
        ("nbf", json!("soon")),
        ("iat", json!(true)),
        ("roles", json!("ADMIN")),
        ("roles", json!(["ADMIN", 1])),
        ("roles", json!({ "ADMIN": true })),
        ("units", json!("cras-1")),
        ("units", json!([["cras-1"]])),
        ("units", json!(["cras:1"])),
        ("units", json!(["*"])),
        ("units", json!([""])),
        ("benefits", json!(["x".repeat(65)])),
        ("benefits", json!([7])),
        ("profile", json!(1)),
        ("jti", json!(["a"])),
    ] {
        let outcome = refusal(&json!({ claim: wrong })).await;
        let Err(TokenError::Malformed(what)) = outcome else {
            panic!("{claim} {wrong}: {outcome:?}");
        };
        assert!(what.contains(&format!("`{claim}`")), "{claim} {wrong}: {what}");
    }
}

#[tokio::test]
async fn null_is_a_wrong_shape_and_not_an_absence() {
    for claim in [
        "exp", "nbf", "iat", "jti", "roles", "units", "benefits", "profile",
    ] {
        let mut claims = claims();
        claims[claim] = Value::Null;
        let token = Signer::shared(SECRET).token("", &claims);
        let outcome = Verifier::sharing(SECRET).verify(&token).await;
        assert!(
            matches!(outcome, Err(TokenError::Malformed(_))),
            "{claim}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_token_without_expiry_never_counts() {
    let outcome = refusal(&json!({ "exp": null })).await;
    assert_eq!(outcome, Err(TokenError::Malformed("`exp` is missing")));
}

#[tokio::test]
async fn a_subject_that_cannot_stand_in_a_channel_is_refused_by_its_own_name() {
    for subject in [
        json!(null),
        json!(""),
        json!("a:b"),
        json!("*"),
        json!("a b"),
        json!("é"),
        json!("x".repeat(65)),
        json!(42),
        json!(["u-1"]),
    ] {
        let outcome = refusal(&json!({ "sub": subject })).await;
        assert_eq!(outcome, Err(TokenError::SubjectNotAddressable), "{subject}");
    }
}

#[tokio::test]
async fn memberships_are_counted_together_and_bounded() {
    let ids = |count: usize| (0..count).map(|n| json!(format!("id-{n}"))).collect::<Vec<_>>();
    let memberships = |units, benefits| json!({ "units": ids(units), "benefits": ids(benefits) });
    assert_eq!(refusal(&memberships(60, 40)).await, Ok(()));
    assert_eq!(
        refusal(&memberships(60, 41)).await,
        Err(TokenError::TooManyMemberships)
    );
    assert_eq!(
        refusal(&memberships(0, 101)).await,
        Err(TokenError::TooManyMemberships)
    );
}

#[tokio::test]
async fn roles_are_bounded() {
    let roles = |count: usize| json!({ "roles": vec!["X"; count] });
    assert_eq!(refusal(&roles(50)).await, Ok(()));
    let outcome = refusal(&roles(51)).await;
    assert_eq!(outcome, Err(TokenError::Malformed("`roles` names more than 50")));
}

#[tokio::test]
async fn a_token_counts_until_half_a_minute_after_its_expiry() {
    let verifier = Verifier::sharing(SECRET);
    let token = Signer::shared(SECRET).token("", &claims_with(&json!({ "exp": start() + 60 })));
    verifier.clock.advance(Duration::from_millis(89_999));
    let person = verifier.verify(&token).await.unwrap();
    assert_eq!(
        person.expires_at,
        SimClock::START.plus(after(60)),
        "the leeway is not given away"
    );
    verifier.clock.advance(Duration::from_millis(1));
    assert_eq!(verifier.verify(&token).await, Err(TokenError::Expired));
}

#[tokio::test]
async fn a_token_counts_from_half_a_minute_before_its_time() {
    for claim in ["nbf", "iat"] {
        let verifier = Verifier::sharing(SECRET);
        let token = Signer::shared(SECRET).token("", &claims_with(&json!({ claim: start() + 31 })));
        verifier.clock.advance(Duration::from_millis(999));
        assert_eq!(
            verifier.verify(&token).await,
            Err(TokenError::NotYetValid),
            "{claim}"
        );
        verifier.clock.advance(Duration::from_millis(1));
        assert!(verifier.verify(&token).await.is_ok(), "{claim}");
    }
}

#[tokio::test]
async fn moments_may_have_fractions_and_be_absurd() {
    let outcomes = [
        ("1767225660.5", Ok(())),
        ("1.76722566e9", Ok(())),
        ("1e300", Ok(())),
        ("99999999999999999999999", Ok(())),
        ("-1", Err(TokenError::Expired)),
        ("-1e300", Err(TokenError::Expired)),
        ("0", Err(TokenError::Expired)),
    ];
    for (exp, expected) in outcomes {
        let token =
            Signer::shared(SECRET).token_of(r#"{"alg":"HS256"}"#, &format!(r#"{{"sub":"u-1","exp":{exp}}}"#));
        let outcome = Verifier::sharing(SECRET).verify(&token).await.map(drop);
        assert_eq!(outcome, expected, "{exp}");
    }
}

#[tokio::test]
async fn issuer_and_audience_are_checked_where_they_are_expected() {
    let expected = Expected {
        issuer: Some("https://id.example".into()),
        audience: Some("arauto".into()),
    };
    let verifier = Verifier::new(Keys::secret(&Secret::try_new(SECRET).unwrap()), expected);
    let good = json!({ "iss": "https://id.example", "aud": "arauto" });
    let (wrong_issuer, wrong_audience) = (Err(TokenError::WrongIssuer), Err(TokenError::WrongAudience));
    for (claim, value, outcome) in [
        ("aud", json!("arauto"), Ok(())),
        ("aud", json!(["other", "arauto"]), Ok(())),
        ("iss", json!(null), wrong_issuer.clone()),
        ("iss", json!("https://id.example/"), wrong_issuer.clone()),
        ("iss", json!(["https://id.example"]), wrong_issuer),
        ("aud", json!(null), wrong_audience.clone()),
        ("aud", json!("Arauto"), wrong_audience.clone()),
        ("aud", json!([]), wrong_audience.clone()),
        ("aud", json!(["other", 7]), wrong_audience.clone()),
        ("aud", json!([["arauto"]]), wrong_audience.clone()),
        ("aud", json!({ "arauto": true }), wrong_audience),
    ] {
        let mut changes = good.clone();
        changes[claim] = value.clone();
        let token = Signer::shared(SECRET).token("", &claims_with(&changes));
        assert_eq!(
            verifier.verify(&token).await.map(drop),
            outcome,
            "{claim} {value}"
        );
    }
}

#[tokio::test]
async fn claims_that_are_no_plain_object_are_malformed() {
    for claims in [
        "",
        "null",
        "[]",
        "\"u-1\"",
        "{\"sub\":\"u-1\"",
        "[\"u-1\",1e300]",
        "{\"sub\":\"u-1\",\"exp\":1e300,\"sub\":\"u-2\"}",
        "{\"sub\":\"u-1\",\"exp\":1e300} x",
        "{\"sub\":\"u-1\",\"exp\":NaN}",
    ] {
        let token = Signer::shared(SECRET).token_of(r#"{"alg":"HS256"}"#, claims);
        let outcome = Verifier::sharing(SECRET).verify(&token).await;
        assert!(
            matches!(outcome, Err(TokenError::Malformed(_))),
            "{claims}: {outcome:?}"
        );
    }
}
