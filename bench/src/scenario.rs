//! What is measured, one module each. Every scenario starts a fresh server, is bounded in time and returns rows of
//! the table.

mod broadcast;
mod dropped;
mod duel;
mod idle;
mod latency;
mod resume;

use std::time::Duration;

use anyhow::Result;

use crate::clock;
use crate::fleet::Fleet;
use crate::procfs::Process;
use crate::summary::Outcome;

/// How large and how long a run is.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Path of the server's binary.
    pub(crate) server: String,
    pub(crate) streams: usize,
    pub(crate) resumes: usize,
    /// Rounds of broadcasts, alternating between floor and server.
    pub(crate) rounds: usize,
    pub(crate) broadcasts_per_round: usize,
    /// Open-loop publishes a second.
    pub(crate) rate: u32,
    /// How long they go on.
    pub(crate) load: Duration,
    /// How long memory may take to come to rest before it is read.
    pub(crate) settle: Duration,
    /// Descriptors this process may have open.
    pub(crate) descriptors: u64,
}

/// The scenarios by name, in the order they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Memory of idle event streams.
    Idle,
    /// Processor time of a broadcast, against the floor.
    Broadcast,
    /// Streams dropped at once without traffic.
    Drop,
    /// All streams cut and resumed at once.
    Resume,
    /// Memory of idle WebSocket connections.
    Sockets,
    /// Publish to receipt under load, against the floor.
    Latency,
}

impl Scenario {
    pub(crate) const ALL: [Self; 6] = [
        Self::Idle,
        Self::Broadcast,
        Self::Drop,
        Self::Resume,
        Self::Sockets,
        Self::Latency,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Idle => "idle event streams",
            Self::Broadcast => "broadcast",
            Self::Drop => "streams dropped while idle",
            Self::Resume => "resume storm",
            Self::Sockets => "idle WebSockets",
            Self::Latency => "publish to receipt",
        }
    }

    pub(crate) fn run(self, plan: &Plan) -> Result<Outcome> {
        match self {
            Self::Idle => idle::event_streams(plan),
            Self::Broadcast => broadcast::run(plan),
            Self::Drop => dropped::run(plan),
            Self::Resume => resume::run(plan),
            Self::Sockets => idle::web_sockets(plan),
            Self::Latency => latency::run(plan),
        }
    }
}

/// Memory counts as at rest when it has moved by less than 0.2 % for this long.
const REST: Duration = Duration::from_secs(3);

/// The process's resident KiB once it has come to rest, at the latest after `settle`. The allocator gives pages
/// that the handshakes used back only after some seconds, so an early rest does not count: half of `settle` is
/// always waited for.
fn settled_kib(process: Process, settle: Duration, fleet: &mut Fleet) -> Result<u64> {
    let (start, deadline) = (clock::now(), clock::after(settle));
    let (mut reference, mut since) = (process.resident_kib()?, start);
    loop {
        fleet.linger(Duration::from_millis(500))?;
        let resident = process.resident_kib()?;
        if resident.abs_diff(reference) * 500 > reference {
            (reference, since) = (resident, clock::now());
        }
        let at_rest = clock::since(since) >= REST && clock::since(start) >= settle / 2;
        if at_rest || clock::now() >= deadline {
            return Ok(resident);
        }
    }
}

/// Number `n` of a fixed pseudo-random sequence below `bound` (`SplitMix64`), so that every run addresses the same
/// readers in the same order.
pub(crate) fn pick(n: usize, bound: usize) -> usize {
    let mut z = (n as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    usize::try_from(z % bound.max(1) as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_stay_below_their_bound_and_reach_most_readers() {
        let mut hit = [false; 100];
        for n in 0..1000 {
            hit[pick(n, 100)] = true;
        }
        assert!(hit.iter().filter(|hit| **hit).count() > 95);
    }
}
