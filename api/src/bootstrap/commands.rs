//! What the command line asks of the parts behind the ports.

use std::sync::Arc;

use adapters::jwt::Secret;
use adapters::metrics::Metrics;
use adapters::sanitize::HtmlSanitizer;
use adapters::system::{SystemClock, SystemEntropy};
use anyhow::bail;
use application::import::Import;
use application::ports::{Mint, Observer};
use application::settings::CAPABILITIES;
use domain::cursor::Cursor;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use super::tokens::minting;
use super::{backends, on_redis};
use crate::config::{Config, KeySource, StoreKind, TokensConfig};
use crate::wire::WireEncoder;

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

/// Brings the store's tables up to date and returns what there is to say about it.
pub async fn migrate(config: &Config) -> anyhow::Result<String> {
    match config.store.kind {
        StoreKind::Memory => Ok("nothing to do: the memory store has no tables".to_owned()),
        StoreKind::Redis => Ok("nothing to do: the redis store has no tables".to_owned()),
        StoreKind::Postgres => {
            let applied = backends::bring_up_to_date(&backends::database(config)?).await?;
            Ok(if applied.is_empty() {
                "nothing to do: the tables are up to date".to_owned()
            } else {
                format!("applied {}", applied.join(", "))
            })
        }
    }
}

/// Begins a new epoch and returns what there is to say about it.
pub async fn begin_epoch(config: &Config) -> anyhow::Result<String> {
    match config.store.kind {
        StoreKind::Memory => {
            Ok("nothing to do: the memory store begins a new epoch with every start".to_owned())
        }
        StoreKind::Redis => {
            let observer: Arc<dyn Observer> = Arc::new(Metrics::new()?);
            let store = on_redis::store(config, Arc::new(SystemEntropy), observer).await?;
            Ok(told(store.begin_epoch().await?))
        }
        StoreKind::Postgres => {
            let observer: Arc<dyn Observer> = Arc::new(Metrics::new()?);
            let tasks = TaskTracker::new();
            let store = backends::postgres_store(config, Arc::new(SystemEntropy), observer, &tasks).await?;
            Ok(told(store.begin_epoch().await?))
        }
    }
}

fn told(began: Cursor) -> String {
    format!(
        "epoch {} begins after position {}: every client reloads",
        began.epoch, began.position
    )
}

/// Puts a capability matrix in force for the cluster and returns its version.
pub async fn put_capabilities(config: &Config, text: String) -> anyhow::Result<u64> {
    let (change, _end) = backends::change_settings(config).await?;
    let known = change.settings.get(CAPABILITIES).await?;
    let expected = known.map_or(0, |document| document.version);
    Ok(change.run(CAPABILITIES, expected, text).await?)
}

/// Returns the capability matrix that was put in force for the cluster, if one was.
pub async fn capabilities(config: &Config) -> anyhow::Result<Option<String>> {
    let (change, _end) = backends::change_settings(config).await?;
    Ok(change
        .settings
        .get(CAPABILITIES)
        .await?
        .map(|document| document.text))
}

/// Opens what imports notifications. Its tasks end with what is returned beside it.
pub async fn import(config: &Config) -> anyhow::Result<(Import, DropGuard)> {
    if config.store.kind == StoreKind::Memory {
        bail!(
            "the memory store forgets what is imported as soon as this command ends: set ARAUTO_STORE to postgres or redis"
        );
    }
    let (change, end) = backends::change_settings(config).await?;
    let import = Import {
        store: change.store,
        bus: change.bus,
        sanitizer: Arc::new(HtmlSanitizer::new()),
        encoder: Arc::new(WireEncoder),
        notification_bytes_max: config.limits.max_notification_bytes,
    };
    Ok((import, end))
}
