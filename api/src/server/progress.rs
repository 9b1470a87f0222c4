//! How far a connection has come, and how long it may take for the next step.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use super::handover::Handover;

/// What the socket and the requests of one connection tell one another. Only that connection's own task touches it,
/// so no ordering is needed between the fields.
#[derive(Debug, Default)]
pub(super) struct Progress {
    had_request: AtomicBool,
    heard: AtomicBool,
    body_awaited: AtomicBool,
    peer_finished: AtomicBool,
    /// Where an event stream waits to be taken over.
    pub(super) handover: Handover,
}

/// Whether a request brings a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announced {
    Body,
    Nothing,
}

impl Progress {
    /// Notes that bytes came in.
    pub(super) fn heard(&self) {
        self.heard.store(true, Relaxed);
    }

    /// Notes that the peer will send nothing more.
    pub(super) fn peer_finished(&self) {
        self.peer_finished.store(true, Relaxed);
    }

    /// Notes that the head of a request is complete.
    pub(super) fn request(&self, announced: Announced) {
        self.had_request.store(true, Relaxed);
        self.body_awaited.store(announced == Announced::Body, Relaxed);
    }

    /// Notes that the body of the request is complete.
    pub(super) fn body_finished(&self) {
        self.body_awaited.store(false, Relaxed);
    }

    /// Tells whether there has been no request yet.
    pub(super) fn is_new(&self) -> bool {
        !self.had_request.load(Relaxed)
    }

    /// Tells whether the peer may still be sending the body of its last request.
    pub(super) fn may_be_sending(&self) -> bool {
        self.body_awaited.load(Relaxed) && !self.peer_finished.load(Relaxed)
    }

    /// Tells whether the peer has finished.
    pub(super) fn has_peer_finished(&self) -> bool {
        self.peer_finished.load(Relaxed)
    }
}

/// How long hyper waits for the head of a request: for the first one, and for any that has begun, the time for a
/// head; between two requests, the longer time that a connection may rest.
///
/// hyper knows one time for both, and proxies that keep connections for reuse need the second to be longer than
/// their own: otherwise a request may meet a connection that is just closing.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    pub(super) progress: Arc<Progress>,
    pub(super) head: Duration,
    pub(super) rest: Duration,
}

impl Timer for Patience {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, head_deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let rests = !self.progress.is_new();
        let deadline = if rests {
            self.progress.heard.store(false, Relaxed);
            tokio::time::Instant::now() + self.rest
        } else {
            head_deadline.into()
        };
        Box::pin(HeadDeadline {
            sleep: Box::pin(tokio::time::sleep_until(deadline)),
            resting: rests.then(|| self.clone()),
        })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// Ends when the head of a request should have been there.
struct HeadDeadline {
    sleep: Pin<Box<tokio::time::Sleep>>,
    /// Until the first byte of the next request.
    resting: Option<Patience>,
}

impl Future for HeadDeadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Bytes that came in wake the connection, which then asks here whether to go on waiting.
        if let Some(patience) = self
            .resting
            .take_if(|patience| patience.progress.heard.load(Relaxed))
        {
            self.sleep
                .as_mut()
                .reset(tokio::time::Instant::now() + patience.head);
        }
        self.sleep.as_mut().poll(context)
    }
}

impl Sleep for HeadDeadline {}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const REST: Duration = Duration::from_secs(75);

    fn patience() -> Patience {
        Patience {
            progress: Arc::default(),
            head: HEAD,
            rest: REST,
        }
    }

    /// How long hyper would wait from now on.
    async fn waited(sleep: Pin<Box<dyn Sleep>>) -> Duration {
        let start = tokio::time::Instant::now();
        sleep.await;
        start.elapsed().round()
    }

    trait Round {
        fn round(self) -> Self;
    }

    impl Round for Duration {
        /// Tokio's timers have a granularity of a millisecond.
        fn round(self) -> Self {
            Self::from_secs_f64(self.as_secs_f64().round())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_has_the_time_for_a_head() {
        let patience = patience();
        assert_eq!(waited(patience.sleep(HEAD)).await, HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_a_connection_may_rest_longer() {
        let patience = patience();
        patience.progress.request(Announced::Nothing);
        assert_eq!(waited(patience.sleep(HEAD)).await, REST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_begun_has_the_time_for_a_head() {
        let patience = patience();
        patience.progress.heard();
        patience.progress.request(Announced::Body);
        let mut sleep = patience.sleep(HEAD);
        assert!(futures_util::poll!(&mut sleep).is_pending());
        tokio::time::advance(Duration::from_secs(50)).await;
        patience.progress.heard();
        assert_eq!(waited(sleep).await, HEAD);
    }
}
