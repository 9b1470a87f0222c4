use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::capability::{Principal, Role};
use domain::cursor::Epoch;
use domain::outbox::Outcome;
use domain::retry::RetryPolicy;
use domain::revocation::{Revocation, RevocationId, Revocations, Target};
use domain::rollout::Why;
use domain::time::Timestamp;

use super::*;
use crate::ports::{
    AblyRevoker, AblyTarget, MockBus, MockStore, MockTokens, Observation, Observer, RevocationsFormat,
    SettingsError, TokenError, Tokens, UnreadableRevocations, Written,
};
use crate::settings::{ChangeSettings, REVOCATIONS};
use crate::testing::{Drawer, SeededEntropy, SimClock, Unobserved};

/// Revocations whose text is the place where they stand.
#[derive(Default)]
struct Ledger(Mutex<Vec<Revocations>>);

impl RevocationsFormat for Ledger {
    fn read(&self, text: &str) -> Result<Revocations, UnreadableRevocations> {
        let place: Option<usize> = text.parse().ok();
        let found = place.and_then(|place| self.0.lock().unwrap().get(place).cloned());
        found.ok_or_else(|| UnreadableRevocations {
            what: "no place".to_owned(),
        })
    }

    fn write(&self, revocations: &Revocations) -> String {
        let mut all = self.0.lock().unwrap();
        all.push(revocations.clone());
        (all.len() - 1).to_string()
    }
}

struct Desk {
    drawer: Arc<Drawer>,
    in_force: Arc<RevocationsInForce>,
    follow: FollowRevocations,
    revoke: RevokeTokens,
    outside: Arc<Mutex<Vec<RevocationId>>>,
}

fn desk() -> Desk {
    let (clock, drawer) = (Arc::new(SimClock::new()), Arc::new(Drawer::default()));
    let format: Arc<dyn RevocationsFormat> = Arc::new(Ledger::default());
    let in_force = Arc::new(RevocationsInForce::new(clock.clone()));
    let outside = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&outside);
    let (mut store, mut bus) = (MockStore::new(), MockBus::new());
    store.expect_control().returning(|_| {
        Ok(Written {
            value: (),
            epoch: Epoch(1),
            events: Vec::new(),
        })
    });
    bus.expect_announce().returning(|_| ());
    Desk {
        follow: FollowRevocations::new(drawer.clone(), Arc::clone(&format), Arc::clone(&in_force)),
        revoke: RevokeTokens {
            change: ChangeSettings {
                settings: drawer.clone(),
                store: Arc::new(store),
                bus: Arc::new(bus),
            },
            format,
            in_force: Arc::clone(&in_force),
            clock,
            entropy: Arc::new(SeededEntropy::new(3)),
            observer: Arc::new(Unobserved),
            kept: Duration::from_secs(3_600),
            outside: Some(Box::new(move |revocation| {
                told.lock().unwrap().push(revocation.id);
            })),
        },
        drawer,
        in_force,
        outside,
    }
}

fn wish(target: Target) -> Wish {
    Wish {
        target,
        why: Why::try_new("lost phone").unwrap(),
        ends_at: None,
    }
}

fn subject(user: &str) -> Target {
    Target::Subject(user.parse().unwrap())
}

fn person(user: &str) -> Principal {
    Principal::new(user.parse().unwrap(), [Role::new("CIDADAO")])
}

#[tokio::test]
async fn what_is_taken_back_is_refused_until_it_is_lifted_and_others_are_told_once() {
    let mut desk = desk();
    let new = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&new);
    desk.follow.tell(Box::new(move |revocations| {
        *counted.lock().unwrap() += revocations.len();
    }));
    let admin = "admin".parse().unwrap();
    let revoked = desk.revoke.revoke(&admin, wish(subject("ana"))).await.unwrap();
    assert!(!desk.in_force.hit(&person("ana")), "not before this node looked");
    desk.follow.look().await.unwrap();
    desk.follow.look().await.unwrap();
    assert!(desk.in_force.hit(&person("ana")));
    assert!(!desk.in_force.hit(&person("bia")));
    desk.revoke.revoke(&admin, wish(subject("bia"))).await.unwrap();
    desk.follow.look().await.unwrap();
    assert_eq!(*new.lock().unwrap(), 2, "each once");
    assert_eq!(desk.outside.lock().unwrap().len(), 2);

    desk.revoke.lift(revoked.id).await.unwrap();
    desk.follow.look().await.unwrap();
    assert!(!desk.in_force.hit(&person("ana")));
    assert!(desk.in_force.hit(&person("bia")));
    assert_eq!(desk.revoke.lift(revoked.id).await, Err(RevokeError::Unknown));
}

