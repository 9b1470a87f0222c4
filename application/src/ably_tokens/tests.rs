//! A token gives what the matrix gives, for as long as the session lasts, and not too often.

use std::sync::Mutex;

use domain::capability::{Matrix, Operation, Operations, Role, RoleGrants, Scope};
use domain::channel::Channel;

use super::*;
use crate::ports::MockAblySigner;
use crate::rights::Past;
use crate::testing::SimClock;

#[derive(Default)]
struct Seen(Mutex<Vec<Observation>>);

impl Observer for Seen {
    fn saw(&self, observation: &Observation) {
        self.0.lock().unwrap().push(*observation);
    }
}

struct Scene {
    clock: Arc<SimClock>,
    rights: Arc<Rights>,
    grants: Arc<Mutex<Vec<(AblyGrant, AblyFormat)>>>,
    seen: Arc<Seen>,
    tokens: AblyTokens,
}

fn scene(limit: Limit) -> Scene {
    let (clock, seen) = (Arc::new(SimClock::new()), Arc::new(Seen::default()));
    let rights = Arc::new(Rights::new(Matrix::default_roles()));
    let grants: Arc<Mutex<Vec<_>>> = Arc::default();
    let mut signer = MockAblySigner::new();
    let noted = Arc::clone(&grants);
    signer.expect_sign().returning(move |grant, format| {
        noted.lock().unwrap().push((grant.clone(), format));
        Ok(AblyToken::Jwt("a.b.c".to_owned()))
    });
    let tokens = AblyTokens::new(
        rights.clone(),
        Arc::new(signer),
        clock.clone(),
        seen.clone(),
        limit,
    );
    Scene {
        clock,
        rights,
        grants,
        seen,
        tokens,
    }
}

