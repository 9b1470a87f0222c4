//! Requests that wait for the next commit, and how they form a batch.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use application::ports::{Acceptance, Accepted, Observation, Observer, Refusal, StoreError, Written};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::super::connect::{RETRY_AFTER, unavailable};
use super::alarm::Alarm;
use super::gathering::Gathering;
use super::rows::notification_bytes;

/// The name of a full queue among the metrics.
const FULL: &str = "store_writer";
/// Requests that wait for the next commit. Beyond it the store says that it is away.
const QUEUE_MAX: usize = 4_096;
/// One commit takes at most this many events or bytes; a single request that is larger goes alone.
const COMMIT_EVENTS_MAX: usize = 1_000;
const COMMIT_BYTES_MAX: usize = 1024 * 1024;
/// A request that was not stored within this time is told so.
const DEADLINE: Duration = Duration::from_secs(5);

/// What became of one request.
pub(super) type Answer = Result<Written<Vec<Result<Accepted, Refusal>>>, StoreError>;

/// A request that waits for its commit.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) items: Vec<Acceptance>,
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Answer>,
}

impl Job {
    fn events(&self) -> usize {
        self.items.iter().map(|item| item.plan.channels.len()).sum()
    }

    fn bytes(&self) -> usize {
        let bytes = |item: &Acceptance| notification_bytes(&item.notification);
        let bytes: i32 = self.items.iter().map(bytes).fold(0, i32::saturating_add);
        usize::try_from(bytes).unwrap_or_default()
    }
}

/// A batch that forms.
#[derive(Default)]
struct Forming {
    jobs: Vec<Job>,
    events: usize,
    bytes: usize,
}

impl Forming {
    /// Takes a request, or gives back the one that does not fit any more. The first always fits.
    fn add(&mut self, job: Job) -> Option<Job> {
        let (events, bytes) = (self.events + job.events(), self.bytes + job.bytes());
        if !self.jobs.is_empty() && (events > COMMIT_EVENTS_MAX || bytes > COMMIT_BYTES_MAX) {
            return Some(job);
        }
        (self.events, self.bytes) = (events, bytes);
        self.jobs.push(job);
        None
    }
}

/// Hands requests to the writer.
#[derive(Clone)]
pub(super) struct WriterHandle {
    queue: mpsc::Sender<Job>,
    observer: Arc<dyn Observer>,
}

impl WriterHandle {
    /// Waits for the commit that takes these items. Giving up the wait does not take them back.
    pub(super) async fn accept(&self, items: Vec<Acceptance>) -> Answer {
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + DEADLINE;
        let job = Job {
            items,
            deadline,
            answer,
        };
        if self.queue.try_send(job).is_err() {
            self.observer.saw(&Observation::Full(FULL));
            return Err(unavailable());
        }
        // A writer that is gone means shutdown.
        answered.await.unwrap_or(Err(outcome_unknown()))
    }
}

pub(super) const fn outcome_unknown() -> StoreError {
    StoreError::OutcomeUnknown {
        retry_after: RETRY_AFTER,
    }
}

/// The requests, on the writer's side.
pub(super) struct Queue {
    requests: mpsc::Receiver<Job>,
    /// What did not fit into the last batch.
    left: Option<Job>,
    gathering: Gathering,
    /// Absent where the system gives none: then nobody is waited for.
    alarm: Option<Alarm>,
}

/// Makes a queue and its handle.
pub(super) fn queue(observer: Arc<dyn Observer>) -> (WriterHandle, Queue) {
    let (sender, requests) = mpsc::channel(QUEUE_MAX);
    let handle = WriterHandle {
        queue: sender,
        observer,
    };
    let queue = Queue {
        requests,
        left: None,
        gathering: Gathering::default(),
        alarm: Alarm::new().ok(),
    };
    (handle, queue)
}

impl Queue {
    /// Notes that the commit of a batch is over, and how many it answered.
    pub(super) fn committed(&mut self, began: Instant, answered: usize) {
        let now = Instant::now();
        self.gathering
            .committed(now, now - began, answered, self.requests.len());
    }

    /// Takes what waits, up to the size of one commit.
    pub(super) async fn next(&mut self) -> Option<Vec<Job>> {
        let mut forming = Forming::default();
        if let Some(job) = self.left.take() {
            forming.add(job);
        } else {
            forming.add(self.requests.recv().await?);
            self.gather(&mut forming).await;
        }
        while self.left.is_none() {
            match self.requests.try_recv() {
                Ok(job) => self.left = forming.add(job),
                Err(_) => break,
            }
        }
        Some(forming.jobs)
    }

    /// Waits for more requests where that is worth it.
    async fn gather(&mut self, forming: &mut Forming) {
        let there = forming.jobs.len() + self.requests.len();
        let (Some((enough, wait)), Some(alarm)) = (self.gathering.worth(there), &self.alarm) else {
            return;
        };
        let mut rings = pin!(alarm.after(wait));
        while self.left.is_none() && forming.jobs.len() < enough {
            tokio::select! {
                biased;
                job = self.requests.recv() => match job {
                    Some(job) => self.left = forming.add(job),
                    None => return,
                },
                _ = &mut rings => return,
            }
        }
    }
}
