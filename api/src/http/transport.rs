//! Which transport a client is to listen on.

use std::collections::BTreeMap;
use std::sync::Arc;

use application::select_transport::Selected;
use domain::cursor::Cursor;
use domain::transport::{Reason, Transport};
use poem::web::Data;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;

use super::answer::Answer;
use super::problem::{CALLER, Kind, Outcome, STORE, causes};
use super::request::{Asked, Caller, Faults};
use super::schema::{CursorText, ReasonText, TransportText};
use super::{Group, Services};

causes! {
    Selecting = [CALLER, STORE, &[Kind::InvalidRequest, Kind::Forbidden]];
}

/// Which transport a client is to listen on.
pub(crate) struct TransportApi;

#[OpenApi(tag = "Group::Streams")]
impl TransportApi {
    /// Ask what to listen on
    ///
    /// Asked by clients that can listen on Ably: before they begin, and again whenever `poll_after_ms` is over. The
    /// event stream always works, whatever the answer is.
    ///
    /// A client on Ably keeps a safe cursor, up to which it has everything, and the cursors that it saw above. It asks
    /// with the safe one as `after`. If `replay` is false and it holds every cursor of `channels`, `cursor` is safe
    /// now. Otherwise something is missing, or late: it reads `/v1/events/replay` after its safe cursor to the end,
    /// and goes on from there. When it is told `sse` it opens the event stream with its safe cursor.
    #[oai(path = "/v1/transport", method = "get", operation_id = "transport")]
    async fn transport(
        &self,
        services: Data<&Arc<Services>>,
        caller: Caller,
        /// The cursor up to which you have everything. Without it nothing is compared, and `cursor` is where to begin.
        after: Asked<Cursor>,
    ) -> Outcome<Answer<TransportDocument>, Selecting> {
        let mut faults = Faults::default();
        let after = faults.take(after);
        faults.check()?;
        let selected = services.transport.run(&caller.0, after).await?;
        Ok(Answer::new(&TransportDocument::from(&selected)))
    }
}

/// What to listen on.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "SelectedTransport", example)]
pub(crate) struct TransportDocument {
    /// What to listen on.
    transport: TransportText,
    /// Why.
    reason: ReasonText,
    /// What to listen on where `transport` cannot be reached: it carries everything.
    fallback: TransportText,
    /// Where the log stands.
    cursor: CursorText,
    /// The last cursor on each of your channels that carried anything after `after`. Empty where it was not looked at,
    /// and `replay` is true then.
    channels: BTreeMap<String, CursorText>,
    /// Whether any of your events after `after` was not accepted by Ably in its order, or may not have been. On `sse`
    /// it is not looked at.
    replay: bool,
    /// When to ask again, in milliseconds. It differs from answer to answer, so that clients do not ask in step.
    #[oai(validator(minimum(value = "0"), maximum(value = "20000")))]
    poll_after_ms: u64,
}

impl From<&Selected> for TransportDocument {
    fn from(selected: &Selected) -> Self {
        let answer = &selected.answer;
        let channels = answer.channels.iter();
        Self {
            transport: selected.transport.into(),
            reason: selected.reason.into(),
            fallback: Transport::Streams.into(),
            cursor: answer.cursor.into(),
            channels: channels
                .map(|(channel, last)| (channel.to_string(), (*last).into()))
                .collect(),
            replay: answer.replay,
            poll_after_ms: u64::try_from(selected.poll_after.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Example for TransportDocument {
    fn example() -> Self {
        let channel = "private:user:u-42:notifications".to_owned();
        Self {
            transport: Transport::Ably.into(),
            reason: Reason::InCohort.into(),
            fallback: Transport::Streams.into(),
            cursor: CursorText("8f3a-1044".to_owned()),
            channels: BTreeMap::from([(channel, CursorText("8f3a-1042".to_owned()))]),
            replay: false,
            poll_after_ms: 14_250,
        }
    }
}
