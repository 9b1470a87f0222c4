//! One connection for several who ask at once: what the second asks is at the server when the first is answered.

use std::ops::Deref;
use std::pin::pin;
use std::sync::{self, Arc, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object, Pool};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_postgres::Error;
use tokio_util::sync::CancellationToken;

use super::super::connect::Failure;

/// Gives out the connection of a pool of one.
pub(super) struct Shared {
    pool: Pool,
    /// Held while a connection is opened or looked at.
    open: Mutex<Option<Session>>,
}

impl Shared {
    pub(super) fn of(pool: Pool) -> Self {
        Self {
            pool,
            open: Mutex::new(None),
        }
    }

    /// Returns the connection, opened anew where it was closed or given up.
    pub(super) async fn get(&self) -> Result<Session, Failure> {
        let mut open = self.open.lock().await;
        if let Some(session) = open.as_ref().filter(|session| session.serves()) {
            return Ok(session.clone());
        }
        // Whoever still waits on the old one is not waited for.
        if let Some(old) = open.take() {
            old.give_up();
        }
        let session = Session::of(self.pool.get().await?);
        *open = Some(session.clone());
        Ok(session)
    }
}

/// A connection that others may use, too.
#[derive(Clone)]
pub(super) struct Session(Arc<Held>);

struct Held {
    /// Taken out of its pool at once, which then has room for the next.
    client: ClientWrapper,
    /// Never held over an await.
    last_answer: sync::Mutex<Option<Instant>>,
    given_up: CancellationToken,
}

impl Session {
    fn of(object: Object) -> Self {
        Self(Arc::new(Held {
            client: Object::take(object),
            last_answer: sync::Mutex::new(None),
            given_up: CancellationToken::new(),
        }))
    }

    fn serves(&self) -> bool {
        !self.0.given_up.is_cancelled() && !self.0.client.is_closed()
    }

    /// Has everybody open another: nobody knows what this one still does.
    fn give_up(&self) {
        self.0.given_up.cancel();
    }

    /// Waits for an answer, which takes so long at most after the one before. When one does not come the others will not,
    /// either.
    pub(super) async fn in_time<T>(
        &self,
        longest: Duration,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        let mut since = Instant::now();
        let mut answer = pin!(answer);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => {
                    *self.last_answer() = Some(Instant::now());
                    return Ok(answer?);
                }
                () = self.0.given_up.cancelled() => return Err(Failure::Silent),
                () = tokio::time::sleep_until(since + longest) => {}
            }
            let answered = self.last_answer().filter(|answered| *answered > since);
            let Some(answered) = answered else {
                self.give_up();
                return Err(Failure::Silent);
            };
            since = answered;
        }
    }

    /// When somebody was answered last.
    fn last_answer(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.last_answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Session {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.0.client
    }
}
