//! One notification for everyone: processor time per delivery, against the floor, in alternating rounds.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::duel::{Duel, Side};
use super::{Outcome, Plan};
use crate::procfs::Process;
use crate::report::{Line, Verdict, progress};
use crate::stats::{grouped, kib_each, median, micros_each, millis, real};
use crate::subject::serve;

/// Processor time per delivery, server over floor.
const GOAL: f64 = 1.35;
/// What trickled in while the other side was measured is read before a round begins.
const BREATH: Duration = Duration::from_millis(100);

/// What one side's rounds showed.
#[derive(Default)]
struct Rounds {
    micros_each: Vec<f64>,
    /// Publish to last receipt.
    millis_to_last: Vec<f64>,
    /// This process's own share, for the reader of the table to judge by.
    client_micros_each: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, side: &mut Side, broadcasts: usize) -> Result<f64> {
        side.fleet.linger(BREATH)?;
        side.fleet.reset();
        let (cpu, client) = (side.process.cpu()?, Process::this().cpu()?);
        for _ in 0..broadcasts {
            self.millis_to_last.push(millis(side.broadcast()?));
        }
        let cpu = side.process.cpu()?.saturating_sub(cpu);
        let client = Process::this().cpu()?.saturating_sub(client);
        let deliveries = side.fleet.tally().deliveries();
        let each = micros_each(cpu, deliveries);
        self.micros_each.push(each);
        self.client_micros_each.push(micros_each(client, deliveries));
        Ok(each)
    }
}

pub(super) fn run(plan: &Plan) -> Result<Outcome> {
    serve(&plan.server, |server| {
        let before = server.process().resident_kib()?;
        let mut duel = Duel::prepare(plan, server)?;
        let (mut ours, mut floors) = (Rounds::default(), Rounds::default());
        for round in 1..=plan.rounds {
            let floor = floors.add(&mut duel.floor, plan.broadcasts_per_round)?;
            let our = ours.add(&mut duel.server, plan.broadcasts_per_round)?;
            progress(&format!(
                "  round {round} of {}: floor {floor:.2} µs, server {our:.2} µs",
                plan.rounds
            ));
        }
        let after = server.process().resident_kib()?;
        table(plan, &duel, &ours, &floors, kib_each(before, after, plan.streams))
    })
}

fn table(plan: &Plan, duel: &Duel, ours: &Rounds, floors: &Rounds, kib: f64) -> Result<Outcome> {
    let middle = |samples: &[f64]| median(samples).context("no rounds were run");
    let readers = grouped(plan.streams as u64);
    let (our, floor) = (middle(&ours.micros_each)?, middle(&floors.micros_each)?);
    let ratio = our / floor;
    let (last, floor_last) = (middle(&ours.millis_to_last)?, middle(&floors.millis_to_last)?);
    let lines = vec![
        Line::new(
            format!("broadcast to {readers}, server CPU per delivery"),
            format!("{our:.2} µs"),
        )
        .floor(format!("{floor:.2} µs"))
        .ratio(ratio)
        .goal(format!("≤ {GOAL} ×"), Verdict::of(ratio <= GOAL)),
        Line::new(
            format!("broadcast to {readers}, publish to last receipt"),
            format!("{last:.0} ms"),
        )
        .floor(format!("{floor_last:.0} ms"))
        .ratio(last / floor_last),
        Line::new(
            "event stream after the broadcasts, resident",
            format!("{kib:.2} KiB"),
        ),
    ];
    let client = middle(&ours.client_micros_each)?;
    let mut notes = vec![format!(
        "Broadcast: medians of {} rounds of {} broadcasts each, floor and server in turn; CPU is user and system \
         time, {} deliveries a round. The readers themselves took {client:.2} µs per delivery.",
        plan.rounds,
        plan.broadcasts_per_round,
        grouped((plan.broadcasts_per_round * plan.streams) as u64),
    )];
    notes.extend(duel.remark());
    if real(plan.broadcasts_per_round as u64) * real(plan.streams as u64) * floor < 100_000.0 {
        notes
            .push("A round is shorter than ten clock ticks of processor time: ratios are coarse.".to_owned());
    }
    Ok(Outcome { lines, notes })
}
