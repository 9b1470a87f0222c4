//! A deploy: every node is replaced, one after the other, while people publish and listen. Clients behave as browsers do:
//! they come back when they were told to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tests::node::Node;
use tests::postgres::database;
use tests::server::now;

use crate::cluster::cast::Cast;
use crate::cluster::publisher::Pace;
use crate::cluster::reader::{Manners, OnReset, Return};
use crate::cluster::{Setup, plain};

const NODES: usize = 3;
const CLIENTS: usize = 300;

/// Nobody waits longer for what was published meanwhile.
const CAUGHT_UP: Duration = Duration::from_secs(30);

/// A node is gone, drain included, and another is there in this time.
const REPLACED: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_every_node_fails_no_repeated_publish_leaves_nobody_behind_and_spreads_who_comes_back() {
    let database = database().await.unwrap();
    let setup = Setup::new().on_postgres(&database.url());
    let mut nodes: Vec<Node> = (0..NODES).map(|_| setup.node()).collect();
    let doors: Vec<String> = nodes.iter().map(|node| plain(node.address())).collect();
    let manners = Manners {
        back: Return::AsTold,
        reset: OnReset::Complain,
    };
    let cast = Cast::new(&setup, 1, CLIENTS, &doors, manners);
    cast.listen().await;
    let pace = Pace {
        rest: Duration::from_millis(50),
        batches: 10,
    };
    cast.publish(4, pace);
    cast.published(50, Duration::from_secs(10)).await;

    let mut begun = Vec::new();
    for node in &mut nodes {
        begun.push(now());
        tokio::task::block_in_place(|| {
            node.terminate().unwrap();
            let status = node.wait(REPLACED).unwrap();
            assert!(status.success(), "{status}: {}", node.log().unwrap());
            node.restart().unwrap();
            node.ready(REPLACED).unwrap();
        });
    }
    cast.hush(CAUGHT_UP).await;
    cast.settle(CAUGHT_UP).await;

    let attempts = cast.tally.lock().unwrap().attempts.clone();
    let most = attempts.keys().max().copied().unwrap();
    assert!(most <= 2, "publishes by attempts: {attempts:?}");
    for reader in &cast.readers {
        let slowest = cast.ledger.slowest(&reader.story().received);
        assert!(slowest < CAUGHT_UP, "{} waited {slowest:?}", reader.person.user);
    }
    for (index, since) in begun.iter().enumerate() {
        let until = begun.get(index + 1).copied().unwrap_or_else(now);
        let seconds = knocks(&cast, *since, until);
        spread(&seconds);
    }
}

/// How many clients knocked in each second of a replacement.
fn knocks(cast: &Cast, since: Instant, until: Instant) -> BTreeMap<u64, usize> {
    let mut seconds = BTreeMap::new();
    for reader in &cast.readers {
        for knock in reader
            .story()
            .knocks
            .iter()
            .filter(|at| (since..until).contains(*at))
        {
            *seconds.entry((*knock - since).as_secs()).or_default() += 1;
        }
    }
    seconds
}

/// No second has more than three times the mean of the seconds from the first who came back to the last.
fn spread(seconds: &BTreeMap<u64, usize>) {
    let (Some((first, _)), Some((last, _))) = (seconds.first_key_value(), seconds.last_key_value()) else {
        panic!("nobody came back: the node had no clients");
    };
    let (all, count) = (
        seconds.values().sum::<usize>(),
        usize::try_from(last - first + 1).unwrap(),
    );
    let most = seconds.values().max().copied().unwrap();
    assert!(all >= CLIENTS / NODES / 2, "only {all} came back: {seconds:?}");
    assert!(
        most * count <= 3 * all,
        "more than three times the mean came in a second: {seconds:?}"
    );
}
