//! The table a run ends with.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

/// Whether a figure reached what is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    NotMet,
    /// No goal is set for this figure.
    NoGoal,
}

impl Verdict {
    pub(crate) fn of(met: bool) -> Self {
        if met { Self::Met } else { Self::NotMet }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Met => "met",
            Self::NotMet => "NOT MET",
            Self::NoGoal => "–",
        })
    }
}

/// One row: a figure, the floor's figure of the same run, and the goal.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    what: String,
    figure: String,
    floor: Option<String>,
    ratio: Option<f64>,
    goal: Option<String>,
    verdict: Verdict,
}

impl Line {
    pub(crate) fn new(what: impl Into<String>, figure: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            figure: figure.into(),
            floor: None,
            ratio: None,
            goal: None,
            verdict: Verdict::NoGoal,
        }
    }

    /// The floor's figure of the same run.
    pub(crate) fn floor(mut self, floor: impl Into<String>) -> Self {
        self.floor = Some(floor.into());
        self
    }

    /// Figure over floor.
    pub(crate) fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = Some(ratio);
        self
    }

    pub(crate) fn goal(mut self, goal: impl Into<String>, verdict: Verdict) -> Self {
        self.goal = Some(goal.into());
        self.verdict = verdict;
        self
    }

    /// Whether the goal was reached.
    #[cfg(test)]
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn cells(&self) -> [String; 6] {
        let or_dash = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "–".to_owned());
        [
            self.what.clone(),
            self.figure.clone(),
            or_dash(&self.floor),
            self.ratio
                .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2} ×")),
            or_dash(&self.goal),
            self.verdict.to_string(),
        ]
    }
}

/// The rows as a Markdown table whose columns also line up as plain text.
pub(crate) fn table(lines: &[Line]) -> String {
    let head = ["what", "figure", "floor", "ratio", "goal", "met or not"].map(str::to_owned);
    let rows: Vec<[String; 6]> = lines.iter().map(Line::cells).collect();
    let mut widths = head.each_ref().map(|cell| cell.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    push_row(&mut out, &head, widths);
    push_row(&mut out, &widths.map(|width| "-".repeat(width)), widths);
    for row in &rows {
        push_row(&mut out, row, widths);
    }
    out
}

fn push_row(out: &mut String, cells: &[String; 6], widths: [usize; 6]) {
    for (cell, width) in cells.iter().zip(widths) {
        // Writing to a String cannot fail.
        let _ = write!(out, "| {cell:<width$} ");
    }
    out.push_str("|\n");
}

/// A progress line. Standard error, so that standard output holds the table and nothing else.
pub(crate) fn progress(text: &str) {
    // A closed terminal is no reason to stop measuring.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_missing_cells_are_dashes() {
        let lines = [
            Line::new("CPU per delivery", "12.1 µs")
                .floor("10.3 µs")
                .ratio(1.17)
                .goal("≤ 1.35 ×", Verdict::Met),
            Line::new("x", "1").goal("0", Verdict::NotMet),
            Line::new("y", "2"),
        ];
        let expected = "\
| what             | figure  | floor   | ratio  | goal     | met or not |
| ---------------- | ------- | ------- | ------ | -------- | ---------- |
| CPU per delivery | 12.1 µs | 10.3 µs | 1.17 × | ≤ 1.35 × | met        |
| x                | 1       | –       | –      | 0        | NOT MET    |
| y                | 2       | –       | –      | –        | –          |
";
        assert_eq!(table(&lines), expected);
    }
}
