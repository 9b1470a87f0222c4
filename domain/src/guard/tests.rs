use proptest::prelude::*;

use super::*;
use crate::rollout::AuditedRollout;

const START: Timestamp = Timestamp::from_millis(1_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn rollout(percent: u8, schedule: Schedule) -> Rollout {
    Rollout {
        share: Share::percent(percent),
        schedule,
        ..Rollout::new("ably-1".parse().unwrap())
    }
}

const RAISED: Progress = Progress {
    since: START,
    lowered: None,
};
const LOWERED: Progress = Progress {
    since: START,
    lowered: Some(START),
};

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
    GuardPolicy::default().decide(&rollout(percent, schedule), &RAISED, publishes, START.plus(later))
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
    let running = rollout(5, Schedule::Running);
    let off = decide(5, Schedule::Running, &bad, HOUR)
        .leads_to(&running)
        .unwrap();
    assert_eq!((off.share, off.schedule), (Share::NONE, Schedule::Stopped));
    let lower = decide(25, Schedule::Running, &bad, HOUR).leads_to(&rollout(25, Schedule::Running));
    assert_eq!(lower, Some(running));
}

#[test]
fn nothing_moves_for_half_an_hour_after_a_step_down() {
    let bad = seen(0, 0, 0, 100);
    let until = START.plus(MINUTE * 30);
    let decide = |later| {
        let running = rollout(100, Schedule::Running);
        GuardPolicy::default().decide(&running, &LOWERED, &bad, START.plus(later))
    };
    let early = decide(Duration::from_millis(30 * 60 * 1_000 - 1));
    assert_eq!(early, Decision::Hold(Hold::JustStepped { until }));
    assert!(matches!(decide(MINUTE * 30), Decision::StepDown { .. }));
}

#[test]
fn what_was_raised_is_taken_back_on_evidence_and_goes_on_after_half_an_hour_at_the_earliest() {
    let until = START.plus(MINUTE * 30);
    let held = Decision::Hold(Hold::JustStepped { until });
    for later in [Duration::ZERO, MINUTE, MINUTE * 29] {
        let down = decide(75, Schedule::Running, &seen(0, 0, 0, 50), later);
        assert!(matches!(down, Decision::StepDown { .. }), "{later:?}");
        for unsure in [seen(0, 0, 0, 49), seen(100, 0, 0, 0)] {
            assert_eq!(decide(75, Schedule::Running, &unsure, later), held);
        }
    }
    let impatient = crate::rollout::Stage {
        share: Share::percent(5),
        lasts: MINUTE,
    };
    let next = crate::rollout::Stage {
        share: Share::percent(25),
        lasts: MINUTE,
    };
    let rollout = Rollout {
        stages: crate::rollout::Stages::try_new(vec![impatient, next]).unwrap(),
        ..rollout(5, Schedule::Running)
    };
    let good = seen(100, 0, 0, 0);
    let decide = |later| GuardPolicy::default().decide(&rollout, &RAISED, &good, START.plus(later));
    assert_eq!(decide(MINUTE * 29), held);
    assert!(matches!(decide(MINUTE * 30), Decision::StepUp { .. }));
}

#[test]
fn publishes_before_the_last_change_are_not_looked_at() {
    let policy = GuardPolicy::default();
    let look = |seconds| policy.looks_back(&RAISED, START.plus(Duration::from_secs(seconds)));
    assert_eq!(look(0), Duration::ZERO);
    assert_eq!(look(10), Duration::ZERO);
    assert_eq!(look(70), MINUTE);
    assert_eq!(look(3_600), MINUTE * 5);
    assert_eq!(policy.looks_back(&RAISED, START.minus(HOUR)), Duration::ZERO);
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
        ..rollout(100, Schedule::Running)
    };
    let bad = seen(0, 0, 0, 100);
    let found = GuardPolicy::default().decide(&killed, &RAISED, &bad, START.plus(HOUR));
    assert_eq!(found, Decision::Hold(Hold::Nobody));
}

