use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_millis(1_000_000);
const TERM: Duration = Duration::from_secs(30);
const POLICY: RetryPolicy = RetryPolicy::ABLY;

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn leased() -> (Delivery, Lease) {
    Delivery::pending(START).lease(START, TERM).unwrap()
}

fn after(delivery: Delivery, lease: Lease, outcome: Outcome, now: Timestamp) -> Next {
    delivery.after(lease, &outcome, &POLICY, now, Jitter::NONE)
}

fn status(next: Next) -> Option<Status> {
    match next {
        Next::Ended(delivery) | Next::Again(delivery) => Some(delivery.status),
        Next::Stale => None,
    }
}

fn held(seconds: u64) -> Outcome {
    Outcome::Held {
        retry_after: Duration::from_secs(seconds),
        by: Reason::BreakerOpen,
    }
}

const TRANSIENT: Outcome = Outcome::Transient {
    retry_after: Duration::ZERO,
};

#[test]
fn each_outcome_of_a_first_attempt_has_its_next_state() {
    let ten = Duration::from_secs(10);
    let table = [
        (Outcome::Accepted, Status::Done),
        (TRANSIENT, Status::RetryAt(at(1))),
        (Outcome::Transient { retry_after: ten }, Status::RetryAt(at(11))),
        (Outcome::Lost, Status::RetryAt(at(1))),
        (Outcome::Renew, Status::RetryAt(at(1))),
        (
            Outcome::Refused { code: 40_160 },
            Status::Dead(DeadReason::Refused { code: 40_160 }),
        ),
        (held(60), Status::RetryAt(at(61))),
        (held(100), Status::Suppressed(Reason::BreakerOpen)),
        (
            Outcome::Transient {
                retry_after: Duration::from_secs(100),
            },
            Status::Dead(DeadReason::GivenUp(GiveUp::Deadline)),
        ),
    ];
    for (outcome, expected) in table {
        let (delivery, lease) = leased();
        assert_eq!(
            status(after(delivery, lease, outcome, at(1))),
            Some(expected),
            "{outcome:?}"
        );
    }
}

/// Fails it with `outcome` until it ends, and returns how often it was sent.
fn until_it_ends(outcome: Outcome) -> (Status, u32) {
    let (mut delivery, mut now, mut sent) = (Delivery::pending(START), START, 0);
    loop {
        let (taken, lease) = delivery.lease(now, TERM).unwrap();
        sent += 1;
        now = now.plus(Duration::from_millis(10));
        match after(taken, lease, outcome, now) {
            Next::Ended(ended) => return (ended.status, sent),
            Next::Again(again) => delivery = again,
            Next::Stale => panic!("stale"),
        }
    }
}

#[test]
fn failures_end_after_the_attempts_of_the_policy_and_renewals_after_one() {
    let given_up = Status::Dead(DeadReason::GivenUp(GiveUp::Attempts));
    assert_eq!(until_it_ends(TRANSIENT), (given_up, 4));
    assert_eq!(until_it_ends(Outcome::Lost), (given_up, 4));
    assert_eq!(
        until_it_ends(Outcome::Renew),
        (Status::Dead(DeadReason::Unauthorized), 2)
    );
    assert_eq!(until_it_ends(Outcome::Refused { code: 0 }).1, 1);
    let (delivery, lease) = leased();
    let Next::Again(renewed) = after(delivery, lease, Outcome::Renew, START) else {
        panic!("ended");
    };
    assert_eq!(renewed.attempts, 0, "a renewal costs no attempt");
}

#[test]
fn being_held_back_costs_no_attempt_and_what_was_sent_once_dies_at_the_deadline() {
    let (delivery, lease) = leased();
    let Next::Again(waits) = after(delivery, lease, held(1), START) else {
        panic!("ended");
    };
    assert_eq!((waits.attempts, waits.leases), (0, 1));
    let (sent, lease) = waits.lease(at(1), TERM).unwrap();
    let Next::Again(failed) = after(sent, lease, TRANSIENT, at(1)) else {
        panic!("ended");
    };
    let (again, lease) = failed.lease(at(2), TERM).unwrap();
    let dead = Status::Dead(DeadReason::GivenUp(GiveUp::Deadline));
    assert_eq!(status(after(again, lease, held(120), at(2))), Some(dead));
}

