//! Publish to receipt while everybody is connected: a steady load of unicasts at set times, a broadcast now and
//! then, the same for the floor, in turns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::duel::{DELIVERY, Duel, Side};
use super::{Outcome, Plan, pick};
use crate::clock;
use crate::procfs::Process;
use crate::publisher::{Audience, OpenLoop, Published};
use crate::report::{Line, Verdict, progress};
use crate::stats::{grouped, millis, percentile};
use crate::subject::serve;

/// The server's 95th percentile of a broadcast over the floor's.
const GOAL: f64 = 1.35;
const BROADCAST_EVERY: Duration = Duration::from_secs(5);
/// A turn holds two broadcasts.
const TURN: Duration = Duration::from_secs(10);
/// Connections of the publisher, and so the most requests under way at once.
const CONNECTIONS: usize = 16;
/// From setting the schedule to its first slot.
const LEAD: Duration = Duration::from_millis(300);

/// What one side's turns showed.
#[derive(Default)]
struct Turns {
    unicasts: Vec<u64>,
    broadcasts: Vec<u64>,
    lags: Vec<u64>,
    /// Publishes accepted, and receipts that never came.
    accepted: usize,
    lost: u64,
    /// This process's processor time and how long the turns took.
    client: Duration,
    wall: Duration,
}

impl Turns {
    fn add(&mut self, side: &mut Side, plan: &Plan, turn: usize, length: Duration) -> Result<()> {
        let readers = side.fleet.len();
        let slots = usize::try_from(length.as_millis() * u128::from(plan.rate) / 1000)?;
        side.fleet.linger(Duration::from_millis(100))?;
        side.fleet.reset();
        let (began, client) = (clock::now(), Process::this().cpu()?);
        let start = clock::after(LEAD);
        let interval = Duration::from_secs(1) / plan.rate;
        let unicasts = OpenLoop {
            endpoint: &side.endpoint,
            start,
            interval,
            slots,
            connections: CONNECTIONS,
        };
        // The first broadcast falls into the middle of its five seconds, so that the last one still has company.
        let broadcasts = OpenLoop {
            start: start + clock::in_nanos(BROADCAST_EVERY / 2),
            interval: BROADCAST_EVERY,
            slots: broadcasts_in(length),
            connections: 1,
            ..unicasts
        };
        let to_one = |slot: usize| Audience::Reader(pick(turn * slots + slot, readers));
        let give_up = AtomicBool::new(false);
        let fleet = &mut side.fleet;
        let (one, all) = thread::scope(|scope| -> Result<(Published, Published)> {
            let one = scope.spawn(|| unicasts.run(to_one, &give_up));
            let all = scope.spawn(|| broadcasts.run(|_| Audience::Everyone, &give_up));
            let publishing = fleet.until("the publishers", length + LEAD + DELIVERY, |_| {
                one.is_finished() && all.is_finished()
            });
            give_up.store(true, Ordering::Relaxed);
            let one = one.join().map_err(|_| anyhow!("a publisher panicked"))?;
            let all = all.join().map_err(|_| anyhow!("a publisher panicked"))?;
            publishing?;
            Ok((one, all))
        })?;
        if let Some(failure) = one.failure.or(all.failure) {
            bail!("publishing failed: {failure}");
        }
        let due = (one.accepted as u64, (all.accepted * readers) as u64);
        // What is still missing after this wait is lost, and reported as such.
        side.fleet.within(Duration::from_secs(5), |tally| {
            tally.unicasts >= due.0 && tally.broadcasts >= due.1
        })?;
        let tally = side.fleet.tally();
        self.lost += due.0.abs_diff(tally.unicasts) + due.1.abs_diff(tally.broadcasts);
        self.unicasts.extend(&tally.unicast_latencies);
        self.broadcasts.extend(&tally.broadcast_latencies);
        self.lags.extend(one.lags);
        self.accepted += one.accepted + all.accepted;
        self.client += Process::this().cpu()?.saturating_sub(client);
        self.wall += clock::since(began);
        Ok(())
    }
}

pub(super) fn run(plan: &Plan) -> Result<Outcome> {
    serve(&plan.server, |server| {
        let mut duel = Duel::prepare(plan, server)?;
        let turns = u32::try_from(plan.load.as_secs() / TURN.as_secs())?.max(1);
        let length = plan.load / turns;
        let (mut ours, mut floors) = (Turns::default(), Turns::default());
        for turn in 0..turns {
            let at = turn as usize;
            floors
                .add(&mut duel.floor, plan, at, length)
                .context("the floor's turn")?;
            ours.add(&mut duel.server, plan, at, length)?;
            progress(&format!(
                "  turn {} of {turns}: {} publishes accepted",
                turn + 1,
                ours.accepted
            ));
        }
        table(plan, &duel, &ours, &floors)
    })
}

fn table(plan: &Plan, duel: &Duel, ours: &Turns, floors: &Turns) -> Result<Outcome> {
    let at = |samples: &[u64], percent| percentile(samples, percent).map(millis).context("no receipts");
    let mut lines = Vec::new();
    for percent in [50, 95, 99] {
        let (our, floor) = (at(&ours.unicasts, percent)?, at(&floors.unicasts, percent)?);
        let what = format!("publish to receipt, {} publishes/s to one, p{percent}", plan.rate);
        lines.push(
            Line::new(what, format!("{our:.2} ms"))
                .floor(format!("{floor:.2} ms"))
                .ratio(our / floor),
        );
    }
    let (our, floor) = (at(&ours.broadcasts, 95)?, at(&floors.broadcasts, 95)?);
    let what = format!(
        "broadcast to {} under that load, p95",
        grouped(plan.streams as u64)
    );
    lines.push(
        Line::new(what, format!("{our:.0} ms"))
            .floor(format!("{floor:.0} ms"))
            .ratio(our / floor)
            .goal(format!("≤ {GOAL} ×"), Verdict::of(our / floor <= GOAL)),
    );
    let lost = Line::new("receipts missing or too many under that load", grouped(ours.lost));
    lines.push(
        lost.floor(grouped(floors.lost))
            .goal("0", Verdict::of(ours.lost == 0)),
    );
    let lag = at(&ours.lags, 99)?;
    let share = 100.0 * ours.client.as_secs_f64() / ours.wall.as_secs_f64();
    let mut notes = vec![format!(
        "Latency: {} s for each side in turns of {} s, counted from when a publish was due; {} publishes were \
         accepted, 99 % of them sent within {lag:.2} ms of being due. Publishers and readers took {share:.0} % of \
         one core.",
        plan.load.as_secs(),
        TURN.min(plan.load).as_secs(),
        grouped(ours.accepted as u64),
    )];
    notes.push(
        "The floor is one thread: a unicast that is due during a broadcast waits for its end, which is what the \
         floor's p99 shows."
            .to_owned(),
    );
    notes.extend(duel.remark());
    Ok(Outcome { lines, notes })
}

/// Broadcasts at 2.5 s, 7.5 s and so on that fall into `length`, at least one.
fn broadcasts_in(length: Duration) -> usize {
    let after_first = length.saturating_sub(BROADCAST_EVERY / 2);
    usize::try_from(after_first.as_millis() / BROADCAST_EVERY.as_millis()).unwrap_or_default() + 1
}
