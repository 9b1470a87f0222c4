//! Everyone loses the connection and comes back at once: each must get exactly what it missed, out of memory.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Outcome, Plan, pick};
use crate::clock;
use crate::fleet::{Fleet, Pace, Protocol, position};
use crate::procfs;
use crate::publisher::{Audience, Publisher};
use crate::report::{Line, Verdict, progress};
use crate::stats::grouped;
use crate::subject::{OPENING, Server, serve};

/// Events published before and again after the cut. Every fifth goes to everyone.
const EVENTS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for the broadcast that ends the scenario.
const LAST: Duration = Duration::from_secs(10);

/// Everything published, by position.
#[derive(Default)]
struct Sent {
    to_everyone: Vec<u64>,
    to_one: HashMap<usize, Vec<u64>>,
    epoch: Option<String>,
}

impl Sent {
    fn publish(&mut self, publisher: &mut Publisher, audience: Audience) -> Result<()> {
        let receipt = publisher.publish(audience, clock::now())?;
        let cursor = receipt.context("a receipt without a cursor")?;
        let (epoch, _) = cursor
            .rsplit_once('-')
            .with_context(|| format!("cursor {cursor}"))?;
        if self.epoch.get_or_insert_with(|| epoch.to_owned()) != epoch {
            bail!("the epoch changed to {epoch} in the middle of the run");
        }
        let position = position(cursor.as_bytes()).with_context(|| format!("cursor {cursor}"))?;
        match audience {
            Audience::Everyone => self.to_everyone.push(position),
            Audience::Reader(index) => self.to_one.entry(index).or_default().push(position),
        }
        Ok(())
    }

    fn mix(&mut self, publisher: &mut Publisher, salt: usize, readers: usize) -> Result<()> {
        for n in 0..EVENTS {
            let one = Audience::Reader(pick(salt + n, readers));
            self.publish(publisher, if n % 5 == 0 { Audience::Everyone } else { one })?;
        }
        Ok(())
    }

    /// What reader `index` must get after `position`, in order.
    fn after(&self, index: usize, position: u64) -> Vec<u64> {
        let own = self.to_one.get(&index).map(Vec::as_slice).unwrap_or_default();
        let mut due: Vec<u64> = self
            .to_everyone
            .iter()
            .chain(own)
            .copied()
            .filter(|at| *at > position)
            .collect();
        due.sort_unstable();
        due
    }

    fn count(&self, readers: usize) -> (u64, u64) {
        let unicasts = self.to_one.values().map(Vec::len).sum::<usize>();
        ((self.to_everyone.len() * readers) as u64, unicasts as u64)
    }
}

/// What the resumes showed.
struct Resumed {
    /// Deliveries that were missed and had to come again.
    missed: u64,
    /// From the first connect to the last missed event, `None` when some never came.
    took: Option<Duration>,
    /// Readers that got exactly what they missed.
    whole: usize,
    /// Reads of the store meanwhile, or why nobody knows.
    reads: Result<u64>,
    /// Connection attempts that had to be repeated.
    overflows: u64,
}

pub(super) fn run(plan: &Plan) -> Result<Outcome> {
    serve(&plan.server, |server| {
        let mut publisher = Publisher::connect(&server.endpoint()?)?;
        let mut fleet = server.fleet(Protocol::EventStream, plan.resumes)?;
        let mut sent = Sent::default();
        interrupt(&mut fleet, &mut publisher, &mut sent)?;
        let resumed = resume(server, &mut fleet, &mut publisher, &mut sent)?;
        Ok(table(plan, &resumed))
    })
}

/// Opens all, publishes to them, cuts them, and publishes what they miss.
fn interrupt(fleet: &mut Fleet, publisher: &mut Publisher, sent: &mut Sent) -> Result<()> {
    fleet.open(Pace::Steady, OPENING)?;
    sent.mix(publisher, 0, fleet.len())?;
    let (broadcasts, unicasts) = sent.count(fleet.len());
    fleet.until("what was published before the cut", PATIENCE, |tally| {
        tally.broadcasts >= broadcasts && tally.unicasts >= unicasts
    })?;
    // One more is on its way when the connections go: sent perhaps, but seen by nobody.
    sent.publish(publisher, Audience::Everyone)?;
    fleet.cut();
    sent.mix(publisher, EVENTS, fleet.len())
}

