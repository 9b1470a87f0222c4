//! Publishing: one notification, many, and taking one back.

mod batch;
mod draft;
mod receipt;

use std::sync::Arc;

use application::publish::{IDEMPOTENCY_KEY_MAX_CHARS, Submission};
use domain::ids::NotificationId;
use domain::notification::{Draft, FieldError};
use poem::http::{HeaderName, HeaderValue};
use poem::web::Data;
use poem::{IntoResponse, Request, Response};
use poem_openapi::registry::{MetaResponses, MetaSchema, Registry};
use poem_openapi::{ApiResponse, OpenApi};

pub(crate) use self::batch::{BatchBody, BatchResults};
pub(crate) use self::draft::{DraftBody, parse_moment};
pub(crate) use self::receipt::ReceiptBody;
use super::answer::{Answer, Done, header_of};
use super::edge::trace::Trace;
use super::problem::{CALLER, JSON_BODY, Kind, Outcome, Problem, STORE, causes};
use super::request::{Caller, Faults, FromTexts, JsonBody, Named, Sent, once, parse};
use super::{Group, Services, schema};

const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

causes! {
    Publishing = [
        CALLER,
        JSON_BODY,
        STORE,
        &[Kind::Forbidden, Kind::IdempotencyKeyReused, Kind::NotificationTooLarge, Kind::CapacityReached],
    ];
    Batching = [CALLER, JSON_BODY, STORE];
    Retracting = [CALLER, STORE, &[Kind::Forbidden, Kind::NotFound]];
}

/// Publishing and taking back.
pub(crate) struct PublishApi;

#[OpenApi(tag = "Group::Publish")]
impl PublishApi {
    /// Publish a notification
    ///
    /// Stores it and sends it to everybody it is for. The answer comes after it was stored, at the durability that
    /// the receipt names; nothing is stored of a request that is refused.
    ///
    /// With an `Idempotency-Key` the request can be repeated without harm for 24 hours: the same caller, key and
    /// notification get the first receipt again, with `idempotent-replayed: true`; another notification under the
    /// same key is a conflict. A repeat that comes while the first is still on its way waits for it.
    ///
    /// Who may publish where is a matter of roles: to every channel of the audience, or not at all.
    #[oai(path = "/v1/notifications", method = "post", operation_id = "publish")]
    async fn publish(
        &self,
        services: Data<&Arc<Services>>,
        request: &Request,
        caller: Caller,
        /// Recognises a repeat of this request. 1 to 128 printable ASCII characters; a UUID is a good choice.
        #[oai(name = "Idempotency-Key")]
        key: Sent<Key>,
        body: JsonBody<DraftBody>,
    ) -> Outcome<Receipted, Publishing> {
        let mut faults = Faults::default();
        let idempotency_key = faults.take(key).map(|Key(key)| key);
        let draft = faults.absorb(body.0.draft());
        let submission = Submission {
            draft: faults.check_with(draft)?,
            idempotency_key,
        };
        let accepted = services.publish.one(&caller.0, submission).await?;
        Trace::note(request, || {
            format!("{} events {}", accepted.receipt.id, accepted.receipt.events)
        });
        Trace::published(request, &services, &[Some(&accepted)]);
        let answer = Answer::new(&ReceiptBody::from(&accepted.receipt));
        Ok(Receipted(if accepted.replayed {
            answer.with(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"))
        } else {
            answer
        }))
    }

    /// Publish many notifications
    ///
    /// Up to 500 items that make up to 5,000 events, in at most 4 MiB. Each item stands alone: the answer holds one
    /// result for each, in order, and one that is refused changes nothing for the others. Items take their
    /// idempotency key as a field. What is wrong with the request as a whole is answered by a problem, and then
    /// nothing was stored; repeating with the same keys is harmless.
    #[oai(
        path = "/v1/notifications/batch",
        method = "post",
        operation_id = "publishBatch"
    )]
    async fn publish_batch(
        &self,
        services: Data<&Arc<Services>>,
        request: &Request,
        caller: Caller,
        body: JsonBody<BatchBody>,
    ) -> Outcome<Answer<BatchResults>, Batching> {
        let items = body.0.submissions();
        let outcomes = services.publish.run(&caller.0, items).await?;
        let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        Trace::note(request, || format!("{stored} of {} stored", outcomes.len()));
        let told: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().ok()).collect();
        Trace::published(request, &services, &told);
        Ok(Answer::new(&BatchResults::of(outcomes)))
    }

    /// Take a notification back
    ///
    /// It is gone from inboxes, history and pending deliveries, and a `retracted` event goes out on every channel
    /// that carried it. One that is still scheduled is cancelled without an event. Takes the right to publish to its
    /// whole audience; to anybody else it is unknown.
    #[oai(path = "/v1/notifications/:id", method = "delete", operation_id = "retract")]
    async fn retract(
        &self,
        services: Data<&Arc<Services>>,
        caller: Caller,
        /// The notification's id, from its receipt.
        id: Named<NotificationId>,
    ) -> Outcome<Done, Retracting> {
        services.retract.run(&caller.0, id.known("notification")?).await?;
        Ok(Done)
    }
}

/// A key as the header gives it.
pub(crate) struct Key(String);

impl FromTexts for Key {
    fn schema() -> MetaSchema {
        schema::idempotency_key()
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        let fits = |text: &str| {
            (1..=IDEMPOTENCY_KEY_MAX_CHARS).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_graphic())
        };
        once(texts, |text| {
            let key = fits(text).then(|| Self(text.to_owned()));
            key.ok_or_else(|| {
                format!("must be 1 to {IDEMPOTENCY_KEY_MAX_CHARS} printable ASCII characters without blanks")
            })
        })
    }
}

/// 201 with a receipt.
pub(crate) struct Receipted(Answer<ReceiptBody, 201>);

impl IntoResponse for Receipted {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl ApiResponse for Receipted {
    fn meta() -> MetaResponses {
        let mut meta = Answer::<ReceiptBody, 201>::meta();
        for response in &mut meta.responses {
            response.description = "It is stored: the receipt.";
            let description = "`true` on a repeat: the receipt is that of the first request.";
            response
                .headers
                .push(header_of(&IDEMPOTENT_REPLAYED, description, false));
        }
        meta
    }

    fn register(registry: &mut Registry) {
        Answer::<ReceiptBody, 201>::register(registry);
    }
}

/// Reads the body of `POST /v1/notifications` as the address does, and reports every field that is wrong. Fuzzing
/// and tools come in here.
pub fn read_draft(body: &[u8]) -> Result<Draft, Vec<FieldError>> {
    parse::<DraftBody>(body).map_err(Problem::into_errors)?.draft()
}
