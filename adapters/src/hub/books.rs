//! The books: who is on the wheel, whose session ends when, and who has left.

use std::sync::Arc;
use std::time::Duration;

use domain::stream::CloseReason;
use domain::time::Timestamp;

use super::Hub;
use super::beat::Seat;
use super::connection::{Connection, SESSION};

/// An ended ticket is remembered for this long after its session's end.
const ENDED_TICKET_KEPT: Duration = Duration::from_secs(300);

impl Hub {
    /// Takes a connection out of the books; repeating is harmless.
    pub(super) fn unregister(&self, connection: &Arc<Connection>) {
        if self.connections().remove(&connection.id.serial).is_none() {
            return;
        }
        let (seat, session_check) = {
            let mut state = connection.state();
            (state.seat.take(), state.session_check.take())
        };
        if let Some(seat) = seat {
            self.wheel().leave(connection, seat);
        }
        if let Some(at) = session_check {
            self.sessions().remove(&(at, connection.id.serial));
        }
        self.registry.leave(&connection.user, connection.id);
    }

    /// Remembers that a stream was closed for good, before its client can come back.
    pub(super) fn end_session(&self, connection: &Connection, reason: CloseReason) {
        if let (Some(ticket), false) = (connection.ticket, reason.reconnect()) {
            let expires_at = connection.state().principal.expires_at;
            self.registry
                .end(ticket, expires_at.since(self.clock.now()) + ENDED_TICKET_KEPT);
        }
    }

    /// Sets when the session is looked at next: at its warning, or at once when that has passed.
    pub(super) fn schedule_session(&self, connection: &Arc<Connection>, now: Timestamp) {
        let expires_at = connection.state().principal.expires_at;
        let warning = expires_at.minus(self.config.session_warning);
        if warning <= now {
            connection.signal(SESSION);
        }
        self.check_session_at(connection, if warning > now { warning } else { expires_at });
    }

    fn check_session_at(&self, connection: &Connection, at: Timestamp) {
        let before = connection.state().session_check.replace(at);
        let mut sessions = self.sessions();
        if let Some(before) = before {
            sessions.remove(&(before, connection.id.serial));
        }
        sessions.insert((at, connection.id.serial));
    }

    /// Warns sessions that end soon and closes those that have ended.
    pub(super) fn check_sessions(&self, now: Timestamp) {
        loop {
            let due = match self.sessions().first().copied() {
                Some(due) if due.0 <= now => due,
                _ => return,
            };
            self.sessions().remove(&due);
            let Some(connection) = self.connections().get(&due.1).cloned() else {
                continue;
            };
            let expires_at = connection.state().principal.expires_at;
            if expires_at <= now {
                connection.close(CloseReason::TokenExpired);
            } else {
                connection.signal(SESSION);
                self.check_session_at(&connection, expires_at);
            }
        }
    }

    /// Moves a connection to another class when its interval has outgrown the present one.
    pub(super) fn reseat(&self, connection: &Arc<Connection>, seat: Seat, interval: Duration) {
        let mut wheel = self.wheel();
        if !wheel.outgrown(seat, interval) {
            return;
        }
        let mut state = connection.state();
        // Somebody else may have moved it, or it left.
        if state.seat == Some(seat) {
            wheel.leave(connection, seat);
            state.seat = Some(wheel.seat(connection, interval));
        }
    }
}
