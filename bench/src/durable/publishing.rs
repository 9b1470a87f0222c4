//! Publishes a second over HTTP, in turns with pgbench storing the same rows.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Plan;
use crate::cluster::Cluster;
use crate::disk;
use crate::pgbench::Pgbench;
use crate::procfs::Process;
use crate::publisher::{Audience, ClosedLoop, Endpoint};
use crate::report::{Line, Verdict, progress};
use crate::scenario::pick;
use crate::sql::Sql;
use crate::stats::{grouped, median, micros_each, millis, percentile, real};
use crate::subject::Server;
use crate::summary::Outcome;

/// Concurrent publishers, and the publishes a second that are asked of them.
type Load = (usize, Option<f64>);

/// What is measured.
const LOADS: [Load; 4] = [
    (1, Some(2_500.0)),
    (4, Some(5_000.0)),
    (16, Some(8_000.0)),
    (64, None),
];
/// Publishes a second over those of pgbench with the same rows per commit.
const SHARE: f64 = 0.5;
/// People who are published to, each by themselves.
const PEOPLE: usize = 5_000;
/// A commit waits for one of these: one publisher publishes no more often than the disk syncs.
const SYNCS: usize = 400;
const WARM_UP: Duration = Duration::from_millis(500);

/// What the rounds of one load showed.
#[derive(Default)]
struct Rounds {
    /// Publishes a second.
    service: Vec<f64>,
    rows_per_commit: Vec<f64>,
    latencies: Vec<u64>,
    /// pgbench with a connection for each node and the same rows per commit.
    same_connections: Vec<f64>,
    /// pgbench with a connection for each publisher and the same rows per commit.
    same_publishers: Vec<f64>,
    /// pgbench with a connection for each publisher and one row per commit.
    row_by_row: Vec<f64>,
    /// Processor time in microseconds of one publish: nodes, Postgres, this process.
    cpu: [Vec<f64>; 3],
}

pub(super) fn run(plan: &Plan, cluster: &Cluster) -> Result<Outcome> {
    let pgbench = Pgbench::new(cluster.database("floor")?)?;
    let rows = Sql::connect(cluster.url())?;
    let mut outcome = Outcome::default();
    let syncs = disk::syncs(pgbench.folder(), SYNCS)?;
    outcome.lines.push(Line::new(
        "fdatasync of one page, p50 / p95 / p99",
        spread(&syncs)?,
    ));
    // A node that is not published to still follows the log: the second comes when the first has been measured.
    let mut nodes = vec![cluster.node(None)?];
    loop {
        let bench = Bench {
            plan,
            nodes: &nodes,
            rows: &rows,
            pgbench: &pgbench,
        };
        let measured = bench.measure();
        if measured.is_err() {
            nodes.iter().for_each(Server::show_tail);
        }
        for ((publishers, goal), rounds) in measured? {
            outcome
                .lines
                .extend(lines(publishers, nodes.len(), goal, &rounds)?);
            outcome.notes.push(remark(publishers, nodes.len(), &rounds)?);
        }
        if nodes.len() == 2 {
            break;
        }
        nodes.push(cluster.node(None)?);
    }
    outcome.notes.push(format!(
        "Publishing: medians of turns ({} of {} s each), service and pgbench in turn, publishers in a closed loop over \
         kept connections, each publish to one person of {}: a row of `notifications` and one of `events`. pgbench \
         stores the same rows in tables with the same indexes. Rows per commit are counted from the rows themselves \
         (`xmin`).",
        plan.rounds,
        plan.turn.as_secs(),
        grouped(PEOPLE as u64),
    ));
    Ok(outcome)
}

struct Bench<'a> {
    plan: &'a Plan,
    nodes: &'a [Server],
    /// The nodes' database.
    rows: &'a Sql,
    pgbench: &'a Pgbench,
}

