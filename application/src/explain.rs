//! Why somebody is, or is not, on Ably, and what became of a notification on its way to them.

use std::collections::HashMap;
use std::sync::Arc;

use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::event::{Change, Event, Marked, MarkedWhat};
use domain::ids::{NotificationId, UserId};
use domain::policy::Route;
use domain::rollout::Person;
use domain::safe::Carried;
use domain::time::Timestamp;

use crate::error::Error;
use crate::ports::{ChannelsQuery, DeliveryRow, ReadError, TokenHolder};
use crate::select_transport::SelectTransport;

/// Events of the one channel that are looked through for a notification's, a page at a time.
const LOOKED_THROUGH_MAX: usize = 20_000;
const PAGE: usize = 1_000;

/// Explains. Whether the caller administers the service is known before.
pub struct Explain {
    /// What people are told, and what that goes by.
    pub select: Arc<SelectTransport>,
}

/// What there is to say about a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What they are told to listen on now, rule by rule. Units and roles are those of their token for Ably; the
    /// service keeps no list of people, so without one they count as somebody who has neither.
    pub route: Route,
    /// Their token for Ably; `None` where none counts.
    pub holder: Option<TokenHolder>,
    /// What became of the notification that was asked about.
    pub notification: Option<Way>,
}

/// What became of a notification on its way to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Whether it was for them.
    pub addressed: Addressed,
    /// The channel that carries it to them, where there is one.
    pub channel: Option<Channel>,
    /// Its events there, in order. None before a scheduled one is due.
    pub events: Vec<Step>,
    /// Whether the whole history of the channel was looked through.
    pub complete: Complete,
}

/// Whether a notification was for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressed {
    /// It was.
    Yes,
    /// It was not.
    No,
    /// It was for a group, and only their token of the service says whether they belong to it.
    Unknown,
}

/// How much of a channel's history was looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complete {
    /// All that is kept.
    All,
    /// The oldest part.
    Partly,
}

/// One event of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its cursor.
    pub cursor: Cursor,
    /// Its name on the wire.
    pub event: &'static str,
    /// When it was accepted.
    pub at: Timestamp,
    /// Its delivery over Ably; `None` where it was left to the streams, or is not planned yet.
    pub delivery: Option<DeliveryRow>,
    /// What clients on Ably are told about it.
    pub carried: Carried,
}

impl Explain {
    /// Explains a person, and a notification on its way to them.
    pub async fn run(
        &self,
        user: &UserId,
        notification: Option<NotificationId>,
    ) -> Result<Explanation, Error> {
        let holders = self.select.outbox.holders(std::slice::from_ref(user)).await?;
        let holder = holders.into_iter().next();
        let route = self.select.route_of(&Person {
            user,
            units: holder.as_ref().map_or(&[], |holder| &holder.units),
            roles: holder.as_ref().map_or(&[], |holder| &holder.roles),
        });
        let notification = match notification {
            Some(id) => Some(self.way(user, holder.as_ref(), id).await?),
            None => None,
        };
        Ok(Explanation {
            route,
            holder,
            notification,
        })
    }

    async fn way(
        &self,
        user: &UserId,
        holder: Option<&TokenHolder>,
        id: NotificationId,
    ) -> Result<Way, Error> {
        let channels = self.select.store.channels_of(id).await?;
        let channels = channels.ok_or(Error::NotFound("notification"))?;
        let (addressed, channel) = addressed(user, holder, channels);
        let Some(channel) = channel else {
            return Ok(Way {
                addressed,
                channel: None,
                events: Vec::new(),
                complete: Complete::All,
            });
        };
        let (events, complete) = self.events(&channel, id).await?;
        Ok(Way {
            addressed,
            channel: Some(channel),
            events: self.deliveries(events).await?,
            complete,
        })
    }

