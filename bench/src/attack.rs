//! What a refused attempt costs the neighbours: publish to receipt while somebody else asks for ten times what they
//! are allowed, beside calm, in turns.

pub(crate) mod generator;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ::tests::redis::{Redis, Settings};
use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum as _};
use serde_json::{Value, json};

use self::generator::{Account, Kind};
use crate::cluster::Cluster;
use crate::fleet::{Fleet, Pace, Protocol};
use crate::publisher::{Endpoint, Publisher};
use crate::report::{Line, Verdict, progress};
use crate::stats::{grouped, millis, percentile};
use crate::subject::{self, OPENING, Server};
use crate::summary::{Outcome, Run};
use crate::token::Mint;
use crate::volley::{Landed, Volley};

/// The neighbours' 95th percentile under attack over that of calm.
const GOAL: f64 = 1.5;
/// An attack is so many times what its limit lets through.
const TIMES: u32 = 10;
/// What one address may do in a minute by the built-in table: streams of people; and attempts that count for nobody.
const HANDSHAKES_A_MINUTE: u32 = 2_000;
const ANONYMOUS_A_MINUTE: u32 = 60;
/// What one person of the profile `default` may ask in a minute.
const CALLS_A_MINUTE: u32 = 600;
/// So many people call at once, each ten times too often.
const CALLERS: usize = 10;
/// So many addresses forge tokens at once, each ten times too often.
pub(crate) const FORGERS: u8 = 50;
/// People who open streams from one address: together they may open more than the address.
const OPENERS: usize = 128;
/// Ids of attackers begin here: no neighbour has them.
const STRANGERS: usize = 50_000;
/// An attack begins before its volley, and ends after it.
const MARGIN: Duration = Duration::from_secs(2);

#[derive(Args)]
pub(crate) struct Arguments {
    /// The service's binary
    #[arg(long, default_value = "target/release/arauto")]
    server: String,
    /// Neighbours, each with a stream
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_500))]
    neighbours: u32,
    /// Publishes to them a second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=900))]
    rate: u32,
    /// Rounds of calm and attack for each kind of attack
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Seconds of each calm and each attack
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Self::Handshakes => "streams from one address",
            Self::Calls => "calls of ten people",
            Self::Forgeries => "forged tokens from 50 addresses",
        }
    }

    /// Attempts a second.
    fn rate(self) -> u32 {
        let a_minute = match self {
            Self::Handshakes => HANDSHAKES_A_MINUTE,
            Self::Calls => CALLS_A_MINUTE * 10,
            Self::Forgeries => ANONYMOUS_A_MINUTE * u32::from(FORGERS),
        };
        a_minute * TIMES / 60
    }

    fn tokens(self, mint: &Mint) -> Result<Vec<String>> {
        let people = match self {
            Self::Handshakes => 0..OPENERS,
            Self::Calls => OPENERS..OPENERS + CALLERS,
            // Somebody else's secret.
            Self::Forgeries => return Ok(vec![Mint::new()?.reader(STRANGERS)?]),
        };
        people.map(|n| mint.reader(STRANGERS + n)).collect()
    }
}

/// Runs the attacks and prints the table.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    subject::must_exist(&arguments.server)?;
    crate::raise_descriptor_limit()?;
    let mut run = Run::begin();
    for kind in Kind::value_variants() {
        progress(&format!("{} …", kind.title()));
        run.take(kind.title(), measure(arguments, *kind));
    }
    run.print(&[
        "Calm and attack in turns, one run; the neighbours, who are not exempt either, come from another address. \
         PostgreSQL with its own defaults, limits in Redis; everything on the same machine."
            .to_owned(),
    ])
}

/// Each kind has servers of its own, so that none meets the blocks of another.
fn measure(arguments: &Arguments, kind: Kind) -> Result<Outcome> {
    let cluster = Cluster::start(&arguments.server)?;
    let redis = Redis::start(Settings::default().set("appendonly", "no"))?;
    let node = cluster.node_with(&[
        ("ARAUTO_REDIS_URL", redis.url().as_str()),
        ("ARAUTO_RATE_LIMIT_ENABLED", "true"),
    ])?;
    exempt_nobody(&cluster, &node)?;
    let mut fleet = node.fleet(Protocol::EventStream, arguments.neighbours as usize)?;
    fleet
        .open(Pace::Steady, OPENING)
        .inspect_err(|_| node.show_tail())?;
    let mut scene = Scene {
        arguments,
        kind,
        tokens: kind.tokens(cluster.mint())?,
        node,
        fleet,
    };
    scene.play().inspect_err(|_| scene.node.show_tail())
}

struct Scene<'a> {
    arguments: &'a Arguments,
    kind: Kind,
    tokens: Vec<String>,
    node: Server,
    fleet: Fleet,
}

