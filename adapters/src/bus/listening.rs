//! Listening across a network: one subscription for the whole node, opened again whenever it breaks.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use application::ports::{Listener, Observation, Observer, Rung};
use async_trait::async_trait;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::delay::Delay;

/// Doorbells from a network are at most 64 KiB: a listener that stands still holds 16 MiB.
const HEARD_MAX: usize = 256;
/// After a break it is tried again after this long, and later each time.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(5);

/// A way to hear other nodes.
#[async_trait]
pub(crate) trait Wire: Send + 'static {
    /// Subscribes, calls [`Line::up`] as soon as everything is heard, and passes on what is heard until it breaks.
    /// MUST notice within seconds that the other end is gone or hangs. Returns why it broke.
    async fn hear(&mut self, line: &Line) -> Box<dyn Error + Send + Sync>;
}

/// What one node hears, for all who listen there.
#[derive(Clone)]
pub(crate) struct Line {
    /// Which bus it is, for messages.
    name: &'static str,
    /// The name of its bound among the metrics.
    full: &'static str,
    heard: broadcast::Sender<Rung>,
    up: watch::Sender<bool>,
    observer: Arc<dyn Observer>,
}

/// Hears a wire in the background until it is cancelled.
pub(crate) fn listen(
    name: &'static str,
    full: &'static str,
    mut wire: impl Wire,
    observer: Arc<dyn Observer>,
    (tasks, cancel): (&TaskTracker, CancellationToken),
) -> Line {
    let line = Line {
        name,
        full,
        heard: broadcast::Sender::new(HEARD_MAX),
        up: watch::Sender::new(false),
        observer,
    };
    let hearing = line.clone();
    tasks.spawn(async move {
        cancel.run_until_cancelled(hearing.keep_hearing(&mut wire)).await;
        hearing.up.send_replace(false);
    });
    line
}

impl Line {
    /// From here on everything is heard; what was said before may have been missed.
    pub(crate) fn up(&self) {
        self.ring(Rung::Missed);
        if !self.up.send_replace(true) {
            tracing::info!(bus = self.name, "hears other nodes");
        }
    }

    /// Tells everybody who listens.
    pub(crate) fn ring(&self, rung: Rung) {
        // Nobody listens: nobody is owed anything.
        let _ = self.heard.send(rung);
    }

    /// Says whether other nodes are heard, and when that changes.
    pub(crate) fn hears(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// Begins to listen.
    pub(crate) fn listener(&self) -> Box<dyn Listener> {
        Box::new(LineListener {
            rungs: self.heard.subscribe(),
            full: self.full,
            observer: Arc::clone(&self.observer),
        })
    }

    async fn keep_hearing(&self, wire: &mut impl Wire) {
        let mut delay = Delay::new(FIRST_DELAY, LAST_DELAY);
        let mut said = false;
        loop {
            let error = wire.hear(self).await;
            let worked = self.up.send_replace(false);
            if worked {
                delay.reset();
            }
            // Once for each outage, however many attempts it takes.
            if worked || !said {
                said = true;
                let cause = error.source().map(ToString::to_string);
                tracing::warn!(bus = self.name, %error, cause, "does not hear other nodes");
            }
            tokio::time::sleep(delay.next()).await;
        }
    }
}

struct LineListener {
    rungs: broadcast::Receiver<Rung>,
    full: &'static str,
    observer: Arc<dyn Observer>,
}

#[async_trait]
impl Listener for LineListener {
    async fn next(&mut self) -> Rung {
        match self.rungs.recv().await {
            Ok(rung) => rung,
            Err(RecvError::Lagged(_)) => {
                self.observer.saw(&Observation::Full(self.full));
                Rung::Missed
            }
            // The bus is gone and nothing will ever ring.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
