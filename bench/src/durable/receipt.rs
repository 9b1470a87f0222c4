//! Publish to receipt at the streams of two nodes, with Redis and without, in turns with the floor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ::tests::redis::{Redis, Settings};
use anyhow::{Context as _, Result, anyhow, bail};

use super::Plan;
use super::commit_floor::{CommitFloor, Load};
use crate::clock;
use crate::cluster::Cluster;
use crate::fleet::{Fleet, Pace, Protocol};
use crate::publisher::{Audience, OpenLoop, Published};
use crate::report::{Line, Verdict, progress};
use crate::scenario::pick;
use crate::stats::{grouped, millis, percentile};
use crate::subject::{OPENING, Server};
use crate::summary::Outcome;

/// Milliseconds at the streams of the other node: 50th and 99th percentile.
const GOALS: [(usize, f64); 2] = [(50, 3.0), (99, 15.0)];
/// Connections of the publisher, and so the most requests under way at once.
const CONNECTIONS: usize = 16;
/// From setting the schedule to its first slot.
const LEAD: Duration = Duration::from_millis(300);
/// Longest wait for what is under way when the last publish is answered; then it is lost.
const DELIVERY: Duration = Duration::from_secs(5);
/// What the nodes do about a Redis that is gone is done after this.
const ADJUST: Duration = Duration::from_secs(5);

/// What the turns of one setting showed.
#[derive(Default)]
struct Turns {
    /// Nanoseconds from due to receipt: on the node that was published to, and on the other.
    same: Vec<u64>,
    other: Vec<u64>,
    floor: Vec<u64>,
    lags: Vec<u64>,
    accepted: usize,
    lost: u64,
}

/// Two nodes with half of the streams each; the first is published to.
struct Pair {
    nodes: [Server; 2],
    fleets: [Fleet; 2],
    streams: usize,
}

pub(super) fn run(plan: &Plan, cluster: &Cluster) -> Result<Outcome> {
    let mut redis =
        Redis::start(Settings::default().set("appendonly", "no")).context("Redis does not start")?;
    let floor = CommitFloor::new(cluster.database("floor")?)?;
    let mut pair = Pair::open(plan, cluster, &redis.url())?;
    progress(&format!("  {} streams are open", grouped(plan.streams as u64)));
    let mut outcome = Outcome::default();
    let mut lags = Vec::new();
    for setting in ["with Redis", "Redis stopped"] {
        let mut turns = Turns::default();
        for turn in 0..plan.rounds {
            turns.floor.extend(floor.run(plan.commits()?)?);
            pair.turn(plan, turn as usize, &mut turns)
                .inspect_err(|_| pair.nodes.iter().for_each(Server::show_tail))?;
            progress(&format!("  {setting}: {} publishes accepted", turns.accepted));
        }
        outcome.lines.extend(lines(plan, setting, &turns)?);
        lags.extend(turns.lags);
        redis.kill_9()?;
        pair.linger(ADJUST)?;
    }
    let lag = percentile(&lags, 99)
        .map(millis)
        .context("nothing was published")?;
    outcome.notes.push(format!(
        "Receipt: {} streams, half on each of two nodes, {} publishes/s to one person each, all to the first node; \
         each setting for {} s in turns of {} s. Latency is counted from when a publish was due; 99 % were sent within \
         {lag:.2} ms of that. The floor: {} commits a second of the same rows with a NOTIFY, due to heard by another \
         connection.",
        grouped(plan.streams as u64),
        plan.rate,
        plan.load.as_secs() * u64::from(plan.rounds),
        plan.load.as_secs(),
        plan.rate,
    ));
    Ok(outcome)
}

impl Plan {
    fn slots(&self) -> Result<usize> {
        Ok(usize::try_from(
            self.load.as_millis() * u128::from(self.rate) / 1000,
        )?)
    }

    fn commits(&self) -> Result<Load> {
        Ok(Load {
            interval: Duration::from_secs(1) / self.rate,
            slots: self.slots()?,
            connections: CONNECTIONS,
        })
    }
}

