//! What every run ends with: the table, the remarks below it, and the machine it ran on.

use std::io::{self, Write as _};

use anyhow::Result;

use crate::clock;
use crate::procfs::{self, Process};
use crate::report::{self, Line, Verdict, progress};

/// A load average above this is someone else's work.
const QUIET: f64 = 1.0;
const BUSY: &str = "The machine was busy before the run: times and ratios are those of a shared machine.";

/// Rows, and remarks that belong under the table.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) lines: Vec<Line>,
    pub(crate) notes: Vec<String>,
}

/// A run: what it has found so far, and the machine before it began.
pub(crate) struct Run {
    total: Outcome,
    began: u64,
    load: f64,
    failed: bool,
}

impl Run {
    /// Begins now, and says so when the machine is busy already.
    pub(crate) fn begin() -> Self {
        let (began, load) = (clock::now(), procfs::load_average().unwrap_or_default());
        if load > QUIET {
            progress(BUSY);
        }
        Self {
            total: Outcome::default(),
            began,
            load,
            failed: false,
        }
    }

    /// Takes what a part has found. A part that failed is a row that says so, and a failing exit.
    pub(crate) fn take(&mut self, title: &str, outcome: Result<Outcome>) {
        match outcome {
            Ok(outcome) => {
                self.total.lines.extend(outcome.lines);
                for note in outcome.notes {
                    if !self.total.notes.contains(&note) {
                        self.total.notes.push(note);
                    }
                }
            }
            Err(error) => {
                self.failed = true;
                progress(&format!("  failed: {error:#}"));
                let line = Line::new(title, "failed").goal("a figure", Verdict::NotMet);
                self.total.lines.push(line);
                self.total.notes.push(format!("{title} failed: {error:#}"));
            }
        }
    }

    /// Prints the table. Returns whether every part gave its figures.
    pub(crate) fn print(self, remarks: &[String]) -> Result<bool> {
        let wall = clock::since(self.began);
        let client = Process::this().cpu()?;
        let mut out = io::stdout().lock();
        writeln!(out, "\n{}", report::table(&self.total.lines))?;
        for note in &self.total.notes {
            writeln!(out, "- {note}")?;
        }
        writeln!(
            out,
            "- Machine: {}, shared by everything over loopback; load average {:.2} before the run.",
            procfs::machine(),
            self.load,
        )?;
        writeln!(
            out,
            "- The client (one process) took {:.0} % of one core over the run's {:.0} s.",
            100.0 * client.as_secs_f64() / wall.as_secs_f64(),
            wall.as_secs_f64()
        )?;
        if self.load > QUIET {
            writeln!(out, "- {BUSY}")?;
        }
        for remark in remarks {
            writeln!(out, "- {remark}")?;
        }
        if cfg!(debug_assertions) {
            writeln!(
                out,
                "- The client was built without optimisation: publish no figure of this run."
            )?;
        }
        Ok(!self.failed)
    }
}
