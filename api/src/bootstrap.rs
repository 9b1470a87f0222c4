//! Wiring: which adapter stands behind which port. The only file that knows adapters.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adapters::hub::{Hub, HubConfig, HubParts};
use adapters::jwt::{Expected, JwtMint, JwtTokens, Keys, Secret};
use adapters::memory::{MemoryBus, MemoryRegistry, MemorySettings, MemoryStore, MemoryStoreConfig};
use adapters::metrics::Metrics;
use adapters::sanitize::HtmlSanitizer;
use adapters::seal::{AeadSeal, load_or_create_key};
use adapters::system::{SystemClock, SystemEntropy, SystemIds};
use anyhow::{Context as _, bail};
use application::housekeeping::Housekeeping;
use application::inbox::Inbox;
use application::ports::{
    Bus, Clock, Encoder, Entropy, Exposition as _, Ids, Mint, Observer, Registry, Seal, Store, Streams,
    Tokens,
};
use application::publish::Publish;
use application::replay::Replay;
use application::retract::Retract;
use application::rights::Rights;
use application::subscribe::{Heartbeat, Renew, Subscribe};
use application::tickets::Tickets;
use domain::capability::Matrix;
use domain::ids::NodeId;
use domain::stream::ReconnectSpread;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::capabilities;
use crate::config::{Config, HistoryConfig, KeySource, Mode, TokensConfig};
use crate::http::{HttpConfig, PublicUrl, Services, SocketCalls, routes};
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

/// Makes what mints tokens, for the command line.
pub fn mint(tokens: &TokensConfig) -> anyhow::Result<Arc<dyn Mint>> {
    let KeySource::Secret(secret) = &tokens.key else {
        bail!("there is no secret to mint tokens with")
    };
    let secret = Secret::try_new(secret.expose())?;
    Ok(minting(
        &secret,
        tokens,
        Arc::new(SystemClock::start()),
        Arc::new(SystemEntropy),
    ))
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

/// What everything else is made with.
struct Ground {
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    entropy: Arc<dyn Entropy>,
    metrics: Arc<Metrics>,
    observer: Arc<dyn Observer>,
    encoder: Arc<dyn Encoder>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Ground {
    fn new() -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new()?);
        Ok(Self {
            clock: Arc::new(SystemClock::start()),
            ids: Arc::new(SystemIds),
            entropy: Arc::new(SystemEntropy),
            observer: Arc::clone(&metrics) as Arc<dyn Observer>,
            metrics,
            encoder: Arc::new(WireEncoder),
            tasks: TaskTracker::new(),
            cancel: CancellationToken::new(),
        })
    }
}

