//! The audit trail, and abuse.

use application::ports::Observation;
use prometheus::{IntCounter, IntCounterVec, Registry};

use super::{MetricsError, count, counter, counters, wide};

pub(super) struct Security {
    audited: IntCounter,
    audit_late: IntCounter,
    suspicious: IntCounterVec,
    blocks: IntCounterVec,
}

impl Security {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        Ok(Self {
            audited: counter(r, "audit_records_total", "Records written to the audit trail.")?,
            audit_late: counter(
                r,
                "audit_failures_total",
                "Times that the audit trail could not be written; what waits is written later.",
            )?,
            suspicious: counters(
                r,
                "suspicious_attempts_total",
                "Attempts at what somebody has no right to, by what they tried.",
                "suspicion",
            )?,
            blocks: counters(
                r,
                "abuse_blocks_total",
                "People and addresses that tried too often, by whether they were blocked.",
                "outcome",
            )?,
        })
    }

    pub(super) fn saw(&self, observation: &Observation) {
        match *observation {
            Observation::Audited { records } => self.audited.inc_by(wide(records)),
            Observation::AuditLate => self.audit_late.inc(),
            Observation::Suspicious(suspicion) => count(&self.suspicious, suspicion),
            Observation::Blocked(outcome) => count(&self.blocks, outcome),
            _ => {}
        }
    }
}
