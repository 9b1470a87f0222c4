//! One connection for several who ask at once: what the second asks is at the server when the first is answered.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object, Pool};
use tokio::sync::Mutex;
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
    /// How many wait for an answer.
    asking: AtomicU32,
    given_up: CancellationToken,
}

impl Session {
    fn of(object: Object) -> Self {
        Self(Arc::new(Held {
            client: Object::take(object),
            asking: AtomicU32::new(0),
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

    /// Waits for an answer, which takes so long at most, and no longer for each that was asked for before. When one of
    /// them does not come the others will not, either.
    pub(super) async fn in_time<T>(
        &self,
        longest: Duration,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        let asking = Asking::on(&self.0.asking);
        tokio::select! {
            biased;
            answer = tokio::time::timeout(longest * asking.place, answer) => {
                if answer.is_err() {
                    self.give_up();
                }
                Ok(answer??)
            }
            () = self.0.given_up.cancelled() => Err(Failure::Silent),
        }
    }
}

impl Deref for Session {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.0.client
    }
}

/// One who waits for an answer, and their place among all who do.
struct Asking<'a> {
    all: &'a AtomicU32,
    place: u32,
}

impl<'a> Asking<'a> {
    fn on(all: &'a AtomicU32) -> Self {
        let place = all.fetch_add(1, Ordering::Relaxed) + 1;
        Self { all, place }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}