impl Scene<'_> {
    fn play(&mut self) -> Result<Outcome> {
        let volley = Volley {
            interval: Duration::from_secs(1) / self.arguments.rate,
            publishes: (self.arguments.rate * self.arguments.seconds) as usize,
            connections: 16,
            batch: 1,
        };
        let endpoint = self.node.endpoint()?;
        let (mut calm, mut attacked, mut account) =
            (Landed::default(), Landed::default(), Account::default());
        // Pools and caches are those of a service that has run for a while.
        volley
            .of(400)
            .fire(&mut self.fleet, &endpoint, 1_000, &mut Landed::default())?;
        for round in 0..self.arguments.rounds as usize {
            volley.fire(&mut self.fleet, &endpoint, 2 * round, &mut calm)?;
            let mut stranger = self.attack()?;
            volley.fire(&mut self.fleet, &endpoint, 2 * round + 1, &mut attacked)?;
            let told = stranger.end()?;
            progress(&format!(
                "  round {} of {}: {} refused, {} served; the attacker took {:.0} % of a core",
                round + 1,
                self.arguments.rounds,
                grouped(told.refused()),
                grouped(told.served),
                told.cpu,
            ));
            account.add(&told);
        }
        volley.fire(&mut self.fleet, &endpoint, 999, &mut calm)?;
        table(self, &calm, &attacked, &account)
    }

    /// Starts the attacker and waits until it has used up its limit; the neighbours' streams are read meanwhile.
    fn attack(&mut self) -> Result<Attacker> {
        let lasts = Duration::from_secs(self.arguments.seconds.into()) + MARGIN;
        let mut process = Command::new("/proc/self/exe")
            .args([
                "leash",
                &std::process::id().to_string(),
                "/proc/self/exe",
                "attacker",
            ])
            .arg(self.node.endpoint()?.address.to_string())
            .arg(self.kind.to_possible_value().context("no name")?.get_name())
            .args([self.kind.rate().to_string(), lasts.as_secs().to_string()])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = process.stdin.take().context("no way to tell it")?;
        let said = BufReader::new(process.stdout.take().context("nothing to hear")?);
        let mut attacker = Attacker { process, said };
        input.write_all(self.tokens.join("\n").as_bytes())?;
        drop(input);
        let mut line = String::new();
        attacker.said.read_line(&mut line)?;
        ensure!(line.trim() == "used up", "the attacker ended early");
        Ok(attacker)
    }
}

struct Attacker {
    process: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Attacker {
    fn end(&mut self) -> Result<Account> {
        let mut account = String::new();
        self.said.read_to_string(&mut account)?;
        Ok(serde_json::from_str(&account)?)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Built in, this machine is not limited.
fn exempt_nobody(cluster: &Cluster, node: &Server) -> Result<()> {
    let endpoint = Endpoint {
        token: cluster.mint().admin()?,
        ..node.endpoint()?
    };
    let mut administrator = Publisher::connect(&endpoint)?;
    let answer = administrator.request("GET", "/v1/admin/limits", b"")?;
    let mut limits: Value = serde_json::from_slice(&answer.body)?;
    limits["rules"]["exempt"] = json!([]);
    let changed = json!({ "version": limits["version"], "rules": limits["rules"] });
    let answer = administrator.request("PUT", "/v1/admin/limits", changed.to_string().as_bytes())?;
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(
        answer.status == 200,
        "limits were not changed: {} {text}",
        answer.status
    );
    Ok(())
}

fn table(scene: &Scene<'_>, calm: &Landed, attacked: &Landed, account: &Account) -> Result<Outcome> {
    let Scene { arguments, kind, .. } = scene;
    let mut lines = Vec::new();
    for percent in [50, 95, 99] {
        let at = |samples: &[u64]| percentile(samples, percent).map(millis).context("no receipts");
        let (attacked, calm) = (at(&attacked.latencies)?, at(&calm.latencies)?);
        let mut line = Line::new(
            format!("neighbours, publish to receipt, {}, p{percent}", kind.title()),
            format!("{attacked:.2} ms"),
        )
        .floor(format!("{calm:.2} ms calm"))
        .ratio(attacked / calm);
        if percent == 95 {
            line = line.goal(format!("≤ {GOAL} ×"), Verdict::of(attacked / calm <= GOAL));
        }
        lines.push(line);
    }
    let lost = calm.missing + attacked.missing + calm.doubled + attacked.doubled;
    lines.push(Line::new("– receipts missing or doubled", grouped(lost)).goal("0", Verdict::of(lost == 0)));
    lines.push(Line::new("– attempts refused", grouped(account.refused())));
    let note = format!(
        "{}: {}/s, {TIMES} times the limit, in {} rounds of {} s; of the attempts {} were answered 429, {} 403, {} 401, \
         {} with `closing`, {} were served, {} answered otherwise, {} broke off. The attacker (nice 19, a process of its \
         own) took up to {:.0} % of a core. {} neighbours, {} publishes/s to one each.",
        kind.title(),
        grouped(kind.rate().into()),
        arguments.rounds,
        arguments.seconds,
        grouped(account.too_many),
        grouped(account.forbidden),
        grouped(account.unauthorized),
        grouped(account.closing),
        grouped(account.served),
        grouped(account.others),
        grouped(account.broken),
        account.cpu,
        grouped(arguments.neighbours.into()),
        arguments.rate,
    );
    Ok(Outcome {
        lines,
        notes: vec![note],
    })
}
