//! The commands behind every published figure.
//!
//! `cargo run --release -p bench -- core` starts the server under test, the floor and thousands of readers, measures
//! one scenario after the other, and prints one table; `durable` and `inbox` do the same over Postgres. Standard
//! output holds the table, standard error the progress.

mod attack;
mod child;
mod clock;
mod cluster;
mod disk;
mod drill;
mod durable;
mod fleet;
mod floor;
mod inbox;
mod pgbench;
mod plans;
mod procfs;
mod publisher;
mod report;
mod scenario;
mod soak;
mod sql;
mod stats;
mod subject;
mod summary;
mod token;
mod volley;
mod wire;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use report::progress;
use scenario::{Plan, Scenario};
use summary::Run;

/// One source address has some 28,000 ports to one destination.
const MAX_STREAMS: i64 = 25_000;
/// A resumed stream may need a second port while its first one is not free yet.
const MAX_RESUMES: i64 = MAX_STREAMS / 2;

#[derive(Parser)]
#[command(about = "Load generator and floor of Arauto")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures the core and prints one table
    Core(Core),
    /// Measures publishing through Postgres, against pgbench, and receipt across nodes
    Durable(durable::Arguments),
    /// Measures a full inbox: a million notifications, 50,000 people
    Inbox(inbox::Arguments),
    /// Takes Ably away from 500 people under load, and brings it back
    Drill(drill::Arguments),
    /// Runs the load tests of the plans by name: 1,000 at once to 500 people, 5,000 a minute with 1,000 connections
    Plans(plans::Arguments),
    /// Attacks with ten times what is allowed, and measures what the neighbours feel of it
    Attack(attack::Arguments),
    /// Asks for what is refused (started by `attack`)
    #[command(hide = true)]
    Attacker(attack::generator::Arguments),
    /// Streams that come and go, slow readers and faults over Postgres, for as long as asked
    Soak(soak::Arguments),
    /// Serves the floor: a bare write(2) loop (started by `core`)
    Floor {
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Executes a program that must not outlive its parent
    #[command(hide = true)]
    Leash {
        parent: i32,
        program: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Args)]
struct Core {
    /// The server's binary
    #[arg(long, default_value = "target/release/arauto")]
    server: String,
    /// A small run that shows whether everything works; its figures are not the published ones
    #[arg(long)]
    quick: bool,
    /// Only these scenarios
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Connections of every scenario but the resume storm [default: 10000, quick: 500]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=MAX_STREAMS))]
    streams: Option<u32>,
    /// Streams of the resume storm [default: 8000, quick: 400]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=MAX_RESUMES))]
    resumes: Option<u32>,
    /// Rounds of broadcasts on each side [default: 7, quick: 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Publishes a second of the latency scenario
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// Seconds of load on each side of the latency scenario [default: 30, quick: 5]
    #[arg(long, value_parser = clap::value_parser!(u64).range(3..=600))]
    seconds: Option<u64>,
}

impl Core {
    fn plan(self, descriptors: u64) -> Plan {
        let by_size = |chosen: Option<u32>, full: u32, quick: u32| {
            chosen.unwrap_or(if self.quick { quick } else { full }) as usize
        };
        Plan {
            streams: by_size(self.streams, 10_000, 500),
            resumes: by_size(self.resumes, 8_000, 400),
            rounds: by_size(self.rounds, 7, 3),
            broadcasts_per_round: by_size(None, 10, 20),
            rate: self.rate,
            load: Duration::from_secs(self.seconds.unwrap_or(if self.quick { 5 } else { 30 })),
            settle: Duration::from_secs(if self.quick { 6 } else { 24 }),
            descriptors,
            server: self.server,
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Core(core) => measure(core),
        Command::Durable(durable) => durable::run(durable),
        Command::Inbox(inbox) => inbox::run(inbox),
        Command::Drill(drill) => drill::run(&drill),
        Command::Plans(plans) => plans::run(&plans),
        Command::Soak(soak) => soak::run(&soak),
        Command::Attack(attack) => attack::run(&attack),
        Command::Attacker(attacker) => attack::generator::run(&attacker).map(|()| true),
        Command::Floor { listen } => floor::run(listen).map(|()| true),
        Command::Leash {
            parent,
            program,
            arguments,
        } => child::leash(parent, &program, &arguments).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            progress(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenarios of the core and prints the table.
fn measure(core: Core) -> Result<bool> {
    subject::must_exist(&core.server)?;
    let only = core.only.clone();
    let full_size = !core.quick && core.streams.is_none() && core.resumes.is_none();
    let descriptors = raise_descriptor_limit()?;
    let plan = core.plan(descriptors);
    let mut run = Run::begin();
    for scenario in Scenario::ALL
        .into_iter()
        .filter(|one| only.is_empty() || only.contains(one))
    {
        progress(&format!("{} …", scenario.title()));
        run.take(scenario.title(), scenario.run(&plan));
    }
    let mut remarks = vec![format!("{} descriptors a process.", stats::grouped(descriptors))];
    if !full_size {
        remarks.push(
            "The goals are set for 10,000 streams and 8,000 resumes: this run was of another size."
                .to_owned(),
        );
    }
    run.print(&remarks)
}

/// Raises the soft limit of open descriptors to the hard one, for this process and the ones it starts.
fn raise_descriptor_limit() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .context("cannot raise the limit of open descriptors")?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
