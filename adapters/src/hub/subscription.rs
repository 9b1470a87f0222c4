//! A subscription: one reader's position in the log, and the frames that follow from it.
//!
//! Resume, live and slow are one path: find the next event after the position in the ring; where the ring no longer
//! reaches, read the log; where the log no longer reaches, say so by a reset. Nothing is queued per connection.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use application::ports::{
    ChannelsQuery, EventPage, Format, Message, Observation, Outgoing, ReadError, Selection, Subscription,
};
use application::rights::Past;
use bytes::Bytes;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::event::Event;
use domain::ids::ConnectionId;
use domain::stream::{CloseReason, Reset, ResetReason, renew_before};

use super::Hub;
use super::connection::{BEAT, CLOSE, Connection, KEEP_ALIVE, RIGHTS, SESSION};
use super::ring::{Anchor, Entry, Found, Lane, sendable};

/// A reader that has fallen out of the ring reads this many events at once: about 64 KiB for the slowest client kept.
const CATCH_UP_AT_ONCE: usize = 64;

/// A channel of a stream.
pub(super) struct Joined {
    pub(super) lane: Arc<Lane>,
    /// Where the log ended when it was joined.
    pub(super) live: Position,
    /// Nothing at or below this position is sent from it.
    pub(super) floor: Position,
}

impl Joined {
    /// Holds the channel to what may be sent of its past. What came since it was joined is none, however late it is sent.
    pub(super) fn hold_to(&mut self, past: Past) {
        if past == Past::Withheld {
            self.floor = self.live;
        }
    }
}

type Reading = Pin<Box<dyn Future<Output = Result<EventPage, ReadError>> + Send>>;

/// A part of the history that the ring no longer holds.
enum CatchUp {
    /// It is being read.
    Reading(Reading),
    /// It is being sent; everything up to the position was asked for.
    Sending(std::vec::IntoIter<Arc<Event>>, Position),
}

/// One reader's position in the log.
pub(super) struct Reader {
    pub(super) hub: Arc<Hub>,
    pub(super) connection: Arc<Connection>,
    pub(super) format: Format,
    pub(super) selection: Selection,
    pub(super) joined: Vec<Joined>,
    /// Everything up to here was sent or was not for this reader.
    pub(super) position: Cursor,
    pub(super) anchor: Anchor,
    /// The greatest id that the client was given.
    pub(super) told: Position,
    /// What comes before the first event.
    pub(super) prelude: VecDeque<Bytes>,
    catch_up: Option<Box<CatchUp>>,
    frames: usize,
    ended: Option<CloseReason>,
}

/// What a look came to.
enum Step {
    Give(Outgoing),
    End,
    Wait,
}

impl Subscription for Reader {
    fn connection(&self) -> ConnectionId {
        self.connection.id
    }

    fn closed(&self) -> Option<CloseReason> {
        self.ended
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        let mut step = self.step(context);
        if matches!(step, Step::Wait) {
            // Whoever wakes between the two looks is seen by the second.
            self.connection.register(context.waker());
            step = self.step(context);
        }
        match step {
            Step::Give(outgoing) => {
                self.frames += 1;
                Poll::Ready(Some(outgoing))
            }
            Step::End => Poll::Ready(None),
            Step::Wait => {
                self.report_frames();
                Poll::Pending
            }
        }
    }
}

impl Reader {
    pub(super) fn new(
        hub: Arc<Hub>,
        connection: Arc<Connection>,
        format: Format,
        selection: Selection,
        joined: Vec<Joined>,
        position: Cursor,
    ) -> Self {
        let anchor = hub.ring.anchor(position);
        Self {
            hub,
            connection,
            format,
            selection,
            joined,
            told: position.position,
            position,
            anchor,
            prelude: VecDeque::new(),
            catch_up: None,
            frames: 0,
            ended: None,
        }
    }

    pub(super) fn write(&self, message: &Message<'_>) -> Bytes {
        self.hub.encoder.encode(self.format, message)
    }

