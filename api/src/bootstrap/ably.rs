//! What issues tokens for Ably, and what publishes there.

use std::sync::Arc;

use adapters::ably::{
    ChannelPrefix, Endpoint, EventStreams, Key, Publisher, PublisherConfig, Revoker, TokenSigner,
};
use adapters::guarded::GuardedTransport;
use anyhow::Context as _;
use application::ably_examine::ExamineAbly;
use application::ably_health::{ProbeAbly, probe_channel};
use application::ably_tokens::{AblyTokens, Limit};
use application::ably_use::{AblyUse, Booked};
use application::deliver::Deliver;
use application::guard::Counting;
use application::ports::{AblyRevoker, AblySigner, Echo, Observer, Streams, Transport};
use application::rollout::RolloutInForce;
use application::select_transport::SelectTransport;
use domain::breaker::BreakerPolicy;
use domain::policy::Health;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Ports, guard};
use crate::config::{AblyEndpoint, Config};
use crate::deliveries;
use crate::probing::Probing;

/// Wires what signs with the key for tokens, which cannot publish; `None` where there is no such key.
pub(super) fn signer(config: &Config, ports: &Ports) -> anyhow::Result<Option<Arc<dyn AblySigner>>> {
    let Some(key) = token_key(config)? else {
        return Ok(None);
    };
    let prefix = prefix(config)?;
    let (entropy, observer) = (Arc::clone(&ports.entropy), Arc::clone(&ports.observer));
    Ok(Some(Arc::new(TokenSigner::new(key, prefix, entropy, observer))))
}

/// Wires what takes tokens back at Ably, with the key that signs them.
pub(super) fn revoker(config: &Config, ports: &Ports) -> anyhow::Result<Option<Arc<dyn AblyRevoker>>> {
    let Some(key) = token_key(config)? else {
        return Ok(None);
    };
    let asking = PublisherConfig {
        endpoint: endpoint(config),
        ..PublisherConfig::default()
    };
    let (clock, entropy) = (Arc::clone(&ports.clock), Arc::clone(&ports.entropy));
    let rest = Publisher::new(&key, asking, clock, entropy)?;
    Ok(Some(Arc::new(Revoker::new(&key, rest))))
}

fn token_key(config: &Config) -> anyhow::Result<Option<Key>> {
    let key = config.ably.token_key.as_ref().map(|key| Key::parse(key.expose()));
    key.transpose().context("ARAUTO_ABLY_TOKEN_KEY")
}

/// Wires the issuer of tokens.
fn tokens(
    config: &Config,
    ports: &Ports,
    (signer, used): (Arc<dyn AblySigner>, &Arc<AblyUse>),
) -> AblyTokens {
    let limit = if config.limits.rate_limit_enabled {
        Limit::Enforced
    } else {
        Limit::Off
    };
    let tokens = AblyTokens::new(
        Arc::clone(&ports.rights),
        signer,
        Arc::clone(&ports.clock),
        Arc::clone(&ports.observer),
        limit,
    );
    tokens
        .counted_in(Arc::clone(used))
        .remembered_in(Arc::clone(&ports.outbox))
        .unless_revoked(Arc::clone(&ports.revocations))
}

/// What runs beside, and what it shares.
pub(super) struct Around<'a> {
    pub(super) in_force: &'a Arc<RolloutInForce>,
    pub(super) streams: &'a Arc<dyn Streams>,
    pub(super) life: (&'a TaskTracker, &'a CancellationToken),
}

/// What people and operators ask.
pub(super) struct Parts {
    /// Issues tokens, where there is a key for them.
    pub(super) tokens: Option<AblyTokens>,
    /// Says where to listen.
    pub(super) transport: Arc<SelectTransport>,
    /// Says how Ably is, where there is a key to publish with.
    pub(super) examine: Option<Arc<ExamineAbly>>,
}

/// Starts whatever has to do with Ably.
pub(super) fn start(
    config: &Config,
    ports: &Ports,
    signer: Option<Arc<dyn AblySigner>>,
    around: &Around<'_>,
) -> anyhow::Result<Parts> {
    let used = used(config, ports);
    let tokens = signer.map(|signer| tokens(config, ports, (signer, &used)));
    let examine = publish(config, ports, &used, around)?;
    let both = examine.as_ref().filter(|_| tokens.is_some());
    let transport = Arc::new(select(ports, both, around.in_force));
    Ok(Parts {
        tokens,
        transport,
        examine,
    })
}

/// Starts whatever publishes to Ably, and returns what says how it is; `None` where there is no key to publish with.
fn publish(
    config: &Config,
    ports: &Ports,
    used: &Arc<AblyUse>,
    around: &Around<'_>,
) -> anyhow::Result<Option<Arc<ExamineAbly>>> {
    let Some(wired) = deliver(config, ports, around.in_force, used)? else {
        return Ok(None);
    };
    guard::start(config, ports, (wired.counting, around.in_force), around.life)?;
    let probing = Probing {
        probe: wired.probe,
        every: config.ably.probe_every,
        in_force: Arc::clone(around.in_force),
        examine: Arc::clone(&wired.examine),
        streams: Arc::clone(around.streams),
    };
    probing.start(around.life);
    deliveries::start(wired.deliver, ports.bus.listen(), around.life);
    Ok(Some(wired.examine))
}

