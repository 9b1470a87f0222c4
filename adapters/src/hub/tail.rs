//! The tail: follows the log, and feeds the ring in position order without a gap.
//!
//! The bus brings copies early; they may be lost, repeated or out of order. Positions are contiguous, so a gap shows
//! at once when something later has come, and is read from the log after a moment. A lost *last* event shows in the
//! head, which is read every quarter of a second whatever the bus says.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic;
use std::time::Duration;

use application::boundary::bounded;
use application::ports::{
    Bus, Doorbell, Head, Listener, Observation, ReadError, Reply, Rung, Store, StoreError, Streams as _,
};
use domain::cursor::{Cursor, Epoch, Position};
use domain::event::{Change, Control, Event};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Hub;

/// The head is read this often: what a lost last doorbell costs in latency, four small reads a second.
const HEAD_POLL: Duration = Duration::from_millis(250);
/// A gap is usually a copy that another node is still sending; this long is cheaper than a read.
const GAP_WAIT: Duration = Duration::from_millis(5);
/// Copies that came early are kept up to this many; beyond it the log is read.
const EARLY_MAX: usize = 4_096;
/// Events read from the log at once.
const READ_AT_ONCE: usize = 1_000;
/// A node that starts reads this many recent events, so that clients which come back to it are served from the ring.
const WARM_UP_EVENTS: u64 = 10_000;

pub(super) struct Tail {
    hub: Arc<Hub>,
    store: Arc<dyn Store>,
    listener: Box<dyn Listener>,
    early: BTreeMap<Position, Arc<Event>>,
    gap_since: Option<Instant>,
}

impl Tail {
    /// Begins to listen before anything is read, so that nothing falls between.
    pub(super) fn new(hub: Arc<Hub>, store: Arc<dyn Store>, bus: &dyn Bus) -> Self {
        Self {
            hub,
            store,
            listener: bus.listen(),
            early: BTreeMap::new(),
            gap_since: None,
        }
    }

    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut poll = tokio::time::interval(HEAD_POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let observer = Arc::clone(&self.hub.observer);
            let turn = bounded(&*observer, "tail", self.turn(&mut poll));
            let turn = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                turn = turn => turn,
            };
            if turn.is_err() {
                // What was in hand is in the log.
                self.early.clear();
                self.gap_since = None;
                self.hub.wake_all();
                tokio::time::sleep(HEAD_POLL).await;
            }
        }
    }

    async fn turn(&mut self, poll: &mut Interval) {
        let gap_over = self.gap_since.map(|since| since + GAP_WAIT);
        tokio::select! {
            rung = self.listener.next() => self.heard(rung).await,
            _ = poll.tick() => self.look().await,
            () = until(gap_over) => self.fill_gap().await,
        }
    }

    async fn heard(&mut self, rung: Rung) {
        match rung {
            Rung::Doorbell(doorbell) if self.follows(doorbell.epoch) => self.offer(doorbell).await,
            Rung::Head(head) | Rung::Ours(head) if self.follows(head.epoch) => self.reach(head).await,
            // Another history, or none yet: the head tells.
            Rung::Doorbell(_) | Rung::Head(_) | Rung::Ours(_) | Rung::Missed => self.look().await,
            Rung::Replies(replies) => self.hub.pass_on(&replies),
        }
    }

    fn follows(&self, epoch: Epoch) -> bool {
        self.hub.tailing() && self.hub.ring.cursor().epoch == epoch
    }

    /// Reads up to where another node says that the log stands.
    async fn reach(&mut self, head: Cursor) {
        self.hub.note_head(head);
        if let Err(error) = self.catch_up_with(head).await {
            self.hub.lost_the_log(&error);
        }
    }

    /// Takes copies: what follows goes in, what came early waits.
    async fn offer(&mut self, doorbell: Doorbell) {
        let tip = self.hub.ring.tip();
        if self.early.is_empty() && continues(tip, &doorbell.events) {
            return self.append(doorbell.epoch, doorbell.events).await;
        }
        let news = doorbell.events.iter().filter(|event| event.position > tip);
        self.early
            .extend(news.map(|event| (event.position, Arc::clone(event))));
        while self.early.len() > EARLY_MAX {
            self.early.pop_last();
        }
        self.append_early(doorbell.epoch).await;
    }

    async fn append_early(&mut self, epoch: Epoch) {
        let mut next = self.hub.ring.tip().next();
        let mut run = Vec::new();
        while let Some(entry) = self.early.first_entry() {
            match entry.key().cmp(&next) {
                Ordering::Less => drop(entry.remove()),
                Ordering::Equal => {
                    run.push(entry.remove());
                    next = next.next();
                }
                Ordering::Greater => break,
            }
        }
        self.append(epoch, run.into()).await;
        self.gap_since = match (self.early.is_empty(), self.gap_since) {
            (true, _) => None,
            (false, since) => since.or_else(|| Some(Instant::now())),
        };
    }

    async fn append(&mut self, epoch: Epoch, events: Arc<[Arc<Event>]>) {
        if events.is_empty() {
            return;
        }
        // Before the events are there to be pulled: what follows a renewal with fewer rights must not slip through.
        for event in &*events {
            if let Change::Control(control) = &event.change {
                self.hub.obey(control);
            }
        }
        self.hub.ring.append(epoch, &events);
        self.hub
            .observer
            .saw(&Observation::Tailed { events: events.len() });
        self.hub.dispatch(&events).await;
    }

    async fn fill_gap(&mut self) {
        self.hub.observer.saw(&Observation::TailGap);
        self.gap_since = None;
        if let Err(error) = self.catch_up().await {
            self.hub.lost_the_log(&error);
        }
    }

    /// Reads the head, and the log where it is ahead of the ring.
    async fn look(&mut self) {
        let head = match self.store.head().await {
            Ok(head) => head,
            Err(error) => return self.hub.lost_the_log(&error),
        };
        self.hub.note_head(head.cursor);
        let cursor = self.hub.ring.cursor();
        if cursor.epoch == Epoch(0) {
            self.begin(warm_start(head));
        } else if head.cursor.epoch != cursor.epoch {
            self.begin(head.cursor);
        }
        if let Err(error) = self.catch_up_with(head.cursor).await {
            return self.hub.lost_the_log(&error);
        }
        self.hub.follows_the_log();
    }

    fn begin(&mut self, at: Cursor) {
        tracing::info!(after = %at, "tailing the log");
        self.early.clear();
        self.gap_since = None;
        self.hub.ring.begin(at);
        self.hub.wake_all();
        // Control may have been among what this node did not see.
        self.hub.settings_changed();
    }

    async fn catch_up_with(&mut self, head: Cursor) -> Result<(), StoreError> {
        if self.hub.ring.tip() < head.position {
            self.catch_up().await?;
        }
        Ok(())
    }

    /// Reads the log from the ring's tip to its head.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        loop {
            let cursor = self.hub.ring.cursor();
            match self.store.read(cursor, READ_AT_ONCE).await {
                Ok(page) => {
                    self.hub.note_head(page.head.cursor);
                    let read = page.events.len();
                    self.append(cursor.epoch, page.events.into()).await;
                    if read == 0 || self.hub.ring.tip() >= page.head.cursor.position {
                        break;
                    }
                }
                // This node was away for longer than the history: everybody behind it is told by a reset.
                Err(ReadError::Expired { head } | ReadError::EpochChanged { head }) => {
                    self.begin(head.cursor);
                    break;
                }
                Err(ReadError::Store(error)) => return Err(error),
            }
        }
        self.append_early(self.hub.ring.cursor().epoch).await;
        Ok(())
    }
}

