//! What issues tokens for Ably.

use std::sync::Arc;

use adapters::ably::{ChannelPrefix, Key, TokenSigner};
use anyhow::Context as _;
use application::ably_tokens::{AblyTokens, Limit};

use super::Ports;
use crate::config::Config;

/// Wires the issuer with the key for tokens, which cannot publish; `None` where there is no such key.
pub(super) fn tokens(config: &Config, ports: &Ports) -> anyhow::Result<Option<AblyTokens>> {
    let Some(key) = &config.ably.token_key else {
        return Ok(None);
    };
    let key = Key::parse(key.expose()).context("ARAUTO_ABLY_TOKEN_KEY")?;
    let prefix = config
        .ably
        .channel_prefix
        .as_ref()
        .map(|prefix| prefix.parse::<ChannelPrefix>());
    let prefix = prefix.transpose().context("ARAUTO_ABLY_CHANNEL_PREFIX")?;
    let (entropy, observer) = (Arc::clone(&ports.entropy), Arc::clone(&ports.observer));
    let limit = if config.limits.rate_limit_enabled {
        Limit::Enforced
    } else {
        Limit::Off
    };
    Ok(Some(AblyTokens::new(
        Arc::clone(&ports.rights),
        Arc::new(TokenSigner::new(key, prefix, entropy, observer)),
        Arc::clone(&ports.clock),
        Arc::clone(&ports.observer),
        limit,
    )))
}
