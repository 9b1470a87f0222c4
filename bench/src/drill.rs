//! The fail-over drill: Ably is taken away under load from people of whom half listen there, and brought back.
//!
//! Two nodes over Postgres, and the stand-in for Ably. Everybody goes by `GET /v1/transport`, as a browser would; what each
//! was shown is held against what was acknowledged, and what the guard of the rollout did against its rules.

mod guard;
mod load;
mod stage;
mod table;

use std::thread;
use std::time::{Duration, Instant};

use ::tests::follower::{Follower, Story};
use ::tests::server::now;
use ::tests::standin::Remembers;
use anyhow::{Result, ensure};
use clap::Args;
use domain::transport::Transport;
use tokio::runtime::Runtime;

use self::load::{Load, Told};
use self::stage::Stage;
use crate::report::progress;
use crate::stats::grouped;
use crate::subject;
use crate::summary::{Outcome, Run};
use crate::token::reader;

/// Nobody may lack anything for longer.
const PROMISED: Duration = Duration::from_secs(30);
/// Everybody listens where they were told within this time.
const OPENING: Duration = Duration::from_secs(90);
/// The guard has gone back up and everybody has followed within this time: its hold and stage, and two answers of
/// `GET /v1/transport` at most 20 s apart.
const RETURN: Duration = Duration::from_secs(180);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(crate) struct Arguments {
    /// The service's binary
    #[arg(long, default_value = "target/release/arauto")]
    server: String,
    /// How many people listen
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(2..=2_000))]
    people: u32,
    /// Publishes a second, over both nodes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// Seconds of load before Ably goes, and the same again while it is away
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(5..=600))]
    seconds: u64,
}

/// Runs the drill and prints the table.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    subject::must_exist(&arguments.server)?;
    let mut run = Run::begin();
    run.take("fail-over drill", drill(arguments));
    run.print(&[])
}

/// When Ably went, and when it came back.
struct Phases {
    away: Instant,
    back: Instant,
}

/// How many people listened on Ably alone.
struct OnAbly {
    before: usize,
    away: usize,
    after: usize,
}

fn drill(arguments: &Arguments) -> Result<Outcome> {
    let stage = Stage::set(&arguments.server)?;
    let runtime = Runtime::new()?;
    let people: Vec<String> = (0..arguments.people as usize).map(reader).collect();
    progress("  people begin to listen …");
    let followers = runtime.block_on(stage.open(&people))?;
    let settled = || followers.iter().all(|one| settled_down(&one.story()));
    ensure!(
        wait(OPENING, settled),
        "people do not listen where they were told"
    );
    let before = on_ably(&followers);
    let load = Load::begin(&stage.endpoints()?, &people, arguments.rate)?;
    let length = Duration::from_secs(arguments.seconds);
    let lasts = |phase: &str| {
        progress(&format!("  {phase} …"));
        thread::sleep(length);
        progress(&format!("  on Ably now: {}", grouped(on_ably(&followers) as u64)));
    };
    lasts("Ably serves");
    stage.stand_in.kill()?;
    let away = now();
    lasts("Ably is gone");
    let while_away = on_ably(&followers);
    progress("  Ably is back; the guard goes back up and people follow …");
    stage.stand_in.restart(Remembers::Everything)?;
    let back = now();
    wait(RETURN, || {
        stage.share().is_ok_and(|share| share == stage::SHARE) && on_ably(&followers) >= before
    });
    let on_ably = OnAbly {
        before,
        away: while_away,
        after: on_ably(&followers),
    };
    let told = load.end()?;
    progress("  everybody catches up …");
    let ended = now();
    wait(PROMISED * 2, || lacking(&followers, &told) == 0);
    let caught_up = ended.elapsed();
    let steps = stage.steps()?;
    let stories = runtime.block_on(ends(followers));
    let phases = Phases { away, back };
    let mut outcome = table::table(&stories, &told, (&phases, &on_ably, caught_up));
    let guard = guard::rows(&steps);
    outcome.lines.extend(guard.lines);
    outcome.notes.extend(guard.notes);
    Ok(outcome)
}

/// Looks until it is so, at most for this long. Says whether it is.
fn wait(at_most: Duration, so: impl Fn() -> bool) -> bool {
    let began = now();
    while began.elapsed() < at_most {
        if so() {
            return true;
        }
        thread::sleep(LOOK);
    }
    so()
}

async fn ends(followers: Vec<Follower>) -> Vec<Story> {
    let mut stories = Vec::new();
    for follower in followers {
        stories.push(follower.stop().await);
    }
    stories
}

fn on_ably(followers: &[Follower]) -> usize {
    followers.iter().filter(|one| one.story().on_ably()).count()
}

/// Whether somebody listens where they were told.
fn settled_down(story: &Story) -> bool {
    match story.switches.last().map(|told| told.to) {
        Some(Transport::Ably) => story.on_ably(),
        _ => story.on_stream(),
    }
}

fn lacking(followers: &[Follower], told: &[Told]) -> usize {
    let lacks = |(index, follower): &(usize, &Follower)| {
        let due = told.iter().filter(|one| one.is_for(*index)).count();
        follower.story().shown.len() < due
    };
    followers.iter().enumerate().filter(lacks).count()
}
