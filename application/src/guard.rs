//! The guard of the rollout: it takes Ably back a step when it does badly, and lets a schedule go on when it does well.
//!
//! Every node tells the store how its publishes went. One node at a time leads: it adds up what all told, decides, and
//! writes the rollout at the version that it decided upon. So of two that hold themselves for the leader, one steps.

mod tell;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::capability::Principal;
use domain::cohort::Share;
use domain::guard::{Decision, Fault, GuardPolicy};
use domain::ids::{NodeId, UserId};
use domain::notification::{AudienceFields, Draft, DraftFields, FieldError};
use domain::rollout::{Change, Why};
use domain::time::Timestamp;

use crate::error::Error;
use crate::ports::{Clock, Observation, Observer, Refusal, StoreError, Tally, Version};
use crate::publish::{Publish, Submission};
use crate::rollout::{AdministerRollout, ChangeRollout, RolloutError};
use crate::settings::ChangeError;

pub use self::tell::Counting;

/// The guard's name among those who change the rollout. No token should carry it.
pub const GUARD: &str = "arauto-guard";
/// What is led.
const TASK: &str = "rollout-guard";
/// A leader that has gone is followed by another within this time.
const TERM: Duration = Duration::from_secs(20);
/// Administrators are told of a step for as long as this. The key of an idempotent publish lives longer.
const TOLD_FOR: Duration = Duration::from_secs(60 * 60);
/// Administrators who are told.
const TOLD_MAX: usize = 100;

/// Why the guard could not look.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rollout could not be read or written.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
}

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// Another node leads.
    Elsewhere,
    /// The guard decided, and where that was a step, it is in force.
    Decided(Decision),
    /// Somebody else changed the rollout first.
    Overtaken {
        /// Its version now.
        current: Version,
    },
}

/// Watches the rollout, on the node that leads.
pub struct Guard {
    /// Shows the rollout and changes it.
    pub administer: AdministerRollout,
    /// What all nodes told.
    pub tally: Arc<dyn Tally>,
    /// How administrators are told.
    pub publish: Publish,
    /// What the guard goes by.
    pub policy: GuardPolicy,
    /// This node.
    pub node: NodeId,
    /// Who the guard is. Its id is [`GUARD`].
    pub guard: Principal,
    /// Who is told of each step, besides those who changed the rollout.
    pub told: Vec<UserId>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
    /// Steps of which administrators were told. Never held across an await.
    pub announced: Mutex<BTreeSet<Timestamp>>,
}

