//! The log against a naive model that keeps every hit.

use proptest::prelude::*;

use super::*;
use crate::capability::{Principal, Role};

fn allowance(limit: u32, burst: u32) -> Allowance {
    Allowance::try_new(limit, burst).unwrap()
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn one(log: &mut Log, allowance: Allowance, now: Duration) -> Verdict {
    take(&mut [(log, allowance)], now)
}

fn taken(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Taken(_))
}

#[test]
fn a_window_lets_the_limit_and_the_burst_through_and_no_more() {
    let mut log = Log::default();
    let mut remaining = Vec::new();
    for _ in 0..25 {
        let verdict = one(&mut log, allowance(10, 15), at(500));
        assert!(taken(verdict));
        remaining.push(verdict.standing().remaining);
    }
    assert_eq!(remaining, (0..25).rev().collect::<Vec<_>>());
    for _ in 0..1_000 {
        let refused = one(&mut log, allowance(10, 15), at(500));
        let standing = Standing {
            budget: 0,
            limit: 25,
            remaining: 0,
            reset: WINDOW,
        };
        assert_eq!(refused, Verdict::Refused(standing));
    }
    assert!(!taken(one(&mut log, allowance(10, 15), at(60_499))));
    assert!(taken(one(&mut log, allowance(10, 15), at(60_500))));
}

#[test]
fn what_leaves_the_window_makes_room_for_as_much() {
    let mut log = Log::default();
    let five = allowance(5, 0);
    for now in [0, 10, 20_000, 20_000, 40_000] {
        assert!(taken(one(&mut log, five, at(now))));
    }
    let Verdict::Refused(standing) = one(&mut log, five, at(50_000)) else {
        panic!("it is full")
    };
    // The two of the first second leave together, when the second of them does.
    assert_eq!(standing.reset, at(10_010));
    assert!(!taken(one(&mut log, five, at(60_009))));
    assert!(taken(one(&mut log, five, at(60_010))));
    assert!(taken(one(&mut log, five, at(60_011))));
    assert!(!taken(one(&mut log, five, at(60_012))));
}

#[test]
fn two_budgets_are_taken_together_or_not_at_all() {
    let (mut address, mut person) = (Log::default(), Log::default());
    let (large, small) = (allowance(100, 0), allowance(2, 0));
    let both = |address: &mut Log, person: &mut Log| take(&mut [(address, large), (person, small)], at(0));
    let second = Standing {
        budget: 1,
        limit: 2,
        remaining: 1,
        reset: WINDOW,
    };
    assert_eq!(both(&mut address, &mut person), Verdict::Taken(second));
    both(&mut address, &mut person);
    let before = (address.clone(), person.clone());
    for _ in 0..10 {
        let Verdict::Refused(standing) = both(&mut address, &mut person) else {
            panic!("the second budget is used up")
        };
        assert_eq!((standing.budget, standing.remaining), (1, 0));
    }
    assert_eq!((address, person), before);
}

#[test]
fn of_two_budgets_that_refuse_the_longer_wait_is_said() {
    let (mut early, mut late) = (Log::default(), Log::default());
    let single = allowance(1, 0);
    one(&mut early, single, at(0));
    one(&mut late, single, at(30_000));
    let refused = take(&mut [(&mut late, single), (&mut early, single)], at(40_000));
    assert_eq!(
        (refused.standing().budget, refused.standing().reset),
        (0, at(50_000))
    );
}

#[test]
fn a_limit_that_was_lowered_waits_until_enough_has_left() {
    let mut log = Log::default();
    for now in [0, 1_000, 2_000, 3_000] {
        one(&mut log, allowance(10, 0), at(now));
    }
    let refused = one(&mut log, allowance(2, 0), at(4_000));
    assert_eq!(
        refused.standing().reset,
        at(58_000),
        "three of four have to leave"
    );
    assert!(!taken(one(&mut log, allowance(2, 0), at(61_999))));
    assert!(taken(one(&mut log, allowance(2, 0), at(62_000))));
}