#[test]
fn nobody_leases_what_is_not_due_taken_or_over() {
    let (delivery, lease) = leased();
    assert_eq!(delivery.lease(at(29), TERM), Err(NotLeasable::Leased(at(30))));
    assert_eq!(delivery.lease(at(30), TERM), Err(NotLeasable::LeaseRanOut(lease)));
    let waits = Delivery {
        status: Status::RetryAt(at(5)),
        ..delivery
    };
    assert_eq!(waits.lease(at(4), TERM), Err(NotLeasable::NotDue(at(5))));
    assert!(waits.lease(at(5), TERM).is_ok());
    for done in [
        Delivery {
            status: Status::Done,
            ..delivery
        },
        Delivery::suppressed(Reason::NoToken, START),
        delivery.withdraw(Withdrawal::Expired),
        Delivery {
            status: Status::Dead(DeadReason::Unauthorized),
            ..delivery
        },
    ] {
        assert_eq!(done.lease(at(99), TERM), Err(NotLeasable::Final), "{done:?}");
    }
}

#[test]
fn a_straggler_counts_only_when_it_brings_evidence() {
    let (first, old) = leased();
    let Next::Again(lost) = after(first, old, Outcome::Lost, at(30)) else {
        panic!("ended");
    };
    assert_eq!(after(lost, old, TRANSIENT, at(31)), Next::Stale);
    let (second, _) = lost.lease(at(31), TERM).unwrap();
    assert_eq!(
        after(second, old, Outcome::Refused { code: 1 }, at(32)),
        Next::Stale
    );
    assert_eq!(
        status(after(second, old, Outcome::Accepted, at(32))),
        Some(Status::Done)
    );
    assert_eq!(
        status(after(lost, old, Outcome::Accepted, at(32))),
        Some(Status::Done)
    );
}

#[test]
fn what_is_withdrawn_in_flight_keeps_its_channel_until_the_lease_is_over() {
    let waiting = Delivery::pending(START).withdraw(Withdrawal::Retracted);
    assert!(!waiting.in_flight(START));
    let (delivery, lease) = leased();
    let withdrawn = delivery.withdraw(Withdrawal::Retracted);
    assert!(withdrawn.in_flight(at(29)) && !withdrawn.in_flight(at(30)));
    assert_eq!(after(withdrawn, lease, Outcome::Accepted, at(1)), Next::Stale);
    let Next::Ended(done) = after(delivery, lease, Outcome::Accepted, at(1)) else {
        panic!("goes on");
    };
    assert_eq!(done.withdraw(Withdrawal::Retracted), done);
}

#[test]
fn only_a_dead_delivery_is_revived_and_it_says_so() {
    let (delivery, lease) = leased();
    assert_eq!(delivery.revive(START), None);
    let Next::Ended(dead) = after(delivery, lease, Outcome::Refused { code: 1 }, at(1)) else {
        panic!("goes on");
    };
    let revived = dead.revive(at(500)).unwrap();
    assert!(revived.revived && revived.status == Status::Pending && revived.since == at(500));
    let (again, next) = revived.lease(at(500), TERM).unwrap();
    assert_ne!(lease, next);
    assert_eq!(after(again, lease, TRANSIENT, at(501)), Next::Stale);
    assert!(matches!(after(again, next, TRANSIENT, at(501)), Next::Again(_)));
}

