//! Who kills what, and when.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tests::node::Node;
use tests::postgres::Postgres;
use tests::redis::Redis;

use crate::cluster::Dice;
use crate::cluster::cast::Cast;

/// Longer than any time-out on the way: what a frozen node held is taken elsewhere before it wakes.
const FROZEN: Duration = Duration::from_secs(10);

type Faults = Arc<Mutex<BTreeMap<&'static str, usize>>>;

/// Faults at work. Nodes, PostgreSQL and Redis each have theirs, so that several are away at once.
pub(super) struct Chaos {
    nodes: Vec<JoinHandle<Vec<Node>>>,
    database: JoinHandle<Postgres>,
    redis: JoinHandle<Redis>,
    // Ends the rests.
    bells: Vec<Sender<()>>,
    faults: Faults,
}

/// What is left: everything runs again.
pub(super) struct Aftermath {
    pub(super) nodes: Vec<Node>,
    pub(super) faults: BTreeMap<&'static str, usize>,
    pub(super) database: Postgres,
    pub(super) redis: Redis,
}

/// One who brings faults.
struct Hand {
    dice: Dice,
    hurry: Arc<AtomicBool>,
    bell: Receiver<()>,
    faults: Faults,
}

impl Chaos {
    /// Begins. Two hands share the nodes, so that two of three may be away at once, but never all for long.
    pub(super) fn begin(cast: &Cast, nodes: Vec<Node>, database: Postgres, redis: Redis) -> Self {
        let faults = Faults::default();
        let mut bells = Vec::new();
        let mut hand = |player: u64| {
            let (bell, hears) = channel();
            bells.push(bell);
            Hand {
                dice: Dice::new(cast.seed, 30_000 + player),
                hurry: Arc::clone(&cast.hurry),
                bell: hears,
                faults: Arc::clone(&faults),
            }
        };
        let mut some = nodes;
        let others = some.split_off(some.len() / 2);
        let (first, second, third, fourth) = (hand(1), hand(2), hand(3), hand(4));
        Self {
            nodes: vec![
                std::thread::spawn(move || first.on_nodes(some)),
                std::thread::spawn(move || second.on_nodes(others)),
            ],
            database: std::thread::spawn(move || third.on_database(database)),
            redis: std::thread::spawn(move || fourth.on_redis(redis)),
            bells,
            faults,
        }
    }

    /// Ends it, with everything running again.
    pub(super) fn end(self) -> Aftermath {
        drop(self.bells);
        let database = self.database.join().unwrap();
        let redis = self.redis.join().unwrap();
        let mut nodes = Vec::new();
        for hand in self.nodes {
            nodes.extend(hand.join().unwrap());
        }
        for node in &mut nodes {
            node.ready(Duration::from_secs(60)).unwrap();
        }
        Aftermath {
            nodes,
            faults: self.faults.lock().unwrap().clone(),
            database,
            redis,
        }
    }
}

impl Hand {
    /// Rests, and says whether to go on.
    fn rest(&mut self, from: u64, to: u64) -> bool {
        let rest = self.dice.millis(from, to);
        self.bell.recv_timeout(rest) == Err(RecvTimeoutError::Timeout)
    }

    fn note(&self, fault: &'static str) {
        *self.faults.lock().unwrap().entry(fault).or_default() += 1;
    }

    /// What dies dies in the middle of as many commits as can be had.
    fn in_the_rush(&mut self, kill: impl FnOnce()) {
        self.hurry.store(true, Ordering::Relaxed);
        self.rest(200, 400);
        kill();
        self.hurry.store(false, Ordering::Relaxed);
    }

    fn on_nodes(mut self, mut nodes: Vec<Node>) -> Vec<Node> {
        while self.rest(1_000, 5_000) {
            let index = self.dice.below(nodes.len());
            let node = &mut nodes[index];
            if self.dice.chance(60) {
                self.note("node killed");
                self.in_the_rush(|| node.kill_9().unwrap());
                self.rest(0, 1_500);
                node.restart().unwrap();
            } else {
                self.note("node frozen");
                node.freeze().unwrap();
                let frozen = u64::try_from(FROZEN.as_millis()).unwrap();
                self.rest(frozen, frozen + 500);
                node.thaw().unwrap();
            }
        }
        nodes
    }

    fn on_database(mut self, mut database: Postgres) -> Postgres {
        while self.rest(1_000, 2_000) {
            // Cheap, so often: what dies in the middle of a commit is seldom hit by the slower faults.
            for _ in 0..5 + self.dice.below(6) {
                self.note("sessions ended");
                self.in_the_rush(|| database.end_sessions().unwrap());
                self.rest(200, 800);
            }
            if self.dice.chance(60) {
                self.note("postgres immediate");
                self.in_the_rush(|| database.stop_immediate().unwrap());
            } else {
                self.note("postgres killed");
                self.in_the_rush(|| database.kill_9().unwrap());
            }
            self.rest(0, 2_000);
            database.restart().unwrap();
        }
        database
    }

    fn on_redis(mut self, mut redis: Redis) -> Redis {
        while self.rest(3_000, 8_000) {
            if self.dice.chance(50) {
                self.note("redis killed");
                redis.kill_9().unwrap();
                self.rest(0, 4_000);
                redis.restart().unwrap();
            } else {
                self.note("redis frozen");
                redis.freeze().unwrap();
                self.rest(2_000, 6_000);
                redis.thaw().unwrap();
            }
        }
        redis
    }
}
