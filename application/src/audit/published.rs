//! Publishes, from the log into the trail.
//!
//! Whoever is answered that something is published has it in the log, and who published it by the same commit. The trail
//! follows the log behind a mark, as deliveries do: what a node that is killed did not record is recorded by the next one,
//! and what two try to is recorded once.

use std::sync::Arc;
use std::time::Duration;

use domain::audit::{ChainId, Entry, Kind, Note};
use domain::ids::NodeId;
use tokio::time::{Instant, sleep, timeout};

use super::Chain;
use crate::ports::{AuditError, Clock, Observation, Observer, PublishTrail, Stretch, Tally, Unrecorded};

/// The log is looked at this often by the node that leads.
const LOOK: Duration = Duration::from_millis(250);
/// Who leads is asked this often.
const ASK: Duration = Duration::from_secs(1);
/// When the leading node is killed, another goes on after this long.
const TERM: Duration = Duration::from_secs(5);
/// A node that is asked to go records for this long at most; what it leaves is the next one's.
const GOODBYE: Duration = Duration::from_secs(2);
/// The task that one node leads.
const TASK: &str = "audit-publishes";

/// How an accepted publish comes into the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishRecords {
    /// From the log, behind a mark.
    FromLog,
    /// Before it is answered.
    First,
    /// After it was answered: the trail and the log end together anyway.
    Beside,
}

/// Records the log's publishes, in a chain of its own.
pub struct PublishSealer {
    /// The log, and the trail.
    pub trail: Arc<dyn PublishTrail>,
    /// Who leads.
    pub tally: Arc<dyn Tally>,
    /// This node.
    pub node: NodeId,
    /// What is written.
    pub chain: Chain,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
}

impl PublishSealer {
    /// Records until `end` is over and what was in the log by then is recorded.
    pub async fn run(mut self, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        let mut asked: Option<(Instant, bool)> = None;
        loop {
            let leads = match asked {
                Some((at, leads)) if at.elapsed() < ASK => leads,
                _ => {
                    let lead = self.tally.lead(TASK, self.node, TERM).await;
                    let leads = lead.unwrap_or_default();
                    asked = Some((Instant::now(), leads));
                    leads
                }
            };
            if leads {
                self.catch_up().await;
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                () = &mut end => break,
            }
        }
        let _ = timeout(GOODBYE, self.catch_up()).await;
    }

    /// Records what is in the log by now. What comes in meanwhile is left to the next look: following every publish would
    /// be a transaction for each, beside its own.
    async fn catch_up(&mut self) {
        loop {
            match self.trail.unrecorded().await {
                Ok(Some(found)) => {
                    let more = found.more;
                    self.record(found).await;
                    if !more {
                        return;
                    }
                }
                Ok(None) => return,
                Err(_) => {
                    self.observer.saw(&Observation::AuditLate);
                    return;
                }
            }
        }
    }

    /// Records a stretch, however long that takes: whether an answer that was lost was a good one is known only by asking
    /// for the same again.
    async fn record(&mut self, found: Unrecorded) {
        let Unrecorded {
            stretch,
            mut entries,
            gone,
            more: _,
        } = found;
        if gone > 0 {
            entries.insert(0, self.gone(stretch, gone));
        }
        loop {
            let mut chain = self.chain.clone();
            let batch = chain.seal(entries.clone());
            match self.trail.record(&batch, stretch).await {
                Ok(true) => {
                    let records = batch.records.len();
                    self.observer.saw(&Observation::Audited { records });
                    self.chain = chain;
                    return;
                }
                // Another node has, and the next look begins where it ended.
                Ok(false) => return,
                Err(AuditError::Unavailable) => {
                    self.observer.saw(&Observation::AuditLate);
                    sleep(ASK).await;
                }
                Err(error) => {
                    tracing::error!(%error, chain = %batch.after.chain, "the audit trail was broken; another chain begins");
                    let id = ChainId(self.chain.end().chain.0.wrapping_add(1));
                    self.chain = Chain::begin(id);
                }
            }
        }
    }

    /// What has left the history before it was recorded is not known any more; that it was there is.
    fn gone(&self, stretch: Stretch, gone: u64) -> Entry {
        Entry {
            at: self.clock.now(),
            kind: Kind::Lost,
            who: None,
            target: Note::new(&format!("{gone} events of the log after {}", stretch.from.0)),
            outcome: Note::new("they left the history before they were recorded"),
            request: Note::default(),
        }
    }
}

#[cfg(test)]
mod tests;
