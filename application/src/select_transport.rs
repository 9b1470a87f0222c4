//! Which transport a client is to listen on, and whether what Ably carried to it can be all there was.
//!
//! The streams carry every event whatever happens here. A client on Ably asks every few seconds, and learns from the
//! answer whether to stay there, whether it has to call the replay, and when to ask again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use domain::breaker::BreakerState;
use domain::capability::Principal;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::event::Event;
use domain::policy::{DeliveryPolicy, Health, Route};
use domain::rollout::{Person, Rollout};
use domain::safe::{Answer, Carried, Logged};
use domain::stream::Jitter;
use domain::transport::{Reason, Transport as Kind};

use crate::deliver::{HealthNow, RolloutNow};
use crate::error::Error;
use crate::ports::{
    ChannelsQuery, DeliveryRow, Entropy, Observation, Observer, Outbox, ReadError, Selection, Store,
    StoreError, Transport,
};
use crate::rights::{Past, Rights};
use crate::stream_start::{Start, place};

/// Events that are looked at for one answer. Ably sends 50 a second over one connection and a client asks at least
/// every 20 s; whoever is further behind is sent to the replay, which has pages.
pub const EVENTS_MAX: usize = 256;

/// Nobody waits longer before asking again, so that whoever Ably forgot is caught up within half a minute.
pub const POLL_MAX: Duration = Duration::from_secs(20);

/// The other half of [`POLL_MAX`] is chance, so that clients do not ask in step.
const POLL_MIN: Duration = Duration::from_secs(10);

/// Something is missing or Ably is in trouble: it is worth asking sooner.
const POLL_SOON_MIN: Duration = Duration::from_secs(4);

/// Selects the transport of one person, as things stand now.
pub struct SelectTransport {
    /// The log.
    pub store: Arc<dyn Store>,
    /// What became of its events on their way over Ably.
    pub outbox: Arc<dyn Outbox>,
    /// Who has which channels.
    pub rights: Arc<Rights>,
    /// Ably; `None` where a key for publishing or for tokens is missing.
    pub ably: Option<Arc<dyn Transport>>,
    /// Who is on Ably.
    pub rollout: RolloutNow,
    /// Whether Ably serves.
    pub health: HealthNow,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// What to listen on.
    pub transport: Kind,
    /// Why.
    pub reason: Reason,
    /// How the client's cursor compares with the log.
    pub answer: Answer,
    /// When to ask again.
    pub poll_after: Duration,
}

impl SelectTransport {
    /// Selects, and compares with the log. Without a cursor there is nothing to compare: the answer says where the log
    /// stands, which is where a client may begin.
    pub async fn run(&self, person: &Principal, after: Option<Cursor>) -> Result<Selected, Error> {
        let channels = self.rights.stream_channels(person, &Selection::Default);
        if channels.is_empty() {
            let detail = "none of your roles may subscribe to any channel";
            return Err(Error::Forbidden(detail.to_owned()));
        }
        let (transport, reason) = self.route(person, &channels);
        let channels = channels.into_iter().map(|(channel, _)| channel).collect();
        let answer = self.compare(transport, channels, after).await?;
        self.observer.saw(&Observation::TransportSelected {
            transport: transport.as_str(),
            reason: reason.as_str(),
            replay: answer.replay,
        });
        Ok(Selected {
            poll_after: self.poll_after(transport, reason, &answer),
            transport,
            reason,
            answer,
        })
    }

    /// Asks the policy about somebody, as things stand now.
    pub fn route_of(&self, person: &Person<'_>) -> Route {
        let rollout: Rollout = (self.rollout)();
        let policy = DeliveryPolicy {
            configured: self.ably.is_some(),
            rollout: &rollout,
            breaker: (self.ably.as_ref()).map_or(BreakerState::Closed, |ably| ably.breaker()),
            health: self.ably.as_ref().map_or(Health::Up, |_| (self.health)()),
        };
        policy.for_person(person)
    }