fn resume(server: &Server, fleet: &mut Fleet, publisher: &mut Publisher, sent: &mut Sent) -> Result<Resumed> {
    let left_at = last_positions(fleet)?;
    let due = left_at
        .iter()
        .enumerate()
        .map(|(index, at)| sent.after(index, *at).len());
    let missed = due.sum::<usize>() as u64;
    progress(&format!(
        "  all cut; {} deliveries missed; all resume",
        grouped(missed)
    ));

    let reads_before = server.store_reads();
    let overflows_before = procfs::listen_overflows().unwrap_or_default();
    let start = clock::now();
    fleet.open(Pace::AtOnce, PATIENCE)?;
    let opened = clock::since(start);
    let complete = fleet.within(PATIENCE, |tally| tally.notifications() >= missed)?;
    let took = complete.then(|| clock::since(start));
    let overflows = procfs::listen_overflows()
        .unwrap_or_default()
        .saturating_sub(overflows_before);
    let reads = reads_before.and_then(|before| Ok(server.store_reads()?.saturating_sub(before)));

    // A last broadcast: whatever a reader got too much stands before it, whatever it lacks is not there. With
    // repeats among them the count is reached too soon, hence the moment more.
    sent.publish(publisher, Audience::Everyone)?;
    let end = missed + fleet.len() as u64;
    fleet.within(LAST, |tally| tally.notifications() >= end)?;
    fleet.linger(LAST / 10)?;
    let whole = whole_readers(fleet, sent, &left_at);
    progress(&format!(
        "  all ready after {:.2} s, {whole} whole",
        opened.as_secs_f64()
    ));
    Ok(Resumed {
        missed,
        took,
        whole,
        reads,
        overflows,
    })
}

fn table(plan: &Plan, resumed: &Resumed) -> Outcome {
    let readers = grouped(plan.resumes as u64);
    let took = match resumed.took {
        Some(took) => format!("{:.2} s", took.as_secs_f64()),
        None => format!("not within {} s", PATIENCE.as_secs()),
    };
    let (reads, none) = match &resumed.reads {
        Ok(reads) => (grouped(*reads), *reads == 0),
        Err(_) => ("unknown".to_owned(), false),
    };
    let lines = vec![
        Line::new(format!("{readers} streams resumed at once, all caught up"), took),
        Line::new(
            "resumed streams with exactly what they missed",
            grouped(resumed.whole as u64),
        )
        .goal(readers, Verdict::of(resumed.whole == plan.resumes)),
        Line::new("store reads during the resumes", reads).goal("0", Verdict::of(none)),
    ];
    let mut notes = vec![format!(
        "Resume: {} deliveries missed and compared cursor by cursor; {} connection attempts found a full accept \
         queue, which costs each a second before its kernel tries again.",
        grouped(resumed.missed),
        grouped(resumed.overflows)
    )];
    if let Err(error) = &resumed.reads {
        notes.push(format!("Store reads are unknown: {error:#}"));
    }
    Outcome { lines, notes }
}

fn last_positions(fleet: &Fleet) -> Result<Vec<u64>> {
    fleet
        .seen()
        .enumerate()
        .map(|(index, (id, _))| {
            let id = id.with_context(|| format!("stream {index} never saw an id"))?;
            position(id.as_bytes()).with_context(|| format!("stream {index}: id {id}"))
        })
        .collect()
}

/// Readers that got what was published after they left, all of it, once, in order.
fn whole_readers(fleet: &Fleet, sent: &Sent, left_at: &[u64]) -> usize {
    fleet
        .seen()
        .zip(left_at)
        .enumerate()
        .filter(|(index, ((_, positions), left_at))| sent.after(*index, **left_at) == *positions)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_the_rest_of_both_kinds_in_order() {
        let sent = Sent {
            to_everyone: vec![1, 4, 9],
            to_one: HashMap::from([(7, vec![2, 6]), (8, vec![5])]),
            epoch: None,
        };
        assert_eq!(sent.after(7, 2), [4, 6, 9]);
        assert_eq!(sent.after(8, 0), [1, 4, 5, 9]);
        assert_eq!(sent.after(0, 9), [0_u64; 0]);
    }
}
