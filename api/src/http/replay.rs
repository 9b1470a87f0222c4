//! What a person missed, by request instead of by stream.

use std::sync::Arc;

use application::replay::{REPLAY_MAX, ReplayPage};
use domain::cursor::Cursor;
use poem::Request;
use poem::web::Data;
use poem_openapi::registry::MetaSchema;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use serde::Serialize;
use serde_json::value::RawValue;

use super::answer::Answer;
use super::coding::Page;
use super::inbox::bounded_number;
use super::problem::{CALLER, Kind, Outcome, Problem, STORE, causes};
use super::request::{Asked, Caller, Faults, FromTexts};
use super::schema::{AnyJson, CursorText};
use super::{Group, Services, schema};
use crate::wire::{ResetShape, render_event};

const LIMIT_DEFAULT: usize = 100;

causes! {
    Replaying = [CALLER, STORE, &[Kind::InvalidRequest, Kind::Forbidden]];
}

/// What a person missed.
pub(crate) struct ReplayApi;

#[OpenApi(tag = "Group::Streams")]
impl ReplayApi {
    /// Read what you missed
    ///
    /// The events after a cursor on your channels, in order, with the same names and data as on the stream.
    /// `cursor` is where to continue, also when the page is empty. Where the history between cannot be given, `reset`
    /// says so: load the inbox again and go on from `to`.
    #[oai(path = "/v1/events/replay", method = "get", operation_id = "replay")]
    async fn replay(
        &self,
        services: Data<&Arc<Services>>,
        request: &Request,
        caller: Caller,
        /// The last cursor that you have.
        after: Asked<Cursor, true>,
        /// How many events at most.
        limit: Asked<ReplayLimit>,
    ) -> Outcome<Page<ReplayDocument>, Replaying> {
        let mut faults = Faults::default();
        let after = faults.require(after);
        let limit = faults
            .take(limit)
            .map_or(LIMIT_DEFAULT, |ReplayLimit(limit)| limit);
        let after = faults.check_with(after)?;
        let page = services.replay.run(&caller.0, after, limit).await?;
        let answer = Answer::new(&ReplayShape::of(&page)?);
        Ok(Page::of(answer, &services, request.headers()))
    }
}

/// How many events a page holds at most.
pub(crate) struct ReplayLimit(usize);

impl FromTexts for ReplayLimit {
    fn schema() -> MetaSchema {
        schema::whole_number(1, REPLAY_MAX, LIMIT_DEFAULT)
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        bounded_number(texts, REPLAY_MAX).map(Self)
    }
}

/// A page of what you missed.
#[derive(Debug, Object)]
#[oai(rename = "ReplayPage", example)]
pub(crate) struct ReplayDocument {
    /// The events, in order.
    events: Vec<EventDocument>,
    /// Where to continue, also when the page is empty.
    cursor: CursorText,
    /// Whether there is more to ask for.
    has_more: bool,
    /// Says that history between cannot be given; null otherwise.
    #[oai(nullable)]
    reset: Option<ResetDocument>,
}

/// An event as on the stream.
#[derive(Debug, Object)]
#[oai(rename = "ReplayedEvent")]
struct EventDocument {
    /// Its id.
    cursor: CursorText,
    /// Its name.
    event: EventName,
    /// Its data.
    data: AnyJson,
}

/// The names of events that the log holds.
#[derive(Debug, Enum)]
#[oai(rename_all = "lowercase")]
enum EventName {
    Notification,
    Retracted,
    State,
}

/// Says that history between two cursors cannot be given.
#[derive(Debug, Object)]
#[oai(rename = "Reset")]
struct ResetDocument {
    /// Why.
    reason: ResetName,
    /// What you knew; null when it could not be read.
    #[oai(nullable)]
    from: Option<CursorText>,
    /// Where to go on.
    to: CursorText,
    /// How long to wait before the inbox is loaded again, in milliseconds, so that not everybody does so at once.
    #[oai(validator(minimum(value = "0")))]
    reload_after_ms: u64,
}

/// Why history cannot be given: it is gone, it belongs to another history, or the cursor is none of ours.
#[derive(Debug, Enum)]
#[oai(rename = "ResetReason", rename_all = "snake_case")]
enum ResetName {
    Expired,
    EpochChanged,
    Unknown,
}

impl Example for ReplayDocument {
    fn example() -> Self {
        let data = serde_json::json!({
            "cursor": "8f3a-1043",
            "channel": "private:user:u-42:notifications",
            "notification_id": "019b76da-a800-7cc0-8a5e-0a6b6e1f2c3d",
        });
        Self {
            events: vec![EventDocument {
                cursor: CursorText("8f3a-1043".to_owned()),
                event: EventName::Retracted,
                data: AnyJson(data),
            }],
            cursor: CursorText("8f3a-1044".to_owned()),
            has_more: false,
            reset: None,
        }
    }
}

/// A page as it is written; described as `ReplayDocument`.
#[derive(Serialize)]
struct ReplayShape {
    events: Vec<EventShape>,
    cursor: CursorText,
    has_more: bool,
    reset: Option<ResetShape>,
}

#[derive(Serialize)]
struct EventShape {
    cursor: CursorText,
    event: &'static str,
    data: Box<RawValue>,
}

impl ReplayShape {
    fn of(page: &ReplayPage) -> Result<Self, Problem> {
        let epoch = page.cursor.epoch;
        let rendered = page.events.iter().filter_map(|event| render_event(epoch, event));
        let events = rendered.map(|event| {
            let data = RawValue::from_string(event.data).map_err(|error| Problem::internal(&error))?;
            Ok(EventShape {
                cursor: event.id.into(),
                event: event.event,
                data,
            })
        });
        Ok(Self {
            events: events.collect::<Result<_, Problem>>()?,
            cursor: page.cursor.into(),
            has_more: page.has_more,
            reset: page.reset.as_ref().map(Into::into),
        })
    }
}