/// Begins the books of what is used of Ably.
fn used(config: &Config, ports: &Ports) -> Arc<AblyUse> {
    let (clock, observer) = (Arc::clone(&ports.clock), Arc::clone(&ports.observer));
    Arc::new(AblyUse::new(clock, observer, config.ably.prices))
}

/// What publishes to Ably, wired.
struct Wired {
    deliver: Deliver,
    /// What counts how publishes go.
    counting: Arc<Counting>,
    probe: ProbeAbly,
    /// What says how it is.
    examine: Arc<ExamineAbly>,
}

/// Wires what publishes to Ably, behind its circuit breaker; `None` where there is no key to publish with.
fn deliver(
    config: &Config,
    ports: &Ports,
    rollout: &Arc<RolloutInForce>,
    used: &Arc<AblyUse>,
) -> anyhow::Result<Option<Wired>> {
    let Some(key) = &config.ably.publish_key else {
        return Ok(None);
    };
    let key = Key::parse(key.expose()).context("ARAUTO_ABLY_PUBLISH_KEY")?;
    let publisher = PublisherConfig {
        endpoint: endpoint(config),
        prefix: prefix(config)?,
        ..PublisherConfig::default()
    };
    let (clock, entropy) = (Arc::clone(&ports.clock), Arc::clone(&ports.entropy));
    let publisher = Publisher::new(&key, publisher, Arc::clone(&clock), Arc::clone(&entropy))?;
    let publisher: Arc<dyn Transport> = Arc::new(publisher);
    let probe = probe(config, ports, &publisher)?;
    let answers = ports.circuits.add("ably", BreakerPolicy::ABLY, Vec::new());
    let transport: Arc<dyn Transport> = Arc::new(Booked {
        inner: Arc::new(GuardedTransport::new(publisher, answers)),
        used: Arc::clone(used),
        health: Arc::clone(&probe.health),
        clock: Arc::clone(&clock),
    });
    let examine = ExamineAbly {
        health: Arc::clone(&probe.health),
        echo: probe.echo.clone(),
        transport: Arc::clone(&transport),
        outbox: Arc::clone(&ports.outbox),
        used: Arc::clone(used),
        clock: Arc::clone(&clock),
        observer: Arc::clone(&ports.observer),
        asked: tokio::sync::Mutex::new(None),
    };
    let health = Arc::clone(&probe.health);
    let rollout = Arc::clone(rollout);
    let counting = Arc::new(Counting::new(Arc::clone(&ports.observer)));
    let deliver = Deliver {
        store: Arc::clone(&ports.store),
        outbox: Arc::clone(&ports.outbox),
        transport,
        encoder: Arc::clone(&ports.encoder),
        clock,
        entropy,
        observer: Arc::clone(&counting) as Arc<dyn Observer>,
        rollout: Box::new(move || rollout.current().rollout().clone()),
        health: Box::new(move || health.health()),
    };
    Ok(Some(Wired {
        deliver,
        counting,
        probe,
        examine: Arc::new(examine),
    }))
}

/// Wires what tells clients where to listen. Ably counts as configured where both keys are there.
fn select(ports: &Ports, ably: Option<&Arc<ExamineAbly>>, rollout: &Arc<RolloutInForce>) -> SelectTransport {
    let rollout = Arc::clone(rollout);
    let health = ably.map(|ably| Arc::clone(&ably.health));
    SelectTransport {
        store: Arc::clone(&ports.store),
        outbox: Arc::clone(&ports.outbox),
        rights: Arc::clone(&ports.rights),
        // The breaker that events meet.
        ably: ably.map(|ably| Arc::clone(&ably.transport)),
        rollout: Box::new(move || rollout.current().rollout().clone()),
        health: Box::new(move || health.as_ref().map_or(Health::Up, |health| health.health())),
        entropy: Arc::clone(&ports.entropy),
        observer: Arc::clone(&ports.observer),
    }
}

fn probe(config: &Config, ports: &Ports, transport: &Arc<dyn Transport>) -> anyhow::Result<ProbeAbly> {
    let echo = match &config.ably.token_key {
        Some(key) => {
            let key = Key::parse(key.expose()).context("ARAUTO_ABLY_TOKEN_KEY")?;
            let clock = Arc::clone(&ports.clock);
            let streams = EventStreams::new(&key, &endpoint(config), prefix(config)?, clock)?;
            Some(Arc::new(streams) as Arc<dyn Echo>)
        }
        None => None,
    };
    Ok(ProbeAbly {
        transport: Arc::clone(transport),
        echo,
        entropy: Arc::clone(&ports.entropy),
        clock: Arc::clone(&ports.clock),
        observer: Arc::clone(&ports.observer),
        health: Arc::default(),
        channel: probe_channel(ports.node).context("the channel of probes")?,
        heard: tokio::sync::Mutex::new(None),
    })
}

fn endpoint(config: &Config) -> Endpoint {
    match &config.ably.endpoint {
        AblyEndpoint::Main => Endpoint::Main,
        AblyEndpoint::Policy(policy) => Endpoint::Policy(policy.clone()),
        AblyEndpoint::StandIn(url) => Endpoint::Address(url.as_str().trim_end_matches('/').to_owned()),
    }
}

fn prefix(config: &Config) -> anyhow::Result<Option<ChannelPrefix>> {
    let prefix = config.ably.channel_prefix.as_ref();
    let prefix = prefix.map(|prefix| prefix.parse::<ChannelPrefix>());
    prefix.transpose().context("ARAUTO_ABLY_CHANNEL_PREFIX")
}
