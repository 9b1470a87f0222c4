//! The ticker: once a second, whoever is due is asked, told or given up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use application::boundary::bounded_now;
use application::ports::Observation;
use domain::heartbeat::{REPLY_TIMEOUT, Verdict};
use domain::stream::CloseReason;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::beat::Beat;
use super::connection::{BEAT, Connection, KEEP_ALIVE};

/// A reply is missed in the first second after [`REPLY_TIMEOUT`] is over.
const OVERDUE_SECONDS: usize = 11;
const _: () = assert!(REPLY_TIMEOUT.as_secs() + 1 == 11);

/// Who was asked, second by second, among those who can reply.
pub(super) struct Ticker {
    hub: Arc<Hub>,
    sequence: u64,
    asked: VecDeque<(u64, Vec<Arc<Connection>>)>,
}

impl Ticker {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self {
            hub,
            sequence: 0,
            asked: VecDeque::with_capacity(OVERDUE_SECONDS + 1),
        }
    }

    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        second.tick().await;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = second.tick() => {
                    let observer = Arc::clone(&self.hub.observer);
                    // Whoever was not asked this second is asked one interval later.
                    let _ = bounded_now(&*observer, "ticker", || self.tick());
                }
            }
        }
    }

    fn tick(&mut self) {
        self.judge();
        let now = self.hub.clock.now();
        self.hub.check_sessions(now);
        let turn = self.hub.wheel().turn();
        for connection in turn.kept_alive {
            connection.signal(KEEP_ALIVE);
        }
        self.sequence += 1;
        self.hub.times().note(self.sequence, self.hub.clock.uptime());
        self.hub
            .set_beat(Beat::new(self.sequence, self.hub.ring.cursor(), now));
        let mut can_reply = Vec::new();
        for connection in turn.asked {
            let (replies, verdict) = {
                let pace = connection.state().pace;
                (pace.has_replied(), pace.verdict(now))
            };
            if verdict == Verdict::Alive {
                connection.signal(BEAT);
                self.hub.repace(&connection);
                if replies {
                    can_reply.push(connection);
                }
            } else {
                self.hub.give_up(&connection);
            }
        }
        self.asked.push_back((self.sequence, can_reply));
    }

    /// Counts the replies that did not come in time, and gives up on those who missed too many.
    fn judge(&mut self) {
        if self.asked.len() < OVERDUE_SECONDS {
            return;
        }
        let Some((sequence, connections)) = self.asked.pop_front() else {
            return;
        };
        let now = self.hub.clock.now();
        for connection in connections {
            let verdict = {
                let mut state = connection.state();
                // A connection that was still catching up was not asked after all.
                let asked = state.asked_up_to >= sequence;
                if !asked || state.replied_up_to >= sequence {
                    continue;
                }
                state.pace = state.pace.missed();
                state.pace.verdict(now)
            };
            self.hub.observer.saw(&Observation::HeartbeatMissed);
            if verdict != Verdict::Alive {
                self.hub.give_up(&connection);
            }
        }
    }
}

impl Hub {
    /// Moves a connection to the interval that the level in force gives it.
    fn repace(&self, connection: &Arc<Connection>) {
        let (interval, seat) = {
            let state = connection.state();
            (state.pace.interval(), state.seat)
        };
        if let Some(seat) = seat {
            self.reseat(connection, seat, self.heartbeat(interval));
        }
    }

    /// Slows a heartbeat down as the level in force says.
    pub(super) fn heartbeat(&self, interval: Duration) -> Duration {
        self.load.level().heartbeat(interval, self.config.pace.max)
    }

    /// Closes a peer that stopped replying and takes it out of the books at once: its socket may be stuck for as
    /// long as the kernel waits.
    fn give_up(&self, connection: &Arc<Connection>) {
        connection.close(CloseReason::Unresponsive);
        self.unregister(connection);
    }
}
