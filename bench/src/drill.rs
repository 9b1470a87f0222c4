//! The fail-over drill: Ably is taken away under load from people of whom half listen there, and brought back.
//!
//! Two nodes over Postgres, and the stand-in for Ably. Everybody goes by `GET /v1/transport`, as a browser would; what each
//! was shown is held against what was acknowledged.

mod load;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use ::tests::follower::{Follower, Site, Story};
use ::tests::server::now;
use ::tests::standin::{PUBLISH_KEY, Remembers, StandIn, TOKEN_KEY};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use self::load::{Load, Told};
use crate::cluster::Cluster;
use crate::publisher::{Endpoint, Publisher};
use crate::report::{Line, Verdict, progress};
use crate::stats::grouped;
use crate::subject::{self, Server};
use crate::summary::{Outcome, Run};
use crate::token::reader;

/// Nobody may lack anything for longer.
const PROMISED: Duration = Duration::from_secs(30);
/// The guard's numbers are for days; a drill has minutes.
const GUARD: [(&str, &str); 4] = [
    ("ARAUTO_ABLY_GUARD_WINDOW", "10s"),
    ("ARAUTO_ABLY_GUARD_HOLD", "60s"),
    ("ARAUTO_ABLY_GUARD_MIN_PUBLISHES", "50"),
    ("ARAUTO_ABLY_PROBE_EVERY", "2s"),
];
const OPENING: Duration = Duration::from_secs(90);

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
    /// Seconds of load before, while Ably is away, and after
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=600))]
    seconds: u64,
}

/// Runs the drill and prints the table.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    subject::must_exist(&arguments.server)?;
    let mut run = Run::begin();
    run.take("fail-over drill", drill(arguments));
    run.print(&[])
}

/// Everything that takes part.
struct Stage {
    stand_in: StandIn,
    nodes: [Server; 2],
    cluster: Cluster,
}

fn drill(arguments: &Arguments) -> Result<Outcome> {
    let stage = Stage::set(&arguments.server)?;
    let runtime = Runtime::new()?;
    let people: Vec<String> = (0..arguments.people as usize).map(reader).collect();
    progress("  people begin to listen …");
    let followers = runtime.block_on(stage.open(&people))?;
    let settled = now();
    while settled.elapsed() < OPENING && !followers.iter().all(|one| settled_down(&one.story())) {
        thread::sleep(Duration::from_millis(200));
    }
    let on_ably = |followers: &[Follower]| {
        let count = followers.iter().filter(|one| one.story().on_ably()).count();
        grouped(count as u64)
    };
    let before = on_ably(&followers);
    let load = Load::begin(&stage.endpoints()?, &people, arguments.rate)?;
    let length = Duration::from_secs(arguments.seconds);
    let mut phases = Vec::new();
    for phase in ["before", "while Ably is away", "after it is back"] {
        progress(&format!("  {phase} …"));
        match phase {
            "while Ably is away" => stage.stand_in.kill()?,
            "after it is back" => stage.stand_in.restart(Remembers::Everything)?,
            _ => {}
        }
        phases.push((phase, now()));
        thread::sleep(length);
        progress(&format!("  on Ably now: {}", on_ably(&followers)));
    }
    let told = load.end()?;
    progress("  everybody catches up …");
    let ended = now();
    while ended.elapsed() < PROMISED * 2 && lacking(&followers, &told) > 0 {
        thread::sleep(Duration::from_millis(100));
    }
    let caught_up = ended.elapsed();
    let after = on_ably(&followers);
    let changes = stage.changes()?;
    let stories = runtime.block_on(async {
        let mut stories = Vec::new();
        for follower in followers {
            stories.push(follower.stop().await);
        }
        stories
    });
    Ok(table(
        &people,
        (&stories, &told),
        &phases,
        &[before, after],
        (caught_up, &changes),
    ))
}

/// Whether somebody has what they were told to listen on.
const fn settled_down(story: &Story) -> bool {
    story.on_ably() || story.on_stream()
}

fn lacking(followers: &[Follower], told: &[Told]) -> usize {
    let lacks = |(index, follower): &(usize, &Follower)| {
        let due = told.iter().filter(|one| one.is_for(*index)).count();
        follower.story().shown.len() < due
    };
    followers.iter().enumerate().filter(lacks).count()
}

