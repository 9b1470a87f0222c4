//! Every client receives what it was entitled to, in order, once, or a reset says what it missed.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::faults::Fault;
use super::world::{Act, To, Trail, USERS, World};

const CLIENTS: usize = 5;

fn to() -> impl Strategy<Value = To> {
    prop_oneof![
        3 => prop::collection::vec(0..USERS, 1..3).prop_map(To::Users),
        1 => (0..2_usize).prop_map(To::Unit),
        1 => Just(To::Everyone),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let client = 0..CLIENTS;
    prop_oneof![
        12 => (to(), prop::option::weighted(0.2, 0..40_u64))
            .prop_map(|(to, expires_in)| Act::Publish { to, expires_in }),
        2 => any::<usize>().prop_map(|nth| Act::Retract { nth }),
        2 => (client.clone(), any::<usize>()).prop_map(|(user, nth)| Act::Mark { user, nth }),
        1 => client.clone().prop_map(|user| Act::ReadAll { user }),
        6 => client.clone().prop_map(|client| Act::Connect { client }),
        8 => (client.clone(), 1..9_usize).prop_map(|(client, frames)| Act::Poll { client, frames }),
        4 => (client.clone(), 0..4_usize).prop_map(|(client, lost)| Act::Cut { client, lost }),
        2 => (0..35_u64).prop_map(|seconds| Act::Advance { seconds }),
        2 => Just(Act::Prune),
        2 => (client, 1..6_usize).prop_map(|(client, limit)| Act::Replay { client, limit }),
        3 => Just(Act::Settle),
    ]
}

/// The ring holds between one event and all of them, the history between a handful and all of them.
fn case() -> impl Strategy<Value = (Vec<Act>, usize, usize)> {
    let ring = prop_oneof![Just(400_usize), Just(2_000), Just(1 << 20)];
    let history = prop_oneof![Just(5_usize), Just(20), Just(10_000)];
    (prop::collection::vec(act(), 1..120), ring, history)
}

fn run(acts: &[Act], ring: usize, history: usize, fault: Fault) -> Result<Trail, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let mut world = World::new(CLIENTS, ring, history, fault).await;
        for act in acts {
            world.act(act).await?;
        }
        world.judge().await
    })
}

#[test]
fn every_client_receives_what_it_is_entitled_to_in_order_once_or_is_told_what_it_missed() {
    let mut runner = TestRunner::new(Config {
        cases: 400,
        ..Config::default()
    });
    let sum = Cell::new(Trail::default());
    let outcome = runner.run(&case(), |(acts, ring, history)| {
        let trail = run(&acts, ring, history, Fault::None).map_err(TestCaseError::fail)?;
        sum.set(Trail {
            store_reads: sum.get().store_reads + trail.store_reads,
            resets: sum.get().resets + trail.resets,
            events: sum.get().events + trail.events,
        });
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    // A property over cases that never leave the main road would prove little.
    let sum = sum.get();
    assert!(
        sum.store_reads > 100 && sum.resets > 50 && sum.events > 5_000,
        "{sum:?}"
    );
}

/// The property is worth something only if it fails when something is wrong.
fn is_found(fault: Fault) {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let config = Config {
        cases: 400,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&case(), |(acts, ring, history)| {
        run(&acts, ring, history, fault)
            .map(|_| ())
            .map_err(TestCaseError::fail)
    });
    assert!(outcome.is_err(), "{fault:?} was planted and not found");
}

#[test]
fn a_dropped_event_is_found() {
    is_found(Fault::Drop);
}

#[test]
fn a_repeated_event_is_found() {
    is_found(Fault::Duplicate);
}

#[test]
fn two_events_the_wrong_way_round_are_found() {
    is_found(Fault::Swap);
}

#[test]
fn a_replay_without_authorisation_is_found() {
    is_found(Fault::Unauthorised);
}

#[test]
fn a_tail_that_loses_an_event_is_found() {
    is_found(Fault::TailSkips);
}
