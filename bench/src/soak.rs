//! The soak: thousands of streams that come and go, a steady load, slow readers and one fault after the other, over
//! Postgres, for as long as asked; and what it leaves behind.

mod crowd;
mod faults;
mod load;
mod readings;
mod table;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ::tests::redis::{Redis, Settings};
use anyhow::{Result, anyhow, bail};
use clap::Args;

use self::crowd::Crowd;
use self::faults::Parts;
use self::load::{Load, People};
use self::readings::{Gauge, Holds, Memory};
use self::table::{accounts, held, receipts};
use crate::clock;
use crate::cluster::Cluster;
use crate::publisher::{Audience, ClosedLoop, Endpoint};
use crate::report::progress;
use crate::stats::grouped;
use crate::subject::{self, Server};
use crate::summary::{Outcome, Run};

/// The ring of each node is this small, so that it is full before the first reading.
const RING_BYTES: u64 = 8 << 20;
/// A ring with this share of its bytes is full: the next event pushes out an old one.
const FULL_PERCENT: u64 = 98;
/// Ids of those whom nobody listens for, to fill the ring with.
const NOBODY: usize = 70_000;
/// A filling takes this long, and is repeated until the ring is full.
const FILLING: Duration = Duration::from_secs(2);
const FILLINGS: usize = 60;
/// Pools of connections to Postgres and Redis breathe by this much.
const SLACK: u64 = 16;
/// Everything that a stream held is given back within this.
const RETURN: Duration = Duration::from_secs(30);
/// Nobody may lack anything for longer.
const CATCH_UP: Duration = Duration::from_secs(60);
const PUBLISHERS: usize = 8;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The service's binary
    #[arg(long, default_value = "target/release/arauto")]
    server: String,
    /// For how long, from the first reading to the last
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: u64,
    /// Streams over both nodes
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(10..=15_000))]
    streams: u32,
    /// Publishes a second, over both nodes
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    rate: u32,
    /// Streams a second that are dropped and resumed
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    churn: u32,
    /// Readers besides who read once a minute
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=500))]
    slow: u32,
    /// Seconds of load before the first reading
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    warm_up: u64,
}

/// Runs the soak and prints the table.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    subject::must_exist(&arguments.server)?;
    crate::raise_descriptor_limit()?;
    let mut run = Run::begin();
    run.take("soak", soak(arguments));
    run.print(&[
        "PostgreSQL with its own defaults: fsync, full_page_writes and synchronous_commit are on; same machine."
            .to_owned(),
    ])
}

/// What the watch over the nodes brings home.
struct Watched {
    memory: Vec<Memory>,
    faults: Vec<&'static str>,
}

fn soak(arguments: &Arguments) -> Result<Outcome> {
    let people = People {
        quick: arguments.streams as usize,
        slow: arguments.slow as usize,
    };
    let mut cluster = Cluster::start(&arguments.server)?;
    let mut redis = Redis::start(Settings::default().set("appendonly", "no"))?;
    let nodes = two_nodes(&cluster, &redis)?;
    let endpoints: Vec<Endpoint> = nodes.iter().map(Server::endpoint).collect::<Result<_>>()?;
    let mut gauges: Vec<Gauge> = nodes.iter().map(Gauge::new).collect::<Result<_>>()?;
    fill(&endpoints, &mut gauges)?;
    let before = hold(&mut gauges)?;
    let mut crowd = Crowd::open(&nodes, people)?;
    progress(&format!("  {} streams are open", grouped(people.all() as u64)));

    let (ended, count, connected) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let load = Load {
        nodes: &endpoints,
        publishers: PUBLISHERS,
        interval: Duration::from_secs(1) / arguments.rate,
        people,
        ended: &ended,
        count: &count,
    };
    let watch = Watch {
        arguments,
        ended: &ended,
        count: &count,
        connected: &connected,
    };
    let parts = Parts {
        cluster: &mut cluster,
        redis: &mut redis,
        node: nodes[1].process(),
    };
    let (told, watched) = thread::scope(|scope| {
        let publishing = scope.spawn(|| load.run());
        let watching = scope.spawn(|| watch.keep(&mut gauges, parts));
        let lived = crowd.live(arguments.churn, || ended.load(Ordering::Relaxed), &connected);
        ended.store(true, Ordering::Relaxed);
        let told = publishing.join().map_err(|_| anyhow!("a publisher panicked"))?;
        let watched = watching.join().map_err(|_| anyhow!("the watch panicked"))?;
        lived?;
        Ok::<_, anyhow::Error>((told?, watched?))
    })
    .inspect_err(|_| nodes.iter().for_each(Server::show_tail))?;
    progress("  everybody catches up …");
    let began = clock::now();
    let caught_up = crowd.catch_up(&told, CATCH_UP)?.then(|| clock::since(began));
    let mut outcome = accounts(arguments, &crowd, &told, caught_up, &watched)?;
    let seen = crowd.go();
    progress("  everybody is gone …");
    let after = given_back(&mut gauges, &before)?;
    outcome.lines.extend(receipts(&told, &seen));
    outcome.lines.extend(held(&watched.memory, &before, &after)?);
    Ok(outcome)
}

