//! Probing Ably and keeping the books of it, until the node goes.

use std::sync::Arc;
use std::time::Duration;

use application::ably_examine::ExamineAbly;
use application::ably_health::ProbeAbly;
use application::ports::Streams;
use application::rollout::RolloutInForce;
use domain::stream::Jitter;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After a probe that failed the next one hurries: three of them say that Ably is down.
const AGAIN: Duration = Duration::from_secs(1);
/// Whether anybody may be on Ably is looked at this often while nobody may.
const IDLE: Duration = Duration::from_secs(1);
/// Gauges and minutes.
const SHOW_EVERY: Duration = Duration::from_secs(15);

/// What probes, and what it goes by.
pub(crate) struct Probing {
    pub(crate) probe: ProbeAbly,
    /// Zero for never.
    pub(crate) every: Duration,
    pub(crate) in_force: Arc<RolloutInForce>,
    pub(crate) examine: Arc<ExamineAbly>,
    pub(crate) streams: Arc<dyn Streams>,
}

impl Probing {
    /// Starts both tasks.
    pub(crate) fn start(self, (tasks, cancel): (&TaskTracker, &CancellationToken)) {
        let showing = show(self.examine, self.streams);
        tasks.spawn(cancel.clone().run_until_cancelled_owned(showing));
        if self.every > Duration::ZERO {
            let probing = probe(self.probe, self.every, self.in_force);
            tasks.spawn(cancel.clone().run_until_cancelled_owned(probing));
        }
    }
}

/// Probes as long as anybody may be on Ably, or was sent away from it by the kill switch: whoever takes that away wants to
/// know how Ably is.
async fn probe(probe: ProbeAbly, every: Duration, in_force: Arc<RolloutInForce>) {
    loop {
        let needed = {
            let current = in_force.current();
            let rollout = current.rollout();
            rollout.reaches_anybody() || rollout.kill_switch.is_some()
        };
        if !needed {
            sleep(IDLE).await;
            continue;
        }
        probe.probe().await;
        let pause = if probe.health.doubts() {
            AGAIN.min(every)
        } else {
            every
        };
        // Nodes that were started together do not stay together.
        let jitter = Jitter::from_bits(probe.entropy.bits());
        sleep(pause * 9 / 10 + jitter.of(pause / 5)).await;
    }
}

async fn show(examine: Arc<ExamineAbly>, streams: Arc<dyn Streams>) {
    let mut turn = interval(SHOW_EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        if let Err(error) = examine.show(streams.report().connections).await {
            tracing::debug!(%error, "what waits for Ably cannot be counted");
        }
    }
}
