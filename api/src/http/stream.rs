//! Event streams.

use std::sync::Arc;
use std::time::Duration;

use application::error::Error;
use application::limits::Limited;
use application::ports::{Format, Message, Selection};
use application::subscribe::{CHANNELS_MAX, StreamRequest, SubscribeError};
use bytes::Bytes;
use domain::capability::Principal;
use domain::channel::Channel;
use domain::stream::{CloseReason, Jitter, Resume};
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::Data;
use poem::{Body, IntoResponse, Request, Response};
use poem_openapi::registry::{MetaResponses, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiResponse, OpenApi};

use super::answer::{empty_response, text_response};
use super::coding::Coding;
use super::edge::ClientAddress;
use super::edge::limit::stream_turn;
use super::edge::trace::Trace;
use super::frames::Frames;
use super::problem::{CREDENTIALS, Kind, Outcome, Problem, TicketRefusal, causes, token_missing};
use super::request::{Asked, Faults, FromTexts, MaybeCaller, Sent, StreamCookie, once};
use super::{Group, Services, schema};

const EVENT_STREAM: &str = "text/event-stream";

causes! {
    Streaming = [
        CREDENTIALS,
        &[Kind::TicketInvalid, Kind::TicketExpired, Kind::TicketReplayed, Kind::InvalidRequest, Kind::Forbidden],
    ];
}

/// Event streams.
pub(crate) struct StreamApi;

#[OpenApi(tag = "Group::Streams")]
impl StreamApi {
    /// Open an event stream
    ///
    /// Server-sent events as the HTML standard defines them, for `EventSource` and whatever reads the same format.
    /// The first bytes come at once: a `retry:` of this connection's own, then `ready`. Then come the events after
    /// the cursor that the client showed, then live ones, without a seam. Events: `ready`, `notification`,
    /// `retracted`, `state`, `heartbeat`, `reset`, `session`, `closing`; `data` is one line of JSON, and `id` is the
    /// cursor to come back with. `Accept` is not looked at; with `Accept-Encoding: gzip` each event is readable as soon
    /// as its bytes are there.
    ///
    /// Who is calling says a bearer token, or a ticket in the address where a native `EventSource` can send no
    /// header: its first use within 30 seconds needs nothing else, and later uses, the browser's own reconnects,
    /// need the cookie that came with it. A token is never taken from the address.
    ///
    /// A native `EventSource` gives up for ever on any status but 200. So what passes by itself (overload, a store
    /// that is away, too many streams opened within a minute) is answered 200 with `retry:`, `closing` and the end of
    /// the stream; only bad credentials and bad parameters are a problem, and 204 is for streams that were closed for
    /// good.
    #[oai(path = "/v1/stream", method = "get", operation_id = "stream")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the address")]
    async fn stream(
        &self,
        services: Data<&Arc<Services>>,
        request: &Request,
        caller: MaybeCaller,
        cookie: StreamCookie,
        /// A ticket, where no header can be sent.
        ticket: Asked<TicketText>,
        /// The last cursor that the client saw. One that cannot be read is answered by a `reset` in the stream.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Sent<Shown>,
        /// The same in the address, for the first connection; the header wins.
        #[oai(name = "last_event_id")]
        shown: Asked<Shown>,
        /// These channels alone, up to 50, separated by commas or given repeatedly; without it all that you may
        /// subscribe to by default.
        channels: Asked<ChannelList>,
    ) -> Outcome<StreamAnswer, Streaming> {
        let mut faults = Faults::default();
        let (header, address) = (faults.take(last_event_id), faults.take(shown));
        let selection = faults
            .take(channels)
            .map_or(Selection::Default, |list| Selection::Named(list.0));
        let ticket = faults.take(ticket);
        faults.check()?;
        let (principal, ticket) = match (caller.0, ticket) {
            (Some(principal), _) => (principal, None),
            (None, Some(TicketText(ticket))) => match redeem(&services, &ticket, &cookie).await {
                Ok(redeemed) => {
                    Trace::is(request, &services, &redeemed.principal.user);
                    (redeemed.principal, Some(redeemed.ticket))
                }
                Err(TicketRefusal::Problem(problem)) => {
                    watch_ticket(&services, request, &problem);
                    let _counted = stream_turn(&services, request, None).await;
                    return Err(problem.into());
                }
                Err(TicketRefusal::Ended) => return Ok(StreamAnswer::Ended),
                Err(TicketRefusal::Later) => return Ok(later(&services)),
            },
            (None, None) => {
                let _counted = stream_turn(&services, request, None).await;
                return Err(token_missing().into());
            }
        };
        if let Err(Limited(left)) = stream_turn(&services, request, Some(&principal)).await {
            return Ok(closing(&services, CloseReason::RateLimited, left.reset));
        }
        let coding = Coding::of(&services, request.headers());
        let wanted = StreamRequest {
            selection,
            resume: resume(header, address),
            format: match coding {
                Coding::Identity => Format::Sse,
                Coding::Gzip => Format::SseGzip,
            },
            ticket,
        };
        Ok(open(&services, principal, wanted, coding).await?)
    }
}

