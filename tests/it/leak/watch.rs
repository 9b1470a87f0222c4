//! Reads everything that anybody is shown, and knows whom it was for.
//!
//! Every notification has a mark in its title, `[[n]]`, by which it is known wherever it turns up: in an event, a page,
//! an error, a header. Names of channels give themselves away.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::people::{Audience, Claims};

/// Whoever may not look back joins where their node's log ends, and that may lag behind another's this long.
const LAG: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
struct Told {
    audience: Audience,
    /// Its id, when it is known.
    id: Option<String>,
    /// When it was known to be published.
    settled: Option<Instant>,
}

/// What was published, and what went wrong.
#[derive(Debug, Default)]
pub(super) struct Watch {
    told: Mutex<Vec<Told>>,
    leaks: Mutex<Vec<String>>,
    seen: Mutex<BTreeMap<&'static str, usize>>,
}

/// The rights that something is held against. Whoever was given others has seen nothing of what began later.
#[derive(Debug, Clone)]
pub(super) struct Rights {
    pub(super) now: Claims,
    /// What they were until then, and the first notification that was begun afterwards.
    pub(super) before: Option<(Claims, usize)>,
    /// Since when they listen; `None` for what shows the past alone.
    pub(super) listening: Option<Instant>,
}

impl Rights {
    pub(super) const fn of(claims: Claims) -> Self {
        Self {
            now: claims,
            before: None,
            listening: None,
        }
    }

    fn give(&self, told: &Told, number: usize) -> bool {
        let came_meanwhile = self
            .listening
            .is_some_and(|since| told.settled.is_none_or(|settled| settled + LAG > since));
        let by = |claims: &Claims| {
            claims.may_look_back(&told.audience) || came_meanwhile && claims.may_see(&told.audience)
        };
        let until = self.before.as_ref().filter(|(_, from)| number < *from);
        by(&self.now) || until.is_some_and(|(before, _)| by(before))
    }

    fn give_channel(&self, audience: &Audience) -> bool {
        let before = self.before.as_ref().map(|(before, _)| before);
        self.now.may_see(audience) || before.is_some_and(|before| before.may_see(audience))
    }
}

impl Watch {
    /// Begins a notification, and returns its number. Its title holds the mark from before it is sent.
    pub(super) fn begins(&self, audience: Audience) -> usize {
        let mut told = self.told.lock().unwrap();
        told.push(Told {
            audience,
            id: None,
            settled: None,
        });
        told.len() - 1
    }

    pub(super) fn is(&self, number: usize, id: String) {
        let told = &mut self.told.lock().unwrap()[number];
        told.id = Some(id);
        told.settled = Some(Instant::now());
    }

    pub(super) fn next(&self) -> usize {
        self.told.lock().unwrap().len()
    }

    /// The id and audience of one of those that were published.
    pub(super) fn one(&self, pick: impl FnOnce(usize) -> usize) -> Option<(String, Audience)> {
        let told = self.told.lock().unwrap();
        if told.is_empty() {
            return None;
        }
        let one = &told[pick(told.len())];
        Some((one.id.clone()?, one.audience.clone()))
    }

    /// Somebody was shown this. `success` says that it is no error, which may repeat what was asked.
    pub(super) fn shown(&self, surface: &'static str, rights: &Rights, text: &str, success: bool) {
        let told = self.told.lock().unwrap();
        for mark in text.split("[[").skip(1).filter_map(|rest| rest.split_once("]]")) {
            let Some(one) = mark.0.parse().ok().and_then(|n: usize| Some((n, told.get(n)?))) else {
                continue;
            };
            self.did(surface);
            if !rights.give(one.1, one.0) {
                self.leak(surface, rights, &format!("{:?}", one.1.audience), text);
            }
        }
        drop(told);
        if success && let Some(channel) = foreign(rights, text) {
            self.leak(surface, rights, &channel, text);
        }
    }

    /// Something went through that must not.
    pub(super) fn leak(&self, surface: &str, rights: &Rights, what: &str, text: &str) {
        let text: String = text.chars().take(600).collect();
        let said = format!("{surface}: {:?} was shown {what}: {text}", rights.now);
        self.leaks.lock().unwrap().push(said);
    }

    /// Somebody did something that the test is about.
    pub(super) fn did(&self, what: &'static str) {
        *self.seen.lock().unwrap().entry(what).or_default() += 1;
    }

    pub(super) fn leaks(&self) -> Vec<String> {
        self.leaks.lock().unwrap().clone()
    }

    /// How many notifications were seen, by where, and how often what was done.
    pub(super) fn seen(&self) -> BTreeMap<&'static str, usize> {
        self.seen.lock().unwrap().clone()
    }
}

/// The first channel in a text that is not theirs.
pub(super) fn foreign(rights: &Rights, text: &str) -> Option<String> {
    let theirs =
        |channel: &String| Audience::of(channel).is_some_and(|audience| rights.give_channel(&audience));
    channels(text).into_iter().find(|channel| !theirs(channel))
}

/// The names of channels in a text.
fn channels(text: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_');
    let words = text.split(|c: char| !is_name(c));
    words
        .filter(|word| word.ends_with(":notifications"))
        .map(ToOwned::to_owned)
        .collect()
}
