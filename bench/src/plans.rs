//! The load tests that the service was planned with, by their names: 1,000 notifications at once to 500 connected
//! users, and 5,000 notifications a minute with 1,000 connections.
//!
//! Over Postgres and over memory, in turns with the floor of the durable store: commits of the same rows, due at the
//! same moments over as many connections, heard by another connection.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use crate::cluster::Cluster;
use crate::durable::commit_floor::{CommitFloor, Load};
use crate::fleet::{Fleet, Pace, Protocol};
use crate::report::{Line, Verdict, progress};
use crate::stats::{grouped, median, millis, percentile, real};
use crate::subject::{self, OPENING, Server};
use crate::summary::{Outcome, Run};
use crate::volley::{Landed, Volley};

/// What the plans ask of both: milliseconds within which 95 of 100 notifications are there.
const GOAL: f64 = 100.0;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The service's binary
    #[arg(long, default_value = "target/release/arauto")]
    server: String,
    /// A small run that shows whether everything works; its figures are not the published ones
    #[arg(long)]
    quick: bool,
    /// Only these tests
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Test>,
    /// Rounds of the first test, in each of which floor and service take turns [default: 10, quick: 2]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Seconds of the second test, for the service and for its floor each [default: 60, quick: 5]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Test {
    /// 1,000 notifications at once to 500 connected users.
    AtOnce,
    /// The same as a back end would send them: in two calls of 500.
    InBatches,
    /// 5,000 notifications a minute with 1,000 connections.
    PerMinute,
}

impl Test {
    const ALL: [Self; 3] = [Self::AtOnce, Self::InBatches, Self::PerMinute];

    fn title(self) -> &'static str {
        match self {
            Self::AtOnce => "1,000 notifications at once to 500 connected users",
            Self::InBatches => "the same 1,000 in two batches",
            Self::PerMinute => "5,000 notifications a minute with 1,000 connections",
        }
    }

    fn people(self) -> usize {
        match self {
            Self::AtOnce | Self::InBatches => 500,
            Self::PerMinute => 1_000,
        }
    }

    /// What one round sends.
    fn volley(self, seconds: u32) -> Result<Volley> {
        Ok(match self {
            // As many connections as a back end's pool has, with a request under way on each of them.
            Self::AtOnce => Volley {
                interval: Duration::ZERO,
                publishes: 1_000,
                connections: 64,
                batch: 1,
            },
            Self::InBatches => Volley {
                interval: Duration::ZERO,
                publishes: 1_000,
                connections: 2,
                batch: 500,
            },
            Self::PerMinute => Volley {
                interval: Duration::from_mins(1) / 5_000,
                publishes: usize::try_from(u64::from(seconds) * 5_000 / 60)?,
                connections: 16,
                batch: 1,
            },
        })
    }
}

/// Runs the tests and prints the table. Returns whether every one gave its figures.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    subject::must_exist(&arguments.server)?;
    crate::raise_descriptor_limit()?;
    let by_size =
        |chosen: Option<u32>, full, small| chosen.unwrap_or(if arguments.quick { small } else { full });
    let rounds = by_size(arguments.rounds, 10, 2);
    let seconds = by_size(arguments.seconds, 60, 5);
    let mut run = Run::begin();
    for test in Test::ALL
        .into_iter()
        .filter(|test| arguments.only.is_empty() || arguments.only.contains(test))
    {
        progress(&format!("{} …", test.title()));
        let rounds = if test == Test::PerMinute { 1 } else { rounds };
        let measured = test
            .volley(seconds)
            .and_then(|volley| measure(&arguments.server, test, volley, rounds));
        run.take(test.title(), measured);
    }
    let mut remarks = vec![
        "PostgreSQL with its own defaults: fsync, full_page_writes and synchronous_commit are on; same machine."
            .to_owned(),
    ];
    if arguments.quick {
        remarks.push("A small run, to see whether everything works: publish no figure of it.".to_owned());
    }
    run.print(&remarks)
}

/// One service with everybody connected.
struct Side {
    store: &'static str,
    node: Server,
    fleet: Fleet,
    landed: Landed,
}

