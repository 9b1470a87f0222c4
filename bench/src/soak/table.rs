//! What a soak ends with: its accounts, the receipts, and what the nodes held.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::crowd::Crowd;
use super::load::Told;
use super::readings::{Holds, Memory};
use super::{Arguments, RING_BYTES, SLACK, Watched, returned};
use crate::report::{Line, Verdict};
use crate::stats::{grouped, millis, percentile};
use crate::summary::Outcome;

/// What memory may grow by, in percent.
const DRIFT: f64 = 5.0;

pub(super) fn accounts(
    arguments: &Arguments,
    crowd: &Crowd,
    told: &Told,
    caught_up: Option<Duration>,
    watched: &Watched,
) -> Result<Outcome> {
    let mut faults: BTreeMap<&str, usize> = BTreeMap::new();
    for fault in &watched.faults {
        *faults.entry(fault).or_default() += 1;
    }
    let injected: Vec<String> = faults
        .iter()
        .map(|(name, count)| format!("{count} × {name}"))
        .collect();
    let latencies = crowd.latencies();
    let at = |percent| percentile(&latencies, percent).map(millis).context("no receipts");
    let took = caught_up.map_or_else(
        || "not all".to_owned(),
        |took| format!("{:.1} s", took.as_secs_f64()),
    );
    let lines = vec![
        Line::new(
            "streams, on two nodes",
            format!(
                "{} and {} slow",
                grouped(arguments.streams.into()),
                arguments.slow
            ),
        ),
        Line::new("publishes acknowledged", grouped(told.count() as u64)),
        Line::new(
            "streams dropped by their readers and resumed",
            grouped(crowd.churned),
        ),
        Line::new(
            "streams that ended otherwise and were resumed",
            grouped(crowd.fell),
        ),
        Line::new("faults injected", grouped(watched.faults.len() as u64)),
        Line::new(
            "publish to receipt, faults included, p50 / p95 / slowest",
            format!("{:.1} / {:.1} / {:.0} ms", at(50)?, at(95)?, at(100)?),
        ),
        Line::new("all caught up after the last publish", took)
            .goal("≤ 60 s", Verdict::of(caught_up.is_some())),
        Line::new("streams reset", grouped(crowd.resets())).goal("0", Verdict::of(crowd.resets() == 0)),
    ];
    let mut notes = vec![format!(
        "Soak: {} min, {} publishes/s (one of 200 to everybody, a quarter to the slow readers, who read once a \
         minute), {} streams a second dropped and resumed; {} attempts at a publish were repeated. Faults, each for 5 \
         s: {}. Rings of {} MiB, full before the first reading, which came after {} s of load. First and last memory \
         are medians of half a minute.",
        arguments.minutes,
        arguments.rate,
        arguments.churn,
        grouped(told.repeated),
        injected.join(", "),
        RING_BYTES >> 20,
        arguments.warm_up,
    )];
    notes.extend(
        crowd
            .first_fall()
            .map(|fall| format!("The first stream that ended: {fall}")),
    );
    Ok(Outcome { lines, notes })
}

/// Holds what each was shown against what was acknowledged.
pub(super) fn receipts(told: &Told, seen: &[Vec<u64>]) -> [Line; 3] {
    let (mut missing, mut doubled, mut foreign) = (0, 0, 0);
    for (person, seen) in seen.iter().enumerate() {
        let mut distinct = seen.clone();
        distinct.sort_unstable();
        distinct.dedup();
        doubled += seen.len() - distinct.len();
        let own = distinct
            .iter()
            .filter(|position| told.is_due(person, **position))
            .count();
        foreign += distinct.len() - own;
        missing += told.due(person) - own;
    }
    [("missing", missing), ("doubled", doubled), ("of others", foreign)].map(|(what, count)| {
        Line::new(format!("receipts {what}"), grouped(count as u64)).goal("0", Verdict::of(count == 0))
    })
}

pub(super) fn held(memory: &[Memory], before: &[Holds], after: &[Holds]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (node, memory) in memory.iter().enumerate() {
        let node = node + 1;
        let (first, last, most, drift) = memory.drift()?;
        let figure = format!(
            "{:.1} → {:.1} MiB, at most {:.1}: {drift:+.1} %",
            first / 1024.0,
            last / 1024.0,
            most / 1024.0
        );
        lines.push(
            Line::new(format!("node {node}, resident, first → last"), figure)
                .goal(format!("≤ +{DRIFT} %"), Verdict::of(drift <= DRIFT)),
        );
    }
    for (node, (before, after)) in before.iter().zip(after).enumerate() {
        let node = node + 1;
        for (what, before, after) in [
            ("tasks", before.tasks, after.tasks),
            ("descriptors", before.descriptors, after.descriptors),
        ] {
            lines.push(
                Line::new(
                    format!("node {node}, {what}, before → after"),
                    format!("{before} → {after}"),
                )
                .goal(format!("≤ +{SLACK}"), Verdict::of(returned(after, before))),
            );
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_finds_what_is_missing_doubled_and_foreign() {
        let mut told = Told::default();
        told.everyone.insert(1);
        told.one.entry(0).or_default().insert(2);
        told.one.entry(1).or_default().insert(3);
        let verdicts = |seen: [Vec<u64>; 2]| receipts(&told, &seen).map(|line| format!("{line:?}"));
        let clean = verdicts([vec![1, 2], vec![1, 3]]);
        assert!(
            clean.iter().all(|line| line.contains("verdict: Met")),
            "{clean:?}"
        );
        for (seen, bad) in [
            ([vec![1], vec![1, 3]], 0),
            ([vec![1, 2, 2], vec![1, 3]], 1),
            ([vec![1, 2, 3], vec![1, 3]], 2),
        ] {
            let lines = verdicts(seen);
            for (n, line) in lines.iter().enumerate() {
                assert_eq!(line.contains("NotMet"), n == bad, "{line}");
            }
        }
    }
}