/// Redeems a ticket.
pub(super) async fn redeem(
    services: &Services,
    ticket: &str,
    cookie: &StreamCookie,
) -> Result<application::tickets::Redeemed, TicketRefusal> {
    let redeemed = services.tickets.redeem(ticket, cookie.0.as_deref()).await;
    redeemed.map_err(TicketRefusal::from)
}

/// Lets the watch see tickets that are made up, or used by whoever does not hold their cookie.
pub(super) fn watch_ticket(services: &Services, request: &Request, problem: &Problem) {
    if matches!(problem.kind(), Kind::TicketInvalid | Kind::TicketReplayed) {
        services.watch.failed(ClientAddress::of(request, services).0);
    }
}

/// Says where a client stands: a header wins over the address, and an empty text is none.
pub(super) fn resume(header: Option<Shown>, address: Option<Shown>) -> Resume {
    let shown = |shown: Option<Shown>| shown.map(|Shown(text)| text).filter(|text| !text.is_empty());
    match shown(header).or_else(|| shown(address)) {
        None => Resume::Live,
        Some(text) => text.parse().map_or(Resume::Unreadable, Resume::After),
    }
}

async fn open(
    services: &Services,
    principal: Arc<Principal>,
    request: StreamRequest,
    coding: Coding,
) -> Result<StreamAnswer, Problem> {
    match services.subscribe.run(principal, request).await {
        Ok(subscription) => {
            let frames = Frames::new(subscription, Arc::clone(&services.observer), coding);
            Ok(StreamAnswer::Open(frames))
        }
        Err(SubscribeError::Later { reason, after }) => Ok(closing(services, reason, after)),
        Err(SubscribeError::Request(Error::Store(_) | Error::Unavailable { .. })) => Ok(later(services)),
        Err(SubscribeError::Request(error)) => Err(error.into()),
    }
}

/// Tells a client in-band to come back.
fn later(services: &Services) -> StreamAnswer {
    let jitter = Jitter::from_bits(services.entropy.bits());
    let connections = services.streams.report().connections;
    let after = services.config.spread.delay(connections, jitter);
    closing(services, CloseReason::Overloaded, after)
}

fn closing(services: &Services, reason: CloseReason, after: Duration) -> StreamAnswer {
    let closing = Message::Closing { reason, after };
    StreamAnswer::Closing(services.encoder.encode(Format::Sse, &closing), reason)
}

/// What an event stream is answered with.
pub(crate) enum StreamAnswer {
    /// It is open.
    Open(Frames),
    /// It says when to come back, and ends.
    Closing(Bytes, CloseReason),
    /// It was closed for good; this ends a native `EventSource`.
    Ended,
}

impl IntoResponse for StreamAnswer {
    fn into_response(self) -> Response {
        let (body, coding, closing) = match self {
            Self::Open(frames) => {
                let coding = frames.coding();
                (Body::from_bytes_stream(frames), coding, None)
            }
            Self::Closing(frame, reason) => (Body::from_bytes(frame), Coding::Identity, Some(reason)),
            Self::Ended => return StatusCode::NO_CONTENT.into(),
        };
        let mut response = Response::builder().content_type(EVENT_STREAM).body(body);
        if let Some(reason) = closing {
            response.set_data(reason);
        }
        let headers = response.headers_mut();
        for (name, value) in coding.headers() {
            headers.append(name, value);
        }
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store, no-transform"),
        );
        // nginx holds answers back unless it is told not to.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }
}

