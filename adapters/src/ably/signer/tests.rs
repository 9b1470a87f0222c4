//! What is signed, what is given out again, and for how long.

use std::sync::Mutex;
use std::time::Duration;

use application::rights::Past;
use application::testing::{SeededEntropy, SimClock};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::channel::Channel;
use domain::ids::UserId;
use domain::revocation::{RevocationId, Target};
use domain::rollout::Why;
use domain::time::Timestamp;
use serde_json::{Value, json};

use super::super::cache::TOKENS_MAX;
use super::*;

#[derive(Default)]
struct Seen(Mutex<Vec<Observation>>);

impl Observer for Seen {
    fn saw(&self, observation: &Observation) {
        self.0.lock().unwrap().push(*observation);
    }
}

fn signer() -> (TokenSigner, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let key = Key::parse("app.key:secret").unwrap();
    let signer = TokenSigner::new(key, None, Arc::new(SeededEntropy::new(1)), seen.clone());
    (signer, seen)
}

fn after(seconds: u64) -> Timestamp {
    SimClock::START.plus(Duration::from_secs(seconds))
}

fn grant(user: &str, from: u64, to: u64) -> AblyGrant {
    let person: UserId = user.parse().unwrap();
    AblyGrant {
        channels: vec![
            (Channel::User(person.clone()), Past::Given),
            (Channel::System, Past::Withheld),
        ],
        person,
        session: "session.1".to_owned(),
        issued_at: after(from),
        expires_at: after(to),
    }
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn jwt(signer: &TokenSigner, grant: &AblyGrant) -> AblyToken {
    signer.sign(grant, AblyFormat::Jwt).unwrap()
}

#[test]
fn a_jwt_says_who_may_hear_what_and_until_when() {
    let (signer, _) = signer();
    let mut grant = grant("ana", 0, 600);
    grant.issued_at = grant.issued_at.plus(Duration::from_millis(999));
    grant.expires_at = grant.expires_at.plus(Duration::from_millis(999));
    let AblyToken::Jwt(token) = jwt(&signer, &grant) else {
        panic!("no JWT")
    };
    assert_eq!(
        part(&token, 0),
        json!({ "typ": "JWT", "alg": "HS256", "kid": "app.key" })
    );
    let iat = SimClock::START.as_millis() / 1_000;
    let capability = "{\"private:user:ana:notifications\":[\"history\",\"subscribe\"],\
                      \"system:notifications\":[\"subscribe\"]}";
    assert_eq!(
        part(&token, 1),
        json!({
            "iat": iat,
            "exp": iat + 600,
            "x-ably-capability": capability,
            "x-ably-clientId": "ana",
            "x-ably-revocation-key": "session.1",
        })
    );
}

#[test]
fn a_jwt_is_given_out_again_for_four_fifths_of_its_life() {
    let (signer, _) = signer();
    let AblyToken::Jwt(first) = jwt(&signer, &grant("ana", 0, 3_600)) else {
        panic!("no JWT")
    };
    let again = jwt(&signer, &grant("ana", 2_879, 6_479));
    assert_eq!(again, AblyToken::CachedJwt(first.clone()));
    let AblyToken::Jwt(second) = jwt(&signer, &grant("ana", 2_880, 6_480)) else {
        panic!("not signed anew")
    };
    assert_ne!(first, second);
}

#[test]
fn other_rights_another_session_a_shorter_one_and_a_clock_set_back_get_a_token_of_their_own() {
    type Change = fn(&mut AblyGrant);
    let changes: [(&str, Change); 6] = [
        ("a channel less", |grant| drop(grant.channels.pop())),
        ("no history", |grant| grant.channels[0].1 = Past::Withheld),
        ("another person", |grant| grant.person = "bia".parse().unwrap()),
        ("another session", |grant| grant.session = "session.2".to_owned()),
        ("a shorter session", |grant| grant.expires_at = after(3_659)),
        ("a clock set back", |grant| grant.issued_at = after(59)),
    ];
    for (what, change) in changes {
        let (signer, _) = signer();
        jwt(&signer, &grant("ana", 60, 3_660));
        let mut other = grant("ana", 61, 3_661);
        change(&mut other);
        assert!(matches!(jwt(&signer, &other), AblyToken::Jwt(_)), "{what}");
    }
}

#[test]
fn a_full_cache_is_reported_and_tokens_are_signed_all_the_same() {
    let (signer, seen) = signer();
    for n in 0..TOKENS_MAX {
        jwt(&signer, &grant(&format!("u-{n}"), 0, 3_600));
    }
    assert!(seen.0.lock().unwrap().is_empty());
    for _ in 0..2 {
        assert!(matches!(
            jwt(&signer, &grant("late", 1, 3_601)),
            AblyToken::Jwt(_)
        ));
    }
    assert_eq!(*seen.0.lock().unwrap(), [Observation::Full("ably_tokens"); 2]);
    assert_eq!(signer.cache.len(), TOKENS_MAX);
    jwt(&signer, &grant("late", 2_880, 6_480));
    assert_eq!(signer.cache.len(), 1, "what is no longer fresh makes room");
}

#[test]
fn a_request_is_signed_anew_each_time() {
    let (signer, _) = signer();
    let AblyToken::Request(first) = signer.sign(&grant("ana", 0, 60), AblyFormat::Request).unwrap() else {
        panic!("no request")
    };
    let AblyToken::Request(second) = signer.sign(&grant("ana", 0, 60), AblyFormat::Request).unwrap() else {
        panic!("no request")
    };
    assert_ne!((&first.nonce, &first.mac), (&second.nonce, &second.mac));
    assert!(first.nonce.len() == 32 && first.nonce.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(first.ttl, Duration::from_secs(60));
    assert_eq!(
        (first.key_name.as_str(), first.client_id.as_str()),
        ("app.key", "ana")
    );
}

#[test]
fn rights_that_make_a_jwt_too_long_for_clients_are_put_into_a_request() {
    let (signer, _) = signer();
    let mut grant = grant("ana", 0, 600);
    let unit = |n: usize| Channel::Unit(format!("{n:064}").parse().unwrap());
    grant.channels.extend((0..100).map(|n| (unit(n), Past::Given)));
    assert!(matches!(jwt(&signer, &grant), AblyToken::Request(_)));
    assert_eq!(signer.cache.len(), 0);
    grant.channels.truncate(20);
    let AblyToken::Jwt(token) = jwt(&signer, &grant) else {
        panic!("no JWT")
    };
    assert!(token.len() <= JWT_MAX_BYTES);
}

#[test]
fn a_grant_without_channels_is_refused() {
    let (signer, _) = signer();
    let mut grant = grant("ana", 0, 600);
    grant.channels.clear();
    for format in [AblyFormat::Jwt, AblyFormat::Request] {
        assert_eq!(signer.sign(&grant, format), Err(AblyTokenError::NoChannel));
    }
}

fn revocation(target: Target, at_ms: u64) -> Revocation {
    Revocation {
        id: RevocationId(1),
        target,
        by: "admin".parse().unwrap(),
        why: Why::try_new("a test").unwrap(),
        at: SimClock::START.plus(Duration::from_millis(at_ms)),
        ends_at: Timestamp::MAX,
    }
}

#[test]
fn what_was_taken_back_is_not_given_out_again_and_nothing_is_kept_until_it_settles() {
    let (signer, _) = signer();
    let cached = |grant: &AblyGrant| matches!(jwt(&signer, grant), AblyToken::CachedJwt(_));
    let in_session = |session: &str| AblyGrant {
        session: session.to_owned(),
        ..grant("bia", 0, 3_600)
    };
    for kept in [
        grant("ana", 0, 3_600),
        in_session("session.1"),
        in_session("session.2"),
    ] {
        assert!(!cached(&kept) && cached(&kept));
    }
    signer.forget(&revocation(Target::Subject("ana".parse().unwrap()), 10_500));
    assert!(cached(&in_session("session.1")), "others keep theirs");
    // Settled at 12.5 s: Ably takes a token of second 12 for one that was issued before.
    for second in [10, 11, 12] {
        let fresh = grant("ana", second, 3_600);
        assert!(!cached(&fresh) && !cached(&fresh), "second {second}");
    }
    let later = grant("ana", 13, 3_600);
    assert!(!cached(&later) && cached(&later));
    signer.forget(&revocation(Target::Token("1".parse().unwrap()), 20_000));
    assert!(cached(&in_session("session.2")) && !cached(&in_session("session.1")));
    let before = after(20);
    signer.forget(&revocation(
        Target::IssuedBefore {
            subject: None,
            before,
        },
        20_000,
    ));
    assert!(!cached(&in_session("session.2")));
}
