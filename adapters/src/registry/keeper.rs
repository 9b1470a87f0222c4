//! The keeper: writes a node's books to the ledger, keeps its lease, and puts right what an outage left wrong.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::books::{AT_ONCE, Books};
use super::{Batch, Failure, LEASE, Lease, Ledger, Swept, Written};
use crate::delay::Delay;

/// A lease is renewed three times as often as it must be: one lost renewal loses nothing.
const BEAT: Duration = Duration::from_secs(LEASE.as_secs() / 3);
/// A ledger that is away is asked again after this long, and later each time.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(2);
/// What dead nodes left is taken out in parts; so many between two beats.
const SWEEPS: usize = 10;
/// A node that ends waits this long for its last words to be written.
const GOODBYE: Duration = Duration::from_secs(1);

/// Keeps the books of a node until it is cancelled, then says goodbye. `name` is for messages.
pub(crate) async fn keep(
    name: &'static str,
    books: Arc<Books>,
    ledger: Arc<dyn Ledger>,
    cancel: CancellationToken,
) {
    let mut keeper = Keeper {
        name,
        books,
        ledger,
        delay: Delay::new(FIRST_DELAY, LAST_DELAY),
        again_at: None,
    };
    keeper.run(&cancel).await;
    let _ = tokio::time::timeout(GOODBYE, keeper.close()).await;
}

struct Keeper {
    name: &'static str,
    books: Arc<Books>,
    ledger: Arc<dyn Ledger>,
    delay: Delay,
    /// While the ledger is away: when it is asked again.
    again_at: Option<Instant>,
}

impl Keeper {
    async fn run(&mut self, cancel: &CancellationToken) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let outcome = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = until(self.again_at) => self.beat().await,
                _ = beat.tick() => self.beat().await,
                () = self.books.work(), if self.again_at.is_none() => self.write().await,
            };
            self.standing(outcome);
        }
    }

    /// Keeps the lease, puts the ledger right where that is due, and clears up behind dead nodes.
    async fn beat(&mut self) -> Result<(), Failure> {
        self.claim().await?;
        for _ in 0..SWEEPS {
            if self.ledger.sweep().await? == Swept::All {
                break;
            }
        }
        Ok(())
    }

    async fn claim(&mut self) -> Result<(), Failure> {
        let lease = self.ledger.claim().await?;
        if self.books.take_drift() || lease == Lease::Taken {
            self.reconcile().await?;
        }
        Ok(())
    }

    /// Makes the ledger say what the books say. In parts, with what is new between them: a node may hold many.
    async fn reconcile(&mut self) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let entered = self.ledger.own(after, AT_ONCE).await?;
            let Some(last) = entered.last() else { break };
            after = Some(last.connection);
            let ghosts = entered
                .into_iter()
                .filter(|entry| !self.books.holds(entry.connection));
            let leaving: Vec<_> = ghosts.collect();
            if !leaving.is_empty() {
                self.put_right(Batch {
                    leaving,
                    ..Batch::default()
                })
                .await?;
            }
            self.write_meanwhile().await?;
        }
        let mut after = None;
        loop {
            let entering = self.books.page(after);
            let Some(last) = entering.last() else { break };
            after = Some(last.presence.connection);
            self.put_right(Batch {
                entering,
                ..Batch::default()
            })
            .await?;
            self.write_meanwhile().await?;
        }
        Ok(())
    }

    async fn write_meanwhile(&mut self) -> Result<(), Failure> {
        match self.write_once().await? {
            Lease::Kept => Ok(()),
            // What was put right before may be gone again.
            Lease::Taken => Err("the lease was lost meanwhile".into()),
        }
    }

    async fn put_right(&self, batch: Batch) -> Result<(), Failure> {
        match self.ledger.write(&batch).await? {
            Written::Done(beyond) => {
                self.books.found(beyond.into_iter().flatten());
                Ok(())
            }
            Written::NoLease => Err("the lease was lost at once".into()),
        }
    }

    /// Writes what is to be written, with a lease.
    async fn write(&mut self) -> Result<(), Failure> {
        if self.write_once().await? == Lease::Taken {
            self.reconcile().await?;
        }
        Ok(())
    }

    /// Writes one batch; says whether the lease had to be taken for it.
    async fn write_once(&mut self) -> Result<Lease, Failure> {
        let work = self.books.take();
        let marks = work.batch.marks.len();
        let mut lease = Lease::Kept;
        if work.batch.is_empty() {
            self.books.written(0);
            return Ok(lease);
        }
        loop {
            match self.ledger.write(&work.batch).await? {
                Written::Done(beyond) => {
                    self.books.found(work.answer(beyond));
                    self.books.written(marks);
                    return Ok(lease);
                }
                Written::NoLease if lease == Lease::Kept => {
                    self.ledger.claim().await?;
                    lease = Lease::Taken;
                }
                Written::NoLease => return Err("the lease was lost at once".into()),
            }
        }
    }

    fn standing(&mut self, outcome: Result<(), Failure>) {
        match outcome {
            Ok(()) => {
                self.again_at = None;
                self.delay.reset();
                if self.books.back() {
                    tracing::info!(registry = self.name, "the registry answers again");
                }
            }
            Err(error) => {
                self.again_at = Some(Instant::now() + self.delay.next());
                if self.books.away() {
                    tracing::warn!(registry = self.name, %error, "the registry does not answer");
                }
            }
        }
    }

    async fn close(&mut self) {
        // What happened to tickets outlives the node; its streams do not.
        while !self.books.idle() {
            if let Err(error) = self.write_once().await {
                tracing::debug!(%error, registry = self.name, "the last marks were not written");
                break;
            }
        }
        if let Err(error) = self.ledger.release().await {
            tracing::debug!(%error, registry = self.name, "the lease runs out by itself");
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
