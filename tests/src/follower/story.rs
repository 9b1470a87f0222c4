//! What a follower showed and what happened to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use domain::cursor::Cursor;
use domain::transport::Transport;

/// How an event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// As a message of Ably.
    Ably,
    /// On the event stream.
    Stream,
    /// By `GET /v1/events/replay`.
    Replay,
}

/// An event as it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its cursor.
    pub cursor: Cursor,
    /// The channel that carried it.
    pub channel: String,
    /// Its name: `notification`, `retracted` or `state`.
    pub event: String,
    /// The id of its notification, where it is one.
    pub notification: Option<String>,
    /// How it came.
    pub by: Way,
    /// When it was shown.
    pub at: Instant,
}

/// A change of what is listened on, as the service told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// To what.
    pub to: Transport,
    /// Why, in the service's words.
    pub reason: String,
    /// When it was decided.
    pub at: Instant,
}

/// What a follower showed and what happened to it.
#[derive(Debug, Clone, Default)]
pub struct Story {
    /// Every event that was shown, in the order of showing.
    pub shown: Vec<Shown>,
    /// What the service told it to listen on, as it changed; the first is where it began.
    pub switches: Vec<Switch>,
    /// Whether it is attached to all of its channels on Ably, with no gap open.
    pub attached: bool,
    /// Whether its event stream is open.
    pub streaming: bool,
    /// How often it asked `GET /v1/transport` and was answered.
    pub polls: usize,
    /// How many of those sent it to the replay.
    pub sent_to_replay: usize,
    /// How often it read the replay to its end.
    pub replays: usize,
    /// How often a connection to Ably was lost or could not be made.
    pub losses: usize,
    /// Why the last time.
    pub last_loss: String,
    /// Events that came again and were not shown again.
    pub repeats: usize,
    /// Every `reset`, with its reason.
    pub resets: Vec<String>,
    /// Whatever must not happen.
    pub complaints: Vec<String>,
}

impl Story {
    /// Whether it listens on Ably alone, and Ably has all of its channels.
    pub const fn on_ably(&self) -> bool {
        self.attached && !self.streaming
    }

    /// Whether it listens on its event stream alone.
    pub const fn on_stream(&self) -> bool {
        self.streaming && !self.attached
    }

    /// Whether a cursor was shown.
    pub fn has(&self, cursor: Cursor) -> bool {
        self.shown.iter().any(|shown| shown.cursor == cursor)
    }

    /// How many of these were not shown.
    pub fn missing<'a>(&self, cursors: impl IntoIterator<Item = &'a Cursor>) -> Vec<Cursor> {
        let shown: BTreeSet<Cursor> = self.shown.iter().map(|shown| shown.cursor).collect();
        let wanted = cursors.into_iter().copied();
        wanted.filter(|cursor| !shown.contains(cursor)).collect()
    }

    /// Cursors that were shown more than once. Counted anew, not by what the client believes.
    pub fn shown_again(&self) -> Vec<Cursor> {
        let mut seen = BTreeSet::new();
        let again = self.shown.iter().filter(|shown| !seen.insert(shown.cursor));
        again.map(|shown| shown.cursor).collect()
    }

    /// Events that were shown behind a later one of their channel. There are some where Ably refused an event for good
    /// and took the next one of its channel: the replay brings the first one later.
    pub fn out_of_order(&self) -> Vec<Cursor> {
        let mut last: BTreeMap<&str, Cursor> = BTreeMap::new();
        let mut late = Vec::new();
        for shown in &self.shown {
            match last.get_mut(shown.channel.as_str()) {
                Some(last) if shown.cursor < *last => late.push(shown.cursor),
                Some(last) => *last = shown.cursor,
                None => {
                    last.insert(&shown.channel, shown.cursor);
                }
            }
        }
        late
    }

    /// Everything that is wrong however Ably behaved: nothing where each event was shown once, and nothing complained.
    pub fn faults(&self) -> Vec<String> {
        let again = self.shown_again();
        let resets = self.resets.iter().map(|reason| format!("reset: {reason}"));
        let again = again.iter().map(|cursor| format!("shown again: {cursor}"));
        self.complaints
            .iter()
            .cloned()
            .chain(resets)
            .chain(again)
            .collect()
    }

    /// The story in a line, for failures.
    pub fn summary(&self) -> String {
        let switches: Vec<String> = (self.switches.iter())
            .map(|switch| format!("{} ({})", switch.to.as_str(), switch.reason))
            .collect();
        format!(
            "shown {}, attached {}, streaming {}, told [{}], polls {} ({} to the replay), replays {}, repeats {}, \
             losses {} ({}), {:?}",
            self.shown.len(),
            self.attached,
            self.streaming,
            switches.join(", "),
            self.polls,
            self.sent_to_replay,
            self.replays,
            self.repeats,
            self.losses,
            self.last_loss,
            self.faults()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::now;

    fn story(shown: &[(u64, &str)]) -> Story {
        let shown = shown.iter().map(|(position, channel)| Shown {
            cursor: format!("1-{position}").parse().unwrap(),
            channel: (*channel).to_owned(),
            event: "notification".to_owned(),
            notification: None,
            by: Way::Ably,
            at: now(),
        });
        Story {
            shown: shown.collect(),
            ..Story::default()
        }
    }

    fn at(position: u64) -> Cursor {
        format!("1-{position}").parse().unwrap()
    }

    #[test]
    fn what_is_lost_repeated_or_out_of_order_is_found() {
        let story = story(&[(1, "a"), (3, "b"), (2, "a"), (3, "b"), (1, "b")]);
        assert_eq!(story.shown_again(), [at(3), at(1)]);
        assert_eq!(story.missing(&[at(1), at(2), at(4)]), [at(4)]);
        assert_eq!(story.out_of_order(), [at(1)]);
        assert_eq!(story.faults().len(), 2);
    }

    #[test]
    fn channels_may_overtake_each_other() {
        let story = story(&[(2, "a"), (1, "b"), (3, "b")]);
        assert!(story.out_of_order().is_empty());
        assert!(story.faults().is_empty());
    }
}
