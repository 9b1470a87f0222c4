//! People of whom this node knows that the store knows them: a stream that opens need not ask again.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use domain::ids::UserId;

/// Two generations of this many ids, some 10 MB when full.
const GENERATION_MAX: usize = 50_000;

/// Who was met lately. Nobody is ever forgotten by the store, so that what is known stays true.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// Never held over an await.
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<UserId>,
    old: HashSet<UserId>,
}

impl Met {
    pub(super) fn knows(&self, user: &UserId) -> bool {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young.contains(user) {
            return true;
        }
        let known = generations.old.contains(user);
        if known {
            generations.add(user);
        }
        known
    }

    pub(super) fn add(&self, user: &UserId) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.add(user);
    }
}

impl Generations {
    fn add(&mut self, user: &UserId) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(user.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n: usize) -> UserId {
        format!("u-{n}").parse().unwrap()
    }

    #[test]
    fn it_holds_a_bounded_number_and_keeps_who_comes_by() {
        let met = Met::default();
        for n in 0..GENERATION_MAX * 5 {
            met.add(&user(n));
            assert!(met.knows(&user(0)));
        }
        assert!(!met.knows(&user(1)));
        let generations = met.generations.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_MAX);
    }
}
