//! Who is shut out for a while.

use std::sync::Arc;
use std::time::Duration;

use application::abuse::BlockError;
use domain::abuse::{Block, LASTS, Suspect};
use domain::notification::FieldError;
use domain::rollout::Why;
use poem::Request;
use poem::web::Data;
use poem_openapi::registry::MetaSchema;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use super::{ADMINISTRATOR, Administrator};
use crate::http::answer::{Answer, Done};
use crate::http::edge::trace::Trace;
use crate::http::problem::{CALLER, JSON_BODY, Kind, Outcome, Problem, causes};
use crate::http::request::{Faults, FromTexts, JsonBody, Named, RequestBody, once};
use crate::http::schema::{self, IdText, MomentText, SuspectText, WhyText};
use crate::http::{Group, Services, parse_moment};

/// Settings that did not answer are asked for again that soon.
const SETTINGS_RETRY_AFTER: Duration = Duration::from_secs(1);
/// A document that another version of the service wrote is readable when this node was replaced; a full list has room
/// when something in it has ended.
const LATER: Duration = Duration::from_secs(60);

causes! {
    Listing = [CALLER, ADMINISTRATOR];
    Blocking = [CALLER, ADMINISTRATOR, JSON_BODY, &[Kind::CapacityReached]];
    Lifting = [CALLER, ADMINISTRATOR, &[Kind::NotFound]];
}

/// Who is shut out for a while.
pub(crate) struct BlocksApi;

#[OpenApi(tag = "Group::Administration")]
impl BlocksApi {
    /// Who is shut out?
    ///
    /// People and addresses that tried more than ten times in five minutes what nobody gave them a right to, and those
    /// whom an administrator shut out. `in_force` is the version that the node which answers goes by.
    #[oai(path = "/v1/admin/blocks", method = "get", operation_id = "blocks")]
    async fn list(
        &self,
        services: Data<&Arc<Services>>,
        _administrator: Administrator,
    ) -> Outcome<Answer<BlocksBody>, Listing> {
        let listed = services.blocks.list().await?;
        Ok(Answer::new(&BlocksBody {
            version: listed.version,
            in_force: listed.in_force,
            blocks: listed.blocks.all().into_iter().map(Into::into).collect(),
        }))
    }

    /// Shut somebody out
    ///
    /// A person, or whoever cannot say who they are at an address, on every node within a second: requests are answered
    /// 429 `blocked` with `Retry-After`, new streams are closed as `rate_limited`. Open streams go on; `revocations` close
    /// them. Networks that the limits exempt are not shut out.
    #[oai(path = "/v1/admin/blocks", method = "post", operation_id = "block")]
    async fn add(
        &self,
        services: Data<&Arc<Services>>,
        request: &Request,
        administrator: Administrator,
        body: JsonBody<BlockWishBody>,
    ) -> Outcome<Answer<BlockBody>, Blocking> {
        let mut faults = Faults::default();
        let block = faults.absorb(body.0.block(&administrator, services.clock.now()));
        let block = faults.check_with(block)?;
        services.blocks.add(std::slice::from_ref(&block)).await?;
        Trace::note(request, || block.suspect.to_string());
        Ok(Answer::new(&BlockBody::from(&block)))
    }

    /// Lift a block
    ///
    /// On every node within a second. Whoever tries again what led to it is shut out again.
    #[oai(path = "/v1/admin/blocks/:key", method = "delete", operation_id = "liftBlock")]
    async fn lift(
        &self,
        services: Data<&Arc<Services>>,
        _administrator: Administrator,
        /// Who, as the list names them.
        key: Named<Suspect>,
    ) -> Outcome<Done, Lifting> {
        services.blocks.lift(&key.known("block")?).await?;
        Ok(Done)
    }
}

