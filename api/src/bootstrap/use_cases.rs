//! The use cases, each with the ports that it asks.

use std::sync::Arc;

use adapters::hub::HubParts;
use adapters::sanitize::HtmlSanitizer;
use adapters::system::SystemIds;
use application::housekeeping::Housekeeping;
use application::inbox::Inbox;
use application::ports::Streams;
use application::publish::Publish;
use application::replay::Replay;
use application::retract::Retract;
use application::room::Room;
use application::settings::ChangeSettings;
use application::subscribe::{Heartbeat, Renew, Subscribe};
use application::tickets::Tickets;

use super::{Ports, upkeep};
use crate::config::Config;

impl Ports {
    pub(super) fn hub(&self) -> HubParts {
        HubParts {
            store: Arc::clone(&self.store),
            bus: Arc::clone(&self.bus),
            registry: Arc::clone(&self.registry),
            rights: Arc::clone(&self.rights),
            revocations: Arc::clone(&self.revocations),
            encoder: Arc::clone(&self.encoder),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            observer: Arc::clone(&self.observer),
            load: Arc::clone(&self.pressure.load),
        }
    }

    pub(super) fn housekeeping(&self) -> Housekeeping {
        Housekeeping {
            store: Arc::clone(&self.store),
            outbox: Arc::clone(&self.outbox),
            bus: Arc::clone(&self.bus),
            observer: Arc::clone(&self.observer),
        }
    }

    pub(super) fn publish(&self, config: &Config) -> Publish {
        Publish {
            store: Arc::clone(&self.store),
            bus: Arc::clone(&self.bus),
            rights: Arc::clone(&self.rights),
            sanitizer: Arc::new(HtmlSanitizer::new()),
            encoder: Arc::clone(&self.encoder),
            clock: Arc::clone(&self.clock),
            ids: Arc::new(SystemIds),
            observer: Arc::clone(&self.observer),
            notification_bytes_max: config.limits.max_notification_bytes,
        }
    }

    pub(super) fn room(&self, config: &Config) -> Room {
        Room {
            registry: Arc::clone(&self.registry),
            store: Arc::clone(&self.store),
            bus: Arc::clone(&self.bus),
            observer: Arc::clone(&self.observer),
            streams_per_user_max: config.streams.max_per_user,
        }
    }

    pub(super) fn subscribe(
        &self,
        config: &Config,
        room: Arc<Room>,
        streams: &Arc<dyn Streams>,
    ) -> Subscribe {
        Subscribe {
            admission: upkeep::admission(config, self),
            streams: Arc::clone(streams),
            store: Arc::clone(&self.store),
            room,
            rights: Arc::clone(&self.rights),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            node: self.node,
        }
    }

    pub(super) fn retract(&self) -> Retract {
        Retract {
            store: Arc::clone(&self.store),
            bus: Arc::clone(&self.bus),
            rights: Arc::clone(&self.rights),
        }
    }

    pub(super) fn inbox(&self) -> Inbox {
        Inbox {
            store: Arc::clone(&self.store),
            bus: Arc::clone(&self.bus),
            rights: Arc::clone(&self.rights),
        }
    }

    pub(super) fn change_settings(&self) -> ChangeSettings {
        ChangeSettings {
            settings: Arc::clone(&self.settings),
            store: Arc::clone(&self.store),
            bus: Arc::clone(&self.bus),
        }
    }

    pub(super) fn replay(&self) -> Replay {
        Replay {
            store: Arc::clone(&self.store),
            rights: Arc::clone(&self.rights),
            entropy: Arc::clone(&self.entropy),
            load: Arc::clone(&self.pressure.load),
        }
    }

    pub(super) fn renew(&self, streams: &Arc<dyn Streams>) -> Renew {
        Renew {
            streams: Arc::clone(streams),
            registry: Arc::clone(&self.registry),
            store: Arc::clone(&self.store),
            bus: Arc::clone(&self.bus),
        }
    }

    pub(super) fn heartbeat(&self, streams: &Arc<dyn Streams>) -> Heartbeat {
        Heartbeat {
            streams: Arc::clone(streams),
            registry: Arc::clone(&self.registry),
            bus: Arc::clone(&self.bus),
        }
    }

    pub(super) fn tickets(&self) -> Tickets {
        Tickets {
            seal: Arc::clone(&self.seal),
            registry: Arc::clone(&self.registry),
            revocations: Arc::clone(&self.revocations),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
        }
    }
}