impl Side {
    fn open(store: &'static str, node: Server, people: usize) -> Result<Self> {
        let mut fleet = node.fleet(Protocol::EventStream, people)?;
        fleet
            .open(Pace::Steady, OPENING)
            .inspect_err(|_| node.show_tail())?;
        Ok(Self {
            store,
            node,
            fleet,
            landed: Landed::default(),
        })
    }

    fn fire(&mut self, volley: Volley, turn: usize) -> Result<()> {
        let endpoint = self.node.endpoint()?;
        volley
            .fire(&mut self.fleet, &endpoint, turn, &mut self.landed)
            .inspect_err(|_| self.node.show_tail())
    }
}

fn measure(server: &str, test: Test, volley: Volley, rounds: u32) -> Result<Outcome> {
    let cluster = Cluster::start(server)?;
    let floor = CommitFloor::new(cluster.database("floor")?)?;
    let mut sides = [
        Side::open("Postgres", cluster.node(None)?, test.people())?,
        Side::open("memory", cluster.node_in_memory()?, test.people())?,
    ];
    // Prepared statements, pools and caches are those of a service that has run for a while.
    for side in &mut sides {
        side.fire(volley.of(1_000), 1_000)?;
        side.landed = Landed::default();
    }
    let load = Load {
        interval: volley.interval,
        slots: volley.publishes,
        connections: volley.connections,
    };
    let mut commits = Vec::new();
    for turn in 0..rounds as usize {
        // The floor knows commits of one notification alone.
        if volley.batch == 1 {
            commits.extend(floor.run(load)?);
        }
        for side in &mut sides {
            side.fire(volley, turn)?;
        }
        progress(&format!("  round {} of {rounds}", turn + 1));
    }
    let mut outcome = Outcome::default();
    for side in &sides {
        outcome.lines.extend(lines(test, side, &commits)?);
    }
    outcome.notes.push(note(test, volley, rounds, &sides[0].landed)?);
    Ok(outcome)
}

fn lines(test: Test, side: &Side, commits: &[u64]) -> Result<Vec<Line>> {
    let Side { store, landed, .. } = side;
    let durable = *store == "Postgres";
    let name = test.title();
    let mut lines = Vec::new();
    for (shown, percent) in [("p50", 50), ("p95", 95), ("p99", 99), ("slowest", 100)] {
        let at = |samples: &[u64]| percentile(samples, percent).map(millis).context("no receipts");
        let ours = at(&landed.latencies)?;
        let mut line = Line::new(format!("{name}, {store}, {shown}"), format!("{ours:.1} ms"));
        if durable && !commits.is_empty() {
            let floor = at(commits)?;
            line = line.floor(format!("{floor:.1} ms")).ratio(ours / floor);
        }
        if percent == 95 {
            line = line.goal(format!("< {GOAL} ms"), Verdict::of(ours < GOAL));
        }
        lines.push(line);
    }
    let each = real(landed.accepted) / real(landed.took.len().max(1) as u64);
    let rates: Vec<f64> = landed.took.iter().map(|took| each / took.as_secs_f64()).collect();
    let rate = median(&rates).context("no rounds")?;
    lines.push(Line::new(
        format!("– {store}, delivered a second"),
        format!("{rate:.0}/s"),
    ));
    for (what, count) in [("missing", landed.missing), ("doubled", landed.doubled)] {
        lines.push(
            Line::new(format!("– {store}, receipts {what}"), grouped(count))
                .goal("0", Verdict::of(count == 0)),
        );
    }
    Ok(lines)
}

fn note(test: Test, volley: Volley, rounds: u32, landed: &Landed) -> Result<String> {
    let lag = percentile(&landed.lags, 99)
        .map(millis)
        .context("nothing was sent")?;
    let due = match test {
        Test::AtOnce | Test::InBatches => "all due in the same moment".to_owned(),
        Test::PerMinute => format!("one due every {:.0} ms", volley.interval.as_secs_f64() * 1e3),
    };
    Ok(format!(
        "{}: {} rounds of {} publishes, {} requests under way at once, {due}, each to one person; latency is counted from then \
         to the receipt, the wait for a connection included (99 % went out within {lag:.1} ms). Floor: as many commits \
         of the same rows with a NOTIFY, due at the same moments over as many connections, heard by another one.",
        test.title(),
        rounds,
        grouped(volley.publishes as u64),
        volley.connections,
    ))
}
