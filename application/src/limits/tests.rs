use domain::capability::Role;
use domain::limit::Allowance;

use super::*;
use crate::ports::MockLimiter;
use crate::testing::Unobserved;

fn person(roles: &[&str]) -> Principal {
    Principal::new("u-1".parse().unwrap(), roles.iter().map(|role| Role::new(role)))
}

fn asking<'a>(client: &str, person: Option<&'a Principal>) -> Asking<'a> {
    Asking {
        client: client.parse().ok(),
        person,
        action: Action::Stream,
    }
}

fn standing(budget: usize, remaining: u32) -> Standing {
    Standing {
        budget,
        limit: 25,
        remaining,
        reset: Duration::from_secs(7),
    }
}

fn limits(limiter: MockLimiter) -> Limits {
    Limits::new(Some(Arc::new(limiter)), Arc::new(Unobserved))
}

fn budget(key: &str, limit: u32, burst: u32) -> Budget {
    Budget {
        key: key.to_owned(),
        allowance: Allowance::try_new(limit, burst).unwrap(),
    }
}

#[tokio::test]
async fn address_and_person_are_asked_for_in_one_call() {
    let mut limiter = MockLimiter::new();
    let both = [
        budget("address:stream:203.0.113.9", 1_000, 1_000),
        budget("stream:u-1", 10, 15),
    ];
    limiter
        .expect_take()
        .withf(move |asked| asked == both)
        .once()
        .returning(|_| Ok(Verdict::Taken(standing(1, 24))));
    let left = limits(limiter)
        .admit(asking("203.0.113.9", Some(&person(&["CIDADAO"]))))
        .await;
    let expected = Left {
        of: Of::Person,
        limit: 25,
        remaining: 24,
        reset: Duration::from_secs(7),
    };
    assert_eq!(left, Ok(Some(expected)));
}

#[tokio::test]
async fn whoever_is_unknown_has_their_addresss_smaller_budget() {
    let mut limiter = MockLimiter::new();
    let unknown = [budget("unknown:203.0.113.9", 60, 0)];
    limiter
        .expect_take()
        .withf(move |asked| asked == unknown)
        .once()
        .returning(|_| Ok(Verdict::Refused(standing(0, 0))));
    let refused = limits(limiter)
        .admit(asking("203.0.113.9", None))
        .await
        .unwrap_err();
    assert_eq!((refused.0.of, refused.0.remaining), (Of::Address, 0));
    assert!(
        refused.to_string().contains("your address at most 25 a minute"),
        "{refused}"
    );
}

#[tokio::test]
async fn this_machine_is_not_limited_and_whoever_cannot_be_told_is() {
    let person = person(&[]);
    for exempt in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
        let admitted = limits(MockLimiter::new())
            .admit(asking(exempt, Some(&person)))
            .await;
        assert_eq!(admitted, Ok(None), "{exempt}");
    }
    for (client, key) in [
        ("", "address:stream:unknown"),
        ("128.0.0.1", "address:stream:128.0.0.1"),
        ("::2", "address:stream:::"),
        ("::ffff:203.0.113.9", "address:stream:203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "address:stream:2001:db8:1:2::"),
    ] {
        let mut limiter = MockLimiter::new();
        limiter
            .expect_take()
            .withf(move |asked| asked[0].key == key)
            .once()
            .returning(|_| Ok(Verdict::Taken(standing(0, 1))));
        assert!(limits(limiter).admit(asking(client, Some(&person))).await.is_ok());
    }
}

#[tokio::test]
async fn other_rules_are_in_force_at_once() {
    let mut limiter = MockLimiter::new();
    limiter
        .expect_take()
        .once()
        .returning(|_| Ok(Verdict::Taken(standing(0, 1))));
    let limits = limits(limiter);
    let person = person(&[]);
    limits.replace(Rules {
        table: Table::built_in(),
        exempt: vec!["203.0.113.0/24".parse().unwrap()],
    });
    assert_eq!(
        limits.admit(asking("203.0.113.200", Some(&person))).await,
        Ok(None)
    );
    assert!(
        limits
            .admit(asking("127.0.0.1", Some(&person)))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn a_limiter_that_cannot_say_and_one_that_is_off_let_everybody_pass() {
    let mut limiter = MockLimiter::new();
    limiter.expect_take().returning(|_| Err(LimiterUnavailable));
    let asking = asking("203.0.113.9", None);
    assert_eq!(limits(limiter).admit(asking).await, Ok(None));
    let off = Limits::new(None, Arc::new(Unobserved));
    assert_eq!(off.admit(asking).await, Ok(None));
    assert_eq!(off.reach(), None);
}

#[test]
fn reach_is_the_limiters() {
    let mut limiter = MockLimiter::new();
    limiter.expect_reach().return_const(Reach::Whole);
    assert_eq!(limits(limiter).reach(), Some(Reach::Whole));
}