#[test]
fn a_clock_that_is_set_back_neither_frees_nor_stops_the_window() {
    let mut log = Log::default();
    let two = allowance(2, 0);
    one(&mut log, two, at(100_000));
    assert!(taken(one(&mut log, two, at(50_000))));
    assert!(!taken(one(&mut log, two, at(50_000))));
    assert!(taken(one(&mut log, two, at(160_000))));
}

#[test]
fn a_key_costs_no_more_than_its_runs_whatever_its_limit() {
    let mut log = Log::default();
    for step in 0..20_000 {
        one(&mut log, allowance(60_000, 0), at(7 + step * 37));
        assert!(log.runs() <= RUNS_MAX, "{}", log.runs());
    }
    assert_eq!(log.runs(), RUNS_MAX, "the bound is reached");
}

#[test]
fn nodes_share_an_allowance_and_none_is_left_without() {
    let three = NonZeroU32::new(3).unwrap();
    assert_eq!(allowance(10, 15).share(three), allowance(4, 5));
    assert_eq!(allowance(1, 0).share(three), allowance(1, 0));
    assert_eq!(allowance(10, 15).share(NonZeroU32::MIN), allowance(10, 15));
}

#[test]
fn allowances_are_bounded() {
    assert_eq!(Allowance::try_new(0, 5), Err(InvalidAllowance));
    assert_eq!(Allowance::try_new(ALLOWANCE_MAX + 1, 0), Err(InvalidAllowance));
    assert_eq!(Allowance::try_new(1, ALLOWANCE_MAX + 1), Err(InvalidAllowance));
    assert_eq!(allowance(ALLOWANCE_MAX, ALLOWANCE_MAX).whole(), 2_000_000_000);
}

fn person(profile: Option<&str>, roles: &[&str]) -> Principal {
    let mut person = Principal::new("u-1".parse().unwrap(), roles.iter().map(|role| Role::new(role)));
    person.profile = profile.map(ToOwned::to_owned);
    person
}

#[test]
fn a_profile_comes_from_the_claim_then_from_the_roles_then_from_nowhere() {
    let table = Table::built_in();
    for (claim, roles, streams) in [
        (None, &[][..], 25),
        (None, &["CIDADAO"], 25),
        (None, &["cidadao", "tecnico"], 60),
        (None, &["SERVICE", "ADMIN"], 250),
        (Some("premium"), &["SERVICE"], 60),
        (Some("default"), &["ADMIN"], 25),
        (Some("unheard-of"), &["ADMIN"], 125),
        (Some(""), &["CIDADAO"], 25),
    ] {
        let profile = table.profile(&person(claim, roles));
        assert_eq!(profile.stream.whole(), streams, "{claim:?} {roles:?}");
    }
}

#[test]
fn whoever_is_unknown_has_the_budget_of_an_address_alone() {
    let table = Table::built_in();
    let unknown = table.budgets(None, Action::Api);
    assert_eq!((unknown.address.whole(), unknown.person), (60, None));
    let known = table.budgets(Some(&person(None, &["SERVICE"])), Action::Publish);
    assert_eq!(known.address.whole(), 120_000);
    assert_eq!(known.person.map(Allowance::whole), Some(60_000));
}

#[test]
fn an_address_takes_what_the_profiles_of_those_behind_it_allow() {
    let table = Table::built_in();
    for action in Action::ALL {
        let address = table.addresses().authenticated.of(action).whole();
        for (name, profile) in table.profiles() {
            assert!(profile.of(action).whole() <= address, "{name} {action:?}");
        }
    }
}

#[test]
fn a_table_that_leaves_somebody_without_a_profile_is_refused() {
    let base = Table::built_in();
    let profile = *base.profile(&person(None, &[]));
    let named = |name: &str| (name.to_owned(), profile);
    let build = |profiles: Vec<(String, Profile)>, roles: Vec<(Role, String)>| {
        Table::try_new(profiles, roles, base.addresses())
    };
    assert!(build(vec![named("default")], vec![]).is_ok());
    assert!(matches!(
        build(vec![named("premium")], vec![]),
        Err(InvalidTable::NoFallback(_))
    ));
    let role = (Role::new("GESTOR"), "premium".to_owned());
    assert!(matches!(
        build(vec![named("default")], vec![role]),
        Err(InvalidTable::UnknownProfile { .. })
    ));
    for bad in ["", "a b", "ç", &"x".repeat(65)] {
        let refused = build(vec![named("default"), named(bad)], vec![]);
        assert!(matches!(refused, Err(InvalidTable::Name(_))), "{bad}");
    }
    let many = (0..64).map(|n| named(&format!("p{n}"))).chain([named("default")]);
    assert_eq!(build(many.collect(), vec![]), Err(InvalidTable::TooMany));
}

