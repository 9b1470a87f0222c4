//! What goes wrong during a soak, one after the other, as long as there is time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ::tests::redis::Redis;
use anyhow::Result;

use crate::clock;
use crate::cluster::Cluster;
use crate::procfs::Process;
use crate::report::progress;

/// What is taken away comes back after this.
const AWAY: Duration = Duration::from_secs(5);
/// At most so long between two faults.
const EVERY: Duration = Duration::from_secs(100);
/// One after the other, with as much quiet at the end.
const PARTS: u32 = 6;
/// Between two looks at whether the soak is over.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy)]
enum Fault {
    RedisKilled,
    PostgresStopped,
    RedisFrozen,
    PostgresFrozen,
    NodeFrozen,
}

impl Fault {
    const ALL: [Self; 5] = [
        Self::RedisKilled,
        Self::PostgresStopped,
        Self::RedisFrozen,
        Self::PostgresFrozen,
        Self::NodeFrozen,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::RedisKilled => "Redis killed",
            Self::PostgresStopped => "Postgres stopped at once",
            Self::RedisFrozen => "Redis frozen",
            Self::PostgresFrozen => "Postgres frozen",
            Self::NodeFrozen => "a node frozen",
        }
    }
}

/// What may be taken away.
pub(super) struct Parts<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) redis: &'a mut Redis,
    pub(super) node: Process,
}

impl Parts<'_> {
    /// Injects faults over `length`, until `ended`. Returns what was done.
    pub(super) fn torment(&mut self, length: Duration, ended: &AtomicBool) -> Result<Vec<&'static str>> {
        let every = (length / PARTS).min(EVERY);
        let last = clock::after(length.saturating_sub(every / 2));
        let mut quiet = every;
        let mut done = Vec::new();
        for fault in Fault::ALL.into_iter().cycle() {
            if !pause(quiet, ended) || clock::now() > last {
                break;
            }
            progress(&format!("  fault: {}, for {} s", fault.name(), AWAY.as_secs()));
            self.inject(fault)?;
            done.push(fault.name());
            quiet = every.saturating_sub(AWAY);
        }
        Ok(done)
    }

    fn inject(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::RedisKilled => self.redis.kill_9()?,
            Fault::PostgresStopped => self.cluster.stop()?,
            Fault::RedisFrozen => self.redis.freeze()?,
            Fault::PostgresFrozen => self.cluster.freeze()?,
            Fault::NodeFrozen => self.node.freeze()?,
        }
        thread::sleep(AWAY);
        match fault {
            Fault::RedisKilled => self.redis.restart(),
            Fault::PostgresStopped => self.cluster.restart(),
            Fault::RedisFrozen => self.redis.thaw(),
            Fault::PostgresFrozen => self.cluster.thaw(),
            Fault::NodeFrozen => self.node.thaw(),
        }
    }
}

/// Waits; false when the soak ends first.
fn pause(length: Duration, ended: &AtomicBool) -> bool {
    let until = clock::after(length);
    while clock::now() < until {
        if ended.load(Ordering::Relaxed) {
            return false;
        }
        thread::sleep(LOOK);
    }
    true
}
