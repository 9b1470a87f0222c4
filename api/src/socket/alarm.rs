//! A deadline that costs nothing while none is set.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// One deadline. Most connections are idle most of the time and have none, so the timer lives on the heap.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Sets the deadline, in place of an earlier one.
    pub(super) fn set(&mut self, after: Duration) {
        self.0 = Some(Box::pin(sleep(after)));
    }

    /// Forgets the deadline.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Waits for the deadline, for ever when none is set.
    pub(super) async fn rings(&mut self) {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().await,
            None => pending().await,
        }
    }
}
