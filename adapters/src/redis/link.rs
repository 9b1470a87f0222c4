//! One connection that several share, opened again by whoever needs it after it broke.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::connect::{ANSWER_TIMEOUT, Server};
use crate::delay::Delay;

/// A Redis that could not be reached is left alone for this long at first, and longer each time.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(2);

/// A connection that is opened when it is first needed and again after it broke.
///
/// While Redis is away, one caller in a while tries it and the others are refused at once: nobody waits for a server
/// that is known to be away, and one that hangs costs its answer timeout once.
#[derive(Debug)]
pub(super) struct Link {
    server: Server,
    /// How long it may take to answer.
    answer_timeout: Duration,
    /// Whether the last that was heard of it was bad.
    failing: AtomicBool,
    /// Held while a connection is opened, which is bounded; never while it is used.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: Option<MultiplexedConnection>,
    /// Counts connections, so that a late failure of an earlier one breaks none that works.
    serial: u64,
    delay: Delay,
    /// Nobody tries before.
    closed_until: Option<Instant>,
}

impl Link {
    pub(super) fn new(server: Server) -> Self {
        Self::patient(server, ANSWER_TIMEOUT)
    }

    /// Makes a link to a server that is asked for more at once than others are.
    pub(super) fn patient(server: Server, answer_timeout: Duration) -> Self {
        let state = State {
            open: None,
            serial: 0,
            delay: Delay::new(FIRST_DELAY, LAST_DELAY),
            closed_until: None,
        };
        Self {
            server,
            answer_timeout,
            failing: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// Returns the server.
    pub(super) const fn server(&self) -> &Server {
        &self.server
    }

    /// Uses the connection. Bounded by the time to connect and the time to answer.
    pub(super) async fn run<T>(
        &self,
        question: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        self.run_on(async |connection, _| question(connection).await)
            .await
    }

    /// The same for whoever has to know one connection from the next: each has a number of its own, from 1 on.
    pub(super) async fn run_on<T>(
        &self,
        question: impl AsyncFnOnce(MultiplexedConnection, u64) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let (connection, serial) = self.connection().await?;
        let answer = question(connection, serial).await;
        match &answer {
            Err(error) if breaks(error) => self.broken(serial).await,
            _ if self.failing.swap(false, Ordering::AcqRel) => self.state.lock().await.delay.reset(),
            _ => {}
        }
        answer
    }

    async fn connection(&self) -> RedisResult<(MultiplexedConnection, u64)> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open {
            return Ok((open.clone(), state.serial));
        }
        if state.closed_until.is_some_and(|until| Instant::now() < until) {
            return Err(RedisError::from((ErrorKind::Io, "Redis was away a moment ago")));
        }
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.answer_timeout));
        let connected = self.server.connect(config).await;
        match &connected {
            Ok(connection) => {
                state.serial += 1;
                state.open = Some(connection.clone());
            }
            Err(_) => self.close(&mut state),
        }
        connected.map(|connection| (connection, state.serial))
    }

    async fn broken(&self, serial: u64) {
        let mut state = self.state.lock().await;
        if state.serial == serial && state.open.take().is_some() {
            self.close(&mut state);
        }
    }

    fn close(&self, state: &mut State) {
        self.failing.store(true, Ordering::Release);
        state.closed_until = Some(Instant::now() + state.delay.next());
    }
}

/// Whether a connection that said this is of no use any more: it is gone, hangs, or leads to what was the primary.
fn breaks(error: &RedisError) -> bool {
    let demoted = matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    );
    demoted || error.is_io_error() || error.is_unrecoverable_error()
}
