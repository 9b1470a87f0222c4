//! What a node looks after by itself: its level, and the record of its availability.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use application::availability::Availability;
use application::boundary::bounded;
use application::degrade::Degrade;
use application::ports::{Observer, Store, Streams};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// A store that takes longer to say where it stands serves nobody.
pub(crate) const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// The level is judged this often.
const JUDGE_EVERY: Duration = Duration::from_secs(2);
/// A minute has twelve samples of readiness.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// After a panic the same is begun anew this much later.
const BEGIN_ANEW: Duration = Duration::from_secs(1);

/// What a node has to be to take work.
pub(crate) struct Readiness {
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) streams: Arc<dyn Streams>,
}

impl Readiness {
    /// Says whether this node takes work: neither starting nor going, with a store that answers, and on the log.
    pub(crate) async fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
            && self.streams.report().tailing
            && matches!(timeout(STORE_ANSWERS_WITHIN, self.store.head()).await, Ok(Ok(_)))
    }
}

/// Judges the level until it is dropped. Files are read away from where requests are answered.
pub(crate) async fn judge(degrade: Arc<Degrade>) {
    let mut every = interval(JUDGE_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let degrade = Arc::clone(&degrade);
        let judged = tokio::task::spawn_blocking(move || degrade.run()).await;
        if judged.is_err() {
            tracing::error!("the level could not be judged");
        }
    }
}

/// Samples readiness until it is dropped, and writes what each minute came to.
pub(crate) async fn record(availability: Arc<Availability>, readiness: Readiness) {
    let mut every = interval(SAMPLE_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fine = true;
    loop {
        every.tick().await;
        availability.sample(readiness.is_ready().await);
        let written = availability.write().await;
        if let Err(error) = &written
            && fine
        {
            tracing::warn!(%error, "availability is written later");
        }
        fine = written.is_ok();
    }
}

/// Does work that has no end of its own, and begins it anew where it panics.
pub(crate) async fn supervise<F: Future<Output = ()>>(
    observer: Arc<dyn Observer>,
    what: &'static str,
    mut begin: impl FnMut() -> F,
) {
    while bounded(&*observer, what, begin()).await.is_err() {
        tokio::time::sleep(BEGIN_ANEW).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use application::testing::Unobserved;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_is_begun_anew_until_it_ends() {
        let times = AtomicUsize::new(0);
        let begin = || async {
            assert!(times.fetch_add(1, Ordering::SeqCst) >= 3, "planted");
        };
        supervise(Arc::new(Unobserved), "planted", begin).await;
        assert_eq!(times.load(Ordering::SeqCst), 4);
    }
}
