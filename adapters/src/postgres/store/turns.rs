//! Turns: one person's devices write one after another, and hold one connection between them.

use std::hash::{BuildHasher, RandomState};

use domain::ids::UserId;
use tokio::sync::{Mutex, MutexGuard};

/// Two people share a turn now and then; with this many that is rare among those who write at the same moment.
const TURNS: usize = 256;

/// A turn for each person of this node. Other nodes' are kept apart by the row's lock.
pub(super) struct Turns {
    hasher: RandomState,
    turns: Vec<Mutex<()>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
        }
    }
}

impl Turns {
    /// Waits until nobody else writes for this person.
    pub(super) async fn of(&self, user: &UserId) -> MutexGuard<'_, ()> {
        let turns = self.turns.len() as u64;
        let turn = self.hasher.hash_one(user) % turns;
        self.turns[usize::try_from(turn).unwrap_or_default()].lock().await
    }
}
