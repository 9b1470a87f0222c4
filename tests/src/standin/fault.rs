//! Faults on demand.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::ErrorInfo;

/// More rules than any test sets.
const RULES_MAX: usize = 1_000;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A connection is reset as soon as it is there, also one that was open when its next request comes. For a port
    /// where nobody listens at all there is `StandIn::kill`.
    Refuse,
    /// The request is read and the connection cut; nothing was done.
    Cut,
    /// The request is read and never answered; nothing was done.
    Hang,
    /// The request is answered with an error; nothing was done. A client that connects is told in a frame.
    Answer {
        /// What is said.
        error: ErrorInfo,
        /// Seconds in `Retry-After`, where there is one.
        retry_after: Option<u32>,
    },
    /// The edge answers in Ably's place: no JSON, `Server: CloudFront`, the code in a header alone.
    Edge {
        /// What is said.
        error: ErrorInfo,
    },
    /// Everything is done as always, later.
    Slow(Duration),
    /// Everything is done as always, and the connection is cut before the answer.
    CutAnswer,
    /// What is published is acknowledged, and nobody receives it.
    Swallow,
    /// What is published to a channel is refused; the other channels of the same batch are served.
    FailItems {
        /// What is said of each.
        error: ErrorInfo,
    },
}

impl Fault {
    /// An error as an answer, with Ably's code and the status of HTTP.
    pub fn answer(status: u16, code: u32) -> Self {
        Self::Answer {
            error: told(status, code),
            retry_after: None,
        }
    }

    /// Some items of a batch fail: those of the rule's channel.
    pub fn fail_items(status: u16, code: u32) -> Self {
        Self::FailItems {
            error: told(status, code),
        }
    }

    /// The edge answers, without a body that could be read.
    pub fn edge(status: u16, code: u32) -> Self {
        Self::Edge {
            error: told(status, code),
        }
    }

    /// Whether it concerns publishing alone.
    const fn is_of_publishing(&self) -> bool {
        matches!(self, Self::Swallow | Self::FailItems { .. })
    }
}

fn told(status: u16, code: u32) -> ErrorInfo {
    ErrorInfo::new(code, status, "a fault that was asked for")
}

/// A fault, and what it is limited to. Without limits it hits everything until it is taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What goes wrong.
    pub fault: Fault,
    /// How many requests are still hit.
    pub times: Option<u32>,
    /// Only requests that name this channel.
    pub channel: Option<String>,
    /// Only requests to this path and what is below it. `/` is the WebSocket and what is sent over it.
    pub path: Option<String>,
}

impl Rule {
    /// Hits so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Hits once.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Hits requests that name this channel; of a batch's items, that channel's.
    #[must_use]
    pub fn on_channel(mut self, channel: impl Into<String>) -> Self {
        self.channel = Some(channel.into());
        self
    }

    /// Hits requests to this path and below it.
    #[must_use]
    pub fn on_path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    fn hits(&self, moment: &Moment<'_>) -> bool {
        let here = |path: &str| {
            let below = moment.path.strip_prefix(path.trim_end_matches('/'));
            match path {
                "/" => moment.path == "/",
                _ => below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            }
        };
        let named = |channel: &str| moment.channels.contains(&channel);
        (moment.publishes || !self.fault.is_of_publishing())
            && self.path.as_deref().is_none_or(here)
            && self.channel.as_deref().is_none_or(named)
    }
}

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            times: None,
            channel: None,
            path: None,
        }
    }
}

/// A request, as far as rules look at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) path: &'a str,
    pub(super) channels: &'a [&'a str],
    pub(super) publishes: bool,
}

/// The rules in force.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<Rule>>);

impl Faults {
    /// Puts these rules in the place of all others.
    pub fn set(&self, rules: impl IntoIterator<Item = impl Into<Rule>>) {
        *self.lock() = rules.into_iter().take(RULES_MAX).map(Into::into).collect();
    }

    /// Adds a rule behind the others.
    pub fn add(&self, rule: impl Into<Rule>) {
        let mut rules = self.lock();
        if rules.len() < RULES_MAX {
            rules.push(rule.into());
        }
    }

    /// Takes all rules away.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The rules that still can hit.
    pub fn rules(&self) -> Vec<Rule> {
        self.lock().clone()
    }

