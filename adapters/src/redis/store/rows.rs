//! What the scripts keep, as domain values, and back.

use std::collections::HashMap;
use std::sync::Arc;

use application::ports::{EventPage, Head};
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::event::{Change, Event, Marked};
use domain::ids::NotificationId;
use domain::notification::Notification;
use domain::standing::{OwnMark, Standing, Watermark};
use domain::state::ItemState;
use domain::time::Timestamp;

use super::reply::Reply;
use crate::record::{ControlRecord, MarksRecord, NotificationRecord, Unreadable, from_text, to_text};

/// Scripts count in doubles: places below this are exact, and no log reaches it.
pub(in super::super) const PLACE_MAX: u64 = (1 << 53) - 1;

/// What a notification takes beside its texts: its hash and its places in the indexes.
const NOTIFICATION_BYTES: usize = 400;

/// Says what a notification takes.
pub(super) fn notification_bytes(payload: &str) -> usize {
    NOTIFICATION_BYTES + payload.len()
}

pub(super) fn payload(notification: &Notification) -> String {
    to_text(&NotificationRecord::from(notification))
}

pub(super) fn texts<'a>(channels: impl IntoIterator<Item = &'a Channel>) -> Vec<String> {
    channels.into_iter().map(ToString::to_string).collect()
}

/// Reads channels that are separated by spaces.
pub(super) fn channels(text: &str) -> Result<Vec<Channel>, Unreadable> {
    let read = |name: &str| name.parse().map_err(|_| Unreadable::new("channel"));
    text.split_ascii_whitespace().map(read).collect()
}

/// Returns each channel once, in order.
pub(super) fn distinct(channels: &[Channel]) -> Vec<Channel> {
    let mut channels = channels.to_vec();
    channels.sort_unstable();
    channels.dedup();
    channels
}

/// Reads a notification. What was scheduled was published at another moment than its record says.
pub(super) fn notification(payload: &str, published: Option<&str>) -> Result<Arc<Notification>, Unreadable> {
    let mut notification = Arc::<Notification>::try_from(from_text::<NotificationRecord>(payload)?)?;
    if let Some(published) = published {
        let millis = published.parse().map_err(|_| Unreadable::new("a moment"))?;
        Arc::make_mut(&mut notification).published_at = Timestamp::from_millis(millis);
    }
    Ok(notification)
}

/// A notification that entries of a page carry, and the places of its events.
struct Carried {
    notification: Arc<Notification>,
    first: u64,
    events: u64,
}

/// Reads a page's entries and contents, which follow its head.
pub(super) fn page(reply: &mut Reply, head: Head, after: Position) -> Result<EventPage, Unreadable> {
    let (entries, contents) = (reply.list()?, reply.list()?);
    let mut carried = HashMap::new();
    for content in contents.lists() {
        let mut content = content?;
        let (id, payload, published) = (content.text()?, content.text()?, content.maybe_text()?);
        let (first, events) = (content.number()?, content.number()?);
        // One poison record stops nobody's tail.
        match notification(&payload, published.as_deref()) {
            Ok(notification) => {
                carried.insert(
                    id,
                    Carried {
                        notification,
                        first,
                        events,
                    },
                );
            }
            Err(error) => tracing::error!(%error, id, "a notification of the log cannot be read"),
        }
    }
    let events = entries.lists().map(|entry| event(entry?, &carried).map(Arc::new));
    let events: Vec<_> = events.collect::<Result<_, _>>()?;
    Ok(EventPage {
        scanned_to: events.last().map_or(after, |event| event.position),
        events,
        head,
    })
}

/// Reads an entry. What cannot be read keeps its place and says nothing.
fn event(mut entry: Reply, carried: &HashMap<String, Carried>) -> Result<Event, Unreadable> {
    let id = entry.text()?;
    let place = id.strip_suffix("-0").and_then(|place| place.parse().ok());
    let position = Position(place.ok_or_else(|| Unreadable::new("a place"))?);
    let mut list = entry.list()?;
    let mut fields = HashMap::new();
    while let Ok(name) = list.text() {
        fields.insert(name, list.text()?);
    }
    let of = |name: &str| fields.get(name).map_or("", String::as_str);
    let at = of("at").parse().map(Timestamp::from_millis);
    let change = change(&of, position, carried).unwrap_or_else(|error| {
        tracing::error!(%error, %position, "an event of the log cannot be read");
        Change::Erased
    });
    Ok(Event {
        position,
        at: at.map_err(|_| Unreadable::new("a moment"))?,
        change,
    })
}

fn change<'a>(
    of: &impl Fn(&str) -> &'a str,
    position: Position,
    carried: &HashMap<String, Carried>,
) -> Result<Change, Unreadable> {
    let channel =
        || -> Result<Channel, Unreadable> { of("channel").parse().map_err(|_| Unreadable::new("channel")) };
    Ok(match of("kind") {
        "p" => {
            let places = |found: &&Carried| (found.first..found.first + found.events).contains(&position.0);
            match carried.get(of("id")).filter(places) {
                Some(found) => Change::Published {
                    channel: channel()?,
                    notification: Arc::clone(&found.notification),
                },
                None => Change::Erased,
            }
        }
        "r" => Change::Retracted {
            channel: channel()?,
            id: of("id").parse().map_err(|_| Unreadable::new("notification id"))?,
        },
        "m" => {
            let marks = Marked::try_from(from_text::<MarksRecord>(of("detail"))?)?;
            let unread = of("unread").parse().map_err(|_| Unreadable::new("a number"))?;
            Change::Marked {
                channel: channel()?,
                marks: counted(marks, unread, position),
            }
        }
        "c" => from_text::<ControlRecord>(of("detail"))?.read()?,
        // What a newer node writes keeps its place.
        _ => Change::Erased,
    })
}

