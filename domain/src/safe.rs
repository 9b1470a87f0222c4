//! How a client on Ably knows that it has missed nothing.
//!
//! Ably keeps the order of one channel, not across channels, so the greatest cursor that a client saw says
//! nothing about those below it. The client keeps a **safe** cursor, up to which it has everything, and the
//! cursors it saw above that. From time to time it asks the service how far the log is; the answer lets it
//! move `safe` up, or sends it to the replay, which has everything whatever Ably did.

use std::collections::{BTreeMap, BTreeSet};

use crate::channel::Channel;
use crate::cursor::Cursor;
use crate::outbox::{Delivery, Status};

/// A client remembers at most this many cursors above `safe`: at 50 a second, the most that Ably sends over
/// one connection, more than three minutes of them, and a client asks three times a minute.
pub const ABOVE_MAX: usize = 10_000;

/// What one client has of the log.
///
/// It has every event of its channels up to its cursor, `safe`, and those above that it remembers. Whoever
/// holds one
///
/// - calls [`joined`](Self::joined) whenever channels were attached anew without continuity, **before** it
///   takes any message of the new attachment;
/// - shows a message only where [`received`](Self::received) says that it is new;
/// - asks `GET /v1/transport?after=<safe>` at least every 20 s, and does what
///   [`answered`](Self::answered) says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Safe {
    cursor: Cursor,
    above: BTreeSet<Cursor>,
    /// How often continuity was lost.
    joins: u32,
    /// Up to which of those a replay has closed the gap; less than `joins` while one is open.
    closed: u32,
}

/// What a message is to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Received {
    /// It is shown.
    New,
    /// It was shown before.
    Repeat,
    /// It is dropped, for no more cursors can be remembered; the replay, which is due now, brings it.
    Full,
}

/// A replay that is due or under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// Events after this are asked for.
    pub after: Cursor,
    /// The gaps that were open when it was asked for: it cannot close a later one.
    joins: u32,
}

/// What an answer comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is missing.
    Safe,
    /// Something is, or may be: call the replay.
    Replay(Replay),
}

/// One page of a replay, as `GET /v1/events/replay` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<'a> {
    /// The cursors of its events.
    pub events: &'a [Cursor],
    /// Where to continue: everything up to here has been given.
    pub cursor: Cursor,
    /// Whether there is more.
    pub end: End,
}

/// Whether a page is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// There is another page after its cursor.
    More,
    /// Its cursor was the head of the log when it was read.
    Reached,
}

/// What the service says about a caller's channels: the answer of `GET /v1/transport`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The cursor it was asked for.
    pub after: Cursor,
    /// The head of the log.
    pub cursor: Cursor,
    /// The last cursor on each of the caller's channels that carried anything after `after`.
    pub channels: BTreeMap<Channel, Cursor>,
    /// Whether any event of the caller after `after` was not accepted by Ably, or not in its order.
    pub replay: bool,
}

/// What became of an event on its way over Ably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carried {
    /// Ably accepted it, in the order of its channel.
    Accepted,
    /// It did not, or not yet, or behind a later event: a client that has the later one could take this one
    /// for received while it is still on its way.
    Missed,
    /// It was taken back: there is nothing to miss.
    Gone,
}

impl Carried {
    /// Reads it from the event's delivery; without one the event was routed elsewhere.
    pub fn of(delivery: Option<&Delivery>) -> Self {
        match delivery.map(|delivery| (delivery.status, delivery.revived)) {
            Some((Status::Done, false)) => Self::Accepted,
            Some((Status::Withdrawn { .. }, _)) => Self::Gone,
            _ => Self::Missed,
        }
    }
}

/// One event of the log, as far as an answer needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged<'a> {
    /// Its cursor.
    pub cursor: Cursor,
    /// The channel that carries it.
    pub channel: &'a Channel,
    /// What became of it on its way over Ably.
    pub carried: Carried,
}

