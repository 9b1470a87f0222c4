//! Requests that wait for the next commit, and how they form a batch.

use std::future::pending;
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
    #[must_use]
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

/// The requests, on the writer's side. Whoever gives up waiting for a batch leaves it to form.
pub(super) struct Queue {
    requests: mpsc::Receiver<Job>,
    forming: Forming,
    /// What did not fit into the batch that forms.
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
        forming: Forming::default(),
        left: None,
        gathering: Gathering::default(),
        alarm: Alarm::new().ok(),
    };
    (handle, queue)
}

impl Queue {
    /// Notes that the commit of a batch is over, how many it answered, and how many are in one that is under way.
    pub(super) fn committed(&mut self, began: Instant, answered: usize, under_way: usize) {
        let now = Instant::now();
        let others = self.there() + under_way;
        self.gathering.committed(now, now - began, answered, others);
    }

    /// Takes what waits, up to the size of one commit. None will come any more after `None`.
    pub(super) async fn next(&mut self) -> Option<Vec<Job>> {
        if self.forming.jobs.is_empty() {
            let job = self.requests.recv().await?;
            self.left = self.forming.add(job);
            self.gather().await;
        }
        Some(self.take())
    }

    /// Takes what waits when it is as much as what is under way: the database finds it as soon as it is done with that. Of
    /// less it is better to wait for more. Pends for ever where all are to go together.
    pub(super) async fn second(&mut self, under_way: usize) -> Vec<Job> {
        if !self.gathering.overlaps() {
            return pending().await;
        }
        while self.left.is_none() && self.there() < under_way {
            match self.requests.recv().await {
                Some(job) => self.left = self.forming.add(job),
                None => return pending().await,
            }
        }
        self.take()
    }

    fn there(&self) -> usize {
        self.forming.jobs.len() + self.requests.len()
    }

    fn take(&mut self) -> Vec<Job> {
        while self.left.is_none() {
            match self.requests.try_recv() {
                Ok(job) => self.left = self.forming.add(job),
                Err(_) => break,
            }
        }
        let batch = std::mem::take(&mut self.forming);
        if let Some(job) = self.left.take() {
            self.left = self.forming.add(job);
        }
        batch.jobs
    }

    /// Waits for more requests where that is worth it.
    async fn gather(&mut self) {
        let (Some((enough, wait)), Some(alarm)) = (self.gathering.worth(self.there()), &self.alarm) else {
            return;
        };
        let mut rings = pin!(alarm.after(wait));
        while self.left.is_none() && self.forming.jobs.len() < enough {
            tokio::select! {
                biased;
                job = self.requests.recv() => match job {
                    Some(job) => self.left = self.forming.add(job),
                    None => return,
                },
                _ = &mut rings => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use application::testing::Unobserved;
    use futures_util::FutureExt as _;
    use tokio::task::yield_now;
    use tokio_util::task::TaskTracker;

    use super::*;

    /// Has so many more requests wait.
    async fn ask(handle: &WriterHandle, requests: usize) {
        for _ in 0..requests {
            let handle = handle.clone();
            TaskTracker::new().spawn(async move { handle.accept(Vec::new()).await });
        }
        yield_now().await;
    }

    #[tokio::test]
    async fn a_second_batch_goes_when_as_many_wait_as_are_under_way() {
        let (handle, mut queue) = queue(Arc::new(Unobserved));
        ask(&handle, 3).await;
        assert_eq!(queue.next().await.unwrap().len(), 3);
        assert!(queue.second(3).now_or_never().is_none());
        ask(&handle, 2).await;
        assert!(queue.second(3).now_or_never().is_none(), "fewer");
        ask(&handle, 2).await;
        let second = queue.second(3).now_or_never().unwrap();
        assert_eq!(second.len(), 4, "whoever waited before is not forgotten");
        ask(&handle, 1).await;
        assert!(queue.second(7).now_or_never().is_none());
        assert_eq!(queue.next().await.unwrap().len(), 1);
    }
}
