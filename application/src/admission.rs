//! Admission: so many streams are opened at a time, and whoever has missed something goes first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::degrade::Coming;
use domain::stream::{Jitter, ReconnectSpread};
use tokio::sync::oneshot;

use crate::load::Load;
use crate::ports::{Clock, Entropy, Observation, Observer};

/// Whoever waits longer would rather come back.
const PATIENCE: Duration = Duration::from_secs(2);

/// The names of what may be full, among the metrics.
const QUEUE_FULL: &str = "handshake_queue";
const TOO_SLOW: &str = "handshake_wait";

/// How many are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionBounds {
    /// So many streams are opened at a time, fewer on severe levels.
    pub at_once: usize,
    /// So many wait for their turn.
    pub waiting: usize,
    /// How those are spread who have to come back.
    pub spread: ReconnectSpread,
}

/// Lets clients in that want to open a stream.
///
/// Opening one asks the store, the registry and the hub. When a whole city comes back at once, so many are served at a
/// time and the others wait: first those who come back with a cursor, each within two seconds, then those who are new.
/// Whoever cannot wait here is told a moment of their own to come back, in a window that grows with how many come.
pub struct Admission {
    load: Arc<Load>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    observer: Arc<dyn Observer>,
    bounds: AdmissionBounds,
    /// Never held across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    under_way: usize,
    back: VecDeque<oneshot::Sender<()>>,
    new: VecDeque<oneshot::Sender<()>>,
}

/// A client that is not let in now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotNow {
    /// When it should come back.
    pub after: Duration,
}

/// Leave to open one stream, given back when it is dropped.
#[must_use = "the next one is let in when this is dropped"]
pub struct Turn<'a>(&'a Admission);

impl Admission {
    /// Nobody has come yet.
    pub fn new(
        load: Arc<Load>,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
        observer: Arc<dyn Observer>,
        bounds: AdmissionBounds,
    ) -> Self {
        Self {
            load,
            clock,
            entropy,
            observer,
            bounds,
            state: Mutex::default(),
        }
    }

