use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_millis(1_000_000);

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn call(breaker: Breaker, outcome: CallOutcome, now: Timestamp) -> Breaker {
    let (breaker, permit) = breaker.before(now);
    breaker.after(permit.unwrap(), outcome, now)
}

fn opened(policy: BreakerPolicy) -> Breaker {
    (0..5).fold(Breaker::new(policy), |breaker, _| {
        call(breaker, CallOutcome::Failure, START)
    })
}

fn refused(breaker: Breaker, now: Timestamp) -> Option<Duration> {
    breaker.before(now).1.err().map(|refused| refused.retry_after)
}

#[test]
fn the_fifth_failure_in_a_row_opens_it_for_as_long_as_its_policy_says() {
    let table = [
        (BreakerPolicy::POSTGRES, 5, 30),
        (BreakerPolicy::REDIS, 3, 20),
        (BreakerPolicy::ABLY, 5, 60),
    ];
    for (policy, timeout, open_for) in table {
        assert_eq!(policy.settings().timeout, Duration::from_secs(timeout));
        let four = (0..4).fold(Breaker::new(policy), |b, _| call(b, CallOutcome::Failure, START));
        assert_eq!(four.state(START), BreakerState::Closed);
        let five = call(four, CallOutcome::Failure, START);
        assert_eq!(refused(five, at(1)), Some(Duration::from_secs(open_for - 1)));
        assert_eq!(refused(five, at(open_for)), None);
        assert_eq!(five.state(at(open_for)), BreakerState::HalfOpen);
        let broken = call(
            call(four, CallOutcome::Success, START),
            CallOutcome::Failure,
            START,
        );
        assert_eq!(broken.state(START), BreakerState::Closed);
    }
}

#[test]
fn half_of_enough_calls_within_the_window_opens_it() {
    let alternate = |calls: u32, step: u64| {
        (0..calls).fold(Breaker::new(BreakerPolicy::POSTGRES), |breaker, n| {
            let outcome = [CallOutcome::Success, CallOutcome::Failure][n as usize % 2];
            call(breaker, outcome, at(u64::from(n) * step))
        })
    };
    assert_eq!(alternate(9, 1).state(at(9)), BreakerState::Closed);
    assert!(matches!(alternate(10, 1).state(at(9)), BreakerState::Open { .. }));
    // At one call in four seconds the window never holds ten of them.
    assert_eq!(alternate(200, 4).state(at(800)), BreakerState::Closed);
}

#[test]
fn a_failed_probe_opens_it_again_and_enough_good_ones_close_it() {
    let open = opened(BreakerPolicy::POSTGRES);
    let failed = call(open, CallOutcome::Failure, at(30));
    assert_eq!(refused(failed, at(31)), Some(Duration::from_secs(29)));
    let one = call(open, CallOutcome::Success, at(30));
    assert_eq!(one.state(at(30)), BreakerState::HalfOpen);
    assert_eq!(
        call(one, CallOutcome::Success, at(31)).state(at(31)),
        BreakerState::Closed
    );
    let back = call(one, CallOutcome::Failure, at(31));
    assert!(matches!(back.state(at(31)), BreakerState::Open { .. }));
}

#[test]
fn no_more_probes_are_under_way_than_it_allows() {
    let (one, first) = opened(BreakerPolicy::POSTGRES).before(at(30));
    let (two, second) = one.before(at(30));
    assert!(first.is_ok());
    assert_eq!(refused(two, at(30)), Some(Duration::from_secs(5)));
    let freed = two.after(second.unwrap(), CallOutcome::Abandoned, at(31));
    assert_eq!(refused(freed, at(31)), None);
}

#[test]
fn stragglers_from_before_it_opened_are_no_probes() {
    let (closed, straggler) = Breaker::new(BreakerPolicy::POSTGRES).before(START);
    let (closed, other) = closed.before(START);
    let open = (0..5).fold(closed, |breaker, _| call(breaker, CallOutcome::Failure, START));
    let (half, probe) = open.before(at(30));
    assert_eq!(half.after(straggler.unwrap(), CallOutcome::Failure, at(30)), half);
    assert_eq!(half.after(other.unwrap(), CallOutcome::Success, at(30)), half);
    assert!(probe.is_ok());
}

#[test]
fn a_probe_that_never_comes_back_counts_as_failed() {
    let (half, _lost) = opened(BreakerPolicy::POSTGRES).before(at(30));
    let (half, _lost) = half.before(at(30));
    assert_eq!(refused(half, at(40)), Some(Duration::from_secs(5)));
    let (open, answer) = half.before(at(41));
    assert_eq!(
        answer,
        Err(Refused {
            retry_after: Duration::from_secs(30)
        })
    );
    assert_eq!(refused(open, at(71)), None);
}

#[test]
fn a_hand_opens_it_until_a_hand_resets_it() {
    let forced = Breaker::new(BreakerPolicy::ABLY).force_open();
    assert_eq!(refused(forced, at(1_000_000)), Some(Duration::from_secs(60)));
    assert_eq!(forced.state(at(1_000_000)), BreakerState::ForcedOpen);
    assert_eq!(forced.reset().state(START), BreakerState::Closed);
    let (half, probe) = opened(BreakerPolicy::ABLY).before(at(60));
    let forced = half.force_open();
    assert_eq!(forced.after(probe.unwrap(), CallOutcome::Success, at(61)), forced);
}