impl Pair {
    fn open(plan: &Plan, cluster: &Cluster, redis: &str) -> Result<Self> {
        let nodes = [cluster.node(Some(redis))?, cluster.node(Some(redis))?];
        let half = plan.streams / 2;
        let mut fleets = [
            nodes[0].fleet_of(Protocol::EventStream, 0..half)?,
            nodes[1].fleet_of(Protocol::EventStream, half..plan.streams)?,
        ];
        for (fleet, node) in fleets.iter_mut().zip(&nodes) {
            fleet
                .open(Pace::Steady, OPENING)
                .inspect_err(|_| node.show_tail())?;
        }
        Ok(Self {
            nodes,
            fleets,
            streams: plan.streams,
        })
    }

    fn linger(&mut self, time: Duration) -> Result<()> {
        let [first, second] = &mut self.fleets;
        thread::scope(|scope| {
            let other = scope.spawn(|| second.linger(time));
            first.linger(time)?;
            other.join().map_err(|_| anyhow!("a reader panicked"))?
        })
    }

    fn turn(&mut self, plan: &Plan, turn: usize, turns: &mut Turns) -> Result<()> {
        let (streams, slots) = (self.streams, plan.slots()?);
        let half = streams / 2;
        let to = |slot: usize| pick(turn * slots + slot, streams);
        let on_first = (0..slots).filter(|slot| to(*slot) < half).count() as u64;
        let due = [on_first, slots as u64 - on_first];
        self.linger(Duration::from_millis(100))?;
        self.fleets.iter_mut().for_each(Fleet::reset);
        let endpoint = self.nodes[0].endpoint()?;
        let load = OpenLoop {
            endpoint: &endpoint,
            start: clock::after(LEAD),
            interval: Duration::from_secs(1) / plan.rate,
            slots,
            connections: CONNECTIONS,
        };
        let (ended, give_up) = (AtomicBool::new(false), AtomicBool::new(false));
        let (ended, give_up) = (&ended, &give_up);
        let longest = plan.load + LEAD + OPENING;
        let done: Published = thread::scope(|scope| {
            let watching: Vec<_> = self
                .fleets
                .iter_mut()
                .zip(due)
                .map(|(fleet, due)| {
                    scope.spawn(move || -> Result<()> {
                        let watched = fleet
                            .until("the publishers", longest, |_| ended.load(Ordering::Relaxed))
                            // What is still missing after this wait is lost, and reported as such.
                            .and_then(|()| fleet.within(DELIVERY, |tally| tally.unicasts >= due));
                        give_up.fetch_or(watched.is_err(), Ordering::Relaxed);
                        watched.map(drop)
                    })
                })
                .collect();
            let done = load.run(|slot| Audience::Reader(to(slot)), give_up);
            ended.store(true, Ordering::Relaxed);
            for fleet in watching {
                fleet.join().map_err(|_| anyhow!("a reader panicked"))??;
            }
            Ok::<_, anyhow::Error>(done)
        })?;
        if let Some(failure) = done.failure {
            bail!("publishing failed: {failure}");
        }
        for ((fleet, due), latencies) in self
            .fleets
            .iter()
            .zip(due)
            .zip([&mut turns.same, &mut turns.other])
        {
            turns.lost += due.abs_diff(fleet.tally().unicasts);
            latencies.extend(&fleet.tally().unicast_latencies);
        }
        turns.accepted += done.accepted;
        turns.lags.extend(done.lags);
        Ok(())
    }
}

fn lines(plan: &Plan, setting: &str, turns: &Turns) -> Result<Vec<Line>> {
    let at = |samples: &[u64], percent| percentile(samples, percent).map(millis).context("no receipts");
    let mut lines = Vec::new();
    for (place, samples) in [("other", &turns.other), ("same", &turns.same)] {
        for percent in [50, 95, 99] {
            let (our, floor) = (at(samples, percent)?, at(&turns.floor, percent)?);
            let what = format!(
                "receipt on the {place} node, {} publishes/s, {setting}, p{percent}",
                plan.rate
            );
            let line = Line::new(what, format!("{our:.2} ms"))
                .floor(format!("{floor:.2} ms"))
                .ratio(our / floor);
            let goal = GOALS
                .iter()
                .find(|(known, _)| *known == percent && place == "other");
            lines.push(match goal {
                Some((_, goal)) => line.goal(format!("≤ {goal} ms"), Verdict::of(our <= *goal)),
                None => line,
            });
        }
    }
    lines.push(
        Line::new(
            format!("receipts missing or too many, {setting}"),
            grouped(turns.lost),
        )
        .goal("0", Verdict::of(turns.lost == 0)),
    );
    Ok(lines)
}