    /// Waits until this client may open its stream. Cancelling gives the place up.
    pub async fn enter(&self, coming: Coming) -> Result<Turn<'_>, NotNow> {
        self.load.arrived(self.clock.uptime());
        if !self.load.level().lets_in(coming) {
            return Err(self.not_now("degraded"));
        }
        let turn = {
            let mut state = self.state();
            if state.under_way < self.at_once() {
                state.under_way += 1;
                return Ok(Turn(self));
            }
            let waiting = state.back.len() + state.new.len();
            if waiting >= self.bounds.waiting {
                // Those who are gone hold no place.
                state.back.retain(|client| !client.is_closed());
                state.new.retain(|client| !client.is_closed());
            }
            if state.back.len() + state.new.len() >= self.bounds.waiting {
                drop(state);
                return Err(self.not_now(QUEUE_FULL));
            }
            let (call, called) = oneshot::channel();
            match coming {
                Coming::Back => state.back.push_back(call),
                Coming::New => state.new.push_back(call),
            }
            Waiting {
                admission: self,
                called,
            }
        };
        turn.wait().await
    }

    /// Says how many are opening a stream, and how many wait.
    pub fn standing(&self) -> (usize, usize) {
        let state = self.state();
        (state.under_way, state.back.len() + state.new.len())
    }

    fn at_once(&self) -> usize {
        self.load.level().at_once(self.bounds.at_once)
    }

    fn not_now(&self, why: &'static str) -> NotNow {
        self.observer.saw(&Observation::Full(why));
        let jitter = Jitter::from_bits(self.entropy.bits());
        let arrivals = self.load.arrivals(self.clock.uptime());
        NotNow {
            after: self.bounds.spread.delay(arrivals, jitter),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A count and two lists, each right on its own.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a turn back, and lets the next ones in.
    fn leave(&self) {
        let at_once = self.at_once();
        let mut state = self.state();
        state.under_way = state.under_way.saturating_sub(1);
        while state.under_way < at_once {
            let Some(next) = state.back.pop_front().or_else(|| state.new.pop_front()) else {
                return;
            };
            // One that is gone passes its turn on.
            if next.send(()).is_ok() {
                state.under_way += 1;
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Somebody in the queue.
struct Waiting<'a> {
    admission: &'a Admission,
    called: oneshot::Receiver<()>,
}

impl<'a> Waiting<'a> {
    async fn wait(mut self) -> Result<Turn<'a>, NotNow> {
        let admission = self.admission;
        if let Ok(Ok(())) = tokio::time::timeout(PATIENCE, &mut self.called).await {
            return Ok(Turn(admission));
        }
        Err(admission.not_now(TOO_SLOW))
    }
}

impl Drop for Waiting<'_> {
    /// One that was called and went away in the same moment gives its turn back.
    fn drop(&mut self) {
        self.called.close();
        if self.called.try_recv().is_ok() {
            self.admission.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use domain::degrade::Level;
    use futures_util::future::join_all;
    use futures_util::{FutureExt as _, poll};

    use super::*;
    use crate::testing::{SeededEntropy, SimClock, Unobserved};

    fn admission(at_once: usize, waiting: usize) -> (Admission, Arc<Load>) {
        let load = Arc::new(Load::default());
        let around = (
            Arc::new(SimClock::new()) as Arc<dyn Clock>,
            Arc::new(SeededEntropy::new(1)) as Arc<dyn Entropy>,
        );
        let bounds = AdmissionBounds {
            at_once,
            waiting,
            spread: ReconnectSpread {
                per_second: 100,
                ..ReconnectSpread::default()
            },
        };
        let admission = Admission::new(Arc::clone(&load), around, Arc::new(Unobserved), bounds);
        (admission, load)
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_so_many_are_let_in_at_a_time_and_everybody_is() {
        let (admission, _) = admission(8, 1_000);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let visit = async || {
            let turn = admission.enter(Coming::New).await;
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            inside.fetch_sub(1, Ordering::SeqCst);
            turn.is_ok()
        };
        let visits = join_all((0..500).map(|_| visit())).await;
        assert!(visits.into_iter().all(|let_in| let_in));
        assert_eq!(most.load(Ordering::SeqCst), 8);
        assert_eq!(admission.standing(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_back_goes_before_whoever_is_new() {
        let (admission, _) = admission(1, 10);
        let first = admission.enter(Coming::New).await.unwrap();
        let mut new = Box::pin(admission.enter(Coming::New));
        assert!(poll!(&mut new).is_pending());
        let mut back = Box::pin(admission.enter(Coming::Back));
        assert!(poll!(&mut back).is_pending());
        drop(first);
        assert!(poll!(&mut new).is_pending());
        let second = back.await.unwrap();
        assert!(poll!(&mut new).is_pending());
        drop(second);
        assert!(new.now_or_never().unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_and_a_long_wait_send_clients_away_with_a_moment_of_their_own() {
        let (admission, _) = admission(1, 1);
        let _inside = admission.enter(Coming::Back).await.unwrap();
        let mut waiting = Box::pin(admission.enter(Coming::Back));
        assert!(poll!(&mut waiting).is_pending());
        let NotNow { after } = admission.enter(Coming::Back).await.err().unwrap();
        assert!(after >= Duration::from_secs(1), "{after:?}");
        let began = tokio::time::Instant::now();
        assert!(waiting.await.is_err());
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_goes_away_while_waiting_holds_nobody_up() {
        let (admission, _) = admission(1, 2);
        let inside = admission.enter(Coming::New).await.unwrap();
        for _ in 0..10 {
            let mut gone = Box::pin(admission.enter(Coming::New));
            assert!(poll!(&mut gone).is_pending());
        }
        let mut next = Box::pin(admission.enter(Coming::New));
        assert!(poll!(&mut next).is_pending());
        drop(inside);
        let turn = next.now_or_never().unwrap().unwrap();
        assert_eq!(admission.standing().0, 1);
        // Called, and gone before it could take its turn.
        let mut called = Box::pin(admission.enter(Coming::New));
        assert!(poll!(&mut called).is_pending());
        drop(turn);
        drop(called);
        assert_eq!(admission.standing().0, 0);
    }

    #[tokio::test]
    async fn a_node_that_is_critical_lets_in_whoever_comes_back_alone() {
        let (admission, load) = admission(8, 10);
        load.enter(Level::Critical);
        assert!(admission.enter(Coming::New).await.is_err());
        assert!(admission.enter(Coming::Back).await.is_ok());
        load.enter(Level::Severe);
        assert!(admission.enter(Coming::New).await.is_ok());
    }

    #[tokio::test]
    async fn the_window_to_come_back_in_grows_with_how_many_come() {
        let (admission, load) = admission(1, 0);
        let _inside = admission.enter(Coming::New).await.unwrap();
        for _ in 0..3_000 {
            load.arrived(Duration::ZERO);
        }
        let mut latest = Duration::ZERO;
        for _ in 0..200 {
            let NotNow { after } = admission.enter(Coming::New).await.err().unwrap();
            latest = latest.max(after);
        }
        assert!(
            latest > Duration::from_secs(25),
            "3,000 at 100 a second: {latest:?}"
        );
    }
}
