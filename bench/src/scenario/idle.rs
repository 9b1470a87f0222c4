//! Many connections, nothing to say: what each one costs in resident memory.

use anyhow::Result;

use super::{Outcome, Plan, settled_kib};
use crate::fleet::{Pace, Protocol};
use crate::report::{Line, Verdict, progress};
use crate::stats::{grouped, kib_each};
use crate::subject::{OPENING, serve};

pub(crate) fn event_streams(plan: &Plan) -> Result<Outcome> {
    measure(plan, Protocol::EventStream, "idle event stream", 10.0)
}

pub(crate) fn web_sockets(plan: &Plan) -> Result<Outcome> {
    measure(plan, Protocol::WebSocket, "idle WebSocket", 24.0)
}

fn measure(plan: &Plan, protocol: Protocol, name: &str, goal: f64) -> Result<Outcome> {
    serve(&plan.server, |server| {
        let process = server.process();
        let before = process.resident_kib()?;
        let mut fleet = server.fleet(protocol, plan.streams)?;
        let start = crate::clock::now();
        fleet.open(Pace::Steady, OPENING)?;
        progress(&format!(
            "  open after {:.1} s",
            crate::clock::since(start).as_secs_f64()
        ));
        let after = settled_kib(process, plan.settle, &mut fleet)?;
        let each = kib_each(before, after, plan.streams);
        progress(&format!(
            "  {before} KiB before, {after} KiB with all of them: {each:.2} KiB each"
        ));
        let what = format!("{name}, resident, {} of them", grouped(plan.streams as u64));
        let line = Line::new(what, format!("{each:.2} KiB"))
            .goal(format!("≤ {goal} KiB"), Verdict::of(each <= goal));
        Ok(Outcome {
            lines: vec![line],
            notes: Vec::new(),
        })
    })
}
