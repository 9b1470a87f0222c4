//! What issues tokens for Ably, and what publishes there.

use std::sync::Arc;

use adapters::ably::{ChannelPrefix, Endpoint, Key, Publisher, PublisherConfig, TokenSigner};
use adapters::guarded::GuardedTransport;
use anyhow::Context as _;
use application::ably_tokens::{AblyTokens, Limit};
use application::deliver::Deliver;
use application::guard::Counting;
use application::ports::Observer;
use application::rollout::RolloutInForce;
use domain::breaker::BreakerPolicy;
use domain::policy::Health;

use super::Ports;
use crate::config::{AblyEndpoint, Config};

/// Wires the issuer with the key for tokens, which cannot publish; `None` where there is no such key.
pub(super) fn tokens(config: &Config, ports: &Ports) -> anyhow::Result<Option<AblyTokens>> {
    let Some(key) = &config.ably.token_key else {
        return Ok(None);
    };
    let key = Key::parse(key.expose()).context("ARAUTO_ABLY_TOKEN_KEY")?;
    let prefix = prefix(config)?;
    let (entropy, observer) = (Arc::clone(&ports.entropy), Arc::clone(&ports.observer));
    let limit = if config.limits.rate_limit_enabled {
        Limit::Enforced
    } else {
        Limit::Off
    };
    let tokens = AblyTokens::new(
        Arc::clone(&ports.rights),
        Arc::new(TokenSigner::new(key, prefix, entropy, observer)),
        Arc::clone(&ports.clock),
        Arc::clone(&ports.observer),
        limit,
    );
    Ok(Some(tokens.remembered_in(Arc::clone(&ports.outbox))))
}

/// Wires what publishes to Ably, behind its circuit breaker; `None` where there is no key to publish with.
pub(super) fn deliver(
    config: &Config,
    ports: &Ports,
    rollout: &Arc<RolloutInForce>,
) -> anyhow::Result<Option<(Deliver, Arc<Counting>)>> {
    let Some(key) = &config.ably.publish_key else {
        return Ok(None);
    };
    let key = Key::parse(key.expose()).context("ARAUTO_ABLY_PUBLISH_KEY")?;
    let publisher = PublisherConfig {
        endpoint: match &config.ably.endpoint {
            AblyEndpoint::Main => Endpoint::Main,
            AblyEndpoint::Policy(policy) => Endpoint::Policy(policy.clone()),
            AblyEndpoint::StandIn(url) => Endpoint::Address(url.as_str().trim_end_matches('/').to_owned()),
        },
        prefix: prefix(config)?,
        ..PublisherConfig::default()
    };
    let (clock, entropy) = (Arc::clone(&ports.clock), Arc::clone(&ports.entropy));
    let publisher = Publisher::new(&key, publisher, Arc::clone(&clock), Arc::clone(&entropy))?;
    let transport = GuardedTransport::new(Arc::new(publisher), BreakerPolicy::ABLY, Arc::clone(&clock));
    let rollout = Arc::clone(rollout);
    let counting = Arc::new(Counting::new(Arc::clone(&ports.observer)));
    let deliver = Deliver {
        store: Arc::clone(&ports.store),
        outbox: Arc::clone(&ports.outbox),
        transport: Arc::new(transport),
        encoder: Arc::clone(&ports.encoder),
        clock,
        entropy,
        observer: Arc::clone(&counting) as Arc<dyn Observer>,
        rollout: Box::new(move || rollout.current().rollout().clone()),
        // The breaker alone says so until Ably has a health check of its own.
        health: Box::new(|| Health::Up),
    };
    Ok(Some((deliver, counting)))
}

fn prefix(config: &Config) -> anyhow::Result<Option<ChannelPrefix>> {
    let prefix = config.ably.channel_prefix.as_ref();
    let prefix = prefix.map(|prefix| prefix.parse::<ChannelPrefix>());
    prefix.transpose().context("ARAUTO_ABLY_CHANNEL_PREFIX")
}
