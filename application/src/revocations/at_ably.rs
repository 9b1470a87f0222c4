//! Telling Ably, which closes the connections of tokens that were taken back.

use std::sync::Arc;
use std::time::Duration;

use domain::outbox::Outcome;
use domain::retry::{Retry, RetryPolicy};
use domain::revocation::{Revocation, SETTLES, Target};
use domain::stream::Jitter;
use domain::time::Timestamp;

use crate::ably_tokens::session_of;
use crate::ports::{AblyRevoker, AblyTarget, Clock, Entropy, Observation, Observer};

/// Ably refuses a moment that lies ahead of its own clock.
const CLOCKS_DIFFER: Duration = Duration::from_secs(1);

/// Tells Ably of revocations. Our own refusal stands before that, or `ably-js` would be back with another token.
pub struct RevokeAtAbly {
    /// Ably.
    pub revoker: Arc<dyn AblyRevoker>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
    /// How often it is tried.
    pub policy: RetryPolicy,
}

impl RevokeAtAbly {
    /// Tells Ably at once, and again when every node refuses: one that had not heard yet may have signed a token
    /// meanwhile. Ends in bounded time; what Ably did not take is counted, and ends with its tokens within an hour.
    pub async fn run(&self, revocation: Revocation) {
        let Some(target) = target(&revocation.target) else {
            self.observer.saw(&Observation::AblyRevoked("no-target"));
            return;
        };
        self.tell(&target, revocation.at).await;
        let settled = revocation.settled_at();
        let due = settled.plus(CLOCKS_DIFFER);
        tokio::time::sleep(due.since(self.clock.now()).min(SETTLES + CLOCKS_DIFFER)).await;
        self.tell(&target, settled).await;
    }

    async fn tell(&self, target: &AblyTarget, issued_before: Timestamp) {
        let began = self.clock.uptime();
        for attempt in 1.. {
            let outcomes = self
                .revoker
                .revoke(std::slice::from_ref(target), issued_before)
                .await;
            let outcome = outcomes.first().copied().unwrap_or(Outcome::Lost);
            let asked = match outcome {
                Outcome::Accepted => {
                    self.observer.saw(&Observation::AblyRevoked("accepted"));
                    return;
                }
                Outcome::Refused { code } => {
                    tracing::warn!(code, "Ably refused to take tokens back");
                    self.observer.saw(&Observation::AblyRevoked("refused"));
                    return;
                }
                Outcome::Transient { retry_after } | Outcome::Held { retry_after, .. } => retry_after,
                _ => Duration::ZERO,
            };
            let elapsed = self.clock.uptime().saturating_sub(began);
            let jitter = Jitter::from_bits(self.entropy.bits());
            match self.policy.next_after(attempt, elapsed, jitter, asked) {
                Retry::After(wait) => tokio::time::sleep(wait).await,
                Retry::GiveUp(why) => {
                    tracing::warn!(
                        why = why.as_str(),
                        "Ably was not told that tokens were taken back"
                    );
                    self.observer.saw(&Observation::AblyRevoked("given-up"));
                    return;
                }
            }
        }
    }
}

/// Names at Ably what is taken back; `None` for what has no name there: everybody's tokens.
fn target(target: &Target) -> Option<AblyTarget> {
    match target {
        Target::Token(id) => session_of(id.as_str()).map(AblyTarget::Session),
        Target::Subject(user)
        | Target::IssuedBefore {
            subject: Some(user), ..
        } => Some(AblyTarget::Client(user.clone())),
        Target::IssuedBefore { subject: None, .. } => None,
    }
}