    /// Looks a channel's history through for the events of a notification.
    async fn events(
        &self,
        channel: &Channel,
        id: NotificationId,
    ) -> Result<(Vec<(Cursor, Arc<Event>)>, Complete), Error> {
        let head = self.select.store.head().await?;
        let mut after = head.oldest.prior();
        let mut found = Vec::new();
        for _ in 0..LOOKED_THROUGH_MAX / PAGE {
            let query = ChannelsQuery {
                channels: vec![channel.clone()],
                after: Cursor {
                    position: after,
                    ..head.cursor
                },
                up_to: head.cursor.position,
                limit: PAGE,
            };
            let page = match self.select.store.read_channels(&query).await {
                Ok(page) => page,
                // It went while it was read: what is left is looked at when somebody asks again.
                Err(ReadError::Expired { .. } | ReadError::EpochChanged { .. }) => {
                    return Ok((found, Complete::Partly));
                }
                Err(ReadError::Store(error)) => return Err(error.into()),
            };
            let ours = page
                .events
                .into_iter()
                .filter(|event| name_of(event, id).is_some());
            found.extend(ours.map(|event| {
                let position = event.position;
                (
                    Cursor {
                        position,
                        ..head.cursor
                    },
                    event,
                )
            }));
            if page.scanned_to >= head.cursor.position {
                return Ok((found, Complete::All));
            }
            after = page.scanned_to;
        }
        Ok((found, Complete::Partly))
    }

    async fn deliveries(&self, events: Vec<(Cursor, Arc<Event>)>) -> Result<Vec<Step>, Error> {
        let positions: Vec<Position> = events.iter().map(|(cursor, _)| cursor.position).collect();
        let rows = match positions.as_slice() {
            [] => Vec::new(),
            some => self.select.outbox.find(some).await?.rows,
        };
        let mut rows: HashMap<Position, DeliveryRow> =
            (rows.into_iter()).map(|row| (row.cursor.position, row)).collect();
        let steps = events.into_iter().map(|(cursor, event)| {
            let delivery = rows.remove(&cursor.position).filter(|row| row.cursor == cursor);
            Step {
                cursor,
                event: name(&event.change),
                at: event.at,
                carried: Carried::of(delivery.as_ref().map(|row| &row.delivery)),
                delivery,
            }
        });
        Ok(steps.collect())
    }
}

/// Says whether a notification on these channels is for somebody, and on which of them.
fn addressed(
    user: &UserId,
    holder: Option<&TokenHolder>,
    channels: Vec<Channel>,
) -> (Addressed, Option<Channel>) {
    let own = Channel::User(user.clone());
    // An audience is one group, or people.
    match channels
        .into_iter()
        .find(|channel| *channel == own || !matches!(channel, Channel::User(_)))
    {
        None => (Addressed::No, None),
        Some(channel @ (Channel::User(_) | Channel::System)) => (Addressed::Yes, Some(channel)),
        Some(Channel::Unit(unit)) => {
            let member = holder.map(|holder| holder.units.contains(&unit));
            match member {
                Some(false) => (Addressed::No, None),
                Some(true) => (Addressed::Yes, Some(Channel::Unit(unit))),
                None => (Addressed::Unknown, Some(Channel::Unit(unit))),
            }
        }
        Some(channel @ Channel::Benefit(_)) => (Addressed::Unknown, Some(channel)),
    }
}

/// The event's name, where it is one of this notification.
fn name_of(event: &Event, id: NotificationId) -> Option<&'static str> {
    let of_it = match &event.change {
        Change::Published { notification, .. } => notification.id == id,
        Change::Retracted { id: of, .. }
        | Change::Marked {
            marks: Marked {
                what: MarkedWhat::One(of, _),
                ..
            },
            ..
        } => *of == id,
        _ => false,
    };
    of_it.then(|| name(&event.change))
}

const fn name(change: &Change) -> &'static str {
    match change {
        Change::Published { .. } => "notification",
        Change::Retracted { .. } => "retracted",
        Change::Marked { .. } => "state",
        Change::Erased | Change::Control(_) => "",
    }
}

#[cfg(test)]
mod tests;
