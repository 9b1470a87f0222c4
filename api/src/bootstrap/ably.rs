//! What issues tokens for Ably, and what publishes there.

use std::sync::Arc;

use adapters::ably::{ChannelPrefix, Endpoint, Key, Publisher, PublisherConfig, Revoker, TokenSigner};
use adapters::guarded::GuardedTransport;
use anyhow::Context as _;
use application::ably_tokens::{AblyTokens, Limit};
use application::deliver::Deliver;
use application::ports::{AblyRevoker, AblySigner};
use application::rollout::RolloutInForce;
use application::select_transport::SelectTransport;
use domain::breaker::BreakerPolicy;
use domain::policy::Health;

use super::Ports;
use crate::config::{AblyEndpoint, Config};

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
pub(super) fn tokens(config: &Config, ports: &Ports, signer: Arc<dyn AblySigner>) -> AblyTokens {
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
        .remembered_in(Arc::clone(&ports.outbox))
        .unless_revoked(Arc::clone(&ports.revocations))
}

/// Wires what publishes to Ably, behind its circuit breaker; `None` where there is no key to publish with.
pub(super) fn deliver(
    config: &Config,
    ports: &Ports,
    rollout: &Arc<RolloutInForce>,
) -> anyhow::Result<Option<Deliver>> {
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
    let answers = ports.circuits.add("ably", BreakerPolicy::ABLY, Vec::new());
    let transport = GuardedTransport::new(Arc::new(publisher), answers);
    let rollout = Arc::clone(rollout);
    Ok(Some(Deliver {
        store: Arc::clone(&ports.store),
        outbox: Arc::clone(&ports.outbox),
        transport: Arc::new(transport),
        encoder: Arc::clone(&ports.encoder),
        clock,
        entropy,
        observer: Arc::clone(&ports.observer),
        rollout: Box::new(move || rollout.current().rollout().clone()),
        // The breaker alone says so until Ably has a health check of its own.
        health: Box::new(|| Health::Up),
    }))
}

/// Wires what tells clients where to listen. Ably counts as configured where both keys are there.
pub(super) fn select(
    ports: &Ports,
    deliver: Option<&Deliver>,
    rollout: &Arc<RolloutInForce>,
) -> SelectTransport {
    let rollout = Arc::clone(rollout);
    SelectTransport {
        store: Arc::clone(&ports.store),
        outbox: Arc::clone(&ports.outbox),
        rights: Arc::clone(&ports.rights),
        // The breaker that events meet.
        ably: deliver.map(|deliver| Arc::clone(&deliver.transport)),
        rollout: Box::new(move || rollout.current().rollout().clone()),
        health: Box::new(|| Health::Up),
        entropy: Arc::clone(&ports.entropy),
        observer: Arc::clone(&ports.observer),
    }
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
