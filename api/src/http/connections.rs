//! Open streams: replies to heartbeats, and renewal.

use std::sync::Arc;

use application::error::Error;
use domain::abuse::Suspicion;
use domain::ids::ConnectionId;
use poem::Request;
use poem::http::header;
use poem::web::Data;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Done};
use super::edge::ClientAddress;
use super::problem::{CALLER, JSON_BODY, Kind, Outcome, Problem, STORE, causes};
use super::request::{Caller, JsonBody, Named, RequestBody, StreamCookie, stream_cookie};
use super::schema::MomentText;
use super::{Group, Services};

/// Every client can hold a whole number up to here exactly, 2^53 - 1; no node sends as many heartbeats.
const SEQUENCE_MAX: u64 = 9_007_199_254_740_991;

causes! {
    Replying = [CALLER, JSON_BODY, &[Kind::NotFound]];
    Renewing = [CALLER, STORE, &[Kind::NotFound]];
}

/// Open streams.
pub(crate) struct ConnectionsApi;

#[OpenApi(tag = "Group::Streams")]
impl ConnectionsApi {
    /// Reply to a heartbeat
    ///
    /// A `heartbeat` event carries a sequence; replying to it tells the service that the stream arrives, and how
    /// fast, which paces the next ones. Clients that never reply are served all the same. Somebody else's stream is
    /// as unknown as one that never was.
    #[oai(
        path = "/v1/connections/:id/heartbeat",
        method = "post",
        operation_id = "replyToHeartbeat"
    )]
    async fn heartbeat(
        &self,
        services: Data<&Arc<Services>>,
        request: &Request,
        caller: Caller,
        /// The stream's id, from its `ready` event.
        id: Named<ConnectionId>,
        body: JsonBody<HeartbeatBody>,
    ) -> Outcome<Done, Replying> {
        let sequence = body.0.sequence;
        if sequence > SEQUENCE_MAX {
            let detail = format!("must be at most {SEQUENCE_MAX}, as the heartbeat gave it");
            return Err(Problem::field("sequence", detail).into());
        }
        services
            .heartbeat
            .run(&caller.0, id.known("connection")?, sequence)
            .await
            .inspect_err(|error| watch(&services, request, &caller, error))?;
        Ok(Done)
    }

    /// Let a stream live on
    ///
    /// With a fresh token of the same person, before the stream's session ends. It goes on without interruption and
    /// with the rights of the new token.
    #[oai(path = "/v1/connections/:id/renew", method = "post", operation_id = "renew")]
    async fn renew(
        &self,
        services: Data<&Arc<Services>>,
        request: &Request,
        caller: Caller,
        cookie: StreamCookie,
        /// The stream's id, from its `ready` event.
        id: Named<ConnectionId>,
    ) -> Outcome<Answer<SessionBody>, Renewing> {
        let fresh = Arc::clone(&caller.0);
        let renewed = services.renew.run(fresh, id.known("connection")?).await;
        let expires_at = renewed.inspect_err(|error| watch(&services, request, &caller, error))?;
        let answer = Answer::new(&SessionBody {
            expires_at: expires_at.into(),
        });
        // The browser forgets the cookie with the old token; reconnects of the renewed session still need it.
        let lives = expires_at.since(services.clock.now());
        let prolonged = cookie
            .0
            .and_then(|value| stream_cookie(&services.config, request.header(header::HOST), &value, lives));
        Ok(match prolonged {
            Some(cookie) => answer.with(header::SET_COOKIE, cookie),
            None => answer,
        })
    }
}

/// Lets the watch see whoever reaches for somebody else's stream. A stream that is gone is nobody's.
fn watch(services: &Services, request: &Request, caller: &Caller, error: &Error) {
    if matches!(error, Error::Foreign(_)) {
        let client = ClientAddress::of(request, services).0;
        let (user, tried) = (&caller.0.user, Suspicion::ForeignConnection);
        services.watch.tried(client, user, tried);
    }
}

/// A reply to a heartbeat.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(rename = "HeartbeatReply", example)]
pub(crate) struct HeartbeatBody {
    /// The sequence of the heartbeat.
    #[oai(validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
    sequence: u64,
}

impl RequestBody for HeartbeatBody {}

impl Example for HeartbeatBody {
    fn example() -> Self {
        Self { sequence: 7 }
    }
}

/// How long a stream's session goes on.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Session", example)]
pub(crate) struct SessionBody {
    /// When it ends unless it is renewed again.
    expires_at: MomentText,
}

impl Example for SessionBody {
    fn example() -> Self {
        Self {
            expires_at: MomentText("2026-01-01T14:00:00.000Z".to_owned()),
        }
    }
}
