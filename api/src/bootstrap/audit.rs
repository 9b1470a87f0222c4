//! What writes the audit trail, and what forgets it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use application::audit::{Chain, PublishSealer, Recorder, Verified, VerifyAudit, recorder};
use application::ports::{Audit, Clock};
use domain::audit::ChainId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Ports, backends};
use crate::config::{Config, StoreKind};

/// Ages are counted in days.
const FORGET_EVERY: Duration = Duration::from_secs(600);
/// Records that are forgotten in one step.
const FORGET_AT_ONCE: usize = 1_000;

/// Begins the chain of this life of the node.
pub(super) fn start(config: &Config, ports: &Ports, life: (&TaskTracker, &CancellationToken)) -> Recorder {
    let chain = ChainId(ports.entropy.bits());
    let (clock, observer) = (Arc::clone(&ports.clock), Arc::clone(&ports.observer));
    let (recorder, sealer) = recorder(chain, Arc::clone(&ports.audit), clock, observer);
    let end = life.1.clone();
    life.0.spawn(sealer.run(async move { end.cancelled().await }));
    if let Some(trail) = &ports.publishes.1 {
        let publishes = PublishSealer {
            trail: Arc::clone(trail),
            tally: Arc::clone(&ports.tally),
            node: ports.node,
            chain: Chain::begin(ChainId(ports.entropy.bits())),
            clock: Arc::clone(&ports.clock),
            observer: Arc::clone(&ports.observer),
        };
        let end = life.1.clone();
        life.0.spawn(publishes.run(async move { end.cancelled().await }));
    }
    let forgetting = forget(
        Arc::clone(&ports.audit),
        Arc::clone(&ports.clock),
        config.history.audit_ttl,
    );
    life.0.spawn(life.1.clone().run_until_cancelled_owned(forgetting));
    recorder
}

async fn forget(audit: Arc<dyn Audit>, clock: Arc<dyn Clock>, kept: Duration) {
    loop {
        let before = clock.now().minus(kept);
        match audit.forget(before, FORGET_AT_ONCE).await {
            Ok(FORGET_AT_ONCE..) => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "nothing of the audit trail was forgotten"),
        }
        tokio::time::sleep(FORGET_EVERY).await;
    }
}

/// Goes through the whole trail.
pub async fn verify_audit(config: &Config) -> anyhow::Result<Verified> {
    let audit: Arc<dyn Audit> = match config.store.kind {
        StoreKind::Memory => bail!("the memory store has no audit trail that outlives a node"),
        StoreKind::Postgres => Arc::new(adapters::postgres::PgAudit::open(&backends::database(config)?)?),
        StoreKind::Redis => {
            let server = backends::redis(config)?.context("ARAUTO_REDIS_URL is missing")?;
            Arc::new(adapters::redis::RedisAudit::new(&server))
        }
    };
    Ok(VerifyAudit { audit }.run().await?)
}
