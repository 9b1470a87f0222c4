//! Several buses as one: whatever rings first is heard first, and what rings twice is heard twice.

use std::sync::Arc;

use application::ports::{Bus, Doorbell, Listener, Reply, Rung};
use async_trait::async_trait;
use futures_util::future::select_all;

/// Rings on every bus and hears them all.
///
/// A node hears itself through the memory bus at once; other nodes through whichever of the others is faster. A bus
/// that is away costs the others nothing.
pub struct Buses(Vec<Arc<dyn Bus>>);

impl Buses {
    /// Joins buses, at least one.
    pub const fn new(buses: Vec<Arc<dyn Bus>>) -> Self {
        Self(buses)
    }
}

#[async_trait]
impl Bus for Buses {
    async fn announce(&self, doorbell: Doorbell) {
        for bus in &self.0 {
            bus.announce(doorbell.clone()).await;
        }
    }

    fn forward(&self, reply: Reply) {
        for bus in &self.0 {
            bus.forward(reply.clone());
        }
    }

    fn listen(&self) -> Box<dyn Listener> {
        Box::new(Listeners {
            listeners: self.0.iter().map(|bus| bus.listen()).collect(),
            first: 0,
        })
    }
}

struct Listeners {
    listeners: Vec<Box<dyn Listener>>,
    /// Who is asked first, in turn: a bus that rings all the time drowns no other.
    first: usize,
}

#[async_trait]
impl Listener for Listeners {
    async fn next(&mut self) -> Rung {
        if self.listeners.is_empty() {
            return std::future::pending().await;
        }
        self.first = (self.first + 1) % self.listeners.len();
        let (later, sooner) = self.listeners.split_at_mut(self.first);
        // Waits that are given up lose nothing.
        let waits = sooner.iter_mut().chain(later).map(|listener| listener.next());
        select_all(waits).await.0
    }
}
