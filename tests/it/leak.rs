//! Nobody is ever shown what is not theirs, whatever they ask, wherever, with whatever they found.
//!
//! People with changing rights do at random what the service offers and what it must refuse, on two nodes that share a
//! database: streams, tickets, sockets, replay, inbox, items, tokens for Ably, other people's cursors, connections and
//! tickets. Tokens are taken back while they are in use. Everything that anybody is shown is held against the matrix,
//! written down once more in [`people`].
//!
//! The ring is small, so that half of what is resumed is read from the log: each way of reading has a check of its own.
//! Faults that were planted in the service, one check left out each, and what found them: `docs/security.md`.

mod actor;
mod people;
mod revoked;
mod sockets;
mod streams;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tests::port::random;
use tests::standin::{StandIn, TOKEN_KEY};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::actor::{Actor, Found, Stage, publish};
use self::people::{Audience, Claims, PEOPLE};
use self::watch::{Rights, Watch};
use crate::cluster::{Dice, Setup, http};

/// How long everybody goes on.
const LONG: Duration = Duration::from_secs(12);
const PUBLISHERS: u64 = 2;
/// Some hundred events of the second or so before: what is older is read from the log.
const RING_MAX_BYTES: &str = "48KiB";
/// What must have been shown at each place, or the test has looked at nothing.
const SEEN_MIN: usize = 50;
/// And what must have been done.
const LEAST: [(&str, usize); 11] = [
    ("stream", SEEN_MIN),
    ("ticket", SEEN_MIN),
    ("ticket again", SEEN_MIN),
    ("socket", SEEN_MIN),
    ("replay", SEEN_MIN),
    ("inbox", SEEN_MIN),
    ("item", 1),
    ("renewed", 5),
    ("taken back on a stream", 1),
    ("taken back on a socket", 1),
    ("taken back on a ticket's stream", 1),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_shown_what_is_not_theirs() {
    let database = tests::postgres::database().await.unwrap();
    let (matrix, ably) = (matrix(), StandIn::start().unwrap());
    let setup = Setup::new()
        .on_postgres(&database.url())
        .with("ARAUTO_ABLY_TOKEN_KEY", TOKEN_KEY)
        .with("ARAUTO_ABLY_ENDPOINT", &ably.url())
        .with("ARAUTO_RING_MAX_BYTES", RING_MAX_BYTES)
        .with("ARAUTO_CAPABILITIES_FILE", matrix.path().to_str().unwrap());
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
    for (surface, least) in LEAST {
        let count = shown.get(surface).copied().unwrap_or_default();
        assert!(count >= least, "seed {seed}: {surface}: {shown:?}");
    }
    let mut read = 0;
    for node in &nodes {
        let metrics = stage.http.get(format!("{}/metrics", node.url())).send();
        read += replays(&metrics.await.unwrap().text().await.unwrap());
    }
    assert!(read > SEEN_MIN, "seed {seed}: {read} resumed from the log");
}

/// The built-in matrix, and a role that may not look back.
fn matrix() -> tempfile::NamedTempFile {
    let built_in = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../capabilities.example.toml"
    ));
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), built_in.unwrap() + people::LIVE_ONLY_RIGHTS).unwrap();
    file
}

/// How many parts of the history streams read from the log.
fn replays(metrics: &str) -> usize {
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix("arauto_store_replays_total "));
    value.unwrap().parse().unwrap()
}
