//! Opening streams, and what the edge asks of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use application::ports::{
    ChannelsQuery, EventPage, Message, Observation, OpenError, OpenStream, ReadError, Ready, StoreError,
    Streams, StreamsReport, Subscription, Unsubscribed,
};
use application::rights::Past;
use application::stream_start::{Start, place};
use async_trait::async_trait;
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch, Position};
use domain::heartbeat::Pace;
use domain::ids::{ConnectionId, UserId};
use domain::stream::{CloseReason, Reset, ResetReason, Resume};

use super::Hub;
use super::connection::Connection;
use super::subscription::{Joined, Reader};

#[async_trait]
impl Streams for Hub {
    async fn open(&self, request: OpenStream) -> Result<Box<dyn Subscription>, OpenError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(self.refuse(CloseReason::ShuttingDown));
        }
        let Some(hub) = self
            .me
            .upgrade()
            .filter(|hub| hub.ring.cursor().epoch != Epoch(0))
        else {
            return Err(self.refuse(CloseReason::Overloaded));
        };
        let (resume, reset) = self.start_of(request.resume).await?;
        let now = self.clock.now();
        let pace = Pace::start(&self.config.pace, now);
        let principal = request.principal;
        let expires_at = principal.expires_at;
        let connection = Arc::new(Connection::new(
            request.connection,
            Arc::clone(&principal),
            request.ticket,
            pace,
        ));
        self.register(&connection)?;
        // Whatever changes from here on finds the stream; what changed before is seen now.
        self.close_if_revoked(&connection);
        let channels = self.rights.stream_channels(&principal, &request.selection);
        let joined = self.join(&connection, channels.into_iter());
        let live = self.ring.cursor();
        let from = match resume {
            Resume::After(after) => Some(after),
            Resume::Live | Resume::Unreadable => None,
        };
        let start = from.filter(|_| reset.is_none()).unwrap_or(live);
        let mut reader = Reader::new(
            hub,
            Arc::clone(&connection),
            request.format,
            request.selection,
            joined,
            start,
        );
        let ready = Ready {
            connection: connection.id,
            // Until the reset is there, the client keeps the cursor that it came with: a stream cut between the
            // two would otherwise go on as if nothing had been missed.
            cursor: match (reset, from) {
                (None, _) => start,
                (Some(_), Some(from)) => from,
                (Some(_), None) => Cursor {
                    epoch: Epoch(0),
                    position: Position(0),
                },
            },
            resumed: from.is_some() && reset.is_none(),
            heartbeat_interval: self.heartbeat(self.config.pace.base),
            channels: reader
                .joined
                .iter()
                .map(|joined| joined.lane.channel().clone())
                .collect(),
            expires_at,
        };
        let retry = reader.write(&Message::Retry(self.reconnect_after()));
        reader.prelude.extend(
            [retry, reader.write(&Message::Ready(&ready))]
                .into_iter()
                .filter(|f| !f.is_empty()),
        );
        if let Some(reason) = reset {
            self.observer.saw(&Observation::Reset(reason.as_str()));
            let reset = Reset {
                reason,
                from,
                to: live,
                reload_after: self.reload_after(),
            };
            reader.prelude.push_back(reader.write(&Message::Reset(&reset)));
        }
        self.observer.saw(&Observation::StreamOpened);
        Ok(Box::new(reader))
    }

    fn replied(&self, user: &UserId, connection: ConnectionId, sequence: u64) -> Result<(), Unsubscribed> {
        let connection = self
            .connection(connection)
            .filter(|known| known.user == *user)
            .ok_or(Unsubscribed)?;
        let Some(sent_at) = self.times().of(sequence) else {
            return Ok(());
        };
        let round_trip = self.clock.uptime().saturating_sub(sent_at);
        let now = self.clock.now();
        let mut state = connection.state();
        // Each heartbeat is replied to once; a later reply to an earlier one still shows that the peer lives.
        if state.replied_up_to >= sequence || state.asked_up_to < sequence {
            return Ok(());
        }
        state.replied_up_to = sequence;
        state.pace = state.pace.replied(round_trip, &self.config.pace, now);
        let interval = self.heartbeat(state.pace.interval());
        let seat = state.seat;
        drop(state);
        self.observer.saw(&Observation::HeartbeatReplied { round_trip });
        if let Some(seat) = seat {
            self.reseat(&connection, seat, interval);
        }
        Ok(())
    }

    fn owns(&self, user: &UserId, connection: ConnectionId) -> bool {
        self.connection(connection)
            .is_some_and(|connection| connection.user == *user)
    }

    fn report(&self) -> StreamsReport {
        let cursor = self.ring.cursor();
        let lag_positions = self
            .head
            .load(Ordering::Acquire)
            .saturating_sub(cursor.position.0);
        let level = lag_positions == 0 && self.tailing();
        StreamsReport {
            connections: self.connections().len(),
            connections_max: self.config.connections_max,
            cursor: (cursor.epoch != Epoch(0)).then_some(cursor),
            lag_positions,
            lag: if level { Duration::ZERO } else { self.behind_for() },
            ring_events: self.ring.events(),
            ring_bytes: self.ring.bytes(),
            store_reads: self.store_reads.load(Ordering::Relaxed),
            tailing: self.tailing(),
        }
    }
}

