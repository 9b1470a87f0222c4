//! The writer: one task a node, with a connection of its own, that puts concurrent acceptances into one commit.
//!
//! While a batch commits, the next one forms, and is sent as soon as it is as large: the database finds it when it is done
//! with the one before, and waits for nothing in between. The log's lock, the inserts and the commit go out as one call,
//! so that nobody holds the lock over a round trip; the [bell](super::bell) rings after it.
//!
//! A batch that is tried again may come behind the one that was sent after it. Both wait at the same time, so that nobody
//! was told which is first; within a request the order stays.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use application::ports::{Acceptance, Accepted, Observer, Refusal, StoreError, Written};
use deadpool_postgres::ClientWrapper;
use domain::cursor::Epoch;
use domain::event::Event;
use futures_util::StreamExt as _;
use futures_util::future::join4;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_postgres::error::{DbError, Severity, SqlState};

use super::super::connect::{Failure, unavailable};
use super::PgStoreConfig;
use super::append::{LOCK, LOG_LOCK};
use super::batch::{ACCEPT, Columns, Outcome, outcome};
use super::bell::Bell;
use super::fast;
use super::pools::{Pools, WRITING};
use super::queue::{Job, Queue, WriterHandle, outcome_unknown, queue};
use super::shared::Shared;

/// One batch is committed and the next one is at hand.
const UNDER_WAY_MAX: usize = 2;
/// Between two attempts at an unavailable database.
const PAUSE: Duration = Duration::from_millis(100);

/// The task behind the handle. It ends when every handle is gone.
pub(super) struct Writer {
    queue: Queue,
    commits: Commits,
}

/// How batches are committed.
struct Commits {
    session: Shared,
    config: PgStoreConfig,
    bell: Bell,
}

/// Makes a writer and its handle.
pub(super) fn writer(
    pools: &Pools,
    config: PgStoreConfig,
    bell: Bell,
    observer: Arc<dyn Observer>,
) -> (WriterHandle, Writer) {
    let (handle, queue) = queue(observer);
    let writer = Writer {
        queue,
        commits: Commits {
            session: Shared::of(pools.writer.clone()),
            config,
            bell,
        },
    };
    (handle, writer)
}

impl Writer {
    pub(super) async fn run(self) {
        let Self { mut queue, commits } = self;
        let mut under_way = FuturesUnordered::new();
        let mut requests = 0;
        loop {
            let batch = if under_way.is_empty() {
                let Some(batch) = queue.next().await else { return };
                batch
            } else {
                tokio::select! {
                    biased;
                    Some((began, answered)) = under_way.next() => {
                        requests -= answered;
                        queue.committed(began, answered, requests);
                        continue;
                    }
                    batch = queue.second(requests), if under_way.len() < UNDER_WAY_MAX => batch,
                }
            };
            let (began, size) = (Instant::now(), batch.len());
            requests += size;
            let serving = commits.serve(batch);
            under_way.push(async move {
                serving.await;
                (began, size)
            });
        }
    }
}

impl Commits {
    async fn serve(&self, jobs: Vec<Job>) {
        let Some(deadline) = jobs.iter().map(|job| job.deadline).min() else {
            return;
        };
        let items: Vec<&Acceptance> = jobs.iter().flat_map(|job| &job.items).collect();
        // Whether any of them may be stored although nobody has said so yet.
        let mut sent = false;
        let mut outcomes = self.store(&items, deadline, &mut sent).await.map(Vec::into_iter);
        for job in jobs {
            let answer = match &mut outcomes {
                Ok(outcomes) => Ok(gather(outcomes.by_ref().take(job.items.len()))),
                Err(error) => Err(error.clone()),
            };
            // Whoever asked may be gone; what was stored is stored.
            let _ = job.answer.send(answer);
        }
    }

