//! Writing the trail, beside whoever is recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::audit::{ChainId, Entry, Kind, Note};
use tokio::sync::mpsc;

use super::Chain;
use crate::ports::{Audit, AuditError, Batch, Clock, Observation, Observer};

/// Records that wait for the trail, about two megabytes. Beyond it they are dropped, counted, and the trail says so.
const WAITING_MAX: usize = 8_192;
/// Records that are sealed and written in one step.
const BATCH_MAX: usize = 512;
/// What comes within this time is written together: one more commit of a database every quarter of a second.
const GATHER: Duration = Duration::from_millis(250);
/// A trail that cannot be written is tried again after this long.
const AGAIN: Duration = Duration::from_secs(1);

/// Takes what is to be recorded. Never waits.
#[derive(Clone)]
pub struct Recorder {
    waiting: mpsc::Sender<Entry>,
    dropped: Arc<AtomicU64>,
    observer: Arc<dyn Observer>,
}

impl Recorder {
    /// Hands an entry over. Where there is no room it is dropped: the trail will say how many were.
    pub fn record(&self, entry: Entry) {
        if self.waiting.try_send(entry).is_err() {
            self.dropped.fetch_add(1, Ordering::AcqRel);
            self.observer.saw(&Observation::Full("audit"));
        }
    }
}

/// Seals what has gathered and writes it, in order.
pub struct Sealer {
    waiting: mpsc::Receiver<Entry>,
    dropped: Arc<AtomicU64>,
    chain: Chain,
    audit: Arc<dyn Audit>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

/// Opens a trail for one life of a node.
pub fn recorder(
    chain: ChainId,
    audit: Arc<dyn Audit>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
) -> (Recorder, Sealer) {
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let recorder = Recorder {
        waiting: sender,
        dropped: Arc::clone(&dropped),
        observer: Arc::clone(&observer),
    };
    let sealer = Sealer {
        waiting,
        dropped,
        chain: Chain::begin(chain),
        audit,
        clock,
        observer,
    };
    (recorder, sealer)
}

impl Sealer {
    /// Writes until `end` is over and what had been handed over by then is written, or until every recorder is gone.
    pub async fn run(mut self, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                entry = self.waiting.recv() => match entry {
                    Some(entry) => {
                        tokio::select! {
                            () = tokio::time::sleep(GATHER) => {}
                            () = &mut end => {
                                self.write(entry).await;
                                break;
                            }
                        }
                        self.write(entry).await;
                    }
                    None => return,
                },
                () = &mut end => break,
            }
        }
        while let Ok(entry) = self.waiting.try_recv() {
            self.write(entry).await;
        }
    }

    async fn write(&mut self, first: Entry) {
        let mut entries = vec![first];
        let dropped = self.dropped.swap(0, Ordering::AcqRel);
        if dropped > 0 {
            entries.push(self.lost(dropped));
        }
        while entries.len() < BATCH_MAX
            && let Ok(entry) = self.waiting.try_recv()
        {
            entries.push(entry);
        }
        let batch = self.chain.seal(entries);
        self.insist(&batch).await;
    }

    fn lost(&self, dropped: u64) -> Entry {
        Entry {
            at: self.clock.now(),
            kind: Kind::Lost,
            who: None,
            target: Note::new(&format!("{dropped} records")),
            outcome: Note::new("dropped"),
            request: Note::default(),
        }
    }

    /// Writes a batch, however long that takes: what comes meanwhile waits in bounded room.
    async fn insist(&mut self, batch: &Batch) {
        loop {
            match self.audit.append(batch).await {
                Ok(()) => {
                    let records = batch.records.len();
                    self.observer.saw(&Observation::Audited { records });
                    return;
                }
                Err(AuditError::Unavailable) => {
                    self.observer.saw(&Observation::AuditLate);
                    tokio::time::sleep(AGAIN).await;
                }
                // Somebody else has written this chain, or a restored store has lost its end: it goes on as another.
                Err(error) => {
                    tracing::error!(%error, chain = %batch.after.chain, "the audit trail was broken; another chain begins");
                    let id = ChainId(self.chain.end().chain.0.wrapping_add(1));
                    self.chain = Chain::begin(id);
                    let entries = batch.records.iter().map(|sealed| sealed.record.entry.clone());
                    let again = self.chain.seal(entries.collect());
                    return Box::pin(self.insist(&again)).await;
                }
            }
        }
    }
}
