//! Circuit breakers: what they do, and opening or closing one by hand.

use std::sync::Arc;

use application::ports::BreakerReport;
use domain::breaker::BreakerState;
use poem::web::Data;
use poem_openapi::registry::MetaSchema;
use poem_openapi::{Enum, Object, OpenApi};
use serde::Serialize;

use super::{ADMINISTRATOR, Administrator};
use crate::http::answer::Answer;
use crate::http::problem::{CALLER, Kind, Outcome, Problem, causes};
use crate::http::request::{FromTexts, Named};
use crate::http::schema::{self, MomentText};
use crate::http::{Group, Services};

causes! {
    Listing = [CALLER, ADMINISTRATOR];
    Switching = [CALLER, ADMINISTRATOR, &[Kind::NotFound]];
}

/// Circuit breakers.
pub(crate) struct BreakersApi;

#[OpenApi(tag = "Group::Administration")]
#[expect(clippy::unused_async, reason = "handlers are async, whether they wait or not")]
impl BreakersApi {
    /// List the circuit breakers
    ///
    /// Those of the node that answers: what each does with calls to its part, since when, and what went wrong last. A
    /// node without a database, Redis or Ably has none for it.
    #[oai(path = "/v1/admin/breakers", method = "get", operation_id = "breakers")]
    async fn list(
        &self,
        services: Data<&Arc<Services>>,
        _administrator: Administrator,
    ) -> Outcome<Answer<BreakersBody>, Listing> {
        let reports = services.breakers.list();
        let breakers = reports.iter().map(BreakerBody::from).collect();
        Ok(Answer::new(&BreakersBody {
            node: services.config.node.clone(),
            breakers,
        }))
    }

    /// Open a circuit breaker by hand
    ///
    /// The node that answers asks nothing of that part any more, until the breaker is reset or the node restarts. Other
    /// nodes go on as before: opening a breaker must work while the part that would tell them is the one in trouble.
    /// To take everybody off Ably on all nodes, throw the kill switch.
    #[oai(
        path = "/v1/admin/breakers/:name/open",
        method = "post",
        operation_id = "openBreaker"
    )]
    async fn open(
        &self,
        services: Data<&Arc<Services>>,
        administrator: Administrator,
        /// The breaker's name, as listed.
        name: Named<BreakerName>,
    ) -> Outcome<Answer<BreakerBody>, Switching> {
        let name = name.known("breaker")?.0;
        let report = services.breakers.force_open(&name).ok_or_else(unknown)?;
        tracing::warn!(name, by = %administrator.0.user, "a circuit breaker was opened by hand");
        Ok(Answer::new(&BreakerBody::from(&report)))
    }

    /// Reset a circuit breaker
    ///
    /// It closes and forgets its failures, on the node that answers. Harmless where it is closed.
    #[oai(
        path = "/v1/admin/breakers/:name/reset",
        method = "post",
        operation_id = "resetBreaker"
    )]
    async fn reset(
        &self,
        services: Data<&Arc<Services>>,
        administrator: Administrator,
        /// The breaker's name, as listed.
        name: Named<BreakerName>,
    ) -> Outcome<Answer<BreakerBody>, Switching> {
        let name = name.known("breaker")?.0;
        let report = services.breakers.reset(&name).ok_or_else(unknown)?;
        tracing::warn!(name, by = %administrator.0.user, "a circuit breaker was reset by hand");
        Ok(Answer::new(&BreakerBody::from(&report)))
    }
}

fn unknown() -> Problem {
    Problem::not_found("breaker")
}

/// The name of a breaker, known or not.
pub(crate) struct BreakerName(String);

impl FromTexts for BreakerName {
    fn schema() -> MetaSchema {
        schema::patterned("^[a-z-]{1,32}$")
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        let [name] = texts else {
            return Err("must be one name".to_owned());
        };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        if (1..=32).contains(&name.len()) && name.bytes().all(plain) {
            return Ok(Self(name.clone()));
        }
        Err("must be the name of a breaker".to_owned())
    }
}

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, Serialize, Enum)]
#[oai(rename = "BreakerState", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum StateText {
    Closed,
    Open,
    HalfOpen,
    ForcedOpen,
}

impl From<BreakerState> for StateText {
    fn from(state: BreakerState) -> Self {
        match state {
            BreakerState::Closed => Self::Closed,
            BreakerState::Open { .. } => Self::Open,
            BreakerState::HalfOpen => Self::HalfOpen,
            BreakerState::ForcedOpen => Self::ForcedOpen,
        }
    }
}

/// The circuit breakers of a node.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Breakers")]
pub(crate) struct BreakersBody {
    /// The node that answers.
    node: String,
    /// Its breakers, by name.
    breakers: Vec<BreakerBody>,
}

/// A circuit breaker.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Breaker")]
pub(crate) struct BreakerBody {
    /// Its name: the part, and `-writes` for what the part is asked to write.
    name: String,
    /// `closed` lets calls through, `open` refuses them, `half_open` lets a few through to see, `forced_open` refuses
    /// them until somebody resets it.
    state: StateText,
    /// For how much longer it is open, in milliseconds, unless the part is back sooner; null in every other state.
    #[oai(nullable)]
    retry_after_ms: Option<u64>,
    /// Since when it does that.
    since: MomentText,
    /// How often it opened since the node started.
    opened: u64,
    /// How many calls it refused since then.
    refused: u64,
    /// How long the last call took that was answered, in milliseconds; null before the first.
    #[oai(nullable)]
    latency_ms: Option<u64>,
    /// The last call that was not answered; null where all were.
    #[oai(nullable)]
    last_failure: Option<FailureBody>,
}

/// A call that was not answered.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "CallFailure")]
struct FailureBody {
    /// What was asked.
    call: String,
    /// When that had failed.
    at: MomentText,
}

impl From<&BreakerReport> for BreakerBody {
    fn from(report: &BreakerReport) -> Self {
        let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            name: report.name.to_owned(),
            state: report.state.into(),
            retry_after_ms: match report.state {
                BreakerState::Open { retry_after } => Some(millis(retry_after)),
                BreakerState::Closed | BreakerState::HalfOpen | BreakerState::ForcedOpen => None,
            },
            since: report.since.into(),
            opened: report.opened,
            refused: report.refused,
            latency_ms: report.latency.map(millis),
            last_failure: report.last_failure.map(|failure| FailureBody {
                call: failure.call.to_owned(),
                at: failure.at.into(),
            }),
        }
    }
}
