//! What nodes have between them dies, hangs and comes back: nobody waits for it, and nobody has to be restarted.

pub(crate) mod limiters;
mod postgres_bus;
mod postgres_registry;
mod redis_bus;
mod redis_registry;
mod registries;
mod registry;
mod sentinel;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use application::ports::{Bus, Doorbell, Listener, Observation, Observer, Rung};
use domain::cursor::{Epoch, Position};
use domain::event::{Change, Event};
use domain::time::Timestamp;
use tests::server::now;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// What a test waits for comes by then or never.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whoever is held up by a server that is away waits longer than this.
const AT_ONCE: Duration = Duration::from_millis(100);

/// The tasks of one node, ended with it.
struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
    _end: DropGuard,
}

impl Tasks {
    fn new() -> Self {
        let cancel = CancellationToken::new();
        Self {
            tracker: TaskTracker::new(),
            _end: cancel.clone().drop_guard(),
            cancel,
        }
    }

    fn parts(&self) -> (&TaskTracker, &CancellationToken) {
        (&self.tracker, &self.cancel)
    }
}

/// Notes what it was told of.
#[derive(Default)]
struct Noting(Mutex<Vec<Observation>>);

impl Noting {
    fn saw_full(&self, name: &str) -> bool {
        let seen = self.0.lock().unwrap();
        seen.iter()
            .any(|seen| matches!(seen, Observation::Full(full) if *full == name))
    }
}

impl Observer for Noting {
    fn saw(&self, observation: &Observation) {
        self.0.lock().unwrap().push(*observation);
    }
}

fn doorbell(position: u64) -> Doorbell {
    let event = Event {
        position: Position(position),
        at: Timestamp::from_millis(1_767_225_600_000),
        change: Change::Erased,
    };
    Doorbell {
        epoch: Epoch(7),
        events: [Arc::new(event)].into(),
    }
}

/// Announces, and fails if that takes a moment.
async fn announce_at_once(bus: &dyn Bus, position: u64) {
    let announcing = tokio::time::timeout(AT_ONCE, bus.announce(doorbell(position)));
    announcing.await.expect("nobody waits for a bus");
}

async fn in_time<T>(what: &str, case: impl Future<Output = T>) -> T {
    let Ok(outcome) = tokio::time::timeout(PATIENCE, case).await else {
        panic!("{what}: not within {PATIENCE:?}")
    };
    outcome
}

/// Waits for this ring and passes over others.
async fn hears(listener: &mut Box<dyn Listener>, wanted: impl Fn(&Rung) -> bool) {
    in_time("the ring", async { while !wanted(&listener.next().await) {} }).await;
}

/// Announces one position after another until one of them is heard; returns how long that took.
async fn hears_again(bus: &dyn Bus, listener: &mut Box<dyn Listener>, from: u64) -> Duration {
    let started = now();
    let mut position = from;
    loop {
        announce_at_once(bus, position).await;
        let heard = tokio::time::timeout(Duration::from_millis(50), listener.next()).await;
        let reached = match heard {
            Ok(Rung::Doorbell(rung)) => rung.events[0].position.0,
            Ok(Rung::Head(cursor) | Rung::Ours(cursor)) => cursor.position.0,
            Ok(Rung::Missed | Rung::Replies(_)) | Err(_) => 0,
        };
        if reached >= from {
            return started.elapsed();
        }
        assert!(started.elapsed() < PATIENCE, "nothing is heard any more");
        position += 1;
    }
}