#[tokio::test]
async fn of_two_who_take_back_at_once_neither_is_lost() {
    let mut desk = desk();
    let admin = "admin".parse().unwrap();
    desk.revoke.revoke(&admin, wish(subject("ana"))).await.unwrap();
    desk.drawer.let_others_write_first(3);
    desk.revoke.revoke(&admin, wish(subject("bia"))).await.unwrap();
    desk.follow.look().await.unwrap();
    assert!(desk.in_force.hit(&person("ana")) && desk.in_force.hit(&person("bia")));
    desk.drawer.let_others_write_first(10);
    let lost = desk.revoke.revoke(&admin, wish(subject("eva"))).await;
    assert_eq!(lost, Err(RevokeError::Contended));
}

#[tokio::test]
async fn what_cannot_be_read_leaves_the_last_ones_in_force_and_is_never_written_over() {
    let mut desk = desk();
    let admin = "admin".parse().unwrap();
    desk.revoke.revoke(&admin, wish(subject("ana"))).await.unwrap();
    desk.follow.look().await.unwrap();
    desk.drawer.stuff(REVOCATIONS, "another version's");
    assert!(matches!(
        desk.follow.look().await,
        Err(FollowError::Unreadable(_))
    ));
    assert!(desk.in_force.hit(&person("ana")));
    let refused = desk.revoke.revoke(&admin, wish(subject("bia"))).await;
    assert!(matches!(refused, Err(RevokeError::Unreadable(_))), "{refused:?}");
    desk.drawer.lock();
    assert_eq!(
        desk.follow.look().await,
        Err(FollowError::Settings(SettingsError::Unavailable))
    );
    assert!(desk.in_force.hit(&person("ana")));
}

#[tokio::test]
async fn moments_that_make_no_sense_are_refused_and_a_fast_clock_means_now() {
    let desk = desk();
    let (admin, now) = ("admin".parse().unwrap(), SimClock::START);
    let issued = |before| Target::IssuedBefore {
        subject: Some("ana".parse().unwrap()),
        before,
    };
    let ahead = wish(issued(now.plus(Duration::from_secs(31))));
    assert_eq!(desk.revoke.revoke(&admin, ahead).await, Err(RevokeError::Ahead));
    let fast = wish(issued(now.plus(Duration::from_secs(30))));
    let revoked = desk.revoke.revoke(&admin, fast).await.unwrap();
    assert_eq!(revoked.target, issued(now));
    let over = Wish {
        ends_at: Some(now),
        ..wish(subject("ana"))
    };
    assert_eq!(desk.revoke.revoke(&admin, over).await, Err(RevokeError::Over));
    assert_eq!(revoked.ends_at, now.plus(Duration::from_secs(3_600)));
}

#[tokio::test]
async fn a_token_that_was_taken_back_is_refused_whatever_its_signature() {
    let in_force = Arc::new(RevocationsInForce::new(Arc::new(SimClock::new())));
    let mut tokens = MockTokens::new();
    tokens.expect_verify().returning(|token| Ok(person(token)));
    let tokens = Unrevoked {
        tokens: Arc::new(tokens),
        revocations: Arc::clone(&in_force),
    };
    assert!(tokens.verify("ana").await.is_ok());
    let revocation = Revocation {
        id: RevocationId(1),
        target: subject("ana"),
        by: "admin".parse().unwrap(),
        why: Why::try_new("x").unwrap(),
        at: SimClock::START,
        ends_at: Timestamp::MAX,
    };
    in_force.replace(1, Revocations::new(vec![revocation]));
    assert_eq!(tokens.verify("ana").await, Err(TokenError::Revoked));
    assert!(tokens.verify("bia").await.is_ok());
}

