//! Telling the cluster how publishes to Ably went, and guarding the rollout, until the node goes.

use std::sync::Arc;
use std::time::Duration;

use application::guard::{Counting, Guard};
use application::ports::Tally;
use domain::ids::NodeId;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Well within what the guard grants ([`TOLD_WITHIN`](domain::guard::TOLD_WITHIN)).
const TELL_EVERY: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Tells what was counted, and once more when the node goes.
pub(crate) async fn tell(
    counting: Arc<Counting>,
    tally: Arc<dyn Tally>,
    node: NodeId,
    cancel: CancellationToken,
) {
    let mut turn = interval(TELL_EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let goes = tokio::select! {
            () = cancel.cancelled() => true,
            _ = turn.tick() => false,
        };
        if let Err(error) = counting.tell(&*tally, node).await {
            tracing::debug!(%error, "publishes to Ably could not be told yet");
        }
        if goes {
            return;
        }
    }
}

/// Looks at the rollout as long as the node lives.
pub(crate) async fn watch(guard: Guard) {
    let mut turn = interval(LOOK_EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = false;
    loop {
        turn.tick().await;
        match guard.look().await {
            Ok(_) => trouble = false,
            Err(error) if !trouble => {
                trouble = true;
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the rollout is not guarded"
                );
            }
            Err(_) => {}
        }
    }
}
