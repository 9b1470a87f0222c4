//! What one client was entitled to, held against what it received.

use std::collections::{BTreeMap, HashSet};

use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::event::{Change, Event};
use domain::ids::NotificationId;
use domain::time::Timestamp;

/// One thing a client processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Received {
    /// The stream opened.
    Ready { cursor: Cursor },
    /// An event, and when it was handed over.
    Event { position: Position, at: Timestamp },
    /// A heartbeat: everything up to here was sent.
    Beat { cursor: Cursor },
    /// History is gone; `oldest` is what the store still held when the reset came.
    Reset {
        from: Option<Cursor>,
        to: Cursor,
        reason: String,
        oldest: Position,
    },
}

/// The whole log as it was written, whatever was pruned or retracted later.
#[derive(Debug, Default)]
pub(super) struct Truth {
    events: BTreeMap<Position, Event>,
    retracted: HashSet<NotificationId>,
}

impl Truth {
    pub(super) fn note(&mut self, event: &Event) {
        if let Change::Retracted { id, .. } = &event.change {
            self.retracted.insert(*id);
        }
        self.events.insert(event.position, event.clone());
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// May a client be without this event at the end? Only a notification that was taken back or has expired.
    fn excused(&self, event: &Event, end: Timestamp) -> bool {
        match &event.change {
            Change::Published { notification, .. } => {
                self.retracted.contains(&notification.id) || notification.expired(end)
            }
            _ => false,
        }
    }

    /// Holds what a client processed against what it was entitled to.
    pub(super) fn check(
        &self,
        channels: &[Channel],
        received: &[Received],
        end: Timestamp,
    ) -> Result<(), String> {
        let mut known: Option<Position> = None;
        let mut gone: HashSet<NotificationId> = HashSet::new();
        for item in received {
            match item {
                Received::Ready { cursor } => {
                    if known.is_some_and(|known| cursor.position != known) {
                        return Err(format!("opened at {cursor}, but the client stood at {known:?}"));
                    }
                    known = Some(cursor.position);
                }
                Received::Event { position, at } => {
                    let event = self
                        .events
                        .get(position)
                        .ok_or(format!("{position} was never written"))?;
                    let before = known.ok_or("an event came before ready")?;
                    self.complete(channels, before, position.prior(), end)?;
                    if *position <= before {
                        return Err(format!(
                            "{position} came after {before}: repeated or out of order"
                        ));
                    }
                    if !event.channel().is_some_and(|channel| channels.contains(channel)) {
                        return Err(format!(
                            "{position} is not for this client: {:?}",
                            event.channel()
                        ));
                    }
                    match &event.change {
                        Change::Published { notification, .. } if gone.contains(&notification.id) => {
                            return Err(format!("{position} came after it was retracted"));
                        }
                        Change::Published { notification, .. } if notification.expired(*at) => {
                            return Err(format!("{position} came after it expired"));
                        }
                        Change::Retracted { id, .. } => {
                            gone.insert(*id);
                        }
                        _ => {}
                    }
                    known = Some(*position);
                }
                Received::Beat { cursor } => {
                    let before = known.ok_or("a heartbeat came before ready")?;
                    if cursor.position < before {
                        return Err(format!(
                            "a heartbeat took the client back from {before} to {cursor}"
                        ));
                    }
                    self.complete(channels, before, cursor.position, end)?;
                    known = Some(cursor.position);
                }
                Received::Reset {
                    from,
                    to,
                    reason,
                    oldest,
                } => {
                    let before = known.ok_or("a reset came before ready")?;
                    if from.is_some_and(|from| from.position > before) {
                        return Err(format!(
                            "a reset claims the client knew {from:?}, it knew {before}"
                        ));
                    }
                    if reason == "expired" && before.next() >= *oldest {
                        return Err(format!(
                            "a false reset: {before} could still be continued from {oldest}"
                        ));
                    }
                    known = Some(to.position);
                }
            }
        }
        let last = self.events.keys().next_back().copied().unwrap_or_default();
        known.map_or(Ok(()), |known| self.complete(channels, known, last, end))
    }

    /// Nothing that the client was entitled to lies in `(after, up_to]`.
    fn complete(
        &self,
        channels: &[Channel],
        after: Position,
        up_to: Position,
        end: Timestamp,
    ) -> Result<(), String> {
        if after >= up_to {
            return Ok(());
        }
        let missed = self.events.range(after.next()..=up_to).find(|(_, event)| {
            event.channel().is_some_and(|channel| channels.contains(channel)) && !self.excused(event, end)
        });
        missed.map_or(Ok(()), |(position, _)| {
            Err(format!("{position} was never received"))
        })
    }
}
