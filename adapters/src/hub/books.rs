//! The books: who is on the wheel, whose session ends when, and who has left.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use application::ports::TicketId;
use domain::capability::Principal;
use domain::ids::{ConnectionId, UserId};
use domain::stream::CloseReason;
use domain::time::Timestamp;

use super::Hub;
use super::beat::Seat;
use super::connection::{Connection, RIGHTS, SESSION};

/// An ended ticket is remembered for this long after its session's end.
const ENDED_TICKET_KEPT: Duration = Duration::from_secs(300);
/// Streams with a ticket that left last: a renewal that was answered reaches its node some milliseconds later.
const LEFT_MAX: usize = 1_024;

/// Streams that left, with their tickets, the oldest first.
pub(super) type Left = VecDeque<(ConnectionId, UserId, TicketId)>;

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
        if let Some(ticket) = connection.ticket {
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            if left.len() >= LEFT_MAX {
                left.pop_front();
            }
            left.push_back((connection.id, connection.user.clone(), ticket));
        }
        self.registry.leave(&connection.user, connection.id);
    }

    /// Gives a stream its new rights, and its ticket as well: whoever comes back with it stands on them, even where the
    /// stream itself has just been cut.
    pub(super) fn renewed(&self, id: ConnectionId, principal: &Arc<Principal>) {
        let known = self.connection(id);
        let known = known.filter(|known| known.user == principal.user);
        let ticket = match &known {
            Some(connection) => connection.ticket,
            None => self.ticket_of_one_that_left(id, &principal.user),
        };
        if let Some(ticket) = ticket {
            self.registry.renew(ticket, Arc::clone(principal));
        }
        let Some(connection) = known else { return };
        connection.state().principal = Arc::clone(principal);
        self.schedule_session(&connection, self.clock.now());
        connection.signal(RIGHTS);
        self.close_if_revoked(&connection);
    }

    fn ticket_of_one_that_left(&self, id: ConnectionId, user: &UserId) -> Option<TicketId> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let found = left
            .iter()
            .rev()
            .find(|(known, of, _)| *known == id && of == user);
        found.map(|(_, _, ticket)| *ticket)
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