impl Answer {
    /// Answers for a caller from the events of their channels, which hold at least those after `after` up to
    /// `head`. Deliveries are read no earlier than `head`, or an event that is not yet known would pass for
    /// accepted.
    pub fn from_log<'a>(after: Cursor, head: Cursor, events: impl IntoIterator<Item = Logged<'a>>) -> Self {
        let mut answer = Self {
            after,
            cursor: head,
            channels: BTreeMap::new(),
            // A cursor of another history, or one that this node cannot know: the replay says what to do with
            // it.
            replay: after.epoch != head.epoch || after > head,
        };
        for event in events {
            if event.cursor <= after || event.cursor > head {
                continue;
            }
            match event.carried {
                Carried::Gone => continue,
                Carried::Missed => answer.replay = true,
                Carried::Accepted => {}
            }
            match answer.channels.get_mut(event.channel) {
                Some(last) => *last = event.cursor.max(*last),
                None => {
                    answer.channels.insert(event.channel.clone(), event.cursor);
                }
            }
        }
        answer
    }
}

impl Safe {
    /// Starts from the cursor of an inbox page or of a stream: everything up to it is there. The channels may
    /// have carried something before they were attached, so a replay is due first.
    pub const fn start(cursor: Cursor) -> Self {
        Self {
            cursor,
            above: BTreeSet::new(),
            joins: 1,
            closed: 0,
        }
    }

    /// Returns the cursor up to which everything is there. Switching to a stream resumes from it.
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Returns the replay to call for now.
    pub const fn replay(&self) -> Replay {
        Replay {
            after: self.cursor,
            joins: self.joins,
        }
    }

    /// Notes that channels were attached without continuity: what they carried meanwhile did not come. With
    /// Ably, that is `ATTACHED` without the flag `RESUMED`, the first time included.
    #[must_use]
    pub fn joined(mut self) -> Self {
        self.joins = self.joins.saturating_add(1);
        self
    }

    /// Takes a message of Ably, or an event of a stream that runs beside it.
    pub fn received(mut self, cursor: Cursor) -> (Self, Received) {
        if cursor <= self.cursor || self.above.contains(&cursor) {
            return (self, Received::Repeat);
        }
        if self.above.len() >= ABOVE_MAX {
            return (self.joined(), Received::Full);
        }
        self.above.insert(cursor);
        (self, Received::New)
    }

    /// Takes the answer to a question that was asked after `safe`. Answers may be late and out of turn.
    pub fn answered(mut self, answer: &Answer) -> (Self, Verdict) {
        let gap = self.closed < self.joins;
        let foreign = answer.after > self.cursor || answer.cursor.epoch != self.cursor.epoch;
        let holds = |last: &Cursor| *last <= self.cursor || self.above.contains(last);
        if gap || foreign || answer.replay || !answer.channels.values().all(holds) {
            let replay = self.replay();
            return (self, Verdict::Replay(replay));
        }
        self.move_to(answer.cursor);
        (self, Verdict::Safe)
    }

    /// Takes a page of a replay, and returns those of its events that are to be shown.
    pub fn replayed(mut self, replay: Replay, page: &Page<'_>) -> (Self, Vec<Cursor>) {
        // A page that begins above what is safe by now would leave a gap below it.
        if replay.after > self.cursor {
            return (self, Vec::new());
        }
        let given = page.events.iter().copied();
        let fresh = given
            .filter(|event| *event > self.cursor && !self.above.contains(event))
            .collect();
        self.move_to(page.cursor);
        if page.end == End::Reached {
            self.closed = self.closed.max(replay.joins);
        }
        (self, fresh)
    }

    /// Takes a `reset`: history in between cannot be given, the inbox is loaded again and everything goes on
    /// from `to`. The gap that called for the replay ends with it.
    #[must_use]
    pub fn reset(mut self, replay: Replay, to: Cursor) -> Self {
        self.cursor = to;
        self.above.retain(|cursor| *cursor > to);
        self.closed = self.closed.max(replay.joins);
        self
    }

    fn move_to(&mut self, cursor: Cursor) {
        let safe = self.cursor.max(cursor);
        self.cursor = safe;
        self.above.retain(|seen| *seen > safe);
    }
}

impl Replay {
    /// Returns the replay that asks for the page after this one.
    #[must_use]
    pub const fn next(self, after: Cursor) -> Self {
        Self { after, ..self }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walk;
