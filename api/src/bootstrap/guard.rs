//! The guard of the rollout.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use adapters::RolloutJson;
use anyhow::Context as _;
use application::guard::{Counting, GUARD, Guard};
use application::rollout::RolloutInForce;
use domain::capability::{Principal, Role};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Ports, rollout};
use crate::config::Config;
use crate::guard;

/// The role that back ends publish with.
const PUBLISHES: &str = "SERVICE";

/// Starts telling the cluster how publishes went and, where it is not switched off, the guard that acts upon it.
pub(super) fn start(
    config: &Config,
    ports: &Ports,
    (counting, in_force): (Arc<Counting>, &Arc<RolloutInForce>),
    (tasks, cancel): (&TaskTracker, &CancellationToken),
) -> anyhow::Result<()> {
    let telling = guard::tell(counting, Arc::clone(&ports.tally), ports.node, cancel.clone());
    tasks.spawn(telling);
    if config.ably.guard.enabled {
        let user = GUARD.parse().context("the guard's name")?;
        let guard = Guard {
            administer: rollout::administer(ports, Arc::new(RolloutJson), Arc::clone(in_force)),
            tally: Arc::clone(&ports.tally),
            publish: ports.publish(config),
            policy: config.ably.guard.policy,
            node: ports.node,
            guard: Principal::new(user, [Role::new(PUBLISHES)]),
            told: config.ably.guard.notify.clone(),
            clock: Arc::clone(&ports.clock),
            observer: Arc::clone(&ports.observer),
            announced: Mutex::new(BTreeSet::new()),
        };
        tasks.spawn(cancel.clone().run_until_cancelled_owned(guard::watch(guard)));
    }
    Ok(())
}