impl ApiResponse for StreamAnswer {
    fn meta() -> MetaResponses {
        let mut stream = text_response(
            EVENT_STREAM,
            "The stream; or, where it cannot be served now, `retry:`, one `closing` event and the end.",
        );
        stream.headers.push(Coding::described());
        let ended = empty_response(
            204,
            "The ticket's stream was closed for good: do not come back with it.",
        );
        MetaResponses {
            responses: vec![stream, ended],
        }
    }

    fn register(_: &mut Registry) {}
}

/// A ticket as the address gives it.
pub(crate) struct TicketText(pub(super) String);

impl FromTexts for TicketText {
    fn schema() -> MetaSchema {
        schema::patterned("^[A-Za-z0-9_-]+$")
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        // Whether it is one of ours, opening its seal tells.
        once(texts, |text| Ok::<_, String>(Self(text.to_owned())))
    }
}

/// A cursor as a client shows it, readable or not.
pub(crate) struct Shown(String);

impl FromTexts for Shown {
    fn schema() -> MetaSchema {
        MetaSchema::new("string")
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        // Streams answer what they cannot read in-band, so nothing is refused here.
        Ok(Self(texts.first().cloned().unwrap_or_default()))
    }
}

/// Channels, separated by commas or given repeatedly, each once.
pub(crate) struct ChannelList(pub(super) Vec<Channel>);

impl FromTexts for ChannelList {
    fn schema() -> MetaSchema {
        MetaSchema {
            items: Some(Box::new(MetaSchemaRef::Inline(Box::new(schema::channel())))),
            min_items: Some(1),
            max_items: Some(CHANNELS_MAX),
            ..MetaSchema::new("array")
        }
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        let mut channels: Vec<Channel> = Vec::new();
        for name in texts.iter().flat_map(|text| text.split(',')) {
            let channel = name.trim().parse().map_err(|error| format!("{error}"))?;
            if channels.contains(&channel) {
                continue;
            }
            if channels.len() == CHANNELS_MAX {
                return Err(format!("must name at most {CHANNELS_MAX} channels, got more"));
            }
            channels.push(channel);
        }
        Ok(Self(channels))
    }
}

#[cfg(test)]
mod tests {
    use domain::cursor::{Cursor, Epoch, Position};

    use super::*;

    #[test]
    fn the_header_wins_over_the_address_and_empty_is_absent() {
        let shown = |text: &str| Some(Shown(text.to_owned()));
        let at = |position| {
            Resume::After(Cursor {
                epoch: Epoch(1),
                position: Position(position),
            })
        };
        assert_eq!(resume(None, None), Resume::Live);
        assert_eq!(resume(shown(""), shown("")), Resume::Live);
        assert_eq!(resume(shown("1-5"), shown("1-4")), at(5));
        assert_eq!(resume(shown(""), shown("1-4")), at(4));
        assert_eq!(resume(shown("junk"), shown("1-4")), Resume::Unreadable);
        assert_eq!(resume(None, shown("1-04")), Resume::Unreadable);
    }

    #[test]
    fn channels_are_separated_by_commas_or_repeated_and_bounded() {
        let list = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            ChannelList::from_texts(&texts).map(|list| list.0.len())
        };
        let unit = |n: usize| format!("private:unit:u{n}:notifications");
        assert_eq!(list(&["system:notifications", &unit(1)]), Ok(2));
        assert_eq!(list(&[&format!("{}, {}", unit(1), unit(2)), &unit(2)]), Ok(2));
        let many = |count| (0..count).map(unit).collect::<Vec<_>>().join(",");
        assert_eq!(list(&[&many(CHANNELS_MAX)]), Ok(CHANNELS_MAX));
        assert!(list(&[&many(CHANNELS_MAX + 1)]).is_err());
        for bad in [
            "",
            "system:notifications,",
            "private:unit:*:notifications",
            "PRIVATE",
        ] {
            assert!(list(&[bad]).is_err(), "{bad}");
        }
    }
}
