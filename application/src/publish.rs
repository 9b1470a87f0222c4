//! Publishing: from a checked draft to a receipt.

use std::sync::Arc;

use domain::capability::{Operation, Principal};
use domain::delivery::DeliveryPlan;
use domain::notification::{Content, Draft, FieldError, Notification};
use sha2::{Digest as _, Sha256};

use crate::announce::announce;
use crate::error::Error;
use crate::ports::{
    Acceptance, Accepted, Bus, Clock, Encoder, Idempotency, Ids, Observation, Observer, Recalled, Refusal,
    Sanitizer, Store,
};
use crate::rights::Rights;

/// One request takes at most this many items.
pub const BATCH_ITEMS_MAX: usize = 500;
/// One request makes at most this many events; five requests of a thousand people.
pub const BATCH_EVENTS_MAX: usize = 5_000;
/// Idempotency keys are UUIDs or business keys; this leaves room for both.
pub const IDEMPOTENCY_KEY_MAX_CHARS: usize = 128;

/// A checked draft with the key under which its repeat is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// What to publish.
    pub draft: Draft,
    /// 1 to [`IDEMPOTENCY_KEY_MAX_CHARS`] printable ASCII characters.
    pub idempotency_key: Option<String>,
}

impl Submission {
    /// Takes a draft and the key as the caller wrote it.
    pub fn try_new(draft: Draft, idempotency_key: Option<String>) -> Result<Self, FieldError> {
        let fits = |key: &String| {
            (1..=IDEMPOTENCY_KEY_MAX_CHARS).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
        };
        if idempotency_key.as_ref().is_some_and(|key| !fits(key)) {
            let detail =
                format!("must be 1 to {IDEMPOTENCY_KEY_MAX_CHARS} printable ASCII characters without blanks");
            return Err(FieldError::new("idempotency_key", detail));
        }
        Ok(Self {
            draft,
            idempotency_key,
        })
    }
}

/// Publishes notifications.
pub struct Publish {
    /// Where they are stored.
    pub store: Arc<dyn Store>,
    /// Where nodes hear of them.
    pub bus: Arc<dyn Bus>,
    /// Who may publish where.
    pub rights: Arc<Rights>,
    /// What bodies may hold.
    pub sanitizer: Arc<dyn Sanitizer>,
    /// How large they are as sent.
    pub encoder: Arc<dyn Encoder>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
    /// Largest notification as sent.
    pub notification_bytes_max: usize,
}

impl Publish {
    /// Publishes one notification. What is refused is not remembered under its key.
    pub async fn one(&self, publisher: &Principal, submission: Submission) -> Result<Accepted, Error> {
        let mut outcomes = self.run(publisher, vec![Ok(submission)]).await?;
        outcomes.pop().unwrap_or(Err(Error::NotFound("item")))
    }

    /// Publishes a batch: one outcome for each item, in order, each standing alone. An item that is already known
    /// to be wrong keeps its place. The call fails as a whole when the batch is too large or the store fails.
    pub async fn run(
        &self,
        publisher: &Principal,
        items: Vec<Result<Submission, Error>>,
    ) -> Result<Vec<Result<Accepted, Error>>, Error> {
        check_size(&items)?;
        let mut outcomes = Vec::with_capacity(items.len());
        let mut batch = Vec::with_capacity(items.len());
        for item in items {
            let prepared = match item {
                Ok(submission) => self.prepare(publisher, submission).await,
                Err(error) => Err(error),
            };
            match prepared {
                Ok(Prepared::Fresh(acceptance)) => {
                    batch.push(*acceptance);
                    outcomes.push(None);
                }
                Ok(Prepared::Repeat(accepted)) => outcomes.push(Some(Ok(accepted))),
                Err(error) => outcomes.push(Some(Err(error))),
            }
        }
        let mut stored = self.accept(batch).await?.into_iter();
        let outcomes: Vec<Result<Accepted, Error>> = outcomes
            .into_iter()
            .map(|outcome| {
                outcome.unwrap_or_else(|| {
                    stored
                        .next()
                        .map_or(Err(Error::NotFound("item")), |result| result.map_err(Error::from))
                })
            })
            .collect();
        self.observe(&outcomes);
        Ok(outcomes)
    }

