//! The WebSocket: who may open one. What is said on it is the business of whoever takes it over.

use std::net::IpAddr;
use std::sync::Arc;

use application::ports::{Selection, TicketId};
use domain::capability::Principal;
use domain::stream::Resume;
use poem::http::StatusCode;
use poem::web::Data;
use poem::{IntoResponse, Request, Response};
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::{ApiResponse, OpenApi};

use super::answer::empty_response;
use super::edge::trace::Trace;
use super::edge::{ClientAddress, Origins};
use super::problem::{CREDENTIALS, Kind, Outcome, Problem, TicketRefusal, causes, tickets_unavailable};
use super::request::{Asked, Faults, MaybeCaller, StreamCookie};
use super::stream::{ChannelList, Shown, TicketText, redeem, resume, watch_ticket};
use super::{Group, Services};
use crate::socket::{Handshake, NotUpgraded, SUBPROTOCOL};

/// What is known of a WebSocket's client when the handshake is over.
#[derive(Debug, Clone)]
pub struct SocketOpening {
    /// Who it is, and the ticket if one said so; absent when the first frame has to.
    pub credentials: Option<(Arc<Principal>, Option<TicketId>)>,
    /// Which channels it asked for.
    pub selection: Selection,
    /// Where it stands; the first frame may say so instead.
    pub resume: Resume,
    /// Where it comes from; `None` when that cannot be told.
    pub client: Option<IpAddr>,
}

/// Takes each WebSocket over.
pub trait Sockets: Send + Sync {
    /// Answers a handshake that may go on: 101 with `Sec-WebSocket-Accept`, and a task that serves the socket. The
    /// request is one that RFC 6455 asks for and offers the subprotocol; its origin and credentials were checked.
    fn accept(&self, request: &Request, opening: SocketOpening) -> Response;
}

causes! {
    Upgrading = [
        CREDENTIALS,
        &[
            Kind::TicketInvalid,
            Kind::TicketExpired,
            Kind::TicketReplayed,
            Kind::InvalidRequest,
            Kind::OriginNotAllowed,
            Kind::UpgradeRequired,
        ],
    ];
}

/// The WebSocket.
pub(crate) struct SocketApi;

#[OpenApi(tag = "Group::Streams")]
impl SocketApi {
    /// Open a WebSocket
    ///
    /// The subprotocol is `arauto.v1`: JSON text frames, the same events as on the event stream, each as
    /// `{"event","id","data"}`. A bearer token in the header or a ticket in the address says who is calling;
    /// otherwise the first frame does, within 5 seconds: `{"op":"hello","token":"…","cursor":"…"}`. Clients send
    /// `heartbeat`, `ack`, `read` and `renew`. Close codes 4000 to 4099 ask to come back and resume, 4400 to 4499 not
    /// to. Pages of other origins than the service's own and those it is configured with are refused.
    #[oai(path = "/v1/ws", method = "get", operation_id = "webSocket")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the address")]
    async fn socket(
        &self,
        services: Data<&Arc<Services>>,
        origins: Data<&Arc<Origins>>,
        request: &Request,
        caller: MaybeCaller,
        cookie: StreamCookie,
        /// A ticket, where no header can be sent.
        ticket: Asked<TicketText>,
        /// The last cursor that the client saw.
        #[oai(name = "last_event_id")]
        shown: Asked<Shown>,
        /// These channels alone, up to 50, separated by commas or given repeatedly.
        channels: Asked<ChannelList>,
    ) -> Outcome<SocketAnswer, Upgrading> {
        check_handshake(request)?;
        if !origins.admits(request.headers()) {
            let detail = "pages of this origin may not open a WebSocket here";
            return Err(Problem::new(Kind::OriginNotAllowed, detail).into());
        }
        let mut faults = Faults::default();
        let resume = resume(None, faults.take(shown));
        let selection = faults
            .take(channels)
            .map_or(Selection::Default, |list| Selection::Named(list.0));
        let ticket = faults.take(ticket);
        faults.check()?;
        let credentials = match (caller.0, ticket) {
            (Some(principal), _) => Some((principal, None)),
            (None, Some(TicketText(ticket))) => match redeem(&services, &ticket, &cookie).await {
                Ok(redeemed) => {
                    Trace::is(request, &services, &redeemed.principal.user);
                    Some((redeemed.principal, Some(redeemed.ticket)))
                }
                Err(TicketRefusal::Problem(problem)) => {
                    watch_ticket(&services, request, &problem);
                    return Err(problem.into());
                }
                Err(TicketRefusal::Ended) => return Ok(SocketAnswer(StatusCode::NO_CONTENT.into())),
                Err(TicketRefusal::Later) => return Err(tickets_unavailable().into()),
            },
            (None, None) => None,
        };
        let opening = SocketOpening {
            credentials,
            selection,
            resume,
            client: ClientAddress::of(request, &services).0,
        };
        Ok(SocketAnswer(services.sockets.accept(request, opening)))
    }
}

/// Says as a problem what is wrong with a handshake.
fn check_handshake(request: &Request) -> Result<(), Problem> {
    let (method, version, headers) = (request.method(), request.version(), request.headers());
    let checked = Handshake::check(method, version, headers, Some(SUBPROTOCOL));
    checked.map(drop).map_err(|flaw| match flaw {
        NotUpgraded::NoWebSocket | NotUpgraded::Version | NotUpgraded::Connection => {
            Problem::upgrade_required()
        }
        NotUpgraded::Key => Problem::field("Sec-WebSocket-Key", "must be 16 bytes in base 64"),
        NotUpgraded::Subprotocol => {
            Problem::field("Sec-WebSocket-Protocol", format!("must offer {SUBPROTOCOL}"))
        }
    })
}

/// What a handshake is answered with.
pub(crate) struct SocketAnswer(Response);

impl IntoResponse for SocketAnswer {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for SocketAnswer {
    fn meta() -> MetaResponses {
        let open = empty_response(101, "The WebSocket is open.");
        let ended = empty_response(
            204,
            "The ticket's stream was closed for good: do not come back with it.",
        );
        MetaResponses {
            responses: vec![open, ended],
        }
    }

    fn register(_: &mut Registry) {}
}
