//! Heartbeats: shared, phased, and the same bytes for everybody who is asked in the same second.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use application::ports::{Encoder, Format, Message};
use bytes::Bytes;
use domain::cursor::Cursor;
use domain::heartbeat::{PaceLimits, nearest_class};
use domain::time::Timestamp;

use super::connection::Connection;

/// Proxies drop connections that say nothing for a minute, some for half of one; comments go out this often where
/// heartbeats are slower (WHATWG HTML, 9.2.7, advises every 15 s or so).
pub(super) const KEEP_ALIVE_SECONDS: u32 = 25;
/// Send times are remembered for this many seconds: longer than any reply is waited for.
const SEND_TIMES: usize = 256;

/// One second's heartbeat.
#[derive(Debug)]
pub(super) struct Beat {
    pub(super) sequence: u64,
    /// Where the ring stood: whoever was sent everything up to here may be told so.
    pub(super) cursor: Cursor,
    pub(super) sent_at: Timestamp,
    frames: [OnceLock<Bytes>; Format::COUNT],
}

impl Beat {
    pub(super) fn new(sequence: u64, cursor: Cursor, sent_at: Timestamp) -> Self {
        Self {
            sequence,
            cursor,
            sent_at,
            frames: [const { OnceLock::new() }; Format::COUNT],
        }
    }

    /// Returns the frame that everybody shares.
    pub(super) fn frame(&self, format: Format, encoder: &dyn Encoder) -> Bytes {
        self.frames[format.index()]
            .get_or_init(|| self.frame_at(self.cursor, format, encoder))
            .clone()
    }

    /// Writes a frame for a connection that was sent something later than the shared cursor.
    pub(super) fn frame_at(&self, cursor: Cursor, format: Format, encoder: &dyn Encoder) -> Bytes {
        let (sequence, sent_at) = (self.sequence, self.sent_at);
        encoder.encode(
            format,
            &Message::Heartbeat {
                cursor,
                sequence,
                sent_at,
            },
        )
    }
}

/// When each recent sequence was sent.
#[derive(Debug)]
pub(super) struct SendTimes([(u64, Duration); SEND_TIMES]);

impl SendTimes {
    pub(super) const fn new() -> Self {
        Self([(0, Duration::ZERO); SEND_TIMES])
    }

    pub(super) fn note(&mut self, sequence: u64, uptime: Duration) {
        self.0[place(sequence)] = (sequence, uptime);
    }

    /// Returns when a sequence was sent; `None` when it never was or is long ago.
    pub(super) fn of(&self, sequence: u64) -> Option<Duration> {
        let (kept, uptime) = self.0[place(sequence)];
        (kept == sequence && sequence != 0).then_some(uptime)
    }
}

fn place(sequence: u64) -> usize {
    usize::try_from(sequence % SEND_TIMES as u64).unwrap_or_default()
}

/// Where a connection sits on the wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    class: u8,
    phase: u32,
    keep_alive: Option<u32>,
}

/// A wheel of interval classes, each split into phases of one second, so that every second asks its share.
#[derive(Debug)]
pub(super) struct Wheel {
    classes: Vec<u32>,
    /// By class, then by phase.
    beats: Vec<Vec<Vec<Arc<Connection>>>>,
    keep_alives: Vec<Vec<Arc<Connection>>>,
    second: u32,
}

impl Wheel {
    pub(super) fn new(limits: &PaceLimits) -> Self {
        let classes = limits.classes();
        let phases = |class: &u32| (0..*class).map(|_| Vec::new()).collect();
        Self {
            beats: classes.iter().map(phases).collect(),
            keep_alives: (0..KEEP_ALIVE_SECONDS).map(|_| Vec::new()).collect(),
            classes,
            second: 0,
        }
    }

    /// Seats a connection in the class nearest to its interval; its first heartbeat is one interval away.
    pub(super) fn seat(&mut self, connection: &Arc<Connection>, interval: Duration) -> Seat {
        let class = nearest_class(&self.classes, interval);
        let seconds = self.classes[class];
        let phase = self.second % seconds;
        self.beats[class][phase as usize].push(Arc::clone(connection));
        let keep_alive = (seconds > KEEP_ALIVE_SECONDS).then_some(self.second % KEEP_ALIVE_SECONDS);
        if let Some(phase) = keep_alive {
            self.keep_alives[phase as usize].push(Arc::clone(connection));
        }
        Seat {
            class: u8::try_from(class).unwrap_or(u8::MAX),
            phase,
            keep_alive,
        }
    }

    /// Tells whether an interval belongs to another class than the seat's.
    pub(super) fn outgrown(&self, seat: Seat, interval: Duration) -> bool {
        nearest_class(&self.classes, interval) != usize::from(seat.class)
    }

    /// Takes a connection off the wheel.
    pub(super) fn leave(&mut self, connection: &Arc<Connection>, seat: Seat) {
        remove(
            &mut self.beats[usize::from(seat.class)][seat.phase as usize],
            connection,
        );
        if let Some(phase) = seat.keep_alive {
            remove(&mut self.keep_alives[phase as usize], connection);
        }
    }

    /// Moves on by one second and returns who is asked now, and who gets a sign of life.
    pub(super) fn turn(&mut self) -> Turn {
        self.second = self.second.wrapping_add(1);
        let mut asked = Vec::new();
        for (class, phases) in self.classes.iter().zip(&self.beats) {
            asked.extend(phases[(self.second % class) as usize].iter().cloned());
        }
        let kept_alive = self.keep_alives[(self.second % KEEP_ALIVE_SECONDS) as usize].clone();
        Turn { asked, kept_alive }
    }
}

/// Who is due in one second.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) asked: Vec<Arc<Connection>>,
    pub(super) kept_alive: Vec<Arc<Connection>>,
}

/// Order within a phase means nothing, so the last takes the leaver's place.
pub(super) fn remove(list: &mut Vec<Arc<Connection>>, connection: &Arc<Connection>) {
    if let Some(at) = list.iter().position(|listed| Arc::ptr_eq(listed, connection)) {
        list.swap_remove(at);
    }
    // Give memory back after a herd has left.
    if list.capacity() > 64 && list.len() * 4 < list.capacity() {
        list.shrink_to(list.len() * 2);
    }
}