impl From<BlockError> for Problem {
    fn from(error: BlockError) -> Self {
        let detail = error.to_string();
        match error {
            BlockError::Over => Self::field("ends_at", detail),
            BlockError::Unknown => Self::not_found("block"),
            BlockError::Full(_) => Self::new(Kind::CapacityReached, detail).retry_after(LATER),
            BlockError::Unreadable(_) => Self::new(Kind::Unavailable, detail).retry_after(LATER),
            BlockError::Contended | BlockError::Settings(_) => {
                Self::new(Kind::Unavailable, detail).retry_after(SETTINGS_RETRY_AFTER)
            }
        }
    }
}

impl FromTexts for Suspect {
    fn schema() -> MetaSchema {
        schema::suspect()
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, |text| text.parse().map_err(|error| format!("{error}")))
    }
}

/// Whom to shut out.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(rename = "BlockWish", example)]
pub(crate) struct BlockWishBody {
    /// `user:` and an id, or `address:` and an IP address (of IPv6: the network of 64 bits).
    key: SuspectText,
    /// Until when; by default a quarter of an hour.
    #[oai(nullable)]
    #[serde(default)]
    ends_at: Option<MomentText>,
    /// Why.
    why: WhyText,
}

impl RequestBody for BlockWishBody {}

impl BlockWishBody {
    fn block(self, by: &Administrator, at: domain::time::Timestamp) -> Result<Block, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut note = |field: &str, detail: String| errors.push(FieldError::new(field, detail));
        let suspect: Option<Suspect> = match self.key.0.parse() {
            Ok(suspect) => Some(suspect),
            Err(error) => {
                note("key", format!("{error}"));
                None
            }
        };
        let why = Why::try_new(&self.why.0).map_err(|error| note("why", error.to_string()));
        let ends_at = match self.ends_at.map(|text| parse_moment(&text.0)) {
            None => Some(at.plus(LASTS)),
            Some(Ok(ends_at)) => Some(ends_at),
            Some(Err(detail)) => {
                note("ends_at", detail);
                None
            }
        };
        match (suspect, why, ends_at) {
            (Some(suspect), Ok(why), Some(ends_at)) => Ok(Block {
                suspect,
                why,
                by: Some(by.0.user.clone()),
                at,
                ends_at,
            }),
            _ => Err(errors),
        }
    }
}

impl Example for BlockWishBody {
    fn example() -> Self {
        Self {
            key: SuspectText("user:u-42".to_owned()),
            ends_at: None,
            why: WhyText("account shared among strangers".to_owned()),
        }
    }
}

/// Who is shut out.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Blocks")]
pub(crate) struct BlocksBody {
    /// How often they were written; 0 for never.
    version: u64,
    /// The version that the node which answers goes by.
    in_force: u64,
    /// All of them, at most 1,024. Those whose end is over go with the next change.
    blocks: Vec<BlockBody>,
}

/// Somebody who is shut out.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Block", example)]
pub(crate) struct BlockBody {
    /// Who.
    key: SuspectText,
    /// Why.
    why: WhyText,
    /// Who shut them out; null for the service itself.
    #[oai(nullable)]
    by: Option<IdText>,
    /// When.
    at: MomentText,
    /// Until when.
    ends_at: MomentText,
}

impl From<&Block> for BlockBody {
    fn from(block: &Block) -> Self {
        Self {
            key: SuspectText(block.suspect.to_string()),
            why: WhyText(block.why.as_str().to_owned()),
            by: block.by.as_ref().map(|user| IdText(user.to_string())),
            at: block.at.into(),
            ends_at: block.ends_at.into(),
        }
    }
}

impl Example for BlockBody {
    fn example() -> Self {
        Self {
            key: SuspectText("address:203.0.113.9".to_owned()),
            why: WhyText("more than 10 attempts in five minutes: failed-authentication".to_owned()),
            by: None,
            at: MomentText("2026-01-01T12:00:00.000Z".to_owned()),
            ends_at: MomentText("2026-01-01T12:15:00.000Z".to_owned()),
        }
    }
}