/// Fills in what only the script knew: the count, and the place at which it is exact.
pub(super) const fn counted(marks: Marked, unread: u64, position: Position) -> Marked {
    Marked {
        unread,
        unread_as_of: Cursor {
            position,
            ..marks.unread_as_of
        },
        ..marks
    }
}

/// One person as a script found them.
#[derive(Debug)]
pub(super) struct Known {
    /// Changes with whatever they do.
    pub(super) version: String,
    pub(super) standing: Standing,
    /// The present.
    pub(super) now: Timestamp,
    /// Where the log stood.
    pub(super) head: Cursor,
}

/// Reads how a person stands.
pub(super) fn known(reply: &mut Reply) -> Result<Known, Unreadable> {
    let mut known = reply.list()?;
    let version = known.text()?;
    let first_seen = Watermark {
        position: known.position()?,
        moment: known.moment()?,
    };
    let reads = known.text()?;
    let read_throughs = reads.split_ascii_whitespace().map(watermark);
    Ok(Known {
        version,
        standing: Standing {
            first_seen,
            read_throughs: read_throughs.collect::<Result<_, _>>()?,
        },
        now: known.moment()?,
        head: Cursor {
            epoch: known.parsed("epoch")?,
            position: known.position()?,
        },
    })
}

fn watermark(text: &str) -> Result<Watermark, Unreadable> {
    let read = || -> Option<Watermark> {
        let (position, moment) = text.split_once('@')?;
        Some(Watermark {
            position: Position(position.parse().ok()?),
            moment: Timestamp::from_millis(moment.parse().ok()?),
        })
    };
    read().ok_or_else(|| Unreadable::new("a watermark"))
}

/// Writes each "read all" as "place@moment", separated by spaces.
pub(super) fn reads(standing: &Standing) -> String {
    let read = |read: &Watermark| format!("{}@{}", read.position, read.moment.as_millis());
    let reads: Vec<_> = standing.read_throughs.iter().map(read).collect();
    reads.join(" ")
}

/// Writes a mark: "read archived acknowledged unarchived".
pub(super) fn mark_text(own: &OwnMark) -> String {
    let state = own.state;
    [
        state.read_at,
        state.archived_at,
        state.acknowledged_at,
        own.unarchived_at,
    ]
    .map(|at| at.map_or_else(|| "-".to_owned(), |at| at.as_millis().to_string()))
    .join(" ")
}

/// Reads a mark.
pub(super) fn own_mark(text: &str) -> Result<OwnMark, Unreadable> {
    let unreadable = || Unreadable::new("a mark");
    let mut moments = text.split(' ').map(|at| match at {
        "-" => Ok(None),
        at => at.parse().map(|at| Some(Timestamp::from_millis(at))),
    });
    let mut next = || moments.next().ok_or_else(unreadable)?.map_err(|_| unreadable());
    Ok(OwnMark {
        state: ItemState {
            read_at: next()?,
            archived_at: next()?,
            acknowledged_at: next()?,
        },
        unarchived_at: next()?,
    })
}

/// Reads where the log stands: epoch, head, oldest.
pub(super) fn head(reply: &mut Reply) -> Result<Head, Unreadable> {
    Ok(Head {
        cursor: cursor(reply)?,
        oldest: reply.position()?,
    })
}

/// Reads epoch and place.
pub(super) fn cursor(reply: &mut Reply) -> Result<Cursor, Unreadable> {
    Ok(Cursor {
        epoch: reply.parsed("epoch")?,
        position: reply.position()?,
    })
}

/// Makes the events of a notification that was published from one place on.
pub(super) fn published(
    notification: &Arc<Notification>,
    channels: &[Channel],
    first: Position,
    at: Timestamp,
) -> impl Iterator<Item = Arc<Event>> {
    let change = |channel: &Channel| Change::Published {
        channel: channel.clone(),
        notification: Arc::clone(notification),
    };
    events(first, at, channels.iter().map(change).collect())
}

/// Makes the events of a retraction that was told from one place on.
pub(super) fn retracted(
    id: NotificationId,
    channels: Vec<Channel>,
    first: Position,
    at: Timestamp,
) -> impl Iterator<Item = Arc<Event>> {
    let change = |channel| Change::Retracted { channel, id };
    events(first, at, channels.into_iter().map(change).collect())
}

fn events(first: Position, at: Timestamp, changes: Vec<Change>) -> impl Iterator<Item = Arc<Event>> {
    let places = (first.0..).map(Position);
    places
        .zip(changes)
        .map(move |(position, change)| Arc::new(Event { position, at, change }))
}