/// Every hit with its own moment, and the runs that the log keeps together.
#[derive(Default)]
struct Naive(Vec<u64>);

impl Naive {
    /// Counts what the log may still hold: a hit leaves with the last hit of its step.
    fn held(&self, now: u64) -> usize {
        let leaves = |hit: &u64| {
            let same_step = self.0.iter().filter(|other| **other / 1_000 == hit / 1_000);
            same_step.max().unwrap() + 60_000
        };
        self.0.iter().filter(|hit| leaves(hit) > now).count()
    }

    /// Counts what came in the last `span` milliseconds.
    fn since(&self, now: u64, span: u64) -> usize {
        self.0.iter().filter(|hit| now - **hit < span).count()
    }
}

proptest! {
    #[test]
    fn no_window_holds_more_than_is_allowed_and_nothing_is_refused_that_fits(
        start in 0_u64..5_000,
        pauses in prop::collection::vec(prop_oneof![4 => 0_u64..400, 2 => 0_u64..5_000, 1 => 0_u64..70_000], 1..250),
        (limit, burst) in (1_u32..12, 0_u32..6),
    ) {
        let (mut log, mut naive, mut now) = (Log::default(), Naive::default(), start);
        let whole = usize::try_from(limit + burst).unwrap();
        for pause in pauses {
            now += pause;
            let held = naive.held(now);
            let verdict = one(&mut log, allowance(limit, burst), at(now));
            prop_assert_eq!(taken(verdict), held < whole, "{} held", held);
            match verdict {
                Verdict::Taken(standing) => {
                    naive.0.push(now);
                    prop_assert_eq!(usize::try_from(standing.remaining).unwrap(), whole - held - 1);
                }
                Verdict::Refused(standing) => {
                    let wait = u64::try_from(standing.reset.as_millis()).unwrap();
                    prop_assert!(naive.held(now + wait - 1) >= whole, "told to wait too long");
                    prop_assert!(naive.held(now + wait) < whole, "told to come back too early");
                    // A hit is kept for up to a second longer than the window, never for less.
                    prop_assert!(naive.since(now, 61_000) >= whole);
                }
            }
            prop_assert!(naive.since(now, 60_000) <= whole);
            prop_assert!(log.runs() <= RUNS_MAX);
        }
    }

    #[test]
    fn several_budgets_are_as_each_alone_when_all_allow_and_unchanged_when_one_does_not(
        steps in prop::collection::vec((0_u64..3_000, prop::sample::subsequence(vec![0_usize, 1, 2], 1..=3)), 1..120),
        limits in prop::array::uniform3(1_u32..15),
    ) {
        let mut logs: [Log; 3] = Default::default();
        let mut now = 0;
        for (pause, chosen) in steps {
            now += pause;
            let mut alone = logs.clone();
            let fits = chosen.iter().filter(|n| taken(one(&mut alone[**n], allowance(limits[**n], 0), at(now)))).count();
            let mut together = logs.clone();
            let mut budgets: Vec<(&mut Log, Allowance)> = together
                .iter_mut()
                .enumerate()
                .filter(|(n, _)| chosen.contains(n))
                .map(|(n, log)| (log, allowance(limits[n], 0)))
                .collect();
            let verdict = take(&mut budgets, at(now));
            if fits == chosen.len() {
                prop_assert!(taken(verdict));
                prop_assert_eq!(&together, &alone);
            } else {
                prop_assert!(!taken(verdict));
                prop_assert_eq!(&together, &logs);
            }
            logs = together;
        }
    }
}
