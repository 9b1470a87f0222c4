//! What nodes told of their publishes, in this process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::{Clock, StoreError, TALLY_KEPT, Tally};
use async_trait::async_trait;
use domain::guard::Publishes;
use domain::ids::NodeId;
use domain::time::Timestamp;

/// What nodes told, and who leads what.
pub struct MemoryTally {
    clock: Arc<dyn Clock>,
    /// Never held across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    told: VecDeque<Told>,
    leads: HashMap<String, (NodeId, Timestamp)>,
}

struct Told {
    at: Timestamp,
    node: NodeId,
    number: u32,
    publishes: Publishes,
}

impl MemoryTally {
    /// Begins empty.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Tally for MemoryTally {
    async fn tell(&self, node: NodeId, number: u32, publishes: Publishes) -> Result<(), StoreError> {
        let at = self.clock.now();
        let mut state = self.state();
        state.told.retain(|told| at.since(told.at) < TALLY_KEPT);
        let known = |told: &Told| told.node == node && told.number == number;
        if !state.told.iter().any(known) {
            state.told.push_back(Told {
                at,
                node,
                number,
                publishes,
            });
        }
        Ok(())
    }

    async fn recent(&self, window: Duration) -> Result<Publishes, StoreError> {
        let now = self.clock.now();
        let mut sum = Publishes::default();
        for told in self
            .state()
            .told
            .iter()
            .filter(|told| now.since(told.at) < window)
        {
            sum += told.publishes;
        }
        Ok(sum)
    }

    async fn lead(&self, task: &str, node: NodeId, term: Duration) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let led = state.leads.get(task);
        if led.is_some_and(|(leader, until)| *leader != node && now < *until) {
            return Ok(false);
        }
        state.leads.insert(task.to_owned(), (node, now.plus(term)));
        Ok(true)
    }
}