    async fn accept(&self, batch: Vec<Acceptance>) -> Result<Vec<Result<Accepted, Refusal>>, Error> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let written = self.store.accept(batch).await?;
        Ok(announce(&*self.bus, written).await)
    }

    async fn prepare(&self, publisher: &Principal, submission: Submission) -> Result<Prepared, Error> {
        let Submission {
            draft,
            idempotency_key,
        } = submission;
        let now = self.clock.now();
        let plan = DeliveryPlan::of(&draft, now);
        let matrix = self.rights.matrix();
        let forbidden = plan
            .channels
            .iter()
            .find(|channel| !matrix.allows(publisher, channel, Operation::Publish));
        if let Some(channel) = forbidden {
            return Err(Error::Forbidden(format!(
                "none of your roles may publish to {channel}"
            )));
        }
        let idempotency = idempotency_key.map(|key| Idempotency {
            publisher: publisher.user.clone(),
            key,
            digest: Sha256::digest(draft.canonical_bytes()).into(),
        });
        if let Err(error) = draft.check_moments(now) {
            return self.recall(idempotency, error).await;
        }
        let body = self.sanitizer.clean(&draft.content.body).into();
        let notification = Notification {
            id: self.ids.notification(),
            content: Content {
                body,
                ..draft.content
            },
            published_at: now,
        };
        let (limit, actual) = (
            self.notification_bytes_max,
            self.encoder.notification_bytes(&notification),
        );
        if actual > limit {
            return Err(Error::TooLarge { limit, actual });
        }
        Ok(Prepared::Fresh(Box::new(Acceptance {
            notification,
            plan,
            idempotency,
            publisher: Some(publisher.user.clone()),
        })))
    }

    /// A repeat may come after its own expiry: it is told what the first request was told.
    async fn recall(&self, key: Option<Idempotency>, error: FieldError) -> Result<Prepared, Error> {
        let known = match key {
            Some(key) => self.store.recall(&key).await?,
            None => None,
        };
        match known {
            Some(Recalled::Same(receipt)) => Ok(Prepared::Repeat(Accepted {
                receipt,
                replayed: true,
            })),
            Some(Recalled::Other) => Err(Refusal::KeyReused.into()),
            None => Err(Error::Invalid(vec![error])),
        }
    }

    fn observe(&self, outcomes: &[Result<Accepted, Error>]) {
        for outcome in outcomes {
            self.observer.saw(&match outcome {
                Ok(accepted) => Observation::Published {
                    events: accepted.receipt.events,
                },
                Err(Error::Forbidden(_)) => Observation::PublishRefused("forbidden"),
                Err(Error::TooLarge { .. }) => Observation::PublishRefused("too-large"),
                Err(Error::Refused(Refusal::KeyReused)) => Observation::PublishRefused("key-reused"),
                Err(Error::Refused(Refusal::Full { .. })) => Observation::PublishRefused("full"),
                Err(_) => Observation::PublishRefused("invalid"),
            });
        }
    }
}

enum Prepared {
    Fresh(Box<Acceptance>),
    Repeat(Accepted),
}

fn check_size(items: &[Result<Submission, Error>]) -> Result<(), Error> {
    let count = items.len();
    if count == 0 || count > BATCH_ITEMS_MAX {
        return Err(Error::invalid(
            "items",
            format!("must be 1 to {BATCH_ITEMS_MAX}, got {count}"),
        ));
    }
    let events: usize = items
        .iter()
        .flatten()
        .map(|submission| submission.draft.audience.channels().len())
        .sum();
    if events > BATCH_EVENTS_MAX {
        let detail = format!("must make at most {BATCH_EVENTS_MAX} events together, would make {events}");
        return Err(Error::invalid("items", detail));
    }
    Ok(())
}
