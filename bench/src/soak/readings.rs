//! What the nodes hold, read every few seconds.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::procfs::Process;
use crate::publisher::{Endpoint, Publisher};
use crate::stats::{median, real};
use crate::subject::Server;

/// First and last figure are medians of so many readings.
const WINDOW: usize = 6;
/// Between two readings.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// One node, and a connection that asks it.
pub(super) struct Gauge {
    process: Process,
    endpoint: Endpoint,
    kept: Option<Publisher>,
}

/// What one node holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Holds {
    pub(super) resident_kib: u64,
    pub(super) descriptors: u64,
    pub(super) tasks: u64,
    pub(super) ring_bytes: u64,
}

impl Gauge {
    pub(super) fn new(node: &Server) -> Result<Self> {
        Ok(Self {
            process: node.process(),
            endpoint: node.endpoint()?,
            kept: None,
        })
    }

    /// Reads it; an error while the node does not answer.
    pub(super) fn read(&mut self) -> Result<Holds> {
        let mut connection = self
            .kept
            .take()
            .map_or_else(|| Publisher::connect(&self.endpoint), Ok)?;
        let answer = connection.request("GET", "/metrics", b"")?;
        self.kept = Some(connection);
        let text = String::from_utf8_lossy(&answer.body);
        Ok(Holds {
            resident_kib: self.process.resident_kib()?,
            descriptors: self.process.descriptors()?,
            tasks: sample(&text, "arauto_tasks")?,
            ring_bytes: sample(&text, "arauto_ring_bytes")?,
        })
    }
}

fn sample(text: &str, name: &str) -> Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
        .with_context(|| format!("no {name} among the metrics"))
}

/// Resident memory of one node over the run, in KiB.
#[derive(Debug, Default)]
pub(super) struct Memory(Vec<u64>);

impl Memory {
    pub(super) fn add(&mut self, kib: u64) {
        self.0.push(kib);
    }

    /// First, last and largest, and what the last is above the first, in percent.
    pub(super) fn drift(&self) -> Result<(f64, f64, f64, f64)> {
        let middle = |samples: &[u64]| {
            let samples: Vec<f64> = samples.iter().copied().map(real).collect();
            median(&samples).context("nothing was read")
        };
        let window = WINDOW.min(self.0.len());
        let first = middle(&self.0[..window])?;
        let last = middle(&self.0[self.0.len() - window..])?;
        let most = self.0.iter().copied().max().map_or(0.0, real);
        Ok((first, last, most, 100.0 * (last / first - 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_the_last_window_over_the_first() {
        let mut memory = Memory::default();
        for kib in [100; WINDOW].into_iter().chain([500]).chain([104; WINDOW]) {
            memory.add(kib);
        }
        let (first, last, most, drift) = memory.drift().unwrap();
        for (is, should) in [(first, 100.0), (last, 104.0), (most, 500.0), (drift, 4.0)] {
            assert!((is - should).abs() < 1e-9, "{is} {should}");
        }
        assert!(Memory::default().drift().is_err());
    }

    #[test]
    fn a_sample_is_found_by_its_whole_name() {
        let text = "# HELP arauto_tasks x\narauto_tasks_all 9\narauto_tasks 7\n";
        assert_eq!(sample(text, "arauto_tasks").unwrap(), 7);
        assert!(sample(text, "arauto").is_err());
    }
}