    /// Says whether a new connection is reset. Only rules without a channel and a path can know.
    pub(super) fn refuse_connection(&self) -> bool {
        let blind =
            |rule: &Rule| rule.fault == Fault::Refuse && rule.channel.is_none() && rule.path.is_none();
        !self.take(blind).is_empty()
    }

    /// Collects what befalls a request; each rule that hits is used up once by it.
    pub(super) fn befalling(&self, moment: &Moment<'_>) -> Befalling {
        Befalling(self.take(|rule| rule.hits(moment)))
    }

    fn take(&self, hits: impl Fn(&Rule) -> bool) -> Vec<Rule> {
        let mut rules = self.lock();
        let mut taken = Vec::new();
        for rule in rules.iter_mut().filter(|rule| hits(rule)) {
            if let Some(times) = &mut rule.times {
                *times = times.saturating_sub(1);
            }
            taken.push(rule.clone());
        }
        rules.retain(|rule| rule.times != Some(0));
        taken
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What befalls one request.
#[derive(Debug, Clone, Default)]
pub(super) struct Befalling(Vec<Rule>);

impl Befalling {
    /// How long it is held up.
    pub(super) fn delay(&self) -> Duration {
        let each = self.0.iter().map(|rule| match rule.fault {
            Fault::Slow(delay) => delay,
            _ => Duration::ZERO,
        });
        each.sum()
    }

    /// What ends it before anything is done.
    pub(super) fn ending(&self) -> Option<&Fault> {
        let ends = |fault: &&Fault| {
            matches!(
                fault,
                Fault::Refuse | Fault::Cut | Fault::Hang | Fault::Answer { .. } | Fault::Edge { .. }
            )
        };
        self.0.iter().map(|rule| &rule.fault).find(ends)
    }

    /// Whether the connection is cut in the place of an answer.
    pub(super) fn cuts_answer(&self) -> bool {
        self.0.iter().any(|rule| rule.fault == Fault::CutAnswer)
    }

    /// Whether what goes to a channel is acknowledged and forgotten.
    pub(super) fn swallows(&self, channel: &str) -> bool {
        self.on(channel).any(|fault| *fault == Fault::Swallow)
    }

    /// Why what goes to a channel fails.
    pub(super) fn failure(&self, channel: &str) -> Option<ErrorInfo> {
        self.on(channel).find_map(|fault| match fault {
            Fault::FailItems { error } => Some(error.clone()),
            _ => None,
        })
    }

    fn on(&self, channel: &str) -> impl Iterator<Item = &Fault> {
        let named = move |rule: &&Rule| rule.channel.as_deref().is_none_or(|own| own == channel);
        self.0.iter().filter(named).map(|rule| &rule.fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(faults: &Faults, path: &str, channels: &[&str]) -> bool {
        let moment = Moment {
            path,
            channels,
            publishes: true,
        };
        faults.befalling(&moment).ending().is_some()
    }

    #[test]
    fn a_rule_hits_as_often_and_where_it_says() {
        let faults = Faults::default();
        faults.add(
            Rule::from(Fault::Cut)
                .times(2)
                .on_path("/channels")
                .on_channel("a"),
        );
        assert!(!ends(&faults, "/messages", &["a"]));
        assert!(!ends(&faults, "/channelsx", &["a"]));
        assert!(!ends(&faults, "/channels/b/messages", &["b"]));
        assert!(ends(&faults, "/channels/a/messages", &["a"]));
        assert!(ends(&faults, "/channels/a/messages", &["a"]));
        assert!(!ends(&faults, "/channels/a/messages", &["a"]), "it was used up");
        assert!(faults.rules().is_empty());
    }

    #[test]
    fn the_root_is_the_websocket_alone() {
        let faults = Faults::default();
        faults.add(Rule::from(Fault::Hang).on_path("/"));
        assert!(!ends(&faults, "/time", &[]));
        assert!(ends(&faults, "/", &[]));
    }

    #[test]
    fn a_batch_fails_in_the_named_channel_alone() {
        let faults = Faults::default();
        faults.add(Rule::from(Fault::fail_items(429, 42913)).on_channel("a"));
        let moment = Moment {
            path: "/messages",
            channels: &["a", "b"],
            publishes: true,
        };
        let befalling = faults.befalling(&moment);
        assert_eq!(befalling.failure("a").map(|error| error.code), Some(42913));
        assert_eq!(befalling.failure("b"), None);
    }
}