    fn step(&mut self, context: &mut Context<'_>) -> Step {
        if let Some(frame) = self.prelude.pop_front() {
            return Step::Give(Outgoing::Frame(frame));
        }
        if self.ended.is_some() {
            return Step::End;
        }
        let signals = self.connection.signals();
        if signals & RIGHTS != 0 {
            self.connection.clear(RIGHTS);
            self.rejoin();
        }
        if self.connection.signals() & CLOSE != 0 {
            return self.close();
        }
        if signals & SESSION != 0 {
            self.connection.clear(SESSION);
            return Step::Give(Outgoing::Frame(self.session()));
        }
        if let Some(frame) = self.pull(context) {
            return Step::Give(Outgoing::Frame(frame));
        }
        if signals & (BEAT | KEEP_ALIVE) != 0 {
            self.connection.clear(signals & (BEAT | KEEP_ALIVE));
            let beat = (signals & BEAT != 0).then(|| self.beat()).flatten();
            return Step::Give(beat.map_or(Outgoing::KeepAlive, Outgoing::Frame));
        }
        Step::Wait
    }

    /// Returns the next frame that the log holds for this reader.
    fn pull(&mut self, context: &mut Context<'_>) -> Option<Bytes> {
        loop {
            if self.catch_up.is_some() {
                match self.send_history(context) {
                    History::Frame(frame) => return Some(frame),
                    History::Waiting => return None,
                    History::Done => {}
                }
            }
            let lanes = self.joined.iter().map(|joined| (&joined.lane, joined.floor));
            match self.hub.ring.find(self.position, &mut self.anchor, lanes) {
                Found::Entry(entry) => {
                    if let Some(frame) = self.send(&entry) {
                        return Some(frame);
                    }
                }
                Found::NothingUpTo(position) => {
                    self.position.position = position;
                    return None;
                }
                Found::Gone => self.catch_up = Some(Box::new(CatchUp::Reading(self.read_history()))),
                Found::EpochChanged => {
                    return Some(self.reset(ResetReason::EpochChanged, self.hub.ring.cursor()));
                }
            }
        }
    }

    fn send(&mut self, entry: &Entry) -> Option<Bytes> {
        self.position.position = entry.position();
        if !entry.sendable(|| self.hub.clock.now()) {
            return None;
        }
        self.told = entry.position();
        let frame = entry.frame(self.format, &*self.hub.encoder, &*self.hub.observer);
        Some(frame).filter(|frame| !frame.is_empty())
    }

    fn read_history(&self) -> Reading {
        let query = ChannelsQuery {
            channels: self
                .joined
                .iter()
                .map(|joined| joined.lane.channel().clone())
                .collect(),
            after: self.position,
            up_to: self.hub.ring.tip(),
            limit: self.hub.load.level().page(CATCH_UP_AT_ONCE),
        };
        let hub = Arc::clone(&self.hub);
        Box::pin(async move { hub.read_history(&query).await })
    }

    fn send_history(&mut self, context: &mut Context<'_>) -> History {
        let Some(mut catch_up) = self.catch_up.take() else {
            return History::Done;
        };
        if let CatchUp::Reading(reading) = &mut *catch_up {
            let page = match reading.as_mut().poll(context) {
                Poll::Pending => {
                    self.catch_up = Some(catch_up);
                    return History::Waiting;
                }
                Poll::Ready(page) => page,
            };
            match page {
                Ok(page) => *catch_up = CatchUp::Sending(page.events.into_iter(), page.scanned_to),
                Err(ReadError::Expired { head }) => {
                    return History::Frame(self.reset(ResetReason::Expired, head.cursor));
                }
                Err(ReadError::EpochChanged { head }) => {
                    return History::Frame(self.reset(ResetReason::EpochChanged, head.cursor));
                }
                Err(ReadError::Store(_)) => {
                    // The client comes back and resumes, here or elsewhere.
                    self.connection.close(CloseReason::Overloaded);
                    return History::Waiting;
                }
            }
        }
        let CatchUp::Sending(events, scanned_to) = &mut *catch_up else {
            return History::Done;
        };
        let scanned_to = *scanned_to;
        for event in events.by_ref() {
            self.position.position = event.position;
            if self.carries(&event) && sendable(&event, || self.hub.clock.now()) {
                self.told = event.position;
                let frame = self.write(&Message::Event(self.position.epoch, &event));
                self.catch_up = Some(catch_up);
                return History::Frame(frame);
            }
        }
        self.position.position = self.position.position.max(scanned_to);
        History::Done
    }

