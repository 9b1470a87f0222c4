//! Stream tickets.

use std::sync::Arc;

use application::tickets::Grant;
use poem::http::header;
use poem::web::Data;
use poem::{IntoResponse, Request, Response};
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;

use super::answer::{Answer, header_of};
use super::problem::{CALLER, Outcome, causes};
use super::request::{Caller, StreamCookie, stream_cookie};
use super::schema::MomentText;
use super::{Group, Services};

causes! {
    Ticketing = [CALLER];
}

/// Stream tickets.
pub(crate) struct TicketsApi;

#[OpenApi(tag = "Group::Streams")]
#[expect(clippy::unused_async, reason = "handlers are async, whether they wait or not")]
impl TicketsApi {
    /// Get a ticket for a stream
    ///
    /// A native `EventSource` can send no header, and tokens do not belong into addresses. Open the stream with
    /// `?ticket=` within 30 seconds. The browser's own reconnects repeat that address and count only together with
    /// the cookie that this answer sets, so a copied address is worth nothing. The session lasts as long as the
    /// token, and longer when the stream is renewed.
    #[oai(path = "/v1/stream/tickets", method = "post", operation_id = "streamTicket")]
    async fn issue(
        &self,
        services: Data<&Arc<Services>>,
        request: &Request,
        caller: Caller,
        cookie: StreamCookie,
    ) -> Outcome<Ticketed, Ticketing> {
        let grant = services.tickets.issue(&caller.0, cookie.0.as_deref())?;
        let answer = Answer::new(&TicketBody::from(&grant));
        let lives = grant.expires_at.since(services.clock.now());
        let cookie = stream_cookie(
            &services.config,
            request.header(header::HOST),
            &grant.cookie,
            lives,
        );
        Ok(Ticketed(match cookie {
            Some(cookie) => answer.with(header::SET_COOKIE, cookie),
            None => answer,
        }))
    }
}

/// A ticket for a stream.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "StreamTicket", example)]
pub(crate) struct TicketBody {
    /// Goes into the address: `/v1/stream?ticket=…`.
    ticket: String,
    /// When the session ends unless it is renewed.
    expires_at: MomentText,
}

impl From<&Grant> for TicketBody {
    fn from(grant: &Grant) -> Self {
        Self {
            ticket: grant.ticket.clone(),
            expires_at: grant.expires_at.into(),
        }
    }
}

impl Example for TicketBody {
    fn example() -> Self {
        Self {
            ticket: "q2Zk1rVY0u7bN3xT5wLhCg".to_owned(),
            expires_at: MomentText("2026-01-01T13:00:00.000Z".to_owned()),
        }
    }
}

/// 200 with a ticket and its cookie.
pub(crate) struct Ticketed(Answer<TicketBody>);

impl IntoResponse for Ticketed {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl ApiResponse for Ticketed {
    fn meta() -> MetaResponses {
        let mut meta = Answer::<TicketBody>::meta();
        for response in &mut meta.responses {
            let description =
                "`arauto_stream`, for reconnects: HttpOnly, SameSite=Strict, Secure except on loopback.";
            response
                .headers
                .push(header_of(&header::SET_COOKIE, description, true));
        }
        meta
    }

    fn register(registry: &mut Registry) {
        Answer::<TicketBody>::register(registry);
    }
}
