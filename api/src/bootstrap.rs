//! Wiring: which adapter stands behind which port. The only room that knows adapters.

mod ably;
mod abuse;
mod audit;
mod backends;
mod breakers;
mod commands;
mod guard;
mod limits;
mod on_redis;
mod revocations;
mod rollout;
mod tokens;
mod upkeep;
mod use_cases;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adapters::guarded::Circuits;
use adapters::hub::{Hub, HubConfig};
use adapters::metrics::Metrics;
use adapters::seal::{AeadSeal, load_or_create_key};
use adapters::system::{SystemClock, SystemEntropy};
use adapters::vitals::Traffic;
use anyhow::{Context as _, bail};
use application::abuse::BlocksInForce;
use application::audit::PublishRecords;
use application::deliveries::AdministerDeliveries;
use application::explain::Explain;
use application::limits::Limits;
use application::ports::{
    Audit, Breakers, Bus, Clock, Encoder, Entropy, Exposition as _, Mint, Observer, Outbox, Probe,
    PublishTrail, Registry, Seal, Settings, Store, Streams, Tally, Tokens,
};
use application::revocations::{FollowRevocations, RevocationsInForce, Unrevoked};
use application::rights::Rights;
use domain::capability::Matrix;
use domain::ids::NodeId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::audit::verify_audit;
use self::backends::{Backends, Surroundings};
pub use self::commands::{begin_epoch, capabilities, import, migrate, mint, put_capabilities};
use self::tokens::tokens;
use crate::config::{Config, Mode};
use crate::follow::follow;
use crate::http::{BodyBudget, HttpConfig, PublicUrl, Services, SocketCalls, routes};
use crate::server::{Capacity, Ending, Options, Server, Shutdown};
use crate::wire::WireEncoder;
use crate::worker;

/// More shards than this would only share the same few cores.
const SHARDS_MAX: usize = 8;

/// Serves until the process is told to stop.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let capacity = Capacity::claim(config.server.max_connections)?;
    let shutdown = Shutdown::new();
    let _watch = shutdown.on_signals()?;
    let options = Options {
        header_timeout: config.server.header_timeout,
        keep_alive_timeout: config.server.keep_alive_timeout,
        max_connections: capacity.connections,
        shutdown_timeout: config.server.shutdown_timeout,
    };
    let node = Node::wire(&config, capacity).await?;
    let server = Server::bind(config.server.listen, options)
        .with_context(|| format!("cannot listen on {}", config.server.listen))?;
    let observer = Arc::clone(&node.observer);
    let (ready, hub) = (Arc::clone(&node.ready), Arc::clone(&node.hub));
    let begun = shutdown.begun().clone();
    let window = config.server.drain_window;
    let drain = node.tasks.spawn(async move {
        begun.cancelled().await;
        ready.store(false, Ordering::Release);
        hub.drain(window).await;
    });
    let ending = server.run(routes(node.services), shutdown, observer).await;
    drain.abort();
    node.cancel.cancel();
    node.tasks.close();
    // Whatever hangs on a client that does not listen is not waited for: the server has done that.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), node.tasks.wait()).await;
    match ending? {
        Ending::Drained | Ending::CutOff { .. } => Ok(()),
        Ending::Forced => bail!("stopped at once by a second signal"),
    }
}

