//! Deliveries over Ably that are dead, and sending them once more.

use std::sync::Arc;

use application::deliveries::{DEAD_PAGE_MAX, ReviveError};
use application::ports::DeliveryRow;
use domain::cursor::Cursor;
use domain::outbox::{DeadReason, Status};
use domain::transport::Reason;
use poem::web::Data;
use poem_openapi::registry::MetaSchema;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use serde::Serialize;

use super::{ADMINISTRATOR, Administrator};
use crate::http::answer::Answer;
use crate::http::inbox::bounded_number;
use crate::http::problem::{CALLER, Kind, Outcome, Problem, STORE, causes};
use crate::http::request::{Asked, Faults, FromTexts, Named, once};
use crate::http::schema::{ChannelText, CursorText, MomentText};
use crate::http::{Group, Services, schema};

const LIMIT_DEFAULT: usize = 50;

causes! {
    Listing = [CALLER, ADMINISTRATOR, STORE, &[Kind::InvalidRequest]];
    Replaying = [CALLER, ADMINISTRATOR, STORE, &[Kind::NotFound, Kind::DeliveryNotDead]];
}

/// Deliveries over Ably that are dead.
pub(crate) struct DeliveriesApi;

#[OpenApi(tag = "Group::Administration")]
impl DeliveriesApi {
    /// List dead deliveries
    ///
    /// Events that Ably refused for good, or that were given up, the oldest first. Nobody has lost them: clients are
    /// sent to the replay for them, and the streams carried them anyway.
    #[oai(path = "/v1/admin/deliveries", method = "get", operation_id = "deliveries")]
    async fn list(
        &self,
        services: Data<&Arc<Services>>,
        _administrator: Administrator,
        /// Which; only `dead` ones are listed.
        status: Asked<Listed>,
        /// `next` of the page before.
        after: Asked<Cursor>,
        /// How many at most.
        limit: Asked<PageLimit>,
    ) -> Outcome<Answer<DeliveriesBody>, Listing> {
        let mut faults = Faults::default();
        faults.take(status);
        let after = faults.take(after);
        let limit = faults.take(limit).map_or(LIMIT_DEFAULT, |PageLimit(limit)| limit);
        faults.check()?;
        let page = services.deliveries.dead(after, limit).await?;
        Ok(Answer::new(&DeliveriesBody {
            items: page.rows.iter().map(DeliveryBody::from).collect(),
            next: page.next.map(Into::into),
        }))
    }

    /// Send a dead delivery once more
    ///
    /// It is sent within a second, as soon as nothing earlier of its channel is on its way, and may arrive behind later
    /// events. Whoever has been shown it is not shown it again. 409 where it is not dead, or not any more.
    #[oai(
        path = "/v1/admin/deliveries/:id/replay",
        method = "post",
        operation_id = "replayDelivery"
    )]
    async fn replay(
        &self,
        services: Data<&Arc<Services>>,
        administrator: Administrator,
        /// The delivery's id, which is its event's cursor.
        id: Named<Cursor>,
    ) -> Outcome<Answer<DeliveryBody>, Replaying> {
        let id = id.known("delivery")?;
        let revived = services.deliveries.revive(id).await?;
        // Who did what to which: what an audit trail keeps.
        tracing::info!(by = %administrator.0.user, %id, channel = %revived.channel, "an administrator replayed a delivery");
        Ok(Answer::new(&DeliveryBody::from(&revived)))
    }
}

impl From<ReviveError> for Problem {
    fn from(error: ReviveError) -> Self {
        match error {
            ReviveError::Unknown => Self::not_found("delivery"),
            ReviveError::NotDead(_) => Self::new(Kind::DeliveryNotDead, error.to_string()),
            ReviveError::Store(error) => error.into(),
        }
    }
}

/// Which deliveries are listed.
struct Listed;

impl FromTexts for Listed {
    fn schema() -> MetaSchema {
        schema::one_of_texts(["dead"])
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, |text| {
            if text == "dead" {
                Ok(Self)
            } else {
                Err("must be dead")
            }
        })
    }
}

/// How many deliveries a page holds at most.
struct PageLimit(usize);

impl FromTexts for PageLimit {
    fn schema() -> MetaSchema {
        schema::whole_number(1, DEAD_PAGE_MAX, LIMIT_DEFAULT)
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        bounded_number(texts, DEAD_PAGE_MAX).map(Self)
    }
}

/// A page of deliveries.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "DeliveryPage", example)]
pub(crate) struct DeliveriesBody {
    /// The deliveries, the oldest first.
    items: Vec<DeliveryBody>,
    /// Where to go on; null at the end.
    #[oai(nullable)]
    next: Option<CursorText>,
}

/// An event on its way over Ably.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Delivery", example)]
pub(crate) struct DeliveryBody {
    /// Its id, which is its event's cursor.
    id: CursorText,
    /// Where it goes.
    channel: ChannelText,
    /// Where it stands.
    status: StatusName,
    /// Why it is dead, suppressed or withdrawn; null otherwise.
    #[oai(nullable)]
    reason: Option<String>,
    /// Ably's own code of its refusal; null where there is none.
    #[oai(nullable)]
    code: Option<u32>,
    /// When it is tried again; null where it is not waiting for that.
    #[oai(nullable)]
    retry_at: Option<MomentText>,
    /// When it began, or began anew.
    since: MomentText,
    /// How often it was sent since.
    attempts: u32,
    /// Whether it was begun anew by hand.
    revived: bool,
}

/// Where a delivery stands.
#[derive(Debug, Serialize, Enum)]
#[oai(rename = "DeliveryStatus", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum StatusName {
    Pending,
    Leased,
    RetryAt,
    Done,
    Suppressed,
    Dead,
    Withdrawn,
}

impl From<&DeliveryRow> for DeliveryBody {
    fn from(row: &DeliveryRow) -> Self {
        let delivery = &row.delivery;
        let (status, reason) = match delivery.status {
            Status::Pending => (StatusName::Pending, None),
            Status::Leased { .. } => (StatusName::Leased, None),
            Status::RetryAt(_) => (StatusName::RetryAt, None),
            Status::Done => (StatusName::Done, None),
            Status::Suppressed(reason) => (StatusName::Suppressed, Some(Reason::as_str(reason))),
            Status::Dead(reason) => (StatusName::Dead, Some(reason.as_str())),
            Status::Withdrawn { why, .. } => (StatusName::Withdrawn, Some(why.as_str())),
        };
        Self {
            id: row.cursor.into(),
            channel: (&row.channel).into(),
            status,
            reason: reason.map(str::to_owned),
            code: match delivery.status {
                Status::Dead(DeadReason::Refused { code }) if code != 0 => Some(code),
                _ => None,
            },
            retry_at: match delivery.status {
                Status::RetryAt(at) => Some(at.into()),
                _ => None,
            },
            since: delivery.since.into(),
            attempts: delivery.attempts,
            revived: delivery.revived,
        }
    }
}

impl Example for DeliveryBody {
    fn example() -> Self {
        Self {
            id: CursorText("8f3a-1042".to_owned()),
            channel: ChannelText("private:unit:cras-1:notifications".to_owned()),
            status: StatusName::Dead,
            reason: Some("refused".to_owned()),
            code: Some(40_009),
            retry_at: None,
            since: MomentText("2026-01-01T00:00:00.000Z".to_owned()),
            attempts: 1,
            revived: false,
        }
    }
}

impl Example for DeliveriesBody {
    fn example() -> Self {
        Self {
            items: vec![DeliveryBody::example()],
            next: None,
        }
    }
}