    /// Asks the policy. Somebody who may not read a channel's past could not be given what Ably lost of it, and a
    /// client that goes by its safe cursor would drop what comes late: they are on the streams.
    fn route(&self, person: &Principal, channels: &[(Channel, Past)]) -> (Kind, Reason) {
        let route = self.route_of(&Person {
            user: &person.user,
            units: &person.units,
            roles: &person.roles,
        });
        let withheld = channels.iter().any(|(_, past)| *past == Past::Withheld);
        match route.transport() {
            Kind::Ably if withheld => (Kind::Streams, Reason::HistoryWithheld),
            transport => (transport, route.reason()),
        }
    }

    async fn compare(
        &self,
        transport: Kind,
        channels: Vec<Channel>,
        after: Option<Cursor>,
    ) -> Result<Answer, StoreError> {
        let head = self.store.head().await?;
        let Some(after) = after.filter(|after| *after != head.cursor) else {
            return Ok(Answer::from_log(head.cursor, head.cursor, []));
        };
        // On a stream everything after the cursor comes whatever became of it at Ably, and a replay has the last word
        // on a cursor that nothing can be given after.
        if transport == Kind::Streams || place(after, head) != Start::After {
            return Ok(to_replay(after, head.cursor));
        }
        let query = ChannelsQuery {
            channels,
            after,
            up_to: head.cursor.position,
            limit: EVENTS_MAX,
        };
        let page = match self.store.read_channels(&query).await {
            Ok(page) => page,
            Err(ReadError::Expired { head } | ReadError::EpochChanged { head }) => {
                return Ok(to_replay(after, head.cursor));
            }
            Err(ReadError::Store(error)) => return Err(error),
        };
        if page.scanned_to < head.cursor.position {
            self.observer.saw(&Observation::Full("transport_events"));
            return Ok(to_replay(after, head.cursor));
        }
        self.by_deliveries(after, head.cursor, &page.events).await
    }

    /// Looks at what became of each event. It is looked at after the head was read: an event that nobody has planned
    /// by then has no delivery, and counts as missed.
    async fn by_deliveries(
        &self,
        after: Cursor,
        head: Cursor,
        events: &[Arc<Event>],
    ) -> Result<Answer, StoreError> {
        if events.is_empty() {
            return Ok(Answer::from_log(after, head, []));
        }
        let positions: Vec<Position> = events.iter().map(|event| event.position).collect();
        let rows = self.outbox.find(&positions).await?.rows;
        let rows: HashMap<Position, DeliveryRow> =
            (rows.into_iter()).map(|row| (row.cursor.position, row)).collect();
        let logged = events.iter().filter_map(|event| {
            let (channel, position) = (event.channel()?, event.position);
            let cursor = Cursor { position, ..head };
            // A row of another history is of another event.
            let row = rows.get(&position);
            let row = row.filter(|row| row.cursor == cursor && row.channel == *channel);
            Some(Logged {
                cursor,
                channel,
                carried: Carried::of(row.map(|row| &row.delivery)),
            })
        });
        Ok(Answer::from_log(after, head, logged))
    }

    fn poll_after(&self, transport: Kind, reason: Reason, answer: &Answer) -> Duration {
        use Reason::{BreakerOpen, BreakerProbing, Unhealthy};
        let trouble = match transport {
            Kind::Ably => answer.replay,
            Kind::Streams => matches!(reason, BreakerOpen | BreakerProbing | Unhealthy),
        };
        let least = if trouble { POLL_SOON_MIN } else { POLL_MIN };
        let window = if trouble {
            least
        } else {
            POLL_MAX.saturating_sub(least)
        };
        least + Jitter::from_bits(self.entropy.bits()).of(window)
    }
}

/// The answer where nobody looked: whoever asks is sent to the replay, which has everything or says `reset`.
const fn to_replay(after: Cursor, head: Cursor) -> Answer {
    Answer {
        after,
        cursor: head,
        channels: BTreeMap::new(),
        replay: true,
    }
}

#[cfg(test)]
mod tests;
