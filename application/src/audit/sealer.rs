//! Writing the trail, beside whoever is recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::audit::{ChainId, Entry, Kind, Note};
use tokio::sync::{Notify, mpsc, oneshot};

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

/// What waits to be recorded, and who waits for that.
struct Waiting {
    entry: Entry,
    written: Option<oneshot::Sender<()>>,
}

/// Takes what is to be recorded.
#[derive(Clone)]
pub struct Recorder {
    waiting: mpsc::Sender<Waiting>,
    urgent: Arc<Notify>,
    dropped: Arc<AtomicU64>,
    observer: Arc<dyn Observer>,
}

/// The node ends before the trail could be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail was not written")]
pub struct Unwritten;

impl Recorder {
    /// Hands an entry over and waits until it is in the trail, which is not put off for others then.
    pub async fn settle(&self, entry: Entry) -> Result<(), Unwritten> {
        let (written, told) = oneshot::channel();
        let waiting = Waiting {
            entry,
            written: Some(written),
        };
        self.waiting.send(waiting).await.map_err(|_| Unwritten)?;
        self.urgent.notify_one();
        told.await.map_err(|_| Unwritten)
    }

    /// Hands an entry over without waiting. Where there is no room it is dropped: the trail will say how many were.
    pub fn record(&self, entry: Entry) {
        let waiting = Waiting { entry, written: None };
        if self.waiting.try_send(waiting).is_err() {
            self.dropped.fetch_add(1, Ordering::AcqRel);
            self.observer.saw(&Observation::Full("audit"));
        }
    }
}

/// Seals what has gathered and writes it, in order.
pub struct Sealer {
    waiting: mpsc::Receiver<Waiting>,
    urgent: Arc<Notify>,
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
    let (dropped, urgent) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let recorder = Recorder {
        waiting: sender,
        urgent: Arc::clone(&urgent),
        dropped: Arc::clone(&dropped),
        observer: Arc::clone(&observer),
    };
    let sealer = Sealer {
        waiting,
        urgent,
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
                first = self.waiting.recv() => match first {
                    Some(first) => {
                        tokio::select! {
                            () = tokio::time::sleep(GATHER) => {}
                            () = self.urgent.notified() => {}
                            () = &mut end => {
                                self.write(first).await;
                                break;
                            }
                        }
                        self.write(first).await;
                    }
                    None => return,
                },
                () = &mut end => break,
            }
        }
        while let Ok(first) = self.waiting.try_recv() {
            self.write(first).await;
        }
    }

    async fn write(&mut self, first: Waiting) {
        let mut entries = vec![first.entry];
        let mut told = Vec::from_iter(first.written);
        let dropped = self.dropped.swap(0, Ordering::AcqRel);
        if dropped > 0 {
            entries.push(self.lost(dropped));
        }
        while entries.len() < BATCH_MAX
            && let Ok(waiting) = self.waiting.try_recv()
        {
            entries.push(waiting.entry);
            told.extend(waiting.written);
        }
        let batch = self.chain.seal(entries);
        self.insist(&batch).await;
        for written in told {
            // Whoever waited may have given up.
            let _ = written.send(());
        }
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
