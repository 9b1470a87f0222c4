//! Nobody is ever shown what is not theirs, whatever they ask, wherever, with whatever they found.
//!
//! People with changing rights do at random what the service offers and what it must refuse, on two nodes that share a
//! database: streams, tickets, sockets, replay, inbox, items, tokens for Ably, other people's cursors, connections and
//! tickets. Everything that anybody is shown is held against the matrix, written down once more in [`people`].

mod actor;
mod people;
mod streams;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tests::port::random;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::actor::{Actor, Found, Stage, publish};
use self::people::{Audience, Claims, PEOPLE};
use self::watch::{Rights, Watch};
use crate::cluster::{Dice, Setup, http};

/// How long everybody goes on.
const LONG: Duration = Duration::from_secs(12);
const PUBLISHERS: u64 = 2;
/// What must have been shown at each place, or the test has looked at nothing.
const SEEN_MIN: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_shown_what_is_not_theirs() {
    let database = tests::postgres::database().await.unwrap();
    let setup = Setup::new()
        .on_postgres(&database.url())
        .with("ARAUTO_ABLY_TOKEN_KEY", "leak.tokens:for-this-test-only");
    let nodes = [setup.node(), setup.node()];
    let seed = random();
    let stage = Arc::new(Stage {
        doors: nodes.iter().map(tests::node::Node::url).collect(),
        issuer: setup.issuer.clone(),
        http: http(Duration::from_secs(30)),
        watch: Watch::default(),
        found: Found::default(),
    });
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    for (player, user) in (0..).zip(PEOPLE) {
        let (mut dice, stop) = (Dice::new(seed, player), stop.clone());
        let rights = Rights::of(Claims::draw(&mut dice, user));
        let stage = Arc::clone(&stage);
        let mut actor = Actor { stage, dice, rights };
        tasks.spawn(async move {
            while !stop.is_cancelled() {
                actor.act().await;
            }
        });
    }
    for player in 0..PUBLISHERS {
        let (mut dice, stop) = (Dice::new(seed, 1_000 + player), stop.clone());
        let token = setup.issuer.token("back-end", "SERVICE", &[]).unwrap();
        let stage = Arc::clone(&stage);
        tasks.spawn(async move {
            while !stop.is_cancelled() {
                let audience = Audience::draw(&mut dice);
                assert!(publish(&stage, &token, audience, &mut dice).await);
                tokio::time::sleep(dice.millis(5, 20)).await;
            }
        });
    }
    let ending = async {
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    };
    let ((), ended) = tokio::join!(
        async {
            tokio::time::sleep(LONG).await;
            stop.cancel();
        },
        tokio::time::timeout(LONG * 5, ending),
    );
    ended.expect("everybody comes to an end");

    let (leaks, shown) = (stage.watch.leaks(), stage.watch.seen());
    let first = leaks[..leaks.len().min(5)].join("\n");
    assert!(leaks.is_empty(), "seed {seed}: {} leaks:\n{first}", leaks.len());
    for surface in ["stream", "ticket", "socket", "replay", "inbox", "item"] {
        let count = shown.get(surface).copied().unwrap_or_default();
        assert!(
            count >= SEEN_MIN || surface == "item" && count > 0,
            "seed {seed}: {shown:?}"
        );
    }
}
