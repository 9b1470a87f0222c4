//! Publishing through Postgres: how many a second, against pgbench; and how soon streams of another node have it.

pub(crate) mod commit_floor;
mod publishing;
mod receipt;

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::cluster::Cluster;
use crate::report::progress;
use crate::summary::{Outcome, Run};
use crate::{raise_descriptor_limit, subject};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The service's binary
    #[arg(long, default_value = "target/release/arauto")]
    server: String,
    /// A small run that shows whether everything works; its figures are not the published ones
    #[arg(long)]
    quick: bool,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Rounds, in each of which service and floor take turns [default: 3, quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: Option<u32>,
    /// Seconds of a turn of publishing [default: 5, quick: 2]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
    /// Only these numbers of publishers, of 1, 4, 16 and 64
    #[arg(long, value_delimiter = ',')]
    publishers: Vec<usize>,
    /// Streams over both nodes while receipts are measured [default: 5000, quick: 500]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=15_000))]
    streams: Option<u32>,
    /// Publishes a second while receipts are measured
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    rate: u32,
}

/// What is measured, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Publishes a second and their answers.
    Publishing,
    /// Publish to receipt at streams of both nodes.
    Receipt,
}

/// How large and how long a run is.
struct Plan {
    server: String,
    rounds: u32,
    /// Of one turn of publishing.
    turn: Duration,
    /// Only so many at a time; none means all.
    publishers: Vec<usize>,
    streams: usize,
    rate: u32,
    /// Of one turn of receipts.
    load: Duration,
}

impl Part {
    const ALL: [Self; 2] = [Self::Publishing, Self::Receipt];

    fn title(self) -> &'static str {
        match self {
            Self::Publishing => "durable publishing",
            Self::Receipt => "receipt across nodes",
        }
    }

    /// Each part has a Postgres of its own, so that what one left behind weighs on no other.
    fn run(self, plan: &Plan) -> Result<Outcome> {
        let cluster = Cluster::start(&plan.server)?;
        match self {
            Self::Publishing => publishing::run(plan, &cluster),
            Self::Receipt => receipt::run(plan, &cluster),
        }
    }
}

/// Runs the parts and prints the table. Returns whether every part gave its figures.
pub(crate) fn run(arguments: Arguments) -> Result<bool> {
    subject::must_exist(&arguments.server)?;
    raise_descriptor_limit()?;
    let quick = arguments.quick;
    let by_size = |full, small| if quick { small } else { full };
    let plan = Plan {
        server: arguments.server,
        rounds: arguments.rounds.unwrap_or(by_size(3, 1)),
        turn: Duration::from_secs(arguments.seconds.unwrap_or(if quick { 2 } else { 5 })),
        publishers: arguments.publishers,
        streams: arguments.streams.unwrap_or(by_size(5_000, 500)) as usize,
        rate: arguments.rate,
        load: Duration::from_secs(if quick { 3 } else { 10 }),
    };
    let mut run = Run::begin();
    let only = arguments.only;
    for part in Part::ALL
        .into_iter()
        .filter(|part| only.is_empty() || only.contains(part))
    {
        progress(&format!("{} …", part.title()));
        run.take(part.title(), part.run(&plan));
    }
    let mut remarks = vec![
        "PostgreSQL with its own defaults: fsync, full_page_writes and synchronous_commit are on; same machine."
            .to_owned(),
    ];
    if quick {
        remarks.push("A small run, to see whether everything works: publish no figure of it.".to_owned());
    }
    run.print(&remarks)
}