impl Hub {
    pub(super) fn connection(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        self.connections()
            .get(&id.serial)
            .filter(|connection| connection.id == id)
            .cloned()
    }

    /// Says where a stream begins. The store is asked only about what the ring cannot know.
    async fn start_of(&self, resume: Resume) -> Result<(Resume, Option<ResetReason>), StoreError> {
        let after = match resume {
            Resume::Live => return Ok((resume, None)),
            Resume::Unreadable => return Ok((resume, Some(ResetReason::Unknown))),
            Resume::After(after) => after,
        };
        let cursor = self.ring.cursor();
        let held = self.ring.first().prior()..=cursor.position;
        if after.epoch == cursor.epoch && held.contains(&after.position) {
            return Ok((resume, None));
        }
        if after.epoch < cursor.epoch {
            return Ok((resume, Some(ResetReason::EpochChanged)));
        }
        self.store_reads.fetch_add(1, Ordering::Relaxed);
        Ok(match place(after, self.store.head().await?) {
            Start::After => (resume, None),
            Start::Reset(reason) => (resume, Some(reason)),
        })
    }

    /// Joins channels: registered first, so that nothing after the live position is missed.
    pub(super) fn join(
        &self,
        connection: &Arc<Connection>,
        channels: impl Iterator<Item = (Channel, Past)>,
    ) -> Vec<Joined> {
        let channels: Vec<(Channel, Past)> = channels.collect();
        let lanes = self.ring.lanes(channels.iter().map(|(channel, _)| channel));
        self.shard(connection)
            .join(connection, channels.iter().map(|(channel, _)| channel));
        let live = self.ring.tip();
        let join = |(lane, (_, past)): (_, &(Channel, Past))| {
            let mut joined = Joined {
                lane,
                live,
                floor: Position(0),
            };
            joined.hold_to(*past);
            joined
        };
        lanes.into_iter().zip(&channels).map(join).collect()
    }

    fn register(&self, connection: &Arc<Connection>) -> Result<(), OpenError> {
        {
            let mut connections = self.connections();
            if connections.len() >= self.config.connections_max {
                drop(connections);
                self.observer.saw(&Observation::Full("connections"));
                return Err(self.refuse(CloseReason::Overloaded));
            }
            connections.insert(connection.id.serial, Arc::clone(connection));
        }
        let now = self.clock.now();
        let seat = self
            .wheel()
            .seat(connection, self.heartbeat(self.config.pace.base));
        connection.state().seat = Some(seat);
        self.schedule_session(connection, now);
        Ok(())
    }

    fn refuse(&self, reason: CloseReason) -> OpenError {
        self.observer.saw(&Observation::StreamRefused(reason.as_str()));
        OpenError::Refused {
            reason,
            after: self.reconnect_after(),
        }
    }

    pub(super) async fn read_history(&self, query: &ChannelsQuery) -> Result<EventPage, ReadError> {
        let unavailable = || StoreError::Unavailable {
            retry_after: Duration::from_secs(1),
        };
        let _turn = self.replays.acquire().await.map_err(|_| unavailable())?;
        self.store_reads.fetch_add(1, Ordering::Relaxed);
        self.observer.saw(&Observation::StoreReplay);
        self.store.read_channels(query).await
    }
}
