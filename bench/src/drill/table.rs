//! What people were shown, held against what was acknowledged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ::tests::follower::Story;

use super::load::Told;
use super::{OnAbly, PROMISED, Phases};
use crate::report::{Line, Verdict};
use crate::stats::grouped;
use crate::summary::Outcome;

/// When something was published, for the rows of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    Before,
    Away,
    Back,
}

impl When {
    const ALL: [(Self, &str); 3] = [
        (Self::Before, "before Ably goes"),
        (Self::Away, "while it is away"),
        (Self::Back, "after it is back"),
    ];

    fn of(at: Instant, phases: &Phases) -> Self {
        if at >= phases.back {
            Self::Back
        } else if at >= phases.away {
            Self::Away
        } else {
            Self::Before
        }
    }
}

/// What was found in all stories.
#[derive(Default)]
struct Found {
    missing: usize,
    foreign: usize,
    slowest: BTreeMap<When, Duration>,
}

pub(super) fn table(
    stories: &[Story],
    told: &[Told],
    (phases, on_ably, caught_up): (&Phases, &OnAbly, Duration),
) -> Outcome {
    let found = find(stories, told, phases);
    let people = stories.len();
    let count = |what: &str, count: usize| Line::new(what, grouped(count as u64));
    let none = |what: &str, found: usize| count(what, found).goal("0", Verdict::of(found == 0));
    let sum = |of: &dyn Fn(&Story) -> usize| stories.iter().map(of).sum::<usize>();
    let mut lines = vec![
        count("people", people),
        count("on Ably before", on_ably.before),
        count("publishes acknowledged", told.len()),
        count(
            "notifications due, over all people",
            (0..people).map(|person| due(told, person).count()).sum(),
        ),
        none("never shown", found.missing),
        none("shown twice", sum(&|story| story.shown_again().len())),
        none(
            "shown behind a later one of its channel",
            sum(&|story| story.out_of_order().len()),
        ),
        none("shown to whom it was not for", found.foreign),
        none("resets and complaints", sum(&|story| story.faults().len())),
    ];
    for (when, name) in When::ALL {
        let took = found.slowest.get(&when).copied();
        lines.push(in_time(&format!("slowest from receipt to screen, {name}"), took));
    }
    lines.push(in_time("all caught up after the last publish", Some(caught_up)));
    lines.push(none("on Ably when it has been away for a while", on_ably.away));
    let again = count("on Ably again in the end", on_ably.after);
    lines.push(again.goal(
        format!("{}", on_ably.before),
        Verdict::of(on_ably.after == on_ably.before),
    ));
    let notes = Vec::new();
    Outcome { lines, notes }
}

fn in_time(what: &str, took: Option<Duration>) -> Line {
    let figure = took.map_or_else(
        || "none".to_owned(),
        |took| format!("{:.1} s", took.as_secs_f64()),
    );
    let met = took.is_some_and(|took| took < PROMISED);
    Line::new(what, figure).goal(format!("< {} s", PROMISED.as_secs()), Verdict::of(met))
}

fn due(told: &[Told], person: usize) -> impl Iterator<Item = &Told> {
    told.iter().filter(move |one| one.is_for(person))
}

fn find(stories: &[Story], told: &[Told], phases: &Phases) -> Found {
    let mut found = Found::default();
    for (person, story) in stories.iter().enumerate() {
        let mut shown: BTreeMap<String, Instant> = (story.shown.iter())
            .map(|shown| (shown.cursor.to_string(), shown.at))
            .collect();
        for one in due(told, person) {
            let Some(at) = shown.remove(&one.cursor) else {
                found.missing += 1;
                continue;
            };
            let took = at.saturating_duration_since(one.at);
            let kept = found.slowest.entry(When::of(one.at, phases)).or_insert(took);
            *kept = took.max(*kept);
        }
        found.foreign += shown.len();
    }
    found
}