#[test]
fn what_was_sent_once_is_not_sent_again_after_its_deadline() {
    let (late, _) = Delivery::pending(START).lease(at(500), TERM).unwrap();
    assert!(!late.overdue(&POLICY, at(500)), "its first attempt may be late");
    let (first, lease) = leased();
    let Next::Again(failed) = after(first, lease, TRANSIENT, at(1)) else {
        panic!("ended");
    };
    let (again, lease) = failed.lease(at(99), TERM).unwrap();
    assert!(!again.overdue(&POLICY, at(99)));
    assert!(again.overdue(&POLICY, at(100)) && failed.overdue(&POLICY, at(100)));
    let dead = Some(Status::Dead(DeadReason::GivenUp(GiveUp::Deadline)));
    assert_eq!(status(after(again, lease, held(0), at(100))), dead);
    assert_eq!(status(after(again, lease, Outcome::Renew, at(100))), dead);
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let wait = (0_u64..90_000).prop_map(Duration::from_millis);
    prop_oneof![
        1 => Just(Outcome::Accepted),
        4 => wait.prop_map(|retry_after| Outcome::Transient { retry_after }),
        1 => Just(Outcome::Renew),
        1 => Just(Outcome::Refused { code: 40_000 }),
        4 => (0_u64..90).prop_map(held),
        2 => Just(Outcome::Lost),
    ]
}

proptest! {
    /// Several senders lease, crash, answer late and out of turn, somebody may withdraw: each delivery still ends, in
    /// exactly one state, and within its attempts.
    #[test]
    fn the_ledger_adds_up(
        steps in prop::collection::vec((outcomes(), any::<prop::sample::Index>(), 0_u64..40_000, any::<u64>()), 1..60),
        withdrawn_at in prop::option::of(0_usize..40),
    ) {
        let mut delivery = Delivery::pending(START);
        let mut now = START;
        let mut leases: Vec<Lease> = Vec::new();
        let (mut ended, mut sent) = (Vec::new(), 0_u32);
        let mut step = |delivery: &mut Delivery, lease: Lease, outcome: &Outcome, now, jitter| {
            let before = *delivery;
            match delivery.after(lease, outcome, &POLICY, now, jitter) {
                Next::Ended(next) => {
                    assert!(next.status.is_final() && !before.status.is_final());
                    ended.push(next.status);
                    *delivery = next;
                }
                Next::Again(next) => {
                    assert!(matches!(next.status, Status::RetryAt(when) if when >= now));
                    *delivery = next;
                }
                Next::Stale => {}
            }
        };
        for (index, (outcome, which, pause, bits)) in steps.into_iter().enumerate() {
            now = now.plus(Duration::from_millis(pause));
            if withdrawn_at == Some(index) && !delivery.status.is_final() {
                delivery = delivery.withdraw(Withdrawal::Retracted);
            }
            match delivery.lease(now, TERM) {
                Ok((next, lease)) => {
                    delivery = next;
                    leases.push(lease);
                }
                Err(NotLeasable::LeaseRanOut(lease)) => {
                    step(&mut delivery, lease, &Outcome::Lost, now, Jitter::from_bits(bits));
                }
                Err(_) => {}
            }
            if !leases.is_empty() {
                let lease = leases[which.index(leases.len())];
                step(&mut delivery, lease, &outcome, now, Jitter::from_bits(bits));
            }
            sent = sent.max(delivery.attempts);
        }
        // Left alone, it ends by itself.
        for _ in 0..20 {
            now = now.plus(Duration::from_secs(60));
            match delivery.lease(now, TERM) {
                Ok((next, lease)) => {
                    delivery = next;
                    step(&mut delivery, lease, &TRANSIENT, now, Jitter::NONE);
                }
                Err(NotLeasable::LeaseRanOut(lease)) => {
                    step(&mut delivery, lease, &Outcome::Lost, now, Jitter::NONE);
                }
                Err(_) => {}
            }
        }
        prop_assert!(delivery.status.is_final());
        let withdrawn = usize::from(matches!(delivery.status, Status::Withdrawn { .. }));
        prop_assert_eq!(ended.len() + withdrawn, 1, "{:?}", ended);
        prop_assert!(sent <= POLICY.attempts());
    }
}
