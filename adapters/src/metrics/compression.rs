//! What compression makes of what goes to clients.

use prometheus::{IntCounterVec, Registry};

use super::{MetricsError, count_by, counters};

pub(super) struct Compression {
    plain: IntCounterVec,
    sent: IntCounterVec,
}

impl Compression {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        Ok(Self {
            plain: counters(
                r,
                "compressed_plain_bytes_total",
                "Bytes of what was sent compressed, before it was, by what it was: streams and pages.",
                "what",
            )?,
            sent: counters(
                r,
                "compressed_sent_bytes_total",
                "Bytes of what was sent compressed, as it was sent.",
                "what",
            )?,
        })
    }

    pub(super) fn saw(&self, what: &str, plain: usize, sent: usize) {
        count_by(&self.plain, what, plain);
        count_by(&self.sent, what, sent);
    }
}
