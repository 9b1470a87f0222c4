//! From the log to deliveries: a stretch at a time, each event once.

use std::collections::HashMap;

use domain::capability::Role;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::event::{Change, Event};
use domain::ids::{UnitId, UserId};
use domain::outbox::{Delivery, Status};
use domain::policy::{AblyToken, DeliveryPolicy, Listener, Route};
use domain::rollout::{Person, Rollout};
use domain::time::Timestamp;

use super::Deliver;
use crate::boundary::{Panicked, bounded};
use crate::ports::{Observation, ReadError, StoreError, TokenHolder};

/// Events that are planned in one step.
const PLANNED_AT_ONCE: usize = 1_000;

/// How far planning came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planned {
    /// Everything that was in the log.
    All,
    /// A stretch; there may be more.
    Some,
    /// Somebody else planned the same stretch.
    Elsewhere,
}

impl Deliver {
    /// Plans the next stretch of the log. What was in it before the first time is left to the streams, and so is
    /// what has fallen out of the history.
    pub async fn plan(&self) -> Result<Planned, StoreError> {
        let Some(from) = self.outbox.planned().await? else {
            let head = self.store.head().await?.cursor;
            return self.move_on(None, head, Vec::new(), Planned::All).await;
        };
        match self.store.read(from, PLANNED_AT_ONCE).await {
            Ok(page) => {
                let Some(last) = page.events.last() else {
                    return Ok(Planned::All);
                };
                let to = Cursor {
                    position: last.position,
                    ..from
                };
                let planned = if to.position < page.head.cursor.position {
                    Planned::Some
                } else {
                    Planned::All
                };
                match bounded(&*self.observer, "plan", self.deliveries(&page.events)).await {
                    Ok(deliveries) => self.move_on(Some(from), to, deliveries?, planned).await,
                    Err(Panicked(_)) => self.plan_one(from, &page.events).await,
                }
            }
            Err(ReadError::Expired { head } | ReadError::EpochChanged { head }) => {
                tracing::warn!(%from, to = %head.cursor, "events are left to the streams: their history is gone");
                self.move_on(Some(from), head.cursor, Vec::new(), Planned::All)
                    .await
            }
            Err(ReadError::Store(error)) => Err(error),
        }
    }

    /// Plans the first event of a stretch alone. One that cannot be planned is left to the streams, so that it holds
    /// nobody else up.
    async fn plan_one(&self, from: Cursor, events: &[std::sync::Arc<Event>]) -> Result<Planned, StoreError> {
        let first = &events[..events.len().min(1)];
        let Some(event) = first.first() else {
            return Ok(Planned::All);
        };
        let to = Cursor {
            position: event.position,
            ..from
        };
        let planned = bounded(&*self.observer, "plan", self.deliveries(first)).await;
        let deliveries = if let Ok(deliveries) = planned {
            deliveries?
        } else {
            tracing::error!(cursor = %to, "an event is left to the streams: it cannot be planned");
            Vec::new()
        };
        self.move_on(Some(from), to, deliveries, Planned::Some).await
    }

    /// Whether there is nobody to plan for, so that it need not be done at once.
    pub fn idle(&self) -> bool {
        idle(&(self.rollout)())
    }

    async fn move_on(
        &self,
        from: Option<Cursor>,
        to: Cursor,
        deliveries: Vec<(Position, Channel, Delivery)>,
        planned: Planned,
    ) -> Result<Planned, StoreError> {
        let left = deliveries
            .iter()
            .filter_map(|(_, _, delivery)| match delivery.status {
                Status::Suppressed(reason) => Some(reason.as_str()),
                _ => None,
            });
        let left: Vec<_> = left.collect();
        let moved = self.outbox.plan(from, to, deliveries).await?;
        if moved {
            for reason in left {
                self.observer.saw(&Observation::Fallback(reason));
            }
        }
        Ok(if moved { planned } else { Planned::Elsewhere })
    }

    async fn deliveries(
        &self,
        events: &[std::sync::Arc<Event>],
    ) -> Result<Vec<(Position, Channel, Delivery)>, StoreError> {
        let rollout = (self.rollout)();
        if idle(&rollout) {
            // Nobody is on the transport and nobody was: there is nothing to keep account of.
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        let policy = DeliveryPolicy {
            configured: true,
            rollout: &rollout,
            breaker: self.transport.breaker(),
            health: (self.health)(),
        };
        let carried: Vec<_> = (events.iter())
            .filter_map(|event| Some((event.position, channel(&event.change)?)))
            .collect();
        let holders = self.holders(&carried).await?;
        let route = |channel: &Channel| match channel {
            Channel::User(user) => to_person(&policy, user, holders.get(user), now),
            _ => policy.for_group_event(),
        };
        let delivery = |(position, channel): (Position, &Channel)| {
            let delivery = route(channel).delivery(now)?;
            Some((position, channel.clone(), delivery))
        };
        Ok(carried.into_iter().filter_map(delivery).collect())
    }

    async fn holders(
        &self,
        carried: &[(Position, &Channel)],
    ) -> Result<HashMap<UserId, TokenHolder>, StoreError> {
        let mut users: Vec<UserId> = (carried.iter())
            .filter_map(|(_, channel)| match channel {
                Channel::User(user) => Some(user.clone()),
                _ => None,
            })
            .collect();
        users.sort_unstable();
        users.dedup();
        if users.is_empty() {
            return Ok(HashMap::new());
        }
        let holders = self.outbox.holders(&users).await?;
        Ok(holders
            .into_iter()
            .map(|holder| (holder.user.clone(), holder))
            .collect())
    }
}

/// Whether nobody is on the transport, and nobody was sent away from it by the kill switch.
fn idle(rollout: &Rollout) -> bool {
    !rollout.reaches_anybody() && rollout.kill_switch.is_none()
}

fn to_person(
    policy: &DeliveryPolicy<'_>,
    user: &UserId,
    holder: Option<&TokenHolder>,
    now: Timestamp,
) -> Route {
    const NO_UNITS: &[UnitId] = &[];
    const NO_ROLES: &[Role] = &[];
    let person = Person {
        user,
        units: holder.map_or(NO_UNITS, |holder| &holder.units),
        roles: holder.map_or(NO_ROLES, |holder| &holder.roles),
    };
    let token = holder.map_or(AblyToken::Never, |holder| AblyToken::Until(holder.until));
    policy.for_event_to(&Listener { person, token }, now)
}

/// The channel that a client of the transport gets an event on; none for what no client gets.
fn channel(change: &Change) -> Option<&Channel> {
    match change {
        Change::Published { channel, .. }
        | Change::Retracted { channel, .. }
        | Change::Marked { channel, .. } => Some(channel),
        Change::Erased | Change::Control(_) => None,
    }
}