/// A node, wired.
struct Node {
    services: Services,
    hub: Arc<Hub>,
    ready: Arc<AtomicBool>,
    observer: Arc<dyn Observer>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

/// The ports that everything works with, each with its adapter behind it.
struct Ports {
    node: NodeId,
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    registry: Arc<dyn Registry>,
    settings: Arc<dyn Settings>,
    outbox: Arc<dyn Outbox>,
    audit: Arc<dyn Audit>,
    publishes: (PublishRecords, Option<Arc<dyn PublishTrail>>),
    blocks: Arc<BlocksInForce>,
    tally: Arc<dyn Tally>,
    limits: Arc<Limits>,
    probes: Vec<Arc<dyn Probe>>,
    circuits: Arc<Circuits>,
    rights: Arc<Rights>,
    revocations: Arc<RevocationsInForce>,
    seal: Arc<dyn Seal>,
    tokens: Arc<dyn Tokens>,
    mint: Option<Arc<dyn Mint>>,
    encoder: Arc<dyn Encoder>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: Arc<Metrics>,
    observer: Arc<dyn Observer>,
    pressure: upkeep::Pressure,
}

impl Ports {
    async fn open(
        config: &Config,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> anyhow::Result<(Self, FollowRevocations)> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let metrics = Arc::new(Metrics::new()?);
        let traffic = Arc::new(Traffic::new(Arc::clone(&metrics) as Arc<dyn Observer>));
        let observer: Arc<dyn Observer> = Arc::clone(&traffic) as Arc<dyn Observer>;
        let pressure = upkeep::Pressure {
            traffic,
            load: Arc::default(),
        };
        let node = node_id(&*entropy);
        let circuits = Arc::new(Circuits::new(Arc::clone(&clock), Arc::clone(&observer)));
        let around = Surroundings {
            node,
            circuits: &circuits,
            clock: &clock,
            entropy: &entropy,
            observer: &observer,
            tasks,
            cancel,
        };
        let shared = Backends::open(config, &around).await?;
        let seal_key = load_or_create_key(&*shared.settings, &*entropy).await?;
        let (tokens, mint) = tokens(&config.tokens, &clock, &entropy, tasks)?;
        let blocks = Arc::new(BlocksInForce::new(Arc::clone(&clock)));
        let (revocations, follow_revocations) = revocations::begin(&shared.settings, &clock).await?;
        let tokens: Arc<dyn Tokens> = Arc::new(Unrevoked {
            tokens,
            revocations: Arc::clone(&revocations),
        });
        let ports = Self {
            node,
            store: shared.store,
            bus: shared.bus,
            registry: shared.registry,
            settings: shared.settings,
            outbox: shared.outbox,
            audit: shared.audit,
            publishes: shared.publishes,
            tally: shared.tally,
            limits: limits::limits(config, shared.limiter, &observer, &blocks),
            blocks,
            probes: shared.probes,
            circuits,
            rights: Arc::new(Rights::new(matrix(config.tokens.capabilities_file.as_deref())?)),
            revocations,
            seal: Arc::new(AeadSeal::new(&seal_key, Arc::clone(&entropy))?),
            tokens,
            mint: mint.filter(|_| config.server.mode == Mode::Development),
            encoder: Arc::new(WireEncoder),
            clock,
            entropy,
            metrics,
            observer,
            pressure,
        };
        Ok((ports, follow_revocations))
    }
}

impl Node {
    async fn wire(config: &Config, capacity: Capacity) -> anyhow::Result<Self> {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let ready = Arc::new(AtomicBool::new(true));
        let (ports, mut follow_revocations) = Ports::open(config, &tasks, &cancel).await?;
        let hub = Hub::start(ports.hub(), hub_config(config, capacity), &tasks, &cancel);
        let streams: Arc<dyn Streams> = Arc::clone(&hub) as Arc<dyn Streams>;
        let life = (&tasks, &cancel);
        upkeep::follow(&ports, &hub, life);
        let degrade = upkeep::degrade(&ports, &streams, life);
        let availability = upkeep::availability(&ports, (&ready, &streams), life);
        let ably_signer = ably::signer(config, &ports)?;
        revocations::tell(&mut follow_revocations, &hub, ably_signer.as_ref());
        tasks.spawn(follow(follow_revocations, hub.settings_changes(), cancel.clone()));
        let rollout = rollout::Wiring::new(&ports);
        tasks.spawn(follow(rollout.follow, hub.settings_changes(), cancel.clone()));
        let work = worker::run(ports.housekeeping(), Arc::clone(&ports.clock), cancel.clone());
        tasks.spawn(work);
        let room = Arc::new(ports.room(config));
        upkeep::keep(&room, &ports, life);
        let subscribe = Arc::new(ports.subscribe(config, room, &streams));
        let inbox = Arc::new(ports.inbox());
        let renew = Arc::new(ports.renew(&streams));
        let heartbeat = Arc::new(ports.heartbeat(&streams));
        let recorder = audit::start(config, &ports, (&tasks, &cancel));
        let abuse = abuse::Wiring::start(config, &ports, &recorder, (&tasks, &cancel))?;
        tasks.spawn(follow(abuse.follow, hub.settings_changes(), cancel.clone()));
        let sockets = Arc::new(SocketCalls {
            watch: Arc::clone(&abuse.watch),
            recorder: recorder.clone(),
            observer: Arc::clone(&ports.observer),
            clock: Arc::clone(&ports.clock),
            tokens: Arc::clone(&ports.tokens),
            subscribe: Arc::clone(&subscribe),
            heartbeat: Arc::clone(&heartbeat),
            inbox: Arc::clone(&inbox),
            renew: Arc::clone(&renew),
            limits: Arc::clone(&ports.limits),
            session_warning: config.streams.session_warning,
            tasks: tasks.clone(),
        });
        let around = ably::Around {
            in_force: &rollout.administer.in_force,
            streams: &streams,
            life,
        };
        let ably = ably::start(config, &ports, ably_signer, &around)?;
        let revoker = ably::revoker(config, &ports)?;
        let at_ably = revoker.map(|revoker| revocations::at_ably(revoker, &ports, (&tasks, &cancel)));
        let (metrics, reported) = (Arc::clone(&ports.metrics), Arc::clone(&streams));
        let services = Services {
            publish: ports.publish(config),
            retract: ports.retract(),
            inbox,
            replay: ports.replay(),
            subscribe,
            heartbeat,
            renew,
            tickets: ports.tickets(),
            settings: ports.change_settings(),
            revocations: revocations::administer(config, &ports, at_ably),
            audit: Arc::clone(&ports.audit),
            publishes: ports.publishes.0,
            recorder,
            blocks: abuse.administer,
            watch: abuse.watch,
            limits: ports.limits,
            ably_tokens: ably.tokens,
            explain: Explain {
                select: Arc::clone(&ably.transport),
            },
            transport: ably.transport,
            deliveries: AdministerDeliveries { outbox: ports.outbox },
            ably: ably.examine,
            rollout: rollout.administer,
            sockets: Arc::new(sockets),
            metrics: Arc::new(move || metrics.render(&reported.report())),
            config: http_config(config, &ready, ports.node)?,
            degrade,
            availability,
            breakers: Arc::clone(&ports.circuits) as Arc<dyn Breakers>,
            tokens: ports.tokens,
            mint: ports.mint,
            rights: ports.rights,
            streams,
            store: ports.store,
            probes: ports.probes,
            encoder: ports.encoder,
            clock: ports.clock,
            entropy: ports.entropy,
            observer: Arc::clone(&ports.observer),
        };
        Ok(Self {
            services,
            hub,
            ready,
            observer: ports.observer,
            tasks,
            cancel,
        })
    }
}

fn matrix(file: Option<&Path>) -> anyhow::Result<Matrix> {
    let Some(path) = file else {
        return Ok(Matrix::default_roles());
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("ARAUTO_CAPABILITIES_FILE: {} cannot be read", path.display()))?;
    crate::capabilities::parse(&text).with_context(|| format!("ARAUTO_CAPABILITIES_FILE: {}", path.display()))
}

fn hub_config(config: &Config, capacity: Capacity) -> HubConfig {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    HubConfig {
        ring_bytes_max: config.streams.ring_max_bytes,
        connections_max: capacity.streams,
        pace: config.heartbeat,
        spread: upkeep::spread(config),
        session_warning: config.streams.session_warning,
        store_replays: config.store.replays,
        shards: cores.min(SHARDS_MAX),
    }
}

fn http_config(config: &Config, ready: &Arc<AtomicBool>, node: NodeId) -> anyhow::Result<HttpConfig> {
    let public_url = config
        .server
        .public_url
        .as_ref()
        .map(|url| url.as_str().parse::<PublicUrl>());
    Ok(HttpConfig {
        dev: config.server.mode == Mode::Development,
        cors_origins: config
            .server
            .cors_origins
            .iter()
            .map(|origin| origin.as_str().to_owned())
            .collect(),
        public_url: public_url.transpose().context("ARAUTO_PUBLIC_URL")?,
        trusted_proxies: config.server.trusted_proxies.clone(),
        metrics_networks: config.server.metrics_networks.clone(),
        request_timeout: config.server.request_timeout,
        ready: Arc::clone(ready),
        node: format!("{:08x}", node.0),
        spread: upkeep::spread(config),
        compression: config.streams.compression,
        bodies: BodyBudget::new(config.limits.request_bodies_max_bytes),
        ..HttpConfig::default()
    })
}

/// Random: two nodes of one cluster are told apart, and a node from what it was before a restart.
fn node_id(entropy: &dyn Entropy) -> NodeId {
    NodeId(u32::try_from(entropy.bits() >> 32).unwrap_or_default())
}
