//! Server and floor side by side: the same number of readers, the same publisher, the same bytes.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::Plan;
use crate::clock;
use crate::fleet::{Fleet, Pace, Protocol};
use crate::procfs::Process;
use crate::publisher::{Audience, Endpoint, Publisher};
use crate::report::progress;
use crate::stats::grouped;
use crate::subject::{FloorProcess, OPENING, Server};

/// Descriptors this process needs beside its readers.
const RESERVE: u64 = 128;
/// Longest wait for one publish to reach its readers.
pub(super) const DELIVERY: Duration = Duration::from_secs(30);

/// One of the two.
pub(super) struct Side {
    pub(super) process: Process,
    pub(super) fleet: Fleet,
    pub(super) endpoint: Endpoint,
    publisher: Publisher,
}

impl Side {
    fn new(process: Process, fleet: Fleet, endpoint: Endpoint) -> Result<Self> {
        let publisher = Publisher::connect(&endpoint)?;
        Ok(Self {
            process,
            fleet,
            endpoint,
            publisher,
        })
    }

    /// Publishes to everyone and reads until everyone has it. Nanoseconds from the publish to the last receipt.
    ///
    /// The next broadcast waits for this one: frames that pile up would leave the server in fewer and larger
    /// writes, and the figure would no longer be that of one delivery.
    pub(super) fn broadcast(&mut self) -> Result<u64> {
        let enough = self.fleet.tally().broadcasts + self.fleet.len() as u64;
        let known = self.fleet.tally().broadcast_latencies.len();
        let (fleet, publisher) = (&mut self.fleet, &mut self.publisher);
        thread::scope(|scope| {
            let publishing = scope.spawn(|| publisher.publish(Audience::Everyone, clock::now()));
            fleet.until("a broadcast", DELIVERY, |tally| tally.broadcasts >= enough)?;
            publishing
                .join()
                .map_err(|_| anyhow!("the publisher panicked"))??;
            let latencies = &fleet.tally().broadcast_latencies[known..];
            latencies
                .iter()
                .max()
                .copied()
                .context("no receipt of a broadcast")
        })
    }

    /// The next notification for `audience` as its readers' sockets saw it.
    fn recorded(&mut self, audience: Audience) -> Result<Vec<u8>> {
        // Now and then a heartbeat shares the read; a few attempts are plenty.
        for _ in 0..5 {
            self.fleet.record_frame();
            if audience == Audience::Everyone {
                self.broadcast()?;
            } else {
                let enough = self.fleet.tally().unicasts + 1;
                self.publisher.publish(audience, clock::now())?;
                self.fleet
                    .until("a unicast", DELIVERY, |tally| tally.unicasts >= enough)?;
            }
            if let Some(frame) = self.fleet.tally().recorded.clone() {
                return Ok(frame);
            }
        }
        bail!("no notification arrived in a read of its own")
    }

    fn teach(&mut self, path: &str, frame: &[u8]) -> Result<()> {
        let answer = self.publisher.request("PUT", path, frame)?;
        if answer.status == 201 {
            Ok(())
        } else {
            bail!("the floor answered {}", answer.status)
        }
    }
}

/// Both sides, open and warm. The floor's process ends with the second value.
pub(super) struct Duel {
    pub(super) server: Side,
    pub(super) floor: Side,
    _floor_process: FloorProcess,
}

impl Duel {
    pub(super) fn prepare(plan: &Plan, server: &Server) -> Result<Self> {
        let floor_process = FloorProcess::start(server)?;
        let fleet = server.fleet(Protocol::EventStream, plan.streams)?;
        let mut server = Side::new(server.process(), fleet, server.endpoint()?)?;
        let fleet = floor_process.fleet(floor_size(plan)?)?;
        let mut floor = Side::new(floor_process.process(), fleet, floor_process.endpoint())?;
        server.fleet.open(Pace::Steady, OPENING)?;
        floor.fleet.open(Pace::Steady, OPENING)?;
        let broadcast = server.recorded(Audience::Everyone)?;
        let unicast = server.recorded(Audience::Reader(0))?;
        progress(&format!(
            "  frames recorded: {} bytes to everyone, {} to one",
            broadcast.len(),
            unicast.len()
        ));
        floor.teach("/frame/broadcast", &broadcast)?;
        floor.teach("/frame/unicast", &unicast)?;
        floor.broadcast()?;
        Ok(Self {
            server,
            floor,
            _floor_process: floor_process,
        })
    }

    /// How many readers the floor has when they are not as many as the server's.
    pub(super) fn remark(&self) -> Option<String> {
        let (server, floor) = (self.server.fleet.len(), self.floor.fleet.len());
        (floor != server).then(|| {
            let (floor, server) = (grouped(floor as u64), grouped(server as u64));
            format!(
                "The floor had {floor} readers beside the server's {server}: both fleets share this process's \
                 descriptors."
            )
        })
    }
}

/// As many readers as the server has, or as many as are left of this process's descriptors.
fn floor_size(plan: &Plan) -> Result<usize> {
    let left = plan.descriptors.saturating_sub(plan.streams as u64 + RESERVE);
    let size = plan.streams.min(usize::try_from(left).unwrap_or(usize::MAX));
    if size * 10 < plan.streams * 9 {
        bail!(
            "{} streams and as many for the floor need more descriptors than the {} this process may open",
            plan.streams,
            plan.descriptors
        );
    }
    Ok(size)
}
