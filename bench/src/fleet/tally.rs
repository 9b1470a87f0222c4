//! What a fleet received.

use std::fmt;

use memchr::memmem;

use crate::wire::mark::{Kind, Mark};

/// Counts and latencies of all readers of a fleet.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Streams that said `ready`.
    pub(crate) ready: usize,
    pub(crate) broadcasts: u64,
    pub(crate) unicasts: u64,
    /// Streams that were told that their history is gone.
    pub(crate) resets: u64,
    /// Heartbeats, session notices and comments: what a server sends unasked.
    pub(crate) upkeep: u64,
    /// Nanoseconds from the mark to the receipt.
    pub(crate) broadcast_latencies: Vec<u64>,
    pub(crate) unicast_latencies: Vec<u64>,
    /// When the last notification came.
    pub(crate) last_receipt: u64,
    /// Readers that hit something that must not happen, and the first one's story.
    pub(crate) faults: usize,
    pub(crate) fault: Option<String>,
    pub(super) recording: bool,
    /// See [`super::Fleet::record_frame`].
    pub(crate) recorded: Option<Vec<u8>>,
}

impl Tally {
    pub(crate) fn notifications(&self) -> u64 {
        self.broadcasts + self.unicasts
    }

    /// Events that reached a reader, whatever their kind: each cost the server one delivery.
    pub(crate) fn deliveries(&self) -> u64 {
        self.notifications() + self.upkeep
    }

    pub(super) fn receive(&mut self, mark: Mark, received: u64) {
        let latency = received.saturating_sub(mark.sent);
        self.last_receipt = received;
        match mark.kind {
            Kind::Broadcast => {
                self.broadcasts += 1;
                self.broadcast_latencies.push(latency);
            }
            Kind::Unicast => {
                self.unicasts += 1;
                self.unicast_latencies.push(latency);
            }
        }
    }

    /// Keeps `read` when it is exactly one frame of a notification.
    pub(super) fn record(&mut self, read: &[u8]) {
        if !self.recording || Mark::find(read).is_none() {
            return;
        }
        let events = memmem::find_iter(read, b"event: ").count();
        if events == 1 && (read.ends_with(b"\n\n") || read.ends_with(b"\n\n\r\n")) {
            self.recorded = Some(read.to_vec());
            self.recording = false;
        }
    }

    pub(super) fn fault(&mut self, index: usize, fault: &anyhow::Error) {
        self.faults += 1;
        self.fault
            .get_or_insert_with(|| format!("stream {index}: {fault:#}"));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} ready, {} broadcasts, {} unicasts, {} heartbeats or comments",
            self.ready, self.broadcasts, self.unicasts, self.upkeep
        )
    }
}
