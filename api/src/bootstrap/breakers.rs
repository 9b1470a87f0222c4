//! What stands behind which circuit breaker.

use std::sync::Arc;

use adapters::guarded::{Circuit, GuardedOutbox, GuardedSettings, GuardedStore};
use application::ports::{Outbox, Probe, Settings, Store};
use domain::breaker::BreakerPolicy;

use super::backends::Surroundings;

/// The breakers of a store: whether it answers, and whether it takes what it is given.
pub(super) struct Names {
    answers: (&'static str, BreakerPolicy),
    writes: (&'static str, BreakerPolicy),
}

pub(super) const POSTGRES: Names = Names {
    answers: ("postgres", BreakerPolicy::POSTGRES),
    writes: ("postgres-writes", BreakerPolicy::POSTGRES_WRITES),
};

pub(super) const REDIS: Names = Names {
    answers: ("redis", BreakerPolicy::REDIS),
    writes: ("redis-writes", BreakerPolicy::REDIS_WRITES),
};

/// A store behind its breakers, and the breakers for what else is kept in the same place.
pub(super) struct Guard {
    pub(super) store: Arc<dyn Store>,
    pub(super) answers: Arc<Circuit>,
    writes: Arc<Circuit>,
}

impl Guard {
    pub(super) fn outbox(&self, inner: Arc<dyn Outbox>) -> Arc<dyn Outbox> {
        let (answers, writes) = (Arc::clone(&self.answers), Arc::clone(&self.writes));
        Arc::new(GuardedOutbox::new(inner, answers, writes))
    }

    pub(super) fn settings(&self, inner: Arc<dyn Settings>) -> Arc<dyn Settings> {
        Arc::new(GuardedSettings::new(inner, Arc::clone(&self.answers)))
    }
}

/// Puts a store behind its breakers. While it does not answer, its head is asked for past them.
pub(super) fn of_the_store(names: &Names, store: Arc<dyn Store>, around: &Surroundings<'_>) -> Guard {
    let (circuits, life) = (around.circuits, (around.tasks, around.cancel));
    let writes = circuits.add(names.writes.0, names.writes.1, Vec::new());
    let answers = circuits.add(names.answers.0, names.answers.1, vec![Arc::clone(&writes)]);
    let asked = Arc::clone(&store);
    let is_there = move || {
        let store = Arc::clone(&asked);
        async move { store.head().await.is_ok() }
    };
    answers.look_after(is_there, life);
    let guarded = GuardedStore::new(store, Arc::clone(&answers), Arc::clone(&writes));
    Guard {
        store: Arc::new(guarded),
        answers,
        writes,
    }
}

/// Makes the breaker of a Redis that others can stand in for.
pub(super) fn of_redis(probe: &Arc<dyn Probe>, around: &Surroundings<'_>) -> Arc<Circuit> {
    let (name, policy) = REDIS.answers;
    let answers = around.circuits.add(name, policy, Vec::new());
    let probe = Arc::clone(probe);
    let is_there = move || {
        let probe = Arc::clone(&probe);
        async move { probe.probe().await.is_ok() }
    };
    answers.look_after(is_there, (around.tasks, around.cancel));
    answers
}