    /// Stores items, one outcome for each, in order. Of several that share a key or an id, each waits for the one
    /// before it.
    async fn store(
        &self,
        items: &[&Acceptance],
        deadline: Instant,
        sent: &mut bool,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; items.len()];
        let mut open: Vec<usize> = (0..items.len()).collect();
        while !open.is_empty() {
            let (round, later) = distinct(items, &open);
            let batch: Vec<&Acceptance> = round.iter().map(|n| items[*n]).collect();
            let stored = self.commit_or_split(&batch, deadline, sent).await?;
            for (n, outcome) in round.into_iter().zip(stored) {
                outcomes[n] = Some(outcome);
            }
            open = later;
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Commits a batch. Where the database refuses its data, the halves go by themselves, down to the one item that
    /// cannot be held.
    async fn commit_or_split(
        &self,
        batch: &[&Acceptance],
        deadline: Instant,
        sent: &mut bool,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            match self.commit(part, deadline, sent).await? {
                Ok(stored) => outcomes.extend(stored),
                Err(error) if part.len() == 1 => {
                    tracing::error!(%error, id = %part[0].notification.id, "a notification cannot be held");
                    outcomes.push(Outcome {
                        result: Err(Refusal::Unstorable),
                        events: Vec::new(),
                        epoch: Epoch(0),
                    });
                }
                Err(_) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        Ok(outcomes)
    }

    /// Commits a part until it is known what became of it; the inner error says that its data is refused.
    async fn commit(
        &self,
        part: &[&Acceptance],
        deadline: Instant,
        sent: &mut bool,
    ) -> Result<Result<Vec<Outcome>, tokio_postgres::Error>, StoreError> {
        loop {
            let failure = match self.attempt(part, sent).await {
                Ok(outcomes) => {
                    self.ring(&outcomes);
                    return Ok(Ok(outcomes));
                }
                Err(Failure::Postgres(error)) if refuses_data(&error) => return Ok(Err(error)),
                Err(failure) => failure,
            };
            tracing::warn!(error = %failure, cause = cause(&failure), "a commit failed; it is tried again");
            if Instant::now() + PAUSE >= deadline {
                return Err(if *sent { outcome_unknown() } else { unavailable() });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn ring(&self, outcomes: &[Outcome]) {
        let epoch = outcomes.iter().map(|outcome| outcome.epoch).max();
        if let Some(epoch) = epoch {
            let events = outcomes.iter().flat_map(|outcome| &outcome.events);
            self.bell.grew(epoch, events);
        }
    }

    /// Sends a part once. `sent` says whether an earlier attempt may have committed it, and stays as it is where the
    /// database says that it rolled back.
    async fn attempt(&self, part: &[&Acceptance], sent: &mut bool) -> Result<Vec<Outcome>, Failure> {
        let again = *sent;
        if !again && fast::may_go(part) {
            match self
                .flushed(async |client| fast::flush(client, part, &self.config, sent).await)
                .await
            {
                // What it found to be wrong is looked at with care.
                Err(Failure::Postgres(error)) if refuses_data(&error) => *sent = false,
                Ok(row) => return fast::outcomes(&row, part),
                Err(failure) => {
                    *sent &= !rolled_back(&failure);
                    return Err(failure);
                }
            }
        }
        let flushed = self
            .flushed(async |client| flush(client, part, &self.config, sent).await)
            .await;
        let rows = flushed.inspect_err(|failure| {
            if rolled_back(failure) {
                *sent = again;
            }
        })?;
        rows.iter()
            .zip(part)
            .map(|(row, item)| outcome(row, item, again))
            .collect()
    }

    /// Waits for a flush no longer than its answer can take.
    async fn flushed<T>(
        &self,
        flush: impl AsyncFnOnce(&ClientWrapper) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Failure> {
        let session = self.session.get().await?;
        session.in_time(WRITING.patience(), flush(&session)).await
    }
}

/// Sends the whole transaction at once and waits for all its answers. All of it is queued by one poll, so that nothing of
/// another batch comes in between.
async fn flush(
    client: &ClientWrapper,
    part: &[&Acceptance],
    config: &PgStoreConfig,
    sent: &mut bool,
) -> Result<Vec<tokio_postgres::Row>, tokio_postgres::Error> {
    let lock = client.prepare_cached(LOCK).await?;
    let accept = client.prepare_cached(ACCEPT).await?;
    let columns = Columns::of(part.iter().copied(), config);
    *sent = true;
    let parameters = columns.parameters();
    let (begun, locked, rows, ended) = join4(
        client.batch_execute("BEGIN"),
        client.execute(&lock, &[&LOG_LOCK]),
        client.query(&accept, &parameters),
        client.batch_execute("COMMIT"),
    )
    .await;
    // A commit after an error rolls back and says so only by its tag: each answer counts.
    begun?;
    locked?;
    let rows = rows?;
    ended?;
    Ok(rows)
}

/// Splits what is open into what may go at once and what repeats a key or an id of it.
fn distinct(items: &[&Acceptance], open: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let (mut keys, mut ids) = (HashSet::new(), HashSet::new());
    open.iter().partition(|n| {
        let item = items[**n];
        let key = item.idempotency.as_ref().map(|key| (&key.publisher, &key.key));
        ids.insert(item.notification.id) & key.is_none_or(|key| keys.insert(key))
    })
}

fn gather(outcomes: impl Iterator<Item = Outcome>) -> Written<Vec<Result<Accepted, Refusal>>> {
    let mut value = Vec::new();
    let mut events: Vec<Arc<Event>> = Vec::new();
    let mut epoch = Epoch(0);
    for outcome in outcomes {
        value.push(outcome.result);
        events.extend(outcome.events);
        epoch = epoch.max(outcome.epoch);
    }
    Written { value, epoch, events }
}

/// Tells an error in what is to be stored (classes 22 and 23, data and integrity; too large a row; what a trigger
/// raised) from one in the way to store it.
fn refuses_data(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        return false;
    };
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "22" | "23" | "P0") || *code == SqlState::PROGRAM_LIMIT_EXCEEDED
}

/// Tells whether the server said no and goes on: the transaction is over and nothing of it remains. A connection that
/// the server ends may have committed before.
fn rolled_back(failure: &Failure) -> bool {
    let Failure::Postgres(error) = failure else {
        return false;
    };
    let severity = error.as_db_error().and_then(DbError::parsed_severity);
    severity == Some(Severity::Error)
}

fn cause(failure: &Failure) -> Option<String> {
    std::error::Error::source(failure).map(ToString::to_string)
}