/// Their rings are small.
fn two_nodes(cluster: &Cluster, redis: &Redis) -> Result<[Server; 2]> {
    let (redis, ring) = (redis.url(), RING_BYTES.to_string());
    let start = || {
        cluster.node_with(&[
            ("ARAUTO_REDIS_URL", redis.as_str()),
            ("ARAUTO_RING_MAX_BYTES", ring.as_str()),
        ])
    };
    Ok([start()?, start()?])
}

/// Publishes to nobody until each ring is full.
fn fill(endpoints: &[Endpoint], gauges: &mut [Gauge]) -> Result<()> {
    for _ in 0..FILLINGS {
        let load = ClosedLoop {
            endpoints,
            publishers: 64,
            warm_up: Duration::ZERO,
            length: FILLING,
        };
        load.run(|p, n| Audience::Reader(NOBODY + (p + 64 * n) % 1_000))?;
        let bytes: Vec<u64> = hold(gauges)?.iter().map(|holds| holds.ring_bytes).collect();
        progress(&format!("  rings of {bytes:?} bytes"));
        if bytes
            .iter()
            .all(|bytes| *bytes >= RING_BYTES * FULL_PERCENT / 100)
        {
            return Ok(());
        }
    }
    bail!("the rings were not filled")
}

fn hold(gauges: &mut [Gauge]) -> Result<Vec<Holds>> {
    gauges.iter_mut().map(Gauge::read).collect()
}

/// Waits until the nodes hold no more than before, and returns what they hold then, or at last.
fn given_back(gauges: &mut [Gauge], before: &[Holds]) -> Result<Vec<Holds>> {
    let deadline = clock::after(RETURN);
    loop {
        let now = hold(gauges)?;
        let back = now.iter().zip(before).all(|(now, before)| {
            returned(now.tasks, before.tasks) && returned(now.descriptors, before.descriptors)
        });
        if back || clock::now() > deadline {
            return Ok(now);
        }
        thread::sleep(Duration::from_millis(500));
    }
}

fn returned(now: u64, before: u64) -> bool {
    now <= before + SLACK
}

/// Reads the nodes, says how it goes, and ends the soak when its time has come.
struct Watch<'a> {
    arguments: &'a Arguments,
    ended: &'a AtomicBool,
    count: &'a AtomicU64,
    connected: &'a AtomicU64,
}

impl Watch<'_> {
    fn keep(&self, gauges: &mut [Gauge], mut parts: Parts<'_>) -> Result<Watched> {
        let length = Duration::from_secs(60 * self.arguments.minutes);
        let kept = thread::scope(|scope| {
            let warm = clock::after(Duration::from_secs(self.arguments.warm_up));
            self.read_until(warm, "warm-up", gauges, None);
            let mut memory: Vec<Memory> = gauges.iter().map(|_| Memory::default()).collect();
            let until = clock::after(length);
            let tormenting = scope.spawn(|| parts.torment(length, self.ended));
            self.read_until(until, "soak", gauges, Some(&mut memory));
            self.ended.store(true, Ordering::Relaxed);
            let faults = tormenting.join().map_err(|_| anyhow!("the faults panicked"))??;
            Ok(Watched { memory, faults })
        });
        // However it ends, nobody else may wait for it.
        self.ended.store(true, Ordering::Relaxed);
        kept
    }

    fn read_until(&self, until: u64, what: &str, gauges: &mut [Gauge], mut memory: Option<&mut Vec<Memory>>) {
        while clock::now() < until && !self.ended.load(Ordering::Relaxed) {
            thread::sleep(readings::EVERY.min(clock::until(until)));
            let mut shown = Vec::new();
            for (node, gauge) in gauges.iter_mut().enumerate() {
                // A node that is frozen just now is read the next time.
                let Ok(holds) = gauge.read() else { continue };
                if let Some(memory) = &mut memory {
                    memory[node].add(holds.resident_kib);
                }
                shown.push(format!(
                    "{:.1} MiB, {} tasks, {} descriptors",
                    mib(holds.resident_kib),
                    grouped(holds.tasks),
                    grouped(holds.descriptors)
                ));
            }
            progress(&format!(
                "  {what}, {} s to go: {} connected, {} published; {}",
                clock::until(until).as_secs(),
                grouped(self.connected.load(Ordering::Relaxed)),
                grouped(self.count.load(Ordering::Relaxed)),
                shown.join("; "),
            ));
        }
    }
}

fn mib(kib: u64) -> f64 {
    crate::stats::real(kib) / 1024.0
}