impl Bench<'_> {
    fn measure(&self) -> Result<Vec<(Load, Rounds)>> {
        let only = &self.plan.publishers;
        let asked = LOADS
            .into_iter()
            .filter(|(publishers, _)| only.is_empty() || only.contains(publishers));
        let mut all: Vec<_> = asked.map(|load| (load, Rounds::default())).collect();
        ensure!(!all.is_empty(), "--publishers takes 1, 4, 16 and 64");
        for _ in 0..self.plan.rounds {
            for ((publishers, _), rounds) in &mut all {
                self.turn(*publishers, rounds)?;
                self.floors(*publishers, rounds)?;
            }
        }
        Ok(all)
    }

    /// One turn of the service.
    fn turn(&self, publishers: usize, rounds: &mut Rounds) -> Result<()> {
        let endpoints: Vec<Endpoint> = self.nodes.iter().map(Server::endpoint).collect::<Result<_>>()?;
        let head = self
            .rows
            .row("SELECT coalesce(max(position), 0) FROM events", &[])?;
        let head: i64 = head.get(0);
        let cpu = self.cpu()?;
        let load = ClosedLoop {
            endpoints: &endpoints,
            publishers,
            warm_up: WARM_UP,
            length: self.plan.turn,
        };
        let latencies = load.run(|p, n| Audience::Reader(pick(p << 32 | n, PEOPLE)))?;
        let used = self.cpu()?;
        let stored = self.rows.row(
            "SELECT count(*), count(DISTINCT xmin::text) FROM events WHERE position > $1",
            &[&head],
        )?;
        let (stored, commits): (i64, i64) = (stored.get(0), stored.get(1));
        ensure!(stored >= i64::try_from(latencies.len())?, "publishes were lost");
        let (stored, commits) = (u64::try_from(stored)?, u64::try_from(commits)?);
        let rate = real(latencies.len() as u64) / self.plan.turn.as_secs_f64();
        let together = real(stored) / real(commits.max(1));
        for (each, (before, after)) in rounds.cpu.iter_mut().zip(cpu.into_iter().zip(used)) {
            each.push(micros_each(after.saturating_sub(before), stored));
        }
        rounds.service.push(rate);
        rounds.rows_per_commit.push(together);
        rounds.latencies.extend(latencies);
        progress(&format!(
            "  {} over {}: {rate:.0}/s, {together:.1} a commit",
            counted(publishers, "publisher"),
            counted(self.nodes.len(), "node"),
        ));
        Ok(())
    }

    /// The turns of the floor that follow it, with as many rows per commit.
    fn floors(&self, publishers: usize, rounds: &mut Rounds) -> Result<()> {
        let together = whole(rounds.rows_per_commit.last().copied().unwrap_or(1.0));
        let writers = self.nodes.len().min(publishers);
        let measure = |connections, rows| self.pgbench.notifications(connections, rows, self.plan.turn);
        let same_connections = measure(writers, together)?;
        // Where it would be the same command again, it is the same figure.
        let same_publishers = if publishers == writers {
            same_connections
        } else {
            measure(publishers, together)?
        };
        let row_by_row = if together == 1 {
            same_publishers
        } else {
            measure(publishers, 1)?
        };
        progress(&format!(
            "    pgbench: {same_connections:.0}/s on {}, {same_publishers:.0}/s on {publishers}, both {together} a \
             commit; {row_by_row:.0}/s on {publishers} one by one",
            counted(writers, "connection"),
        ));
        rounds.same_connections.push(same_connections);
        rounds.same_publishers.push(same_publishers);
        rounds.row_by_row.push(row_by_row);
        Ok(())
    }

    /// Processor time so far: nodes, Postgres, this process.
    fn cpu(&self) -> Result<[Duration; 3]> {
        let mut nodes = Duration::ZERO;
        for node in self.nodes {
            nodes += node.process().cpu()?;
        }
        Ok([nodes, self.rows.server_cpu()?, Process::this().cpu()?])
    }
}

fn lines(publishers: usize, nodes: usize, goal: Option<f64>, rounds: &Rounds) -> Result<Vec<Line>> {
    let middle = |samples: &[f64]| median(samples).context("no rounds were run");
    let who = format!("{}, {}", counted(publishers, "publisher"), counted(nodes, "node"));
    let rate = middle(&rounds.service)?;
    let together = whole(middle(&rounds.rows_per_commit)?);
    let mut first = Line::new(format!("durable publishes, {who}"), per_second(rate));
    if let Some(goal) = goal {
        first = first.goal(format!("≥ {}", per_second(goal)), Verdict::of(rate >= goal));
    }
    let against = |what: String, floor: f64| {
        Line::new(what, per_second(rate))
            .floor(per_second(floor))
            .ratio(rate / floor)
    };
    let share =
        |line: Line, floor: f64| line.goal(format!("≥ {SHARE} ×"), Verdict::of(rate / floor >= SHARE));
    let writers = counted(nodes.min(publishers), "connection");
    let floor = middle(&rounds.same_connections)?;
    let same_connections = share(
        against(format!("– beside pgbench, {writers}, {together} a commit"), floor),
        floor,
    );
    let mut lines = vec![first, same_connections];
    if publishers > nodes {
        let floor = middle(&rounds.same_publishers)?;
        let what = format!("– beside pgbench, {publishers} connections, {together} a commit");
        lines.push(share(against(what, floor), floor));
    }
    if together > 1 {
        let what = format!("– beside pgbench, {publishers} connections, 1 a commit");
        lines.push(against(what, middle(&rounds.row_by_row)?));
    }
    lines.push(Line::new(
        "– publish to its answer, p50 / p95 / p99",
        spread(&rounds.latencies)?,
    ));
    Ok(lines)
}

fn remark(publishers: usize, nodes: usize, rounds: &Rounds) -> Result<String> {
    let middle = |samples: &[f64]| median(samples).context("no rounds were run");
    let [service, postgres, client] = &rounds.cpu;
    Ok(format!(
        "{}, {}: {:.1} publishes a commit; processor time of a publish: {:.0} µs nodes, {:.0} µs Postgres, {:.0} µs \
         publishers.",
        counted(publishers, "publisher"),
        counted(nodes, "node"),
        middle(&rounds.rows_per_commit)?,
        middle(service)?,
        middle(postgres)?,
        middle(client)?,
    ))
}

fn spread(samples: &[u64]) -> Result<String> {
    let at = |percent| percentile(samples, percent).map(millis).context("no samples");
    Ok(format!("{:.2} / {:.2} / {:.2} ms", at(50)?, at(95)?, at(99)?))
}

fn per_second(rate: f64) -> String {
    format!("{}/s", grouped(whole(rate) as u64))
}

fn counted(count: usize, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

/// The nearest whole number, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and row counts are positive and far below 2^53"
)]
fn whole(value: f64) -> usize {
    value.round().max(1.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree_with_their_nouns_and_rates_are_whole() {
        assert_eq!(counted(1, "node"), "1 node");
        assert_eq!(counted(2, "node"), "2 nodes");
        assert_eq!(per_second(2_499.6), "2,500/s");
        assert_eq!(whole(0.2), 1);
    }
}
