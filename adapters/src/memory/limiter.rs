//! The limiter of a single node: gone when it ends.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::{Budget, Clock, Limiter, LimiterUnavailable, Observation, Observer, Reach};
use async_trait::async_trait;
use domain::limit::{Allowance, Log, STEP, Verdict, WINDOW, take};

/// Each takes at most 1.2 KiB, so together at most 160 MiB; as people use a service a key has a few runs, and all of
/// them take about 30 MiB.
const KEYS_MAX: usize = 131_072;

/// What was not asked for in a whole generation has left the window.
const GENERATION: Duration = Duration::from_secs(WINDOW.as_secs() + STEP.as_secs());

/// The name of this bound among the metrics.
const FULL: &str = "limits";

/// What was let through, by key.
///
/// Keys are bounded. Beyond that a new key is not counted, which is let through, and the observer sees `Full("limits")`:
/// somebody with very many addresses must not shut the others out, and whoever was counted before stays so.
pub struct MemoryLimiter {
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    keys_max: usize,
    /// Never held across an await.
    state: Mutex<State>,
}

impl MemoryLimiter {
    /// Begins empty.
    pub fn new(clock: Arc<dyn Clock>, observer: Arc<dyn Observer>) -> Self {
        Self {
            clock,
            observer,
            keys_max: KEYS_MAX,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic leaves undone is at most a log that is not put back: its key begins anew.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Limiter for MemoryLimiter {
    async fn take(&self, budgets: &[Budget]) -> Result<Verdict, LimiterUnavailable> {
        let now = self.clock.uptime();
        let mut state = self.state();
        let over = state.turn(now);
        let mut logs: Vec<(Option<String>, Log)> =
            budgets.iter().map(|budget| state.take_out(&budget.key)).collect();
        let mut asked: Vec<(&mut Log, Allowance)> = logs
            .iter_mut()
            .zip(budgets)
            .map(|((_, log), budget)| (log, budget.allowance))
            .collect();
        let verdict = take(&mut asked, now);
        let mut full = false;
        for ((known, log), budget) in logs.into_iter().zip(budgets) {
            full |= !state.put_back(known, &budget.key, log, self.keys_max);
        }
        drop(state);
        // A generation takes its time to go, in which nobody has to wait.
        drop(over);
        if full {
            self.observer.saw(&Observation::Full(FULL));
        }
        Ok(verdict)
    }

    fn reach(&self) -> Reach {
        Reach::Whole
    }
}

type Logs = HashMap<String, Log>;

/// Keys that were used in this generation, and those that were used in the last one alone.
#[derive(Default)]
struct State {
    young: Logs,
    old: Logs,
    began: Duration,
}

impl State {
    /// Begins another generation when it is time, and returns what is over.
    fn turn(&mut self, now: Duration) -> [Logs; 2] {
        let age = now.saturating_sub(self.began);
        if age < GENERATION {
            return Default::default();
        }
        self.began = now;
        let young = mem::take(&mut self.young);
        if age < GENERATION * 2 {
            [mem::replace(&mut self.old, young), Logs::new()]
        } else {
            [mem::take(&mut self.old), young]
        }
    }

    fn take_out(&mut self, key: &str) -> (Option<String>, Log) {
        let known = self
            .young
            .remove_entry(key)
            .or_else(|| self.old.remove_entry(key));
        known.map_or_else(Default::default, |(key, log)| (Some(key), log))
    }

    /// Puts a log back; tells whether there was room for it.
    fn put_back(&mut self, known: Option<String>, key: &str, log: Log, keys_max: usize) -> bool {
        if log.runs() == 0 {
            return true;
        }
        if known.is_none() && self.young.len() + self.old.len() >= keys_max {
            return false;
        }
        self.young.insert(known.unwrap_or_else(|| key.to_owned()), log);
        true
    }
}

#[cfg(test)]
mod tests {
    use application::testing::SimClock;

    use super::*;

    /// Notes what it was told of.
    #[derive(Default)]
    struct Noting(Mutex<Vec<Observation>>);

    impl Observer for Noting {
        fn saw(&self, observation: &Observation) {
            self.0.lock().unwrap().push(*observation);
        }
    }

    fn limiter_of(keys: usize) -> (MemoryLimiter, Arc<SimClock>, Arc<Noting>) {
        let (clock, noting) = (Arc::new(SimClock::new()), Arc::new(Noting::default()));
        let mut limiter = MemoryLimiter::new(clock.clone(), noting.clone());
        limiter.keys_max = keys;
        (limiter, clock, noting)
    }

    async fn takes(limiter: &MemoryLimiter, key: &str, limit: u32) -> bool {
        let budget = Budget {
            key: key.to_owned(),
            allowance: Allowance::try_new(limit, 0).unwrap(),
        };
        matches!(limiter.take(&[budget]).await, Ok(Verdict::Taken(_)))
    }

    fn held(limiter: &MemoryLimiter) -> (usize, usize) {
        let state = limiter.state();
        (state.young.len(), state.old.len())
    }

    #[tokio::test]
    async fn a_full_limiter_says_so_lets_newcomers_pass_and_holds_whom_it_knows() {
        let (limiter, clock, noting) = limiter_of(2);
        assert!(takes(&limiter, "a", 1).await && takes(&limiter, "b", 2).await);
        assert!(noting.0.lock().unwrap().is_empty());
        for _ in 0..3 {
            assert!(takes(&limiter, "c", 1).await, "not counted");
        }
        assert_eq!(*noting.0.lock().unwrap(), [Observation::Full("limits"); 3]);
        assert!(!takes(&limiter, "a", 1).await);
        assert!(takes(&limiter, "b", 2).await && !takes(&limiter, "b", 2).await);
        clock.advance(GENERATION * 2);
        assert!(takes(&limiter, "c", 1).await);
        assert!(!takes(&limiter, "c", 1).await, "counted, now that there is room");
    }

    #[tokio::test]
    async fn what_left_the_window_is_forgotten_and_what_did_not_outlives_a_generation() {
        let (limiter, clock, _) = limiter_of(100);
        takes(&limiter, "idle", 5).await;
        clock.advance(Duration::from_secs(59));
        takes(&limiter, "late", 1).await;
        clock.advance(Duration::from_secs(3));
        assert!(!takes(&limiter, "late", 1).await, "three seconds after");
        assert_eq!(held(&limiter), (1, 1), "the idle one is of the last generation");
        clock.advance(GENERATION);
        takes(&limiter, "other", 5).await;
        // The late one is of the last generation, and the idle one is gone.
        assert_eq!(held(&limiter), (1, 1));
        clock.advance(GENERATION * 2);
        takes(&limiter, "other", 5).await;
        assert_eq!(held(&limiter), (1, 0));
    }

    #[tokio::test]
    async fn whoever_was_only_refused_takes_no_room() {
        let (limiter, _, _) = limiter_of(100);
        takes(&limiter, "a", 1).await;
        let budgets = ["a", "new"].map(|key| Budget {
            key: key.to_owned(),
            allowance: Allowance::try_new(1, 0).unwrap(),
        });
        assert!(matches!(limiter.take(&budgets).await, Ok(Verdict::Refused(_))));
        assert_eq!(held(&limiter), (1, 0));
    }
}
