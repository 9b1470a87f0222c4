//! What the guard of the rollout did, held against its rules.

use std::time::Duration;

use serde_json::Value;

use crate::report::{Line, Verdict};
use crate::summary::Outcome;

/// The guard's numbers are for days; a drill has minutes. It looks at this much of the past,
pub(super) const WINDOW: Duration = Duration::from_secs(10);
/// moves nothing for this long after a step down, nor up after any change: longer than Ably's circuit breaker stays open
/// (a minute), for what it keeps from Ably counts as failed, and the guard would go down again,
pub(super) const HOLD: Duration = Duration::from_secs(80);
/// and its schedule stays at the lower share for this long.
pub(super) const STAGE: Duration = Duration::from_secs(85);

/// Who the guard is among those who change the rollout.
const GUARD: &str = "arauto-guard";

/// A change of the share.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// When, as the service wrote it.
    pub(super) at: String,
    by: String,
    why: String,
    from: f64,
    to: f64,
}

impl Step {
    /// Reads a change as `GET /v1/admin/rollout` shows it; `None` where the share stayed.
    pub(super) fn of(change: &Value) -> Option<Self> {
        let text = |field: &str| change[field].as_str().map(str::to_owned);
        let share = &change["changed"]["share"];
        Some(Self {
            at: text("at")?,
            by: text("by")?,
            why: text("why").unwrap_or_default(),
            from: share["from"].as_f64()?,
            to: share["to"].as_f64()?,
        })
    }

    fn told(&self) -> String {
        let Self {
            at,
            by,
            why,
            from,
            to,
        } = self;
        format!("{at} {by}: {from} % → {to} % ({why})")
    }

    fn is_down(&self) -> bool {
        self.by == GUARD && self.to < self.from
    }

    fn is_up(&self) -> bool {
        self.by == GUARD && self.to > self.from
    }

    /// How long after another one, on the clock that wrote both.
    fn after(&self, earlier: &Self) -> Option<Duration> {
        const DAY: u64 = 24 * 60 * 60 * 1_000;
        let (from, to) = (of_the_day(&earlier.at)?, of_the_day(&self.at)?);
        Some(Duration::from_millis((DAY + to - from) % DAY))
    }
}

/// Milliseconds since midnight of a moment like `2026-01-01T12:00:00.000Z`.
fn of_the_day(at: &str) -> Option<u64> {
    let time = at.split_once('T')?.1.strip_suffix('Z')?;
    let mut parts = time.split([':', '.']).map(|part| part.parse::<u64>().ok());
    let mut next = || parts.next().flatten();
    let (hours, minutes, seconds, millis) = (next()?, next()?, next()?, next()?);
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000 + millis)
}

/// The rows about the guard: that it went down, that nothing moved within the hold, and that it went up by its schedule.
pub(super) fn rows(steps: &[Step]) -> Outcome {
    let downs = steps.iter().filter(|step| step.is_down()).count();
    let pairs = || steps.iter().zip(steps.iter().skip(1));
    let early = pairs()
        .filter(|(earlier, step)| {
            let held = earlier.is_down() || step.is_up();
            held && step.after(earlier).is_none_or(|passed| passed < HOLD)
        })
        .count();
    let up = pairs().find(|(_, step)| step.is_up());
    let passed = up.and_then(|(earlier, step)| step.after(earlier));
    let count = |what: &str, count: usize, goal: &str, met: bool| {
        Line::new(what, count.to_string()).goal(goal, Verdict::of(met))
    };
    let waited = passed.map_or_else(
        || "never".to_owned(),
        |passed| format!("{:.1} s", passed.as_secs_f64()),
    );
    let least = HOLD.max(STAGE);
    let back_up = Line::new(
        "the guard goes back up by its schedule, after the step down",
        waited,
    )
    .goal(
        format!("≥ {} s", least.as_secs()),
        Verdict::of(passed.is_some_and(|passed| passed >= least)),
    );
    let mut notes = vec![format!(
        "The guard's window is {} s, its hold {} s and the lower stage {} s here, so that a drill of minutes shows it at \
         work; by default 5 min, 30 min and days.",
        WINDOW.as_secs(),
        HOLD.as_secs(),
        STAGE.as_secs()
    )];
    notes.extend(steps.iter().map(Step::told));
    Outcome {
        lines: vec![
            count("steps down of the guard", downs, "≥ 1", downs >= 1),
            count("steps within a hold", early, "0", early == 0),
            back_up,
        ],
        notes,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step(at: &str, by: &str, from: u8, to: u8) -> Step {
        let share = json!({ "from": from, "to": to });
        let change =
            json!({ "at": format!("2026-01-01T{at}Z"), "by": by, "why": "x", "changed": { "share": share } });
        Step::of(&change).unwrap()
    }

    fn verdicts(steps: &[Step]) -> Vec<Verdict> {
        rows(steps).lines.iter().map(Line::verdict).collect()
    }

    #[test]
    fn a_step_down_and_a_return_by_the_schedule_are_as_the_rules_say() {
        let steps = [
            step("23:59:00.000", "admin", 0, 50),
            step("23:59:30.000", GUARD, 50, 25),
            step("00:00:55.000", GUARD, 25, 50),
        ];
        assert_eq!(verdicts(&steps), [Verdict::Met; 3]);
        assert!(rows(&steps).notes[2].ends_with("50 % → 25 % (x)"));
    }

    #[test]
    fn a_step_within_the_hold_and_one_up_before_its_stage_is_over_are_found() {
        let steps = [
            step("10:00:00.000", "admin", 0, 50),
            step("10:00:30.000", GUARD, 50, 25),
            step("10:01:49.999", GUARD, 25, 50),
        ];
        assert_eq!(verdicts(&steps), [Verdict::Met, Verdict::NotMet, Verdict::NotMet]);
    }

    #[test]
    fn a_guard_that_does_nothing_is_found() {
        let steps = [step("10:00:00.000", "admin", 0, 50)];
        assert_eq!(verdicts(&steps), [Verdict::NotMet, Verdict::Met, Verdict::NotMet]);
    }
}