fn person(role: &str, lasting: Duration) -> Principal {
    let mut person = Principal::new("ana".parse().unwrap(), [Role::new(role)])
        .with_memberships(
            vec!["cras-1".parse().unwrap()],
            vec!["natalidade".parse().unwrap()],
        )
        .unwrap();
    person.expires_at = SimClock::START.plus(lasting);
    person
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_grant_is_what_the_persons_stream_would_carry() {
    let scene = scene(Limit::Enforced);
    scene
        .tokens
        .issue(&person("TECNICO", 3 * HOUR), AblyFormat::Request)
        .unwrap();
    let (grant, format) = scene.grants.lock().unwrap().pop().unwrap();
    let names: Vec<String> = grant
        .channels
        .iter()
        .map(|(channel, _)| channel.to_string())
        .collect();
    assert_eq!(
        names,
        [
            "private:user:ana:notifications",
            "system:notifications",
            "private:unit:cras-1:notifications",
            "private:benefit:natalidade:notifications",
        ]
    );
    assert!(grant.channels.iter().all(|(_, past)| *past == Past::Given));
    assert_eq!((grant.person.as_str(), format), ("ana", AblyFormat::Request));
    assert_eq!(
        *scene.seen.0.lock().unwrap(),
        [Observation::AblyTokenIssued("jwt")]
    );
}

#[test]
fn without_history_the_past_is_withheld() {
    let scene = scene(Limit::Enforced);
    let live_only = Operations::NONE.with(Operation::Subscribe);
    let grants = RoleGrants {
        channels: [(Scope::System, live_only)].into(),
        ..RoleGrants::default()
    };
    scene
        .rights
        .replace(Matrix::new([(Role::new("WATCHER"), grants)]));
    scene
        .tokens
        .issue(&person("WATCHER", HOUR), AblyFormat::Jwt)
        .unwrap();
    let (grant, _) = scene.grants.lock().unwrap().pop().unwrap();
    assert_eq!(grant.channels, [(Channel::System, Past::Withheld)]);
}

#[test]
fn a_token_ends_with_the_session_and_after_an_hour_at_most() {
    let scene = scene(Limit::Enforced);
    for (session, expected) in [
        (3 * HOUR, HOUR),
        (HOUR, HOUR),
        (Duration::from_secs(90), Duration::from_secs(90)),
        (Duration::from_secs(1), Duration::from_secs(1)),
    ] {
        scene
            .tokens
            .issue(&person("CIDADAO", session), AblyFormat::Jwt)
            .unwrap();
        let (grant, _) = scene.grants.lock().unwrap().pop().unwrap();
        assert_eq!(grant.issued_at, SimClock::START);
        assert_eq!(grant.expires_at.since(grant.issued_at), expected, "{session:?}");
    }
    let refused = scene
        .tokens
        .issue(&person("CIDADAO", Duration::from_millis(999)), AblyFormat::Jwt);
    assert_eq!(refused, Err(Error::SessionOver));
    assert_eq!(
        scene.seen.0.lock().unwrap().last(),
        Some(&Observation::AblyTokenRefused("expired"))
    );
}

#[test]
fn whoever_may_hear_nothing_gets_no_token() {
    let scene = scene(Limit::Enforced);
    for role in ["SERVICE", "UNKNOWN"] {
        let refused = scene.tokens.issue(&person(role, HOUR), AblyFormat::Jwt);
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{role}");
    }
    assert!(scene.grants.lock().unwrap().is_empty());
    assert_eq!(
        scene.seen.0.lock().unwrap().last(),
        Some(&Observation::AblyTokenRefused("forbidden"))
    );
}

#[test]
fn a_session_is_named_by_its_token_or_by_its_person() {
    let scene = scene(Limit::Off);
    for (token_id, expected) in [
        (Some("jti-1"), "session.jti-1"),
        (None, "user.ana"),
        (Some(""), "user.ana"),
        (Some("*"), "user.ana"),
        (Some("a:b"), "user.ana"),
        (Some("a\nb"), "user.ana"),
    ] {
        let mut person = person("CIDADAO", HOUR);
        person.token_id = token_id.map(str::to_owned);
        scene.tokens.issue(&person, AblyFormat::Jwt).unwrap();
        let (grant, _) = scene.grants.lock().unwrap().pop().unwrap();
        assert_eq!(grant.session, expected, "{token_id:?}");
    }
}

#[test]
fn a_client_that_loops_is_told_to_wait_and_nobody_else_is() {
    let scene = scene(Limit::Enforced);
    let ana = person("CIDADAO", HOUR);
    for _ in 0..PER_MINUTE {
        scene.tokens.issue(&ana, AblyFormat::Jwt).unwrap();
    }
    let limited = Error::Limited {
        limit: PER_MINUTE,
        retry_after: Duration::from_secs(6),
    };
    assert_eq!(scene.tokens.issue(&ana, AblyFormat::Request), Err(limited));
    assert_eq!(
        scene.seen.0.lock().unwrap().last(),
        Some(&Observation::AblyTokenRefused("limited"))
    );
    let bia = Principal {
        user: "bia".parse().unwrap(),
        ..person("CIDADAO", HOUR)
    };
    assert!(scene.tokens.issue(&bia, AblyFormat::Jwt).is_ok());
    scene.clock.advance(Duration::from_secs(6));
    assert!(scene.tokens.issue(&ana, AblyFormat::Jwt).is_ok());
}

#[test]
fn where_limits_are_off_nobody_waits() {
    let scene = scene(Limit::Off);
    let ana = person("CIDADAO", HOUR);
    for _ in 0..100 {
        scene.tokens.issue(&ana, AblyFormat::Jwt).unwrap();
    }
}

#[test]
fn a_signer_that_fails_is_reported_as_such() {
    let mut signer = MockAblySigner::new();
    signer
        .expect_sign()
        .returning(|_, _| Err(AblyTokenError::Unwritable));
    let tokens = AblyTokens::new(
        Arc::new(Rights::new(Matrix::default_roles())),
        Arc::new(signer),
        Arc::new(SimClock::new()),
        Arc::new(Seen::default()),
        Limit::Enforced,
    );
    let refused = tokens.issue(&person("CIDADAO", HOUR), AblyFormat::Jwt);
    assert!(matches!(refused, Err(Error::Unavailable { .. })));
}
