//! The order to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Passes the order to stop on to whoever holds a copy: readiness, the accept loop, the hub, workers.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    begun: CancellationToken,
    forced: CancellationToken,
}

impl Shutdown {
    /// Nobody has asked to stop yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody to stop when what they are doing is done. Repeating is harmless.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Asks everybody to stop at once.
    pub fn force(&self) {
        self.begun.cancel();
        self.forced.cancel();
    }

    /// Tells whether stopping has begun: then the node is not ready.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Returns a token that is cancelled when stopping begins.
    pub fn begun(&self) -> &CancellationToken {
        &self.begun
    }

    /// Returns a token that is cancelled when waiting is over.
    pub fn forced(&self) -> &CancellationToken {
        &self.forced
    }

    /// Begins on the first SIGTERM or SIGINT, and forces on the second, for as long as the returned value lives.
    /// Must be called within a runtime.
    pub fn on_signals(&self) -> io::Result<SignalWatch> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        let watch = TaskTracker::new().spawn(async move {
            loop {
                let name = tokio::select! {
                    Some(()) = terminate.recv() => "SIGTERM",
                    Some(()) = interrupt.recv() => "SIGINT",
                    else => return,
                };
                if shutdown.has_begun() {
                    tracing::warn!(signal = name, "stopping at once");
                    return shutdown.force();
                }
                tracing::info!(signal = name, "stopping");
                shutdown.begin();
            }
        });
        Ok(SignalWatch(watch.abort_handle()))
    }
}

/// Watches for signals until it is dropped.
#[derive(Debug)]
#[must_use = "signals are watched for as long as this lives"]
pub struct SignalWatch(AbortHandle);

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}
