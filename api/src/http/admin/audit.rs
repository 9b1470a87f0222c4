//! Reading the audit trail.

use std::sync::Arc;

use application::audit::hex;
use application::ports::{AuditError, AuditQuery, Kept};
use domain::audit::Kind as Recorded;
use domain::ids::UserId;
use poem::web::Data;
use poem::{Request, RequestBody, Result};
use poem_openapi::registry::{MetaSchema, Registry};
use poem_openapi::types::Example;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, Object, OpenApi};
use serde::Serialize;

use super::ADMINISTRATOR;
use crate::http::answer::Answer;
use crate::http::problem::{CALLER, Kind, Outcome, Problem, causes};
use crate::http::request::{Asked, Caller, Faults, FromTexts, once};
use crate::http::schema::{self, IdText, MomentText};
use crate::http::{Group, Services, services_of};

/// A page holds this many unless it is asked otherwise, and at most ten times as many.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

/// A trail that does not answer is asked again no sooner.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(5);

causes! {
    Reading = [CALLER, ADMINISTRATOR, &[Kind::InvalidRequest, Kind::InternalError]];
}

/// Someone who may read the audit trail: an administrator or an auditor.
pub(crate) struct Auditor;

impl<'a> ApiExtractor<'a> for Auditor {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Caller as ApiExtractor>::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        <Caller as ApiExtractor>::security_schemes()
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let Caller(person) = Caller::from_request(request, body, options).await?;
        let matrix = services_of(request)?.rights.matrix();
        if matrix.administers(&person) || matrix.audits(&person) {
            return Ok(Self);
        }
        let detail = "none of your roles may read the audit trail";
        Err(Problem::new(Kind::Forbidden, detail).into())
    }
}

/// Reading the audit trail.
pub(crate) struct AuditApi;

#[OpenApi(tag = "Group::Administration")]
impl AuditApi {
    /// Read the audit trail
    ///
    /// For administrators and auditors. By place, the first records first; `next` is where to go on, also where there is
    /// nothing more yet. A page that was filtered may hold fewer records than there are: go on while `next` is less than
    /// `head`. Records come within a second of what they record. `arauto audit verify` checks that none was changed.
    #[oai(path = "/v1/admin/audit", method = "get", operation_id = "audit")]
    async fn read(
        &self,
        services: Data<&Arc<Services>>,
        _auditor: Auditor,
        /// Records after this place; without it from the first that is kept.
        after: Asked<Place>,
        /// At most so many.
        limit: Asked<AuditLimit>,
        /// Records of this kind alone.
        kind: Asked<Recorded>,
        /// Records of this person alone.
        who: Asked<UserId>,
    ) -> Outcome<Answer<AuditBody>, Reading> {
        let mut faults = Faults::default();
        let query = AuditQuery {
            after: faults.take(after).map_or(0, |Place(place)| place),
            limit: faults.take(limit).map_or(PAGE, |AuditLimit(limit)| limit),
            kind: faults.take(kind),
            who: faults.take(who),
        };
        faults.check()?;
        let page = services.audit.read(&query).await?;
        let head = services.audit.trail().await?.head;
        Ok(Answer::new(&AuditBody {
            records: page.records.iter().map(Into::into).collect(),
            next: page.looked_to,
            head,
        }))
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Unavailable => {
                Self::new(Kind::Unavailable, error.to_string()).retry_after(RETRY_AFTER)
            }
            AuditError::Elsewhere | AuditError::Unreadable { .. } => Self::internal(&error),
        }
    }
}

/// A place in the trail.
pub(crate) struct Place(u64);

impl FromTexts for Place {
    fn schema() -> MetaSchema {
        MetaSchema {
            minimum: Some(0.0),
            ..MetaSchema::new("integer")
        }
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        let takes = "must be a whole number, as an earlier page gave it";
        once(texts, |text| {
            let place = text.parse().ok().filter(|place| i64::try_from(*place).is_ok());
            place.map(Self).ok_or(takes)
        })
    }
}

/// How many records a page holds.
pub(crate) struct AuditLimit(usize);

impl FromTexts for AuditLimit {
    fn schema() -> MetaSchema {
        schema::whole_number(1, PAGE_MAX, PAGE)
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, |text| {
            let limit = text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
            limit.map(Self).ok_or("must be 1 to 1000")
        })
    }
}

impl FromTexts for Recorded {
    fn schema() -> MetaSchema {
        schema::one_of_texts(Self::ALL.iter().map(|kind| kind.as_str()))
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, |text| {
            text.parse().map_err(|_| "must be a kind of the audit trail")
        })
    }
}

/// A page of the audit trail.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "AuditPage")]
pub(crate) struct AuditBody {
    /// The records, by place.
    records: Vec<AuditRecordBody>,
    /// Where to go on.
    next: u64,
    /// The last place of the trail.
    head: u64,
}

/// What somebody did.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "AuditRecord", example)]
struct AuditRecordBody {
    /// Its place in the trail, without gaps.
    place: u64,
    /// When.
    at: MomentText,
    /// What was done: `publish`, `retract`, `token`, `subscribe`, `refused`, `change`, `block`, or `lost` for records
    /// that there was no room for.
    kind: String,
    /// Who did it; null where nobody could say who they are.
    #[oai(nullable)]
    who: Option<IdText>,
    /// To what: method and path, and what the service adds.
    target: String,
    /// What came of it: the status, and the name of the problem.
    outcome: String,
    /// The request's id.
    request_id: String,
    /// The chain: one for each life of a node.
    chain: String,
    /// The how manieth of its chain.
    sequence: u64,
    /// SHA-256 over the hash of the record before it in its chain, and this one.
    hash: String,
}

impl From<&Kept> for AuditRecordBody {
    fn from(kept: &Kept) -> Self {
        let record = &kept.sealed.record;
        let entry = &record.entry;
        Self {
            place: kept.place,
            at: entry.at.into(),
            kind: entry.kind.as_str().to_owned(),
            who: entry.who.as_ref().map(|user| IdText(user.to_string())),
            target: entry.target.as_str().to_owned(),
            outcome: entry.outcome.as_str().to_owned(),
            request_id: entry.request.as_str().to_owned(),
            chain: record.chain.to_string(),
            sequence: record.sequence,
            hash: hex(&kept.sealed.hash),
        }
    }
}

impl Example for AuditRecordBody {
    fn example() -> Self {
        Self {
            place: 4_711,
            at: MomentText("2026-01-01T12:00:00.000Z".to_owned()),
            kind: "change".to_owned(),
            who: Some(IdText("admin-1".to_owned())),
            target: "PUT /v1/admin/rollout".to_owned(),
            outcome: "200".to_owned(),
            request_id: "0f8fad5bd9cb469f".to_owned(),
            chain: "9f86d081884c7d65".to_owned(),
            sequence: 12,
            hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        }
    }
}
