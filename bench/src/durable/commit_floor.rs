//! The floor of receipts across nodes: a commit of the same rows with a `NOTIFY` in it, and another connection that
//! hears it.
//!
//! The load is the same: as many a second, due at the same distances, over as many connections. Every path through
//! Postgres from one process to another takes at least this. What the service adds is a request, its checks, the
//! order of the log, a read or a copy of the event on the other node, and the write to the reader's socket.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use tokio_postgres::{AsyncMessage, Config, NoTls};

use crate::clock;
use crate::pgbench;
use crate::sql::{Sql, runtime};

/// From setting the schedule to its first slot.
const LEAD: Duration = Duration::from_millis(300);
/// A notification that was not heard this long after the last one was due is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// A prepared floor.
pub(crate) struct CommitFloor {
    url: String,
}

/// When what is due, and over how many connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) interval: Duration,
    pub(crate) slots: usize,
    pub(crate) connections: usize,
}

impl CommitFloor {
    /// Takes the address of a migrated database.
    pub(crate) fn new(url: String) -> Result<Self> {
        pgbench::prepare(&url)?;
        Ok(Self { url })
    }

    /// Commits at set times; returns the nanoseconds from when each commit was due to when it was heard of.
    pub(crate) fn run(&self, load: Load) -> Result<Vec<u64>> {
        let statement = pgbench::insert_and_notify();
        let connected: Vec<_> = (0..load.connections)
            .map(|_| {
                let sql = Sql::connect(&self.url)?;
                let prepared = sql.prepare(&statement)?;
                Ok((sql, prepared))
            })
            .collect::<Result<_>>()?;
        let (listening, listens) = mpsc::channel();
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            let ear = scope.spawn(|| listen(&self.url, load, &listening));
            // The ear says why, when it does not listen.
            if listens.recv_timeout(PATIENCE).is_err() {
                ear.join().map_err(|_| anyhow!("the listener panicked"))??;
                bail!("nobody listens");
            }
            let start = clock::after(LEAD);
            let next = &next;
            let committing: Vec<_> = connected
                .into_iter()
                .map(|(sql, prepared)| {
                    scope.spawn(move || -> Result<()> {
                        loop {
                            let slot = next.fetch_add(1, Ordering::Relaxed);
                            if slot >= load.slots {
                                return Ok(());
                            }
                            let due = start + clock::in_nanos(load.interval) * slot as u64;
                            clock::sleep_until(due);
                            sql.ask(&prepared, &[&due.to_string()])?;
                        }
                    })
                })
                .collect();
            for one in committing {
                one.join().map_err(|_| anyhow!("a committer panicked"))??;
            }
            ear.join().map_err(|_| anyhow!("the listener panicked"))?
        })
    }
}

fn listen(url: &str, load: Load, listening: &mpsc::Sender<()>) -> Result<Vec<u64>> {
    let config: Config = url.parse()?;
    runtime()?.block_on(async {
        let (client, mut connection) = config.connect(NoTls).await?;
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let driven = async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message? {
                    let _ = said.send((notification.payload().to_owned(), clock::now()));
                }
            }
            Ok::<(), anyhow::Error>(())
        };
        let counted = async move {
            client.batch_execute("LISTEN floor").await?;
            let _ = listening.send(());
            let mut latencies = Vec::with_capacity(load.slots);
            let lasts = load.interval * u32::try_from(load.slots)? + LEAD + PATIENCE;
            let all = async {
                while latencies.len() < load.slots {
                    let (due, at) = heard.recv().await.context("the listener's connection ended")?;
                    latencies.push(at.saturating_sub(due.parse::<u64>()?));
                }
                Ok::<(), anyhow::Error>(())
            };
            tokio::time::timeout(lasts, all)
                .await
                .context("not every commit was heard of")??;
            Ok(latencies)
        };
        tokio::select! {
            latencies = counted => latencies,
            ended = driven => {
                ended?;
                bail!("the listener's connection ended")
            }
        }
    })
}