/// Tells whether events follow a position without a gap among them.
fn continues(tip: Position, events: &[Arc<Event>]) -> bool {
    let expected = (tip.0 + 1..).map(Position);
    events
        .iter()
        .map(|event| event.position)
        .eq(expected.take(events.len()))
}

/// Where the ring of a node that starts begins.
fn warm_start(head: Head) -> Cursor {
    let recent = head.cursor.position.0.saturating_sub(WARM_UP_EVENTS);
    Cursor {
        epoch: head.cursor.epoch,
        position: Position(recent).max(head.oldest.prior()),
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What the log says to the hub.
impl Hub {
    pub(super) fn tailing(&self) -> bool {
        self.tailing.load(atomic::Ordering::Acquire)
    }

    fn follows_the_log(&self) {
        self.level_at_ms
            .store(self.uptime_ms(), atomic::Ordering::Release);
        self.tailing.store(true, atomic::Ordering::Release);
    }

    /// How long ago this node last had everything that was in the log.
    pub(super) fn behind_for(&self) -> Duration {
        let level_at = self.level_at_ms.load(atomic::Ordering::Acquire);
        Duration::from_millis(self.uptime_ms().saturating_sub(level_at))
    }

    fn uptime_ms(&self) -> u64 {
        u64::try_from(self.clock.uptime().as_millis()).unwrap_or(u64::MAX)
    }

    fn lost_the_log(&self, error: &StoreError) {
        if self.tailing.swap(false, atomic::Ordering::AcqRel) {
            tracing::warn!(error = %error, "the log cannot be followed");
        }
    }

    fn note_head(&self, head: Cursor) {
        self.head.store(head.position.0, atomic::Ordering::Release);
    }

    async fn dispatch(&self, events: &Arc<[Arc<Event>]>) {
        let listening = self.shards.iter().zip(&self.bells);
        for (_, bell) in listening.filter(|(shard, _)| shard.listens(events)) {
            // A shard that is gone means shutdown.
            let _ = bell.send(Arc::clone(events)).await;
        }
    }

    pub(super) fn wake_all(&self) {
        self.connections()
            .values()
            .for_each(|connection| connection.wake());
    }

    fn obey(&self, control: &Control) {
        match control {
            Control::Closed { connection, reason } => {
                if let Some(connection) = self.connection(*connection) {
                    connection.close(*reason);
                }
            }
            Control::Renewed {
                connection,
                principal,
            } => self.renewed(*connection, principal),
            Control::Changed { .. } => self.settings_changed(),
        }
    }

    fn settings_changed(&self) {
        self.changes
            .send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Takes replies that reached other nodes. Those for other nodes' streams are none of ours.
    fn pass_on(&self, replies: &[Reply]) {
        for reply in replies {
            let _ = self.replied(&reply.user, reply.connection, reply.sequence);
        }
    }
}