#[test]
fn a_clock_that_is_set_back_costs_one_more_open_time_at_most() {
    let (open, answer) = opened(BreakerPolicy::POSTGRES).before(Timestamp::from_millis(0));
    assert_eq!(
        answer,
        Err(Refused {
            retry_after: Duration::from_secs(30)
        })
    );
    assert_eq!(refused(open, Timestamp::from_millis(30_000)), None);
}

#[test]
fn numbers_that_no_breaker_can_follow_are_refused() {
    let good = BreakerPolicy::POSTGRES.0;
    let zero = Duration::ZERO;
    let table = [
        (
            "timeout",
            BreakerSettings {
                timeout: zero,
                ..good
            },
        ),
        ("window", BreakerSettings { window: zero, ..good }),
        (
            "open_for",
            BreakerSettings {
                open_for: Duration::MAX,
                ..good
            },
        ),
        (
            "failures_in_a_row",
            BreakerSettings {
                failures_in_a_row: 0,
                ..good
            },
        ),
        (
            "failure_percent",
            BreakerSettings {
                failure_percent: 0,
                ..good
            },
        ),
        (
            "failure_percent",
            BreakerSettings {
                failure_percent: 101,
                ..good
            },
        ),
        ("calls_min", BreakerSettings { calls_min: 0, ..good }),
        ("probes", BreakerSettings { probes: 0, ..good }),
        (
            "probes_to_close",
            BreakerSettings {
                probes_to_close: 0,
                ..good
            },
        ),
    ];
    for (setting, settings) in table {
        let wrong = BreakerPolicy::try_new(settings).unwrap_err();
        assert_eq!(wrong.setting, setting);
    }
    assert_eq!(BreakerPolicy::try_new(good), Ok(BreakerPolicy::POSTGRES));
}

/// What a random walk does next.
#[derive(Debug, Clone)]
enum Op {
    Ask,
    Answer(prop::sample::Index, CallOutcome),
    Lose(prop::sample::Index),
    Wait(u64),
    Force,
    Reset,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let outcome = prop_oneof![
        2 => Just(CallOutcome::Success),
        3 => Just(CallOutcome::Failure),
        1 => Just(CallOutcome::Abandoned),
    ];
    let op = prop_oneof![
        40 => Just(Op::Ask),
        40 => (any::<prop::sample::Index>(), outcome).prop_map(|(index, outcome)| Op::Answer(index, outcome)),
        5 => any::<prop::sample::Index>().prop_map(Op::Lose),
        20 => (0_u64..20_000).prop_map(Op::Wait),
        1 => Just(Op::Force),
        1 => Just(Op::Reset),
    ];
    prop::collection::vec(op, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn a_random_walk_keeps_what_a_breaker_promises(ops in ops(), probes in 1_u8..4, to_close in 1_u8..4) {
        let settings = BreakerSettings { probes, probes_to_close: to_close, ..BreakerPolicy::POSTGRES.0 };
        let policy = BreakerPolicy::try_new(settings).unwrap();
        let mut breaker = Breaker::new(policy);
        let mut now = START;
        // The permits under way; those of the period that is going on are its probes.
        let mut calls: Vec<Permit> = Vec::new();
        let mut lost = 0_usize;
        for op in ops {
            let half_open = matches!(breaker.state, State::HalfOpen { .. });
            match op {
                Op::Ask => {
                    let period = breaker.period;
                    let (next, answer) = breaker.before(now);
                    breaker = next;
                    if breaker.period != period {
                        lost = 0;
                    }
                    match answer {
                        Ok(permit) => calls.push(permit),
                        Err(refused) => {
                            prop_assert!(refused.retry_after > Duration::ZERO);
                            prop_assert!(refused.retry_after <= Duration::from_secs(30));
                        }
                    }
                    if matches!(breaker.state, State::HalfOpen { .. }) {
                        let under_way = calls.iter().filter(|call| call.period == breaker.period).count() + lost;
                        prop_assert!(under_way <= usize::from(probes), "{under_way} at once");
                    }
                }
                Op::Answer(index, outcome) if !calls.is_empty() => {
                    let permit = calls.swap_remove(index.index(calls.len()));
                    let probe = half_open && permit.period == breaker.period;
                    let before = breaker;
                    breaker = breaker.after(permit, outcome, now);
                    if probe && outcome == CallOutcome::Failure {
                        let state = breaker.state(now);
                        prop_assert_eq!(state, BreakerState::Open { retry_after: Duration::from_secs(30) });
                    }
                    if half_open && !probe {
                        prop_assert_eq!(breaker, before);
                    }
                    if breaker.period != before.period {
                        lost = 0;
                    }
                }
                Op::Lose(index) if !calls.is_empty() => {
                    let permit = calls.swap_remove(index.index(calls.len()));
                    lost += usize::from(half_open && permit.period == breaker.period);
                }
                Op::Answer(..) | Op::Lose(_) => {}
                Op::Wait(ms) => now = now.plus(Duration::from_millis(ms)),
                Op::Force => (breaker, lost) = (breaker.force_open(), 0),
                Op::Reset => (breaker, lost) = (breaker.reset(), 0),
            }
        }
        // However it was left, and whatever was lost: without a hand on it, good calls close it again.
        if breaker.state(now) != BreakerState::ForcedOpen {
            for _ in 0..10 {
                now = now.plus(Duration::from_secs(31));
                let (next, answer) = breaker.before(now);
                breaker = match answer {
                    Ok(permit) => next.after(permit, CallOutcome::Success, now),
                    Err(_) => next,
                };
            }
            prop_assert_eq!(breaker.state(now), BreakerState::Closed);
        }
    }
}
