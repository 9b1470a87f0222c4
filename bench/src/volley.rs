//! Publishes at set times to the readers of one fleet, and what became of each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::clock;
use crate::fleet::Fleet;
use crate::publisher::{Audience, Endpoint, OpenLoop, Published, Publisher};
use crate::scenario::pick;

/// From setting the schedule to its first slot.
const LEAD: Duration = Duration::from_millis(300);
/// Longest wait for what is under way when the last publish is answered; then it is lost.
const DELIVERY: Duration = Duration::from_secs(10);
/// The publishers are given up this long after the last slot was due.
const PATIENCE: Duration = Duration::from_secs(30);

/// When what is due, and over how many connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Volley {
    /// Between one publish and the next; zero has all of them due at once.
    pub(crate) interval: Duration,
    pub(crate) publishes: usize,
    /// Requests under way at once.
    pub(crate) connections: usize,
    /// Publishes in one request.
    pub(crate) batch: usize,
}

/// What volleys showed.
#[derive(Debug, Default)]
pub(crate) struct Landed {
    pub(crate) accepted: u64,
    /// Nanoseconds from when each publish was due to its receipt.
    pub(crate) latencies: Vec<u64>,
    /// How late each request went out.
    pub(crate) lags: Vec<u64>,
    /// Readers that got fewer, or more, than was accepted for them; in receipts.
    pub(crate) missing: u64,
    pub(crate) doubled: u64,
    /// From the first that was due to the last receipt, volley by volley.
    pub(crate) took: Vec<Duration>,
}

impl Volley {
    /// The same with another number of publishes.
    pub(crate) fn of(self, publishes: usize) -> Self {
        Self { publishes, ..self }
    }

    /// Publishes, each to one reader, and reads until every receipt is there or none can come any more. `turn` picks
    /// whom it goes to.
    pub(crate) fn fire(
        self,
        fleet: &mut Fleet,
        endpoint: &Endpoint,
        turn: usize,
        landed: &mut Landed,
    ) -> Result<()> {
        let readers = fleet.len();
        let to = |slot: usize| pick(turn * self.publishes + slot, readers);
        fleet.linger(Duration::from_millis(100))?;
        fleet.reset();
        let before: Vec<usize> = fleet.seen().map(|(_, seen)| seen.len()).collect();
        let start = clock::after(LEAD);
        let load = OpenLoop {
            endpoint,
            start,
            interval: self.interval,
            slots: self.publishes,
            connections: self.connections,
        };
        let lasts = self.interval * u32::try_from(self.publishes)? + LEAD + PATIENCE;
        let give_up = AtomicBool::new(false);
        let published = thread::scope(|scope| {
            let publishing = scope.spawn(|| {
                let audience = |slot| Audience::Reader(to(slot));
                if self.batch == 1 {
                    load.run(audience, &give_up)
                } else {
                    self.batches(endpoint, start, audience)
                }
            });
            let watched = fleet.until("the publishers", lasts, |_| publishing.is_finished());
            give_up.store(true, Ordering::Relaxed);
            let published = publishing.join().map_err(|_| anyhow!("a publisher panicked"))?;
            watched.map(|()| published)
        })?;
        if let Some(failure) = published.failure {
            bail!("publishing failed: {failure}");
        }
        // What is still missing after this wait is lost, and reported as such.
        fleet.within(DELIVERY, |tally| tally.unicasts >= self.publishes as u64)?;
        let mut due = vec![0; readers];
        (0..self.publishes).for_each(|slot| due[to(slot)] += 1);
        for (((_, seen), before), due) in fleet.seen().zip(before).zip(due) {
            let got = &seen[before..];
            let mut distinct = got.to_vec();
            distinct.sort_unstable();
            distinct.dedup();
            landed.missing += (due as u64).saturating_sub(distinct.len() as u64);
            landed.doubled += (got.len() - distinct.len()) as u64 + distinct.len().saturating_sub(due) as u64;
        }
        let last = fleet.tally().last_receipt;
        landed.took.push(Duration::from_nanos(last.saturating_sub(start)));
        landed.latencies.extend(&fleet.tally().unicast_latencies);
        landed.accepted += published.accepted as u64;
        landed.lags.extend(published.lags);
        Ok(())
    }

    /// Sends everything in requests that are due at once, each over a connection of its own.
    fn batches(
        self,
        endpoint: &Endpoint,
        start: u64,
        audience: impl Fn(usize) -> Audience + Sync,
    ) -> Published {
        let audience = &audience;
        let send = |from: usize| -> Result<Published> {
            let to = (from + self.batch).min(self.publishes);
            let items: Vec<Audience> = (from..to).map(audience).collect();
            let mut publisher = Publisher::connect(endpoint)?;
            clock::sleep_until(start);
            let lag = clock::now().saturating_sub(start);
            publisher.publish_batch(&items, start)?;
            Ok(Published {
                accepted: items.len(),
                lags: vec![lag],
                failure: None,
            })
        };
        let send = &send;
        let mut total = Published::default();
        thread::scope(|scope| {
            let sending: Vec<_> = (0..self.publishes)
                .step_by(self.batch)
                .map(|from| scope.spawn(move || send(from)))
                .collect();
            for one in sending {
                match one.join() {
                    Ok(Ok(done)) => {
                        total.accepted += done.accepted;
                        total.lags.extend(done.lags);
                    }
                    Ok(Err(error)) => total.failure = Some(format!("{error:#}")),
                    Err(_) => total.failure = Some("a publisher panicked".to_owned()),
                }
            }
        });
        total
    }
}
