//! All streams go away at once while nothing is being sent: whether the server notices, and how soon.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{Outcome, Plan};
use crate::clock;
use crate::fleet::{Pace, Protocol};
use crate::procfs::Process;
use crate::report::{Line, Verdict, progress};
use crate::stats::{grouped, real};
use crate::subject::{OPENING, Server, serve};

const GOAL: Duration = Duration::from_secs(5);
/// When to stop waiting for a server that leaks.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);

pub(super) fn run(plan: &Plan) -> Result<Outcome> {
    serve(&plan.server, |server| {
        let process = server.process();
        let base = base_descriptors(server)?;
        let before = process.resident_kib()?;
        let mut fleet = server.fleet(Protocol::EventStream, plan.streams)?;
        fleet.open(Pace::Steady, OPENING)?;
        fleet.linger(Duration::from_secs(2))?;
        let (open, held) = (process.descriptors()?, process.resident_kib()?);
        if open < base + plan.streams as u64 {
            bail!(
                "the server shows {open} descriptors with {} streams open",
                plan.streams
            );
        }
        let start = clock::now();
        fleet.cut();
        let left = wait_for_descriptors(process, base)?;
        let took = clock::since(start);
        progress(&format!(
            "  {open} descriptors with the streams, {base} before, {left} more at the end"
        ));
        // The allocator returns pages on its own clock.
        fleet.linger(plan.settle)?;
        let after = process.resident_kib()?;
        let what = format!(
            "{} idle streams dropped, descriptors released",
            grouped(plan.streams as u64)
        );
        let figure = if left == 0 {
            format!("{:.2} s", took.as_secs_f64())
        } else {
            format!("{left} still held after {} s", PATIENCE.as_secs())
        };
        let mib = |kib: u64| format!("{:.1} MiB", real(kib) / 1024.0);
        let lines = vec![
            Line::new(what, figure).goal(
                format!("≤ {} s", GOAL.as_secs()),
                Verdict::of(left == 0 && took <= GOAL),
            ),
            Line::new("resident after the drop", mib(after)),
        ];
        let notes = vec![format!(
            "Drop: resident {} before the streams, {} with them, {} {} s after they went.",
            mib(before),
            mib(held),
            mib(after),
            plan.settle.as_secs()
        )];
        Ok(Outcome { lines, notes })
    })
}

/// Descriptors of a server that has answered a request and holds no connection. What it opens once and keeps is
/// part of the base.
fn base_descriptors(server: &Server) -> Result<u64> {
    let fresh = server.process().descriptors()?;
    server.touch()?;
    let deadline = clock::after(Duration::from_secs(2));
    loop {
        let now = server.process().descriptors()?;
        if now <= fresh || clock::now() >= deadline {
            return Ok(now);
        }
        clock::sleep_until(clock::after(LOOK));
    }
}

/// Descriptors above `base` when they are back there, or when waiting has become pointless.
fn wait_for_descriptors(process: Process, base: u64) -> Result<u64> {
    let deadline = clock::after(PATIENCE);
    loop {
        let above = process.descriptors()?.saturating_sub(base);
        if above == 0 || clock::now() >= deadline {
            return Ok(above);
        }
        clock::sleep_until(clock::after(LOOK));
    }
}
