//! What the hub keeps of a connection: who it is, how it is paced, and what it is to be told.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use application::ports::TicketId;
use domain::capability::Principal;
use domain::heartbeat::Pace;
use domain::ids::{ConnectionId, UserId};
use domain::stream::CloseReason;
use domain::time::Timestamp;
use futures_util::task::AtomicWaker;

use super::beat::Seat;

/// A heartbeat is due.
pub(super) const BEAT: u8 = 1;
/// A sign of life is due.
pub(super) const KEEP_ALIVE: u8 = 1 << 1;
/// The session ends soon.
pub(super) const SESSION: u8 = 1 << 2;
/// The rights have changed.
pub(super) const RIGHTS: u8 = 1 << 3;
/// The stream is to be closed.
pub(super) const CLOSE: u8 = 1 << 4;

/// One open stream, shared by its reader and the hub.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) user: UserId,
    pub(super) ticket: Option<TicketId>,
    waker: AtomicWaker,
    signals: AtomicU8,
    /// Held for a moment at a heartbeat, a renewal or a close; never over an await.
    state: Mutex<State>,
}

/// What changes while a stream is open.
#[derive(Debug)]
pub(super) struct State {
    pub(super) principal: Arc<Principal>,
    pub(super) pace: Pace,
    pub(super) seat: Option<Seat>,
    /// The last heartbeat that was sent.
    pub(super) asked_up_to: u64,
    /// The last heartbeat that was replied to.
    pub(super) replied_up_to: u64,
    /// The moment at which the session is looked at next.
    pub(super) session_check: Option<Timestamp>,
    pub(super) closing: Option<CloseReason>,
}

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        principal: Arc<Principal>,
        ticket: Option<TicketId>,
        pace: Pace,
    ) -> Self {
        let user = principal.user.clone();
        let state = State {
            principal,
            pace,
            seat: None,
            asked_up_to: 0,
            replied_up_to: 0,
            session_check: None,
            closing: None,
        };
        Self {
            id,
            user,
            ticket,
            waker: AtomicWaker::new(),
            signals: AtomicU8::new(0),
            state: Mutex::new(state),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the reader's task to look.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Leaves a signal and tells the reader's task to look.
    pub(super) fn signal(&self, signal: u8) {
        self.signals.fetch_or(signal, Ordering::AcqRel);
        self.waker.wake();
    }

    /// Asks for the stream's end; the first reason stays.
    pub(super) fn close(&self, reason: CloseReason) {
        self.state().closing.get_or_insert(reason);
        self.signal(CLOSE);
    }

    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(super) fn signals(&self) -> u8 {
        self.signals.load(Ordering::Acquire)
    }

    pub(super) fn clear(&self, signal: u8) {
        self.signals.fetch_and(!signal, Ordering::AcqRel);
    }
}
