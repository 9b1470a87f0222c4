use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_millis(1_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn rollout(percent: u8) -> Rollout {
    Rollout {
        share: Share::percent(percent),
        ..Rollout::new("ably-1".parse().unwrap())
    }
}

fn progress(schedule: Schedule) -> Progress {
    Progress {
        since: START,
        schedule,
    }
}

/// `fast` of 20 ms, `slow` of `slow_ms`, and `failed` of 20 ms.
fn seen(fast: u32, slow: u32, slow_ms: u64, failed: u32) -> Publishes {
    let mut sum = Publishes::default();
    for (count, how, ms) in [
        (fast, Published::Accepted, 20),
        (slow, Published::Accepted, slow_ms),
        (failed, Published::Failed, 20),
    ] {
        for _ in 0..count {
            sum += Publishes::one(how, Duration::from_millis(ms));
        }
    }
    sum
}

fn decide(percent: u8, schedule: Schedule, publishes: &Publishes, later: Duration) -> Decision {
    GuardPolicy::default().decide(
        &rollout(percent),
        &progress(schedule),
        publishes,
        START.plus(later),
    )
}

#[test]
fn a_fault_needs_enough_publishes_and_more_than_its_threshold() {
    let errors = |failed, publishes| Some(Fault::Errors { failed, publishes });
    let slow = |ms: Option<u64>, publishes| {
        let p95 = ms.map(Duration::from_millis);
        Some(Fault::Slow { p95, publishes })
    };
    let table = [
        (seen(0, 0, 0, 49), None),
        (seen(0, 0, 0, 50), errors(50, 50)),
        (seen(95, 0, 0, 5), None),
        (seen(94, 0, 0, 6), errors(6, 100)),
        (seen(48, 0, 0, 2), None),
        (seen(47, 0, 0, 3), errors(3, 50)),
        (seen(95, 5, 501, 0), None),
        (seen(94, 6, 501, 0), slow(Some(750), 100)),
        (seen(0, 100, 500, 0), None),
        (seen(0, 49, 60_000, 0), None),
        (seen(0, 50, 60_000, 0), slow(None, 50)),
        (seen(0, 0, 0, 0), None),
    ];
    for (publishes, fault) in table {
        let found = match decide(75, Schedule::Stopped, &publishes, HOUR) {
            Decision::StepDown { why, .. } => Some(why),
            Decision::Hold(Hold::Well { next: None }) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, fault, "{publishes:?}");
    }
}

#[test]
fn steps_go_down_by_stages_and_stop_at_nobody() {
    let bad = seen(0, 0, 0, 100);
    for (from, to) in [(100, 75), (75, 25), (60, 25), (25, 5), (5, 0), (1, 0)] {
        let Decision::StepDown { to: found, .. } = decide(from, Schedule::Running, &bad, HOUR) else {
            panic!("holds at {from}");
        };
        assert_eq!(found, Share::percent(to));
    }
    assert_eq!(
        decide(0, Schedule::Running, &bad, HOUR),
        Decision::Hold(Hold::Nobody)
    );
    let down = decide(5, Schedule::Running, &bad, HOUR);
    let after = progress(Schedule::Running).after(&down, START.plus(HOUR));
    assert_eq!(
        after,
        Progress {
            since: START.plus(HOUR),
            schedule: Schedule::Stopped
        }
    );
}

#[test]
fn nothing_moves_for_half_an_hour_after_a_step() {
    let bad = seen(0, 0, 0, 100);
    let until = START.plus(MINUTE * 30);
    let early = decide(
        100,
        Schedule::Running,
        &bad,
        Duration::from_millis(30 * 60 * 1_000 - 1),
    );
    assert_eq!(early, Decision::Hold(Hold::JustStepped { until }));
    assert!(matches!(
        decide(100, Schedule::Running, &bad, MINUTE * 30),
        Decision::StepDown { .. }
    ));
}

#[test]
fn a_schedule_goes_up_when_its_stage_is_over_and_all_is_calm() {
    let good = seen(100, 0, 0, 0);
    for (from, hours, to) in [(5, 48, 25), (25, 72, 75), (75, 168, 100)] {
        let due = START.plus(HOUR * hours);
        let early = decide(from, Schedule::Running, &good, MINUTE * (hours * 60 - 1));
        assert_eq!(early, Decision::Hold(Hold::Well { next: Some(due) }));
        let up = Decision::StepUp {
            from: Share::percent(from),
            to: Share::percent(to),
        };
        assert_eq!(decide(from, Schedule::Running, &good, HOUR * hours), up);
        assert_eq!(
            decide(from, Schedule::Running, &Publishes::default(), HOUR * hours),
            up
        );
        let stopped = decide(from, Schedule::Stopped, &good, HOUR * 10_000);
        assert_eq!(stopped, Decision::Hold(Hold::Well { next: None }));
        for restless in [seen(95, 0, 0, 5), seen(90, 10, 450, 0), seen(0, 0, 0, 1)] {
            let found = decide(from, Schedule::Running, &restless, HOUR * hours);
            assert_eq!(found, Decision::Hold(Hold::NotCalm), "{restless:?}");
        }
    }
    let top = decide(100, Schedule::Running, &good, HOUR * 10_000);
    assert_eq!(top, Decision::Hold(Hold::Well { next: None }));
}

#[test]
fn a_kill_switch_leaves_nothing_to_guard() {
    let thrown = crate::rollout::KillSwitch::try_new("admin".parse().unwrap(), "test", START);
    let killed = Rollout {
        kill_switch: Some(thrown.unwrap()),
        ..rollout(100)
    };
    let bad = seen(0, 0, 0, 100);
    let found = GuardPolicy::default().decide(&killed, &progress(Schedule::Running), &bad, START.plus(HOUR));
    assert_eq!(found, Decision::Hold(Hold::Nobody));
}

#[test]
fn a_watch_forgets_what_is_older_than_the_window_and_nodes_add_up() {
    let policy = GuardPolicy::default();
    let watch = (0..60).fold(Watch::new(&policy), |watch, second| {
        let now = START.plus(Duration::from_secs(second));
        watch.saw(Published::Failed, Duration::from_millis(3_000), now)
    });
    let mut cluster = watch.publishes(START.plus(MINUTE));
    assert_eq!((cluster.all(), cluster.failed, cluster.p95()), (60, 60, None));
    cluster += seen(60, 0, 0, 0);
    assert_eq!((cluster.all(), cluster.failed), (120, 60));
    assert_eq!(watch.publishes(START.plus(MINUTE * 7)), Publishes::default());
    assert_eq!(seen(95, 5, 501, 0).p95(), Some(Duration::from_millis(25)));
}

#[test]
fn numbers_that_no_guard_can_follow_are_refused() {
    let good = GuardPolicy::default().0;
    let odd = Duration::from_millis(333);
    let table = [
        ("p95", GuardSettings { p95: odd, ..good }),
        (
            "calm_p95",
            GuardSettings {
                calm_p95: odd,
                ..good
            },
        ),
        (
            "calm_p95",
            GuardSettings {
                calm_p95: Duration::from_millis(750),
                ..good
            },
        ),
        (
            "calm_error_share",
            GuardSettings {
                calm_error_share: Share::percent(6),
                ..good
            },
        ),
        (
            "window",
            GuardSettings {
                window: Duration::ZERO,
                ..good
            },
        ),
        (
            "publishes_min",
            GuardSettings {
                publishes_min: 0,
                ..good
            },
        ),
        (
            "hold",
            GuardSettings {
                hold: good.window,
                ..good
            },
        ),
        (
            "hold",
            GuardSettings {
                hold: Duration::MAX,
                ..good
            },
        ),
    ];
    for (setting, settings) in table {
        assert_eq!(GuardPolicy::try_new(settings).unwrap_err().setting, setting);
    }
    assert_eq!(GuardPolicy::try_new(good), Ok(GuardPolicy::default()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Weather of random length and kind over about forty days, looked at every five minutes.
    #[test]
    fn no_weather_makes_it_flap(
        weather in prop::collection::vec((1_u32..900, 0_u32..12, 0_u32..12, 0_u32..200), 5..80),
        schedule in prop_oneof![Just(Schedule::Running), Just(Schedule::Stopped)],
        start in prop::sample::select(vec![5_u8, 25, 75, 100]),
    ) {
        let policy = GuardPolicy::default();
        let mut rollout = rollout(start);
        let mut progress = progress(schedule);
        let mut now = START;
        let mut steps: Vec<(Timestamp, Decision)> = Vec::new();
        for (looks, failed, slow, fast) in weather {
            let publishes = seen(fast, slow, 800, failed);
            for _ in 0..looks {
                now = now.plus(MINUTE * 5);
                let decision = policy.decide(&rollout, &progress, &publishes, now);
                progress = progress.after(&decision, now);
                if let Decision::StepDown { from, to, .. } | Decision::StepUp { from, to } = decision {
                    prop_assert_eq!(from, rollout.share);
                    rollout.share = to;
                    steps.push((now, decision));
                }
            }
        }
        for (index, (when, decision)) in steps.iter().enumerate() {
            let before = index.checked_sub(1).map_or(START, |prior| steps[prior].0);
            let rested = when.since(before);
            prop_assert!(rested >= MINUTE * 30, "two steps within {rested:?}");
            match decision {
                Decision::StepDown { from, to, .. } => prop_assert_eq!(*to, rollout.stages.below(*from)),
                Decision::StepUp { from, .. } => {
                    prop_assert_eq!(schedule, Schedule::Running);
                    prop_assert!(*from > Share::NONE, "up from nobody");
                    let (stage, _) = rollout.stages.above(*from).unwrap();
                    prop_assert!(rested >= stage.lasts, "up after {rested:?}");
                }
                Decision::Hold(_) => unreachable!(),
            }
        }
    }
}
