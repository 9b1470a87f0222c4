//! What verifies tokens, and what mints them.

use std::sync::Arc;

use adapters::jwt::{Expected, JwtMint, JwtTokens, Keys, Secret};
use anyhow::bail;
use application::ports::{Clock, Entropy, Mint, Tokens};
use tokio_util::task::TaskTracker;

use crate::config::{KeySource, TokensConfig};

pub(super) type TokenParts = (Arc<dyn Tokens>, Option<Arc<dyn Mint>>);

pub(super) fn tokens(
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

pub(super) fn minting(
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
