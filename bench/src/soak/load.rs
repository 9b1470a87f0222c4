//! Publishes at a steady rate that outlast every fault: each is repeated under its key until it is acknowledged.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::clock;
use crate::fleet::position;
use crate::publisher::{Audience, Endpoint, Publisher};
use crate::scenario::pick;

/// Between two attempts at the same publish.
const AGAIN: Duration = Duration::from_millis(200);
/// A publish that is not acknowledged for longer than any fault lasts never will be.
const PATIENCE: Duration = Duration::from_secs(60);
/// Every so many is for everybody.
const EVERYBODY: usize = 200;
/// Of so many one is for somebody who reads slowly.
const SLOW: usize = 4;

/// Who there is to publish to, by number: first those who read at once, then those who read slowly.
#[derive(Debug, Clone, Copy)]
pub(super) struct People {
    pub(super) quick: usize,
    pub(super) slow: usize,
}

impl People {
    pub(super) fn all(self) -> usize {
        self.quick + self.slow
    }

    fn audience(self, n: usize) -> Audience {
        if n.is_multiple_of(EVERYBODY) {
            Audience::Everyone
        } else if n.is_multiple_of(SLOW) && self.slow > 0 {
            Audience::Reader(self.quick + pick(n, self.slow))
        } else {
            Audience::Reader(pick(n, self.quick))
        }
    }
}

/// What was acknowledged: positions, by who has to have them.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) everyone: HashSet<u64>,
    pub(super) one: HashMap<usize, HashSet<u64>>,
    /// Attempts that were answered otherwise, or not at all.
    pub(super) repeated: u64,
}

impl Told {
    pub(super) fn count(&self) -> usize {
        self.everyone.len() + self.one.values().map(HashSet::len).sum::<usize>()
    }

    fn add(&mut self, other: Self) {
        self.everyone.extend(other.everyone);
        for (person, positions) in other.one {
            self.one.entry(person).or_default().extend(positions);
        }
        self.repeated += other.repeated;
    }

    /// Receipts that `person` has to have.
    pub(super) fn due(&self, person: usize) -> usize {
        self.everyone.len() + self.one.get(&person).map_or(0, HashSet::len)
    }

    pub(super) fn is_due(&self, person: usize, position: u64) -> bool {
        self.everyone.contains(&position) || self.one.get(&person).is_some_and(|own| own.contains(&position))
    }
}

/// The publishers and what they go by.
pub(super) struct Load<'a> {
    pub(super) nodes: &'a [Endpoint],
    pub(super) publishers: usize,
    pub(super) interval: Duration,
    pub(super) people: People,
    pub(super) ended: &'a AtomicBool,
    /// Acknowledged so far.
    pub(super) count: &'a AtomicU64,
}

impl Load<'_> {
    /// Publishes until `ended`.
    pub(super) fn run(&self) -> Result<Told> {
        let start = clock::now();
        thread::scope(|scope| {
            let publishers: Vec<_> = (0..self.publishers)
                .map(|publisher| scope.spawn(move || self.publish(publisher, start)))
                .collect();
            let mut told = Told::default();
            for publisher in publishers {
                let own = publisher.join().ok().context("a publisher panicked")?;
                told.add(own.inspect_err(|_| self.ended.store(true, Ordering::Relaxed))?);
            }
            Ok(told)
        })
    }

    fn publish(&self, publisher: usize, start: u64) -> Result<Told> {
        let endpoint = &self.nodes[publisher % self.nodes.len()];
        let mut connection = None;
        let mut told = Told::default();
        for turn in 0.. {
            let n = turn * self.publishers + publisher;
            let due = start + clock::in_nanos(self.interval) * n as u64;
            clock::sleep_until(due);
            if self.ended.load(Ordering::Relaxed) {
                break;
            }
            let audience = self.people.audience(n);
            let key = format!("soak-{start}-{n}");
            let give_up = clock::after(PATIENCE);
            let position = loop {
                match attempt(&mut connection, endpoint, &key, audience, due) {
                    Ok(position) => break position,
                    Err(error) if clock::now() > give_up => {
                        return Err(error.context("a publish was never acknowledged"));
                    }
                    Err(_) => {
                        told.repeated += 1;
                        thread::sleep(AGAIN);
                    }
                }
            };
            self.count.fetch_add(1, Ordering::Relaxed);
            match audience {
                Audience::Everyone => told.everyone.insert(position),
                Audience::Reader(person) => told.one.entry(person).or_default().insert(position),
            };
        }
        Ok(told)
    }
}

fn attempt(
    connection: &mut Option<Publisher>,
    endpoint: &Endpoint,
    key: &str,
    audience: Audience,
    sent: u64,
) -> Result<u64> {
    let mut publisher = connection
        .take()
        .map_or_else(|| Publisher::connect(endpoint), Ok)?;
    let answer = publisher.publish_under(key, audience, sent)?;
    // Answered, so it is still good.
    *connection = Some(publisher);
    if !matches!(answer.status, 200 | 201) {
        bail!("answered {}", answer.status);
    }
    let receipt: Value = serde_json::from_slice(&answer.body).context("receipt that is not JSON")?;
    let cursor = receipt["cursor"].as_str().context("no cursor")?;
    position(cursor.as_bytes()).context("no position in a cursor")
}
