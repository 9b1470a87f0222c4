//! How hard a node is pressed, who is let in for it, and the record of its availability.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use adapters::hub::Hub;
use adapters::vitals::{ProcessVitals, Traffic};
use application::admission::{Admission, AdmissionBounds};
use application::availability::Availability;
use application::degrade::Degrade;
use application::load::Load;
use application::ports::{Breakers, Streams};
use application::room::Room;
use application::settings::{CAPABILITIES, Watched};
use domain::stream::ReconnectSpread;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Ports;
use crate::config::Config;
use crate::follow::Follower;
use crate::limits::LimitsFollower;
use crate::upkeep::{Readiness, judge, record, supervise};

/// What counts requests on their way to the metrics, and what goes by the outcome.
pub(super) struct Pressure {
    pub(super) traffic: Arc<Traffic>,
    pub(super) load: Arc<Load>,
}

/// How clients are spread when they come back.
pub(super) fn spread(config: &Config) -> ReconnectSpread {
    ReconnectSpread {
        per_second: config.streams.reconnect_per_second,
        ..ReconnectSpread::default()
    }
}

/// Wires who is let in.
pub(super) fn admission(config: &Config, ports: &Ports) -> Arc<Admission> {
    let bounds = AdmissionBounds {
        at_once: config.streams.handshakes,
        waiting: config.streams.handshake_queue,
        spread: spread(config),
    };
    Arc::new(Admission::new(
        Arc::clone(&ports.pressure.load),
        (Arc::clone(&ports.clock), Arc::clone(&ports.entropy)),
        Arc::clone(&ports.observer),
        bounds,
    ))
}

/// Begins to judge the level of this node.
pub(super) fn degrade(
    ports: &Ports,
    streams: &Arc<dyn Streams>,
    (tasks, cancel): (&TaskTracker, &CancellationToken),
) -> Arc<Degrade> {
    let traffic = Arc::clone(&ports.pressure.traffic);
    let vitals = ProcessVitals::start(traffic, Arc::clone(&ports.clock), (tasks, cancel));
    let degrade = Arc::new(Degrade {
        vitals: Arc::new(vitals),
        breakers: Arc::clone(&ports.circuits) as Arc<dyn Breakers>,
        streams: Arc::clone(streams),
        load: Arc::clone(&ports.pressure.load),
        clock: Arc::clone(&ports.clock),
        observer: Arc::clone(&ports.observer),
        standing: std::sync::Mutex::default(),
    });
    tasks.spawn(
        cancel
            .clone()
            .run_until_cancelled_owned(judge(Arc::clone(&degrade))),
    );
    degrade
}

/// Begins to keep the record of availability.
pub(super) fn availability(
    ports: &Ports,
    (ready, streams): (&Arc<AtomicBool>, &Arc<dyn Streams>),
    (tasks, cancel): (&TaskTracker, &CancellationToken),
) -> Arc<Availability> {
    let availability = Availability::new(Arc::clone(&ports.settings), Arc::clone(&ports.clock));
    let availability = Arc::new(availability);
    let (kept, ready) = (Arc::clone(&availability), Arc::clone(ready));
    let (store, streams) = (Arc::clone(&ports.store), Arc::clone(streams));
    let begin = move || {
        let readiness = Readiness {
            ready: Arc::clone(&ready),
            store: Arc::clone(&store),
            streams: Arc::clone(&streams),
        };
        record(Arc::clone(&kept), readiness)
    };
    let keeping = supervise(Arc::clone(&ports.observer), "availability", begin);
    tasks.spawn(cancel.clone().run_until_cancelled_owned(keeping));
    availability
}

/// Begins to follow the capability matrix and the limits in the settings.
pub(super) fn follow(ports: &Ports, hub: &Arc<Hub>, (tasks, cancel): (&TaskTracker, &CancellationToken)) {
    let (settings, rights) = (Arc::clone(&ports.settings), Arc::clone(&ports.rights));
    let (own, matrix_hub, until) = ((*rights.matrix()).clone(), Arc::clone(hub), cancel.clone());
    let begin = move || {
        let rechecking = Arc::clone(&matrix_hub);
        let matrix = Follower {
            watched: Watched::new(Arc::clone(&settings), CAPABILITIES),
            rights: Arc::clone(&rights),
            own: own.clone(),
            recheck: Box::new(move || rechecking.recheck_rights()),
        };
        crate::follow::follow(matrix, matrix_hub.settings_changes(), until.clone())
    };
    tasks.spawn(supervise(Arc::clone(&ports.observer), "capabilities", begin));
    let (settings, limits) = (Arc::clone(&ports.settings), Arc::clone(&ports.limits));
    let (limits_hub, until) = (Arc::clone(hub), cancel.clone());
    let begin = move || {
        let table = LimitsFollower::new(Arc::clone(&settings), Arc::clone(&limits));
        crate::follow::follow(table, limits_hub.settings_changes(), until.clone())
    };
    tasks.spawn(supervise(Arc::clone(&ports.observer), "limits", begin));
}

/// Begins to close streams beyond their person's limit that an outage let go.
pub(super) fn keep(room: &Arc<Room>, ports: &Ports, (tasks, cancel): (&TaskTracker, &CancellationToken)) {
    let room = Arc::clone(room);
    let begin = move || {
        let kept = Arc::clone(&room);
        async move { kept.keep().await }
    };
    let keeping = supervise(Arc::clone(&ports.observer), "room", begin);
    tasks.spawn(cancel.clone().run_until_cancelled_owned(keeping));
}