impl Node {
    async fn wire(config: &Config, capacity: Capacity) -> anyhow::Result<Self> {
        let ground = Ground::new()?;
        let Ground {
            clock,
            ids,
            entropy,
            metrics,
            observer,
            encoder,
            tasks,
            cancel,
        } = ground;
        let rights = Arc::new(Rights::new(matrix(config.tokens.capabilities_file.as_deref())?));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(
            memory(&config.history),
            Arc::clone(&clock),
            Arc::clone(&entropy),
        ));
        let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new());
        let registry: Arc<dyn Registry> =
            Arc::new(MemoryRegistry::new(Arc::clone(&clock), Arc::clone(&observer)));
        let seal_key = load_or_create_key(&MemorySettings::default(), &*entropy).await?;
        let seal: Arc<dyn Seal> = Arc::new(AeadSeal::new(&seal_key, Arc::clone(&entropy))?);
        let (tokens, mint) = tokens(&config.tokens, &clock, &entropy, &tasks)?;
        let parts = HubParts {
            store: Arc::clone(&store),
            bus: Arc::clone(&bus),
            registry: Arc::clone(&registry),
            rights: Arc::clone(&rights),
            encoder: Arc::clone(&encoder),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            observer: Arc::clone(&observer),
        };
        let hub = Hub::start(parts, hub_config(config, capacity), &tasks, &cancel);
        let streams: Arc<dyn Streams> = Arc::clone(&hub) as Arc<dyn Streams>;
        let housekeeping = Housekeeping {
            store: Arc::clone(&store),
            bus: Arc::clone(&bus),
            observer: Arc::clone(&observer),
        };
        tasks.spawn(worker::run(housekeeping, Arc::clone(&clock), cancel.clone()));

        let ready = Arc::new(AtomicBool::new(true));
        let subscribe = Arc::new(Subscribe {
            streams: Arc::clone(&streams),
            store: Arc::clone(&store),
            bus: Arc::clone(&bus),
            registry: Arc::clone(&registry),
            rights: Arc::clone(&rights),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            observer: Arc::clone(&observer),
            node: node_id(&*entropy),
            streams_per_user_max: config.streams.max_per_user,
        });
        let inbox = Arc::new(Inbox {
            store: Arc::clone(&store),
            bus: Arc::clone(&bus),
            rights: Arc::clone(&rights),
        });
        let renew = Arc::new(Renew {
            streams: Arc::clone(&streams),
            store: Arc::clone(&store),
            bus: Arc::clone(&bus),
        });
        let heartbeat = Arc::new(Heartbeat {
            streams: Arc::clone(&streams),
        });
        let sockets = Arc::new(Arc::new(SocketCalls {
            tokens: Arc::clone(&tokens),
            subscribe: Arc::clone(&subscribe),
            heartbeat: Arc::clone(&heartbeat),
            inbox: Arc::clone(&inbox),
            renew: Arc::clone(&renew),
            session_warning: config.streams.session_warning,
            tasks: tasks.clone(),
        }));
        let reported = Arc::clone(&streams);
        let services = Services {
            publish: Publish {
                store: Arc::clone(&store),
                bus: Arc::clone(&bus),
                rights: Arc::clone(&rights),
                sanitizer: Arc::new(HtmlSanitizer::new()),
                encoder: Arc::clone(&encoder),
                clock: Arc::clone(&clock),
                ids,
                observer: Arc::clone(&observer),
                notification_bytes_max: config.limits.max_notification_bytes,
            },
            retract: Retract {
                store: Arc::clone(&store),
                bus,
                rights: Arc::clone(&rights),
            },
            inbox,
            replay: Replay {
                store: Arc::clone(&store),
                rights: Arc::clone(&rights),
                entropy: Arc::clone(&entropy),
            },
            subscribe,
            heartbeat,
            renew,
            tickets: Tickets {
                seal,
                registry: Arc::clone(&registry),
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
            },
            sockets,
            tokens,
            mint: mint.filter(|_| config.server.mode == Mode::Development),
            rights,
            streams,
            store,
            registry,
            encoder,
            clock,
            entropy,
            observer: Arc::clone(&observer),
            metrics: Arc::new(move || metrics.render(&reported.report())),
            config: http_config(config, &ready)?,
        };
        Ok(Self {
            services,
            hub,
            ready,
            observer,
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
    capabilities::parse(&text).with_context(|| format!("ARAUTO_CAPABILITIES_FILE: {}", path.display()))
}

fn memory(history: &HistoryConfig) -> MemoryStoreConfig {
    MemoryStoreConfig {
        history_ttl: history.ttl,
        history_max_events: history.max_events,
        history_max_bytes: history.max_bytes,
        inbox_ttl: history.inbox_ttl,
        archive_read_after: history.archive_read_after,
        key_ttl: history.idempotency_ttl,
        ..MemoryStoreConfig::default()
    }
}

fn hub_config(config: &Config, capacity: Capacity) -> HubConfig {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    HubConfig {
        ring_bytes_max: config.streams.ring_max_bytes,
        connections_max: capacity.streams,
        pace: config.heartbeat,
        spread: ReconnectSpread {
            per_second: config.streams.reconnect_per_second,
            ..ReconnectSpread::default()
        },
        session_warning: config.streams.session_warning,
        store_replays: config.store.replays,
        shards: cores.min(SHARDS_MAX),
    }
}

fn http_config(config: &Config, ready: &Arc<AtomicBool>) -> anyhow::Result<HttpConfig> {
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
        ready: Arc::clone(ready),
        ..HttpConfig::default()
    })
}

type TokenParts = (Arc<dyn Tokens>, Option<Arc<dyn Mint>>);

fn tokens(
    config: &TokensConfig,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
    tasks: &TaskTracker,
) -> anyhow::Result<TokenParts> {
    let secret = match &config.key {
        KeySource::Secret(secret) => Some(Secret::try_new(secret.expose())?),
        KeySource::Generated => {
            tracing::info!("development mode: a secret for tokens was made up; it is gone with this process");
            Some(Secret::draw(&**entropy))
        }
        KeySource::JwksFile(_) | KeySource::JwksUrl(_) => None,
    };
    let keys = match (&config.key, &secret) {
        (_, Some(secret)) => Keys::secret(secret),
        (KeySource::JwksFile(path), _) => Keys::file(path)?,
        (KeySource::JwksUrl(url), _) => Keys::address(url.as_str(), Arc::clone(clock), tasks.clone())?,
        (KeySource::Secret(_) | KeySource::Generated, None) => bail!("there is no secret"),
    };
    let mint = secret
        .as_ref()
        .map(|secret| minting(secret, config, Arc::clone(clock), Arc::clone(entropy)));
    let verifier = JwtTokens::new(keys, expected(config), Arc::clone(clock));
    Ok((Arc::new(verifier), mint))
}

fn minting(
    secret: &Secret,
    config: &TokensConfig,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Arc<dyn Mint> {
    Arc::new(JwtMint::new(secret, expected(config), clock, entropy))
}

fn expected(config: &TokensConfig) -> Expected {
    Expected {
        issuer: config.issuer.clone(),
        audience: config.audience.clone(),
    }
}

/// Random: two nodes of one cluster are told apart, and a node from what it was before a restart.
fn node_id(entropy: &dyn Entropy) -> NodeId {
    NodeId(u32::try_from(entropy.bits() >> 32).unwrap_or_default())
}