impl Guard {
    /// Looks once, and takes a step where one is due.
    pub async fn look(&self) -> Result<Looked, GuardError> {
        if !self.tally.lead(TASK, self.node, TERM).await? {
            return Ok(Looked::Elsewhere);
        }
        let shown = self.administer.show().await?;
        self.announce(shown.audited.changes()).await;
        let now = self.clock.now();
        let progress = shown.audited.progress();
        let window = self.policy.looks_back(&progress, now);
        let publishes = self.tally.recent(window).await?;
        let decision = self
            .policy
            .decide(&shown.audited.rollout, &progress, &publishes, now);
        self.observer.saw(&Observation::GuardLooked(decision.as_str()));
        let Some(next) = decision.leads_to(&shown.audited.rollout) else {
            return Ok(Looked::Decided(decision));
        };
        let Some(why) = why(&decision) else {
            return Ok(Looked::Decided(decision));
        };
        let change = ChangeRollout {
            expected: shown.version,
            why,
            share: Some(next.share),
            overrides: None,
            stages: None,
            schedule: Some(next.schedule),
        };
        match self.administer.change(&self.guard.user, change).await {
            Ok(stepped) => {
                warn(&decision);
                self.announce(stepped.audited.changes()).await;
                Ok(Looked::Decided(decision))
            }
            Err(RolloutError::Conflict { current }) => Ok(Looked::Overtaken { current }),
            // It is written, and nodes look by themselves.
            Err(RolloutError::Change(ChangeError::NotTold(error))) => {
                warn(&decision);
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Tells administrators of the guard's own steps, each once: what was told is found again by its key, also by
    /// another node and after a restart.
    async fn announce(&self, changes: &[Change]) {
        let now = self.clock.now();
        let own = |change: &&Change| {
            change.by == self.guard.user && now.since(change.at) < TOLD_FOR && change.what.share.is_some()
        };
        let own: Vec<&Change> = changes.iter().filter(own).collect();
        let moments: BTreeSet<Timestamp> = own.iter().map(|change| change.at).collect();
        let announced = {
            let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
            announced.retain(|at| moments.contains(at));
            announced.clone()
        };
        for change in own {
            if !announced.contains(&change.at) && self.announce_one(change, changes).await {
                let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
                announced.insert(change.at);
            }
        }
    }

    /// Returns whether the step needs no further word.
    async fn announce_one(&self, change: &Change, changes: &[Change]) -> bool {
        let hands = changes.iter().map(|change| &change.by);
        let hands = hands.filter(|by| **by != self.guard.user);
        let mut people: Vec<&UserId> = self.told.iter().chain(hands).collect();
        people.sort_unstable();
        people.dedup();
        people.truncate(TOLD_MAX);
        let Some((from, to)) = change.what.share.filter(|_| !people.is_empty()) else {
            return true;
        };
        let submission = match draft(change, (from, to), &people) {
            Ok(draft) => Submission {
                draft,
                idempotency_key: Some(format!(
                    "rollout-guard-{}-{}-{}",
                    change.at.as_millis(),
                    from.hundredths(),
                    to.hundredths()
                )),
            },
            Err(errors) => {
                tracing::error!(?errors, "administrators cannot be told of a step of the rollout");
                return true;
            }
        };
        match self.publish.one(&self.guard, submission).await {
            // Others were told already, before somebody else changed the rollout.
            Ok(_) | Err(Error::Refused(Refusal::KeyReused)) => true,
            Err(error) => {
                tracing::warn!(%error, "administrators could not be told of a step of the rollout yet");
                false
            }
        }
    }
}

/// Says why a step is taken; `None` for none.
fn why(decision: &Decision) -> Option<Why> {
    let text = match decision {
        Decision::Hold(_) => return None,
        Decision::StepUp { .. } => "the stage is over and Ably is calm".to_owned(),
        Decision::StepDown { why, .. } => match why {
            Fault::Errors { failed, publishes } => {
                format!("{failed} of {publishes} publishes to Ably failed")
            }
            Fault::Slow {
                p95: Some(p95),
                publishes,
            } => {
                format!("p95 of {publishes} publishes to Ably is {} ms", p95.as_millis())
            }
            Fault::Slow { p95: None, publishes } => {
                format!("p95 of {publishes} publishes to Ably is beyond 2500 ms")
            }
        },
    };
    Why::try_new(&text).ok()
}

fn warn(decision: &Decision) {
    match decision {
        Decision::StepDown { from, to, why } => {
            tracing::warn!(%from, %to, fault = why.as_str(), "the guard took the rollout of Ably back a step");
        }
        Decision::StepUp { from, to } => {
            tracing::info!(%from, %to, "the schedule took the rollout of Ably on a step");
        }
        Decision::Hold(_) => {}
    }
}

/// What administrators read, in both languages: they are in one office, and their browsers are not.
fn draft(change: &Change, (from, to): (Share, Share), people: &[&UserId]) -> Result<Draft, Vec<FieldError>> {
    let (from, to) = (from.as_percent(), to.as_percent());
    let why = change.why.as_ref().map_or("", |why| why.as_str());
    Draft::check(DraftFields {
        audience: AudienceFields {
            users: Some(people.iter().copied().map(ToString::to_string).collect()),
            ..AudienceFields::default()
        },
        kind: "sistema.ably_rollout".to_owned(),
        priority: Some("urgent".to_owned()),
        title: format!("Ably: {from} % → {to} %"),
        body: format!(
            "<p>O guardião mudou a parcela de pessoas no Ably de {from} % para {to} %. Nenhuma notificação se perdeu: \
             o canal próprio entrega tudo.</p><p>The guard moved the share of people on Ably from {from} % to {to} %. \
             No notification was lost: the service's own streams carry everything.</p><p><code>{why}</code></p>"
        ),
        data: Some(format!(r#"{{"from":"{from}","to":"{to}"}}"#)),
        ..DraftFields::default()
    })
}