#[test]
fn publishes_of_several_nodes_add_up() {
    let mut cluster = seen(0, 0, 0, 60);
    cluster += seen(60, 0, 0, 0);
    assert_eq!((cluster.all(), cluster.failed), (120, 60));
    assert_eq!(seen(0, 60, 3_000, 0).p95(), None);
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

/// What a hand does.
#[derive(Debug, Clone, Copy)]
enum Hand {
    Share(u8),
    Kill,
    Release,
    Schedule(Schedule),
}

fn any_hand() -> impl Strategy<Value = Hand> {
    prop_oneof![
        prop::sample::select(vec![0_u8, 5, 25, 60, 75, 100]).prop_map(Hand::Share),
        Just(Hand::Kill),
        Just(Hand::Release),
        prop_oneof![Just(Schedule::Running), Just(Schedule::Stopped)].prop_map(Hand::Schedule),
    ]
}

/// A rollout with its changes, the publishes of each minute, and the steps that the guard took.
struct Site {
    audited: AuditedRollout,
    minutes: Vec<(Timestamp, Publishes)>,
    steps: Vec<(Timestamp, Decision, Progress, Publishes)>,
}

impl Site {
    fn new(share: u8, schedule: Schedule) -> Self {
        let start = AuditedRollout::new("ably-1".parse().unwrap());
        let by = "admin-1".parse().unwrap();
        let started = start.change(rollout(share, schedule), by, None, START);
        Self {
            audited: started.unwrap(),
            minutes: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn hand(&mut self, hand: Hand, now: Timestamp) {
        let by = || "admin-1".parse().unwrap();
        let next = |rollout| self.audited.change(rollout, by(), None, now);
        let now_in_force = self.audited.rollout.clone();
        let changed = match hand {
            Hand::Share(percent) => next(Rollout {
                share: Share::percent(percent),
                ..now_in_force
            }),
            Hand::Schedule(schedule) => next(Rollout {
                schedule,
                ..now_in_force
            }),
            Hand::Kill => self
                .audited
                .kill(by(), crate::rollout::Why::try_new("x").unwrap(), now),
            Hand::Release => self.audited.release(by(), None, now),
        };
        if let Some(changed) = changed {
            self.audited = changed;
        }
    }

    fn look(&mut self, policy: &GuardPolicy, now: Timestamp) {
        let progress = self.audited.progress();
        let window = policy.looks_back(&progress, now);
        let mut publishes = Publishes::default();
        for (_, minute) in self
            .minutes
            .iter()
            .rev()
            .take_while(|(at, _)| now.since(*at) < window)
        {
            publishes += *minute;
        }
        let decision = policy.decide(&self.audited.rollout, &progress, &publishes, now);
        if let Some(next) = decision.leads_to(&self.audited.rollout) {
            let by = "guard".parse().unwrap();
            self.audited = self
                .audited
                .change(next, by, None, now)
                .expect("a step changes something");
            self.steps.push((now, decision, progress, publishes));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Weather of random length and kind over days, looked at every minute, with hands that meddle at random.
    ///
    /// Whatever happens: a step down rests on enough publishes since the last change; of two steps down with no raise
    /// between them the second waits for the hold; nothing goes up within the hold of any change, and never from
    /// nobody, without a schedule, or before its stage is over.
    #[test]
    fn no_weather_and_no_hand_makes_it_flap(
        weather in prop::collection::vec(
            (1_u32..120, 0_u32..6, 0_u32..6, 0_u32..60, prop::option::weighted(0.3, any_hand())), 5..40),
        schedule in prop_oneof![Just(Schedule::Running), Just(Schedule::Stopped)],
        start in prop::sample::select(vec![5_u8, 25, 75, 100]),
    ) {
        let policy = GuardPolicy::default();
        let hold = policy.settings().hold;
        let mut site = Site::new(start, schedule);
        let mut now = START;
        for (minutes, failed, slow, fast, hand) in weather {
            if let Some(hand) = hand {
                site.hand(hand, now);
            }
            for _ in 0..minutes {
                now = now.plus(MINUTE);
                site.minutes.push((now, seen(fast, slow, 800, failed)));
                site.look(&policy, now);
            }
        }
        let changes: Vec<_> = site.audited.changes().iter().rev().collect();
        for (when, decision, progress, publishes) in &site.steps {
            let before = changes.iter().rev().find(|change| change.at < *when);
            let rested = before.map(|change| when.since(change.at));
            match decision {
                Decision::StepDown { .. } => {
                    prop_assert!(publishes.all() >= policy.settings().publishes_min);
                    let down = |at: Timestamp| when.since(at) >= hold;
                    prop_assert!(progress.lowered.is_none_or(down), "a step down within the hold of one");
                }
                Decision::StepUp { from, .. } => {
                    prop_assert!(*from > Share::NONE, "up from nobody");
                    prop_assert!(rested.is_none_or(|rested| rested >= hold), "up after {rested:?}");
                    let (stage, _) = Rollout::new("x".parse().unwrap()).stages.above(*from).unwrap();
                    prop_assert!(rested.is_none_or(|rested| rested >= stage.lasts), "up after {rested:?}");
                }
                Decision::Hold(_) => unreachable!(),
            }
        }
        for pair in site.steps.windows(2) {
            let [(first, one, ..), (second, next, ..)] = pair else { unreachable!() };
            let both_down = matches!((one, next), (Decision::StepDown { .. }, Decision::StepDown { .. }));
            let raised = changes.iter().any(|change| {
                change.at > *first && change.at < *second
                    && (change.what.share.is_some_and(|(from, to)| to > from)
                        || change.what.kill_switch == Some(crate::rollout::Switched::Released))
            });
            prop_assert!(!both_down || raised || second.since(*first) >= hold, "two steps down at once");
        }
    }
}