/// Ably with a script.
struct Script {
    answers: Mutex<Vec<Outcome>>,
    asked: Mutex<Vec<(AblyTarget, Timestamp)>>,
    seen: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl AblyRevoker for Script {
    async fn revoke(&self, targets: &[AblyTarget], issued_before: Timestamp) -> Vec<Outcome> {
        self.asked
            .lock()
            .unwrap()
            .push((targets[0].clone(), issued_before));
        let mut answers = self.answers.lock().unwrap();
        vec![if answers.is_empty() {
            Outcome::Accepted
        } else {
            answers.remove(0)
        }]
    }
}

impl Observer for Script {
    fn saw(&self, observation: &Observation) {
        if let Observation::AblyRevoked(outcome) = observation {
            self.seen.lock().unwrap().push(outcome);
        }
    }
}

async fn told(target: Target, answers: Vec<Outcome>) -> Arc<Script> {
    let script = Arc::new(Script {
        answers: Mutex::new(answers),
        asked: Mutex::default(),
        seen: Mutex::default(),
    });
    let at_ably = RevokeAtAbly {
        revoker: script.clone(),
        clock: Arc::new(SimClock::new()),
        entropy: Arc::new(SeededEntropy::new(1)),
        observer: script.clone(),
        policy: RetryPolicy::ABLY,
    };
    at_ably
        .run(Revocation {
            id: RevocationId(1),
            target,
            by: "admin".parse().unwrap(),
            why: Why::try_new("x").unwrap(),
            at: SimClock::START,
            ends_at: Timestamp::MAX,
        })
        .await;
    script
}

#[tokio::test(start_paused = true)]
async fn ably_is_told_at_once_and_again_when_every_node_refuses() {
    let script = told(subject("ana"), Vec::new()).await;
    let ana = AblyTarget::Client("ana".parse().unwrap());
    let settled = SimClock::START.plus(Duration::from_secs(2));
    let asked = script.asked.lock().unwrap().clone();
    assert_eq!(asked, [(ana.clone(), SimClock::START), (ana, settled)]);
    assert_eq!(*script.seen.lock().unwrap(), ["accepted", "accepted"]);
}

#[tokio::test(start_paused = true)]
async fn ably_is_asked_again_while_it_is_away_and_not_when_it_refuses() {
    let away = Outcome::Transient {
        retry_after: Duration::ZERO,
    };
    let script = told(subject("ana"), vec![away, away, Outcome::Accepted]).await;
    assert_eq!(*script.seen.lock().unwrap(), ["accepted", "accepted"]);
    assert_eq!(script.asked.lock().unwrap().len(), 4);
    let script = told(subject("ana"), vec![away; 4]).await;
    assert_eq!(*script.seen.lock().unwrap(), ["given-up", "accepted"]);
    let script = told(subject("ana"), vec![Outcome::Refused { code: 40_163 }]).await;
    assert_eq!(*script.seen.lock().unwrap(), ["refused", "accepted"]);
}

#[tokio::test(start_paused = true)]
async fn one_token_is_named_by_its_session_and_everybody_has_no_name_at_ably() {
    let script = told(Target::Token("t-1".parse().unwrap()), Vec::new()).await;
    let session = AblyTarget::Session("session.t-1".to_owned());
    assert_eq!(script.asked.lock().unwrap()[0].0, session);
    let before = SimClock::START;
    for nameless in [
        Target::IssuedBefore {
            subject: None,
            before,
        },
        Target::Token("not a word".parse().unwrap()),
    ] {
        let script = told(nameless, Vec::new()).await;
        assert_eq!(*script.seen.lock().unwrap(), ["no-target"]);
        assert!(script.asked.lock().unwrap().is_empty());
    }
}
