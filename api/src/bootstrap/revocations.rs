//! Tokens that were taken back: what this node goes by, what administrators do, and who else is told.

use std::sync::Arc;

use adapters::RevocationsJson;
use adapters::hub::Hub;
use anyhow::Context as _;
use application::ports::{AblyRevoker, AblySigner, Clock, RevocationsFormat, Settings};
use application::revocations::{
    FollowRevocations, Revocable, RevocationsInForce, RevokeAtAbly, RevokeTokens,
};
use domain::retry::RetryPolicy;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Ports;
use crate::config::Config;

/// Revocations that Ably is being told of at once by one node. A hundred seconds each at worst.
const TELLING_MAX: usize = 64;

/// Takes what is stored into force before anybody is served: a restart must not let anybody in.
pub(super) async fn begin(
    settings: &Arc<dyn Settings>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(Arc<RevocationsInForce>, FollowRevocations)> {
    let in_force = Arc::new(RevocationsInForce::new(Arc::clone(clock)));
    let format: Arc<dyn RevocationsFormat> = Arc::new(RevocationsJson);
    let mut follow = FollowRevocations::new(Arc::clone(settings), format, Arc::clone(&in_force));
    follow
        .look()
        .await
        .context("which tokens were taken back cannot be read")?;
    Ok((in_force, follow))
}

/// Lets a node's streams and its signer of Ably tokens hear of what is taken back.
pub(super) fn tell(follow: &mut FollowRevocations, hub: &Arc<Hub>, signer: Option<&Arc<dyn AblySigner>>) {
    let closing = Arc::clone(hub);
    follow.tell(Box::new(move |_| closing.close_revoked()));
    if let Some(signer) = signer {
        let signer = Arc::clone(signer);
        follow.tell(Box::new(move |new| {
            for revocation in new {
                signer.forget(revocation);
            }
        }));
    }
}

/// Wires what administrators do.
pub(super) fn administer(config: &Config, ports: &Ports, outside: Option<Revocable>) -> RevokeTokens {
    RevokeTokens {
        change: ports.change_settings(),
        format: Arc::new(RevocationsJson),
        in_force: Arc::clone(&ports.revocations),
        clock: Arc::clone(&ports.clock),
        entropy: Arc::clone(&ports.entropy),
        observer: Arc::clone(&ports.observer),
        kept: config.tokens.revocations_kept,
        outside,
    }
}

/// Wires what tells Ably, beside whoever asked for it.
pub(super) fn at_ably(
    revoker: Arc<dyn AblyRevoker>,
    ports: &Ports,
    life: (&TaskTracker, &CancellationToken),
) -> Revocable {
    let observer = Arc::clone(&ports.observer);
    let telling = Arc::new(RevokeAtAbly {
        revoker,
        clock: Arc::clone(&ports.clock),
        entropy: Arc::clone(&ports.entropy),
        observer: Arc::clone(&ports.observer),
        policy: RetryPolicy::ABLY,
    });
    let (tasks, cancel) = (life.0.clone(), life.1.clone());
    let turns = Arc::new(Semaphore::new(TELLING_MAX));
    Box::new(move |revocation| {
        let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else {
            observer.saw(&application::ports::Observation::Full("ably_revocations"));
            return;
        };
        let (telling, revocation) = (Arc::clone(&telling), revocation.clone());
        let told = async move {
            telling.run(revocation).await;
            drop(turn);
        };
        tasks.spawn(cancel.clone().run_until_cancelled_owned(told));
    })
}
