//! Planning and sending deliveries in the background until the node goes.

use std::sync::Arc;
use std::time::Duration;

use application::boundary::bounded;
use application::deliver::{Deliver, Planned};
use application::ports::{Listener, StoreError};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The log is looked at this often whatever the bus says, and this often at all while nobody is on the transport.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Deliveries that are due again, or that another node has left, are looked for this often.
const SEND_EVERY: Duration = Duration::from_millis(500);
/// Bursts of doorbells are planned together.
const BREATH: Duration = Duration::from_millis(1);

/// Starts both tasks. One that waits for the transport does not keep the log from being planned.
pub(crate) fn start(
    deliver: Deliver,
    listener: Box<dyn Listener>,
    (tasks, cancel): (&TaskTracker, &CancellationToken),
) {
    let (deliver, planned) = (Arc::new(deliver), Arc::new(Notify::new()));
    let planning = plan(Arc::clone(&deliver), listener, Arc::clone(&planned));
    tasks.spawn(cancel.clone().run_until_cancelled_owned(planning));
    tasks.spawn(send(deliver, planned, cancel.clone()));
}

async fn plan(deliver: Arc<Deliver>, mut listener: Box<dyn Listener>, planned: Arc<Notify>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fine = Said::default();
    loop {
        tokio::select! {
            _ = listener.next() => {
                if deliver.idle() {
                    continue;
                }
                tokio::time::sleep(BREATH).await;
            }
            _ = look.tick() => {}
        }
        if let Ok(outcome) = bounded(&*deliver.observer, "plan", plan_all(&deliver)).await {
            fine.say(outcome.as_ref().err(), "deliveries cannot be planned");
        }
        planned.notify_one();
    }
}

async fn plan_all(deliver: &Deliver) -> Result<(), StoreError> {
    while deliver.plan().await? == Planned::Some {}
    Ok(())
}

/// A pass that has begun is finished, so that its leases do not hold other nodes up.
async fn send(deliver: Arc<Deliver>, planned: Arc<Notify>, cancel: CancellationToken) {
    let mut look = tokio::time::interval(SEND_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fine = Said::default();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = planned.notified() => {}
            _ = look.tick() => {}
        }
        loop {
            let Ok(pass) = bounded(&*deliver.observer, "send", deliver.send()).await else {
                break;
            };
            fine.say(pass.as_ref().err(), "deliveries cannot be sent");
            if cancel.is_cancelled() || !pass.is_ok_and(|pass| pass.moved()) {
                break;
            }
        }
    }
}

/// Says a trouble once, and once when it is over.
#[derive(Default)]
struct Said {
    trouble: bool,
}

impl Said {
    fn say(&mut self, error: Option<&StoreError>, what: &'static str) {
        match error {
            Some(error) if !self.trouble => {
                self.trouble = true;
                tracing::warn!(%error, "{what}");
            }
            None if self.trouble => {
                self.trouble = false;
                tracing::info!("deliveries go on");
            }
            _ => {}
        }
    }
}
