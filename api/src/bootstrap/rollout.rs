//! The rollout of Ably: what this node goes by, and what administrators change.

use std::sync::Arc;

use adapters::RolloutJson;
use application::ports::RolloutFormat;
use application::rollout::{AdministerRollout, FollowRollout, RolloutInForce};

use super::Ports;

/// What has to do with the rollout, wired.
pub(super) struct Wiring {
    /// Keeps what is in force up to date.
    pub(super) follow: FollowRollout,
    /// Shows and changes it. What else goes by the rollout takes its `in_force`.
    pub(super) administer: AdministerRollout,
}

impl Wiring {
    pub(super) fn new(ports: &Ports) -> Self {
        let format: Arc<dyn RolloutFormat> = Arc::new(RolloutJson);
        let in_force = Arc::new(RolloutInForce::default());
        let settings = Arc::clone(&ports.settings);
        let follow = FollowRollout::new(settings, Arc::clone(&format), Arc::clone(&in_force));
        let administer = administer(ports, format, in_force);
        Self { follow, administer }
    }
}

/// Wires what changes the rollout, for whoever does: administrators, and the guard.
pub(super) fn administer(
    ports: &Ports,
    format: Arc<dyn RolloutFormat>,
    in_force: Arc<RolloutInForce>,
) -> AdministerRollout {
    AdministerRollout {
        change: ports.change_settings(),
        format,
        in_force,
        clock: Arc::clone(&ports.clock),
        entropy: Arc::clone(&ports.entropy),
    }
}
