use proptest::prelude::*;

use super::*;

/// Measurements are this far apart.
const STEP: Duration = Duration::from_secs(2);

struct Node {
    degradation: Degradation,
    now: Timestamp,
    moves: usize,
}

impl Node {
    fn new() -> Self {
        Self {
            degradation: Degradation::default(),
            now: Timestamp::from_millis(1_767_225_600_000),
            moves: 0,
        }
    }

    fn measure(&mut self, signals: &Signals) -> Level {
        let before = self.degradation.level();
        self.degradation = self.degradation.after(signals, self.now);
        self.now = self.now.plus(STEP);
        self.moves += usize::from(before != self.degradation.level());
        self.degradation.level()
    }

    fn stay(&mut self, signals: &Signals, seconds: u64) -> Level {
        let steps = seconds / STEP.as_secs();
        (0..steps)
            .map(|_| self.measure(signals))
            .last()
            .unwrap_or_default()
    }
}

fn only(signal: Signal, value: f64) -> Signals {
    Signals::default().with(signal, value)
}

#[test]
fn each_signal_calls_for_the_level_whose_threshold_it_reaches() {
    for signal in Signal::ALL {
        for (threshold, level) in signal.thresholds().into_iter().zip(&Level::ALL[1..]) {
            let Some(threshold) = threshold else { continue };
            let mut node = Node::new();
            node.stay(&only(signal, threshold), 4);
            assert_eq!(
                node.degradation.level(),
                *level,
                "{} at {threshold}",
                signal.as_str()
            );
            assert_eq!(node.degradation.cause(), Some(signal));
            let mut node = Node::new();
            node.stay(&only(signal, threshold * 0.999), 60);
            assert_eq!(
                node.degradation.level(),
                level.below(),
                "{} below {threshold}",
                signal.as_str()
            );
        }
    }
}

#[test]
fn a_signal_that_is_missing_says_nothing() {
    let mut node = Node::new();
    assert_eq!(node.stay(&Signals::default(), 600), Level::Normal);
    for odd in [f64::NAN, f64::INFINITY, -1.0] {
        let mut signals = Signals::default();
        for signal in Signal::ALL {
            signals = signals.with(signal, odd);
        }
        assert_eq!(node.stay(&signals, 60), Level::Normal, "{odd}");
    }
    // One that goes missing while it was bad lets the node recover.
    node.stay(&only(Signal::Memory, 0.99), 10);
    assert_eq!(node.degradation.level(), Level::Critical);
    assert_eq!(node.stay(&Signals::default(), 90), Level::Normal);
}

#[test]
fn one_bad_measurement_is_none() {
    let mut node = Node::new();
    for _ in 0..50 {
        node.measure(&only(Signal::Errors, 1.0));
        node.measure(&only(Signal::Errors, 0.0));
    }
    assert_eq!((node.degradation.level(), node.moves), (Level::Normal, 0));
}

#[test]
fn a_peak_among_two_measurements_does_not_count_for_both() {
    let mut node = Node::new();
    node.measure(&only(Signal::Memory, 0.75));
    node.measure(&only(Signal::Memory, 0.99));
    assert_eq!(node.degradation.level(), Level::Light);
}

#[test]
fn recovery_is_by_itself_and_one_level_at_a_time() {
    let mut node = Node::new();
    node.stay(&only(Signal::Memory, 0.99), 4);
    let mut seen = vec![node.degradation.level()];
    for _ in 0..60 {
        let level = node.measure(&only(Signal::Memory, 0.1));
        if seen.last() != Some(&level) {
            seen.push(level);
        }
    }
    let mut all = Level::ALL.to_vec();
    all.reverse();
    assert_eq!(seen, all);
    assert_eq!(node.degradation.cause(), None);
}

#[test]
fn a_signal_that_swings_about_a_threshold_moves_the_level_once() {
    let mut node = Node::new();
    for _ in 0..500 {
        node.stay(&only(Signal::Cpu, 0.71), 4);
        node.stay(&only(Signal::Cpu, 0.66), 16);
    }
    assert_eq!((node.degradation.level(), node.moves), (Level::Light, 1));
}

#[test]
fn dependencies_that_are_gone_turn_nobody_away() {
    let mut node = Node::new();
    let gone = only(Signal::Dependencies, 1.0)
        .with(Signal::TailLag, 86_400.0)
        .with(Signal::Latency, 30.0)
        .with(Signal::Cpu, 1.0);
    let level = node.stay(&gone, 600);
    assert_eq!(level, Level::Severe);
    assert!(level.lets_in(Coming::New) && level.lets_in(Coming::Back));
}

#[test]
fn a_clock_that_is_set_back_does_not_hold_a_level() {
    let mut node = Node::new();
    node.stay(&only(Signal::Memory, 0.75), 4);
    node.measure(&only(Signal::Memory, 0.1));
    node.now = node.now.minus(Duration::from_secs(3_600));
    assert_eq!(node.stay(&only(Signal::Memory, 0.1), 20), Level::Normal);
}

#[test]
fn each_level_leaves_out_what_the_one_before_does_and_more() {
    let pairs = Level::ALL.windows(2);
    for (better, worse) in pairs.map(|pair| (pair[0], pair[1])) {
        let beat = |level: Level| level.heartbeat(Duration::from_secs(10), Duration::from_secs(120));
        assert!(beat(better) < beat(worse));
        assert!(better.page(1_000) >= worse.page(1_000));
        assert!(better.at_once(256) >= worse.at_once(256));
        assert!(better.compresses() || !worse.compresses());
        assert!(
            worse.lets_in(Coming::Back),
            "whoever comes back is let in on every level"
        );
    }
    let at_the_bound = Level::Critical.heartbeat(Duration::from_secs(100), Duration::from_secs(120));
    assert_eq!(at_the_bound, Duration::from_secs(120));
    assert_eq!(Level::Critical.at_once(1), 1);
    assert!(!Level::Critical.lets_in(Coming::New));
}

#[test]
fn numbers_stand_for_levels() {
    for level in Level::ALL {
        assert_eq!(Level::of_number(level.number()), level);
    }
    assert_eq!(Level::of_number(200), Level::Critical);
}

proptest! {
    #[test]
    fn levels_do_not_flap_whatever_is_measured(
        values in prop::collection::vec(prop::collection::vec(prop::option::of(0.0_f64..1.2), 8), 10..200),
    ) {
        let mut node = Node::new();
        let mut fell_at: Option<Timestamp> = None;
        for row in &values {
            let mut signals = Signals::default();
            for (signal, value) in Signal::ALL.into_iter().zip(row) {
                if let Some(value) = value {
                    signals = signals.with(signal, *value);
                }
            }
            let before = node.degradation.level();
            let after = node.measure(&signals);
            prop_assert_eq!(after == Level::Normal, node.degradation.cause().is_none());
            if after < before {
                prop_assert_eq!(after, before.below());
                if let Some(fell_at) = fell_at {
                    prop_assert!(node.now.since(fell_at) >= CALM);
                }
                fell_at = Some(node.now);
            }
        }
        let calm = Signals::default();
        prop_assert_eq!(node.stay(&calm, 120), Level::Normal);
    }
}