impl Stage {
    fn set(binary: &str) -> Result<Self> {
        let stand_in = StandIn::start()?;
        let (cluster, url) = (Cluster::start(binary)?, stand_in.url());
        let mut more = vec![
            ("ARAUTO_ABLY_ENDPOINT", url.as_str()),
            ("ARAUTO_ABLY_PUBLISH_KEY", PUBLISH_KEY),
            ("ARAUTO_ABLY_TOKEN_KEY", TOKEN_KEY),
        ];
        more.extend(GUARD);
        let nodes = [cluster.node_with(&more)?, cluster.node_with(&more)?];
        let stage = Self {
            stand_in,
            nodes,
            cluster,
        };
        let half = json!({ "version": 0, "why": "the drill", "share": 50 });
        let (status, _) = stage.ask("PUT", "/v1/admin/rollout", &half)?;
        ensure!(status == 200, "the rollout was not raised: {status}");
        for node in &stage.nodes {
            let since = now();
            while stage.rollout(node)?["share"] != 50 {
                ensure!(since.elapsed() < OPENING, "a node does not go by the rollout");
                thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(stage)
    }

    fn endpoints(&self) -> Result<Vec<Endpoint>> {
        self.nodes.iter().map(Server::endpoint).collect()
    }

    async fn open(&self, people: &[String]) -> Result<Vec<Follower>> {
        let urls = self
            .endpoints()?
            .into_iter()
            .map(|node| format!("http://{}", node.address));
        let site = Site::new(urls, self.stand_in.address())?;
        let mut followers = Vec::new();
        for person in 0..people.len() {
            followers.push(Follower::open(&site, self.cluster.mint().reader(person)?).await?);
        }
        Ok(followers)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.ask_node(&self.nodes[0], method, path, body)
    }

    fn ask_node(&self, node: &Server, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let endpoint = Endpoint {
            token: self.cluster.mint().admin()?,
            ..node.endpoint()?
        };
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = Publisher::connect(&endpoint)?.request(method, path, body.as_bytes())?;
        Ok((
            answer.status,
            serde_json::from_slice(&answer.body).unwrap_or_default(),
        ))
    }

    fn rollout(&self, node: &Server) -> Result<Value> {
        Ok(self.ask_node(node, "GET", "/v1/admin/rollout", &Value::Null)?.1)
    }

    /// Who changed the share, and to what, oldest first.
    fn changes(&self) -> Result<Vec<String>> {
        let rollout = self.rollout(&self.nodes[0])?;
        let changes = rollout["changes"].as_array().context("no changes")?;
        let mut said: Vec<(String, String)> = changes
            .iter()
            .map(|change| {
                let text = |field: &str| change[field].as_str().unwrap_or_default().to_owned();
                (
                    text("at"),
                    format!("{} {}: {}", text("at"), text("by"), change["what"]),
                )
            })
            .collect();
        said.sort();
        Ok(said.into_iter().map(|(_, said)| said).collect())
    }
}

fn table(
    people: &[String],
    (stories, told): (&[Story], &[Told]),
    phases: &[(&'static str, Instant)],
    on_ably: &[String; 2],
    (caught_up, changes): (Duration, &[String]),
) -> Outcome {
    let mut lines = vec![
        Line::new("people, half of them on Ably", grouped(people.len() as u64)),
        Line::new("on Ably before", on_ably[0].clone()),
        Line::new("publishes acknowledged", grouped(told.len() as u64)),
    ];
    let (mut missing, mut foreign, mut slowest) = (0, 0, BTreeMap::new());
    for (index, story) in stories.iter().enumerate() {
        let shown: BTreeMap<String, Instant> = (story.shown.iter())
            .map(|shown| (shown.cursor.to_string(), shown.at))
            .collect();
        let due: Vec<&Told> = told.iter().filter(|one| one.is_for(index)).collect();
        foreign += shown.len().saturating_sub(due.len());
        for one in due {
            let Some(at) = shown.get(&one.cursor) else {
                missing += 1;
                continue;
            };
            let phase = phases.iter().rev().find(|(_, began)| *began <= one.at);
            let phase = phase.map_or("before", |(phase, _)| *phase);
            let took = at.saturating_duration_since(one.at);
            let kept = slowest.entry(phase).or_insert(took);
            *kept = took.max(*kept);
        }
    }
    let sum = |count: &dyn Fn(&Story) -> usize| stories.iter().map(count).sum::<usize>();
    let none =
        |what: &str, count: usize| Line::new(what, grouped(count as u64)).goal("0", Verdict::of(count == 0));
    lines.push(none("never shown", missing));
    lines.push(none("shown twice", sum(&|story| story.shown_again().len())));
    lines.push(none(
        "shown behind a later one of its channel",
        sum(&|story| story.out_of_order().len()),
    ));
    lines.push(none("shown to whom it was not for", foreign));
    lines.push(none("resets and complaints", sum(&|story| story.faults().len())));
    for (phase, _) in phases {
        let took = slowest.get(phase).copied().unwrap_or_default();
        let line = Line::new(
            format!("slowest from receipt to screen, published {phase}"),
            format!("{:.1} s", took.as_secs_f64()),
        );
        lines.push(line.goal("< 30 s", Verdict::of(took < PROMISED)));
    }
    let line = Line::new(
        "all caught up after the last publish",
        format!("{:.1} s", caught_up.as_secs_f64()),
    );
    lines.push(line.goal("< 30 s", Verdict::of(caught_up < PROMISED)));
    lines.push(Line::new("on Ably in the end", on_ably[1].clone()));
    let steps = changes
        .iter()
        .filter(|change| change.contains("arauto-guard"))
        .count();
    lines.push(Line::new("steps of the guard", grouped(steps as u64)));
    let mut notes = vec![
        "The guard's window is 10 s and its hold 60 s here, so that a drill shows it at work.".to_owned(),
    ];
    notes.extend(changes.iter().cloned());
    Outcome { lines, notes }
}
