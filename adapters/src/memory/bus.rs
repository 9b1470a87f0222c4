//! The bus of a single node.

use std::sync::Arc;

use application::ports::{Bus, Doorbell, Listener, Rung};
use async_trait::async_trait;
use domain::event::{Change, Event};
use domain::notification::Notification;
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

/// With doorbells of [`DOORBELL_MAX_BYTES`] a listener that stands still holds 64 MiB; one that is further behind
/// reads the log faster than it would be told.
const DOORBELLS_MAX: usize = 64;

/// As much as a store takes in one commit. What is larger rings without copies.
const DOORBELL_MAX_BYTES: usize = 1024 * 1024;

/// Rings within this process. Listeners share the copies.
#[derive(Debug)]
pub struct MemoryBus {
    ringing: Sender<Rung>,
}

impl MemoryBus {
    /// Hangs up the bell.
    pub fn new() -> Self {
        Self {
            ringing: Sender::new(DOORBELLS_MAX),
        }
    }
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn announce(&self, doorbell: Doorbell) {
        let rung = if bytes_of(&doorbell.events) > DOORBELL_MAX_BYTES {
            Rung::Missed
        } else {
            Rung::Doorbell(doorbell)
        };
        // Nobody listens: nobody is owed anything.
        let _ = self.ringing.send(rung);
    }

    fn listen(&self) -> Box<dyn Listener> {
        Box::new(MemoryListener(self.ringing.subscribe()))
    }
}

/// Counts what the events hold. Those of one notification stand side by side and share it.
fn bytes_of(events: &[Arc<Event>]) -> usize {
    let mut bytes = size_of_val(events) + size_of::<Event>() * events.len();
    let mut counted: Option<&Arc<Notification>> = None;
    for event in events {
        let Change::Published { notification, .. } = &event.change else {
            continue;
        };
        if !counted.is_some_and(|last| Arc::ptr_eq(last, notification)) {
            let content = &notification.content;
            bytes += content.title.len() + content.body.len() + content.data.len();
            counted = Some(notification);
        }
    }
    bytes
}

#[derive(Debug)]
struct MemoryListener(Receiver<Rung>);

#[async_trait]
impl Listener for MemoryListener {
    async fn next(&mut self) -> Rung {
        match self.0.recv().await {
            Ok(rung) => rung,
            Err(RecvError::Lagged(_)) => Rung::Missed,
            // The bus is gone and nothing will ever ring.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