    /// What may be sent is decided at the moment of sending: rights may have shrunk since the page was read.
    fn carries(&self, event: &Event) -> bool {
        let carries =
            |joined: &Joined| event.channel() == Some(joined.lane.channel()) && event.position > joined.floor;
        self.joined.iter().any(carries)
    }

    fn reset(&mut self, reason: ResetReason, to: Cursor) -> Bytes {
        let from = Cursor {
            epoch: self.position.epoch,
            position: self.told,
        };
        self.catch_up = None;
        self.anchor = Anchor::Adrift;
        self.position = to;
        self.told = to.position;
        self.hub.observer.saw(&Observation::Reset(reason.as_str()));
        let reset = Reset {
            reason,
            from: Some(from),
            to,
            reload_after: self.hub.reload_after(),
        };
        self.write(&Message::Reset(&reset))
    }

    /// Returns a heartbeat; none while the reader is still catching up, because it would move the client's cursor
    /// over what was not sent.
    fn beat(&mut self) -> Option<Bytes> {
        if self.catch_up.is_some() {
            return None;
        }
        let beat = self.hub.beat()?;
        self.connection.state().asked_up_to = beat.sequence;
        let shared = beat.cursor.epoch == self.position.epoch && self.told <= beat.cursor.position;
        let frame = if shared && beat.cursor.position <= self.position.position {
            self.told = beat.cursor.position;
            beat.frame(self.format, &*self.hub.encoder)
        } else {
            self.told = self.position.position;
            beat.frame_at(self.position, self.format, &*self.hub.encoder)
        };
        Some(frame)
    }

    fn session(&self) -> Bytes {
        let expires_at = self.connection.state().principal.expires_at;
        let renew_before = renew_before(expires_at, self.hub.config.session_warning);
        self.write(&Message::Session {
            expires_at,
            renew_before,
        })
    }

    fn close(&mut self) -> Step {
        let reason = self.connection.state().closing.unwrap_or(CloseReason::Overloaded);
        self.ended = Some(reason);
        self.catch_up = None;
        self.hub.end_session(&self.connection, reason);
        let after = self.hub.reconnect_after();
        Step::Give(Outgoing::Frame(self.write(&Message::Closing { reason, after })))
    }

    /// Takes the rights as they are now: lost channels go at once, and so does a lost past; new ones join at the live
    /// position.
    fn rejoin(&mut self) {
        let principal = Arc::clone(&self.connection.state().principal);
        let wanted = self.hub.rights.stream_channels(&principal, &self.selection);
        let shard = self.hub.shard(&self.connection);
        let (mut kept, mut lost) = (Vec::new(), Vec::new());
        for mut joined in std::mem::take(&mut self.joined) {
            let wanted = wanted
                .iter()
                .find(|(channel, _)| channel == joined.lane.channel());
            if let Some((_, past)) = wanted {
                joined.hold_to(*past);
                kept.push(joined);
            } else {
                lost.push(joined);
            }
        }
        self.joined = kept;
        shard.leave(&self.connection, lost.iter().map(|joined| joined.lane.channel()));
        self.hub.ring.release(lost.into_iter().map(|joined| joined.lane));
        let known = |channel: &Channel| self.joined.iter().any(|joined| joined.lane.channel() == channel);
        let gained: Vec<Channel> = wanted
            .into_iter()
            .map(|(channel, _)| channel)
            .filter(|channel| !known(channel))
            .collect();
        let gained = self.hub.join(
            &self.connection,
            gained.into_iter().map(|channel| (channel, Past::Withheld)),
        );
        self.joined.extend(gained);
        if self.joined.is_empty() {
            self.connection.close(CloseReason::Revoked);
        }
    }

    fn report_frames(&mut self) {
        if self.frames > 0 {
            self.hub.observer.saw(&Observation::Delivered {
                frames: std::mem::take(&mut self.frames),
            });
        }
    }
}

/// What sending a part of the history came to.
enum History {
    Frame(Bytes),
    Waiting,
    Done,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.report_frames();
        self.hub.unregister(&self.connection);
        let shard = self.hub.shard(&self.connection);
        shard.leave(
            &self.connection,
            self.joined.iter().map(|joined| joined.lane.channel()),
        );
        self.hub
            .ring
            .release(self.joined.drain(..).map(|joined| joined.lane));
        let reason = self.ended.map_or("gone", CloseReason::as_str);
        self.hub.observer.saw(&Observation::StreamClosed(reason));
    }
}
