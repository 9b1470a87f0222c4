//! What a WebSocket calls: the same use cases as the other addresses, for one stream's owner.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use application::abuse::Watch;
use application::audit::Recorder;
use application::error::Error;
use application::inbox::Inbox;
use application::limits::{Asking, Limited, Limits};
use application::ports::{Clock, Format, Observer, TokenError, Tokens};
use application::subscribe::{Heartbeat, Renew, StreamRequest, Subscribe, SubscribeError};
use async_trait::async_trait;
use domain::abuse::Suspicion;
use domain::audit::{Entry, Kind as Recorded, Note};
use domain::capability::Principal;
use domain::ids::{ConnectionId, NotificationId};
use domain::limit::Action;
use domain::state::Mark;
use domain::stream::{CloseReason, Resume, renew_before};
use poem::http::StatusCode;
use poem::{Request, Response};
use tokio_util::task::TaskTracker;

use super::problem::{KEYS_RETRY_AFTER, Kind, Problem};
use super::request::forged;
use super::{SocketOpening, Sockets};
use crate::socket::{
    self, CloseCode, Door, Handshake, Hello, Identity, NotOpened, Opened, SUBPROTOCOL, Session, SessionTimes,
    Token,
};

/// The use cases that sockets call.
pub struct SocketCalls {
    /// Verifies tokens.
    pub tokens: Arc<dyn Tokens>,
    /// Opens streams.
    pub subscribe: Arc<Subscribe>,
    /// Takes replies to heartbeats.
    pub heartbeat: Arc<Heartbeat>,
    /// Marks notifications.
    pub inbox: Arc<Inbox>,
    /// Lets streams live on.
    pub renew: Arc<Renew>,
    /// How often anybody may do what.
    pub limits: Arc<Limits>,
    /// Sees attempts at what somebody has no right to.
    pub watch: Arc<Watch>,
    /// What writes the audit trail.
    pub recorder: Recorder,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
    /// When.
    pub clock: Arc<dyn Clock>,
    /// How long before its end a session is warned.
    pub session_warning: Duration,
    /// Where sockets are served.
    pub tasks: TaskTracker,
}

impl SocketCalls {
    /// Records what came of something that was asked for on a socket.
    fn record(&self, kind: Recorded, who: Option<&Principal>, (target, outcome): (&str, &str)) {
        self.recorder.record(Entry {
            at: self.clock.now(),
            kind,
            who: who.map(|person| person.user.clone()),
            target: Note::new(target),
            outcome: Note::new(outcome),
            request: Note::default(),
        });
    }

    async fn turn(
        &self,
        client: Option<IpAddr>,
        person: Option<&Principal>,
        action: Action,
    ) -> Result<(), Limited> {
        let asking = Asking {
            client,
            person,
            action,
        };
        self.limits.admit(asking).await.map(drop)
    }
}

impl Sockets for Arc<SocketCalls> {
    fn accept(&self, request: &Request, opening: SocketOpening) -> Response {
        let handshake = Handshake::check(
            request.method(),
            request.version(),
            request.headers(),
            Some(SUBPROTOCOL),
        );
        let upgrade = match handshake.and_then(|handshake| handshake.accept(request)) {
            Ok(upgrade) => upgrade,
            Err(error) => {
                tracing::debug!(%error, "a handshake that was checked was refused");
                return StatusCode::BAD_REQUEST.into();
            }
        };
        let identity = if opening.credentials.is_some() {
            Identity::Known
        } else {
            Identity::Awaited
        };
        let door: Arc<dyn Door> = Arc::new(SocketDoor {
            calls: Arc::clone(self),
            opening,
        });
        let observer = Arc::clone(&self.observer);
        self.tasks.spawn(async move {
            match upgrade.io.await {
                Ok(io) => drop(socket::serve(io, identity, door, &*observer).await),
                Err(error) => tracing::debug!(%error, "a client left before its socket was open"),
            }
        });
        upgrade.response
    }
}

/// The way in for one socket.
struct SocketDoor {
    calls: Arc<SocketCalls>,
    opening: SocketOpening,
}

#[async_trait]
impl Door for SocketDoor {
    async fn open(&self, hello: Option<Hello>) -> Result<Opened, NotOpened> {
        let mut who = None;
        let opened = self.enter(hello, &mut who).await;
        let outcome = match &opened {
            Ok(_) => "open",
            Err(NotOpened::Refused { problem, .. }) => &problem.kind,
            Err(NotOpened::Closing { reason, .. }) => reason.as_str(),
        };
        self.calls
            .record(Recorded::Subscribe, who.as_deref(), ("WebSocket hello", outcome));
        opened
    }
}

impl SocketDoor {
    /// Opens the stream, and says who came as soon as that is known.
    async fn enter(
        &self,
        hello: Option<Hello>,
        who: &mut Option<Arc<Principal>>,
    ) -> Result<Opened, NotOpened> {
        let known = self.opening.credentials.clone();
        let (principal, ticket, resume) = match (hello, known) {
            (Some(hello), _) => {
                let principal = match self.calls.tokens.verify(hello.token.as_str()).await {
                    Ok(principal) => principal,
                    Err(error) => {
                        if forged(&error) {
                            self.calls.watch.failed(self.opening.client);
                        }
                        if error != TokenError::KeysUnavailable {
                            let _counted = self.calls.turn(self.opening.client, None, Action::Stream).await;
                        }
                        return Err(unverified(error));
                    }
                };
                let resume = if hello.resume == Resume::Live {
                    self.opening.resume
                } else {
                    hello.resume
                };
                (Arc::new(principal), None, resume)
            }
            (None, Some((principal, ticket))) => (principal, ticket, self.opening.resume),
            (None, None) => return Err(refused(Kind::TokenMissing, CloseCode::Unauthorised)),
        };
        *who = Some(Arc::clone(&principal));
        let client = self.opening.client;
        if let Err(Limited(left)) = self.calls.turn(client, Some(&principal), Action::Stream).await {
            return Err(NotOpened::Closing {
                reason: CloseReason::RateLimited,
                after: left.reset,
            });
        }
        let selection = self.opening.selection.clone();
        let request = StreamRequest {
            selection,
            resume,
            format: Format::WebSocket,
            ticket,
        };
        let subscription = self
            .calls
            .subscribe
            .run(Arc::clone(&principal), request)
            .await
            .inspect_err(|error| {
                if matches!(error, SubscribeError::Request(Error::Forbidden(_))) {
                    let user = &principal.user;
                    self.calls.watch.tried(client, user, Suspicion::ForeignChannel);
                }
            })
            .map_err(not_opened)?;
        let session = Arc::new(SocketSession {
            calls: Arc::clone(&self.calls),
            connection: subscription.connection(),
            client,
            principal: Mutex::new(principal),
        });
        Ok(Opened {
            subscription,
            session,
        })
    }
}

/// The operations of one socket's owner.
struct SocketSession {
    calls: Arc<SocketCalls>,
    connection: ConnectionId,
    client: Option<IpAddr>,
    /// Replaced by a renewal; never held over an await.
    principal: Mutex<Arc<Principal>>,
}

impl SocketSession {
    fn principal(&self) -> Arc<Principal> {
        Arc::clone(&self.principal.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a turn for an operation, of the same budgets as the address of the same effect.
    async fn turn(&self, action: Action) -> Result<(), socket::Problem> {
        let taken = self
            .calls
            .turn(self.client, Some(&self.principal()), action)
            .await;
        taken.map_err(said)
    }
}

#[async_trait]
impl Session for SocketSession {
    async fn heartbeat(&self, sequence: u64) -> Result<(), socket::Problem> {
        self.turn(Action::Heartbeat).await?;
        self.calls
            .heartbeat
            .run(&self.principal(), self.connection, sequence)
            .await
            .map_err(said)
    }

    async fn mark(&self, id: NotificationId, mark: Mark) -> Result<(), socket::Problem> {
        self.turn(Action::Api).await?;
        let marked = self.calls.inbox.mark(&self.principal(), id, mark).await;
        marked.map(drop).map_err(said)
    }

    async fn renew(&self, token: Token) -> Result<SessionTimes, socket::Problem> {
        let renewed = self.prolong(token).await;
        let outcome = renewed
            .as_ref()
            .map_or_else(|problem| problem.kind.as_ref(), |_| "renewed");
        let (who, target) = (self.principal(), format!("WebSocket renew {}", self.connection));
        self.calls.record(Recorded::Token, Some(&who), (&target, outcome));
        renewed
    }
}

impl SocketSession {
    /// Lets the stream live on with a fresh token.
    async fn prolong(&self, token: Token) -> Result<SessionTimes, socket::Problem> {
        self.turn(Action::Token).await?;
        let fresh = self
            .calls
            .tokens
            .verify(token.as_str())
            .await
            .map_err(|error| said(Problem::from(error)))?;
        let fresh = Arc::new(fresh);
        let expires_at = self
            .calls
            .renew
            .run(Arc::clone(&fresh), self.connection)
            .await
            .map_err(said)?;
        *self.principal.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(SessionTimes {
            expires_at,
            renew_before: renew_before(expires_at, self.calls.session_warning),
        })
    }
}

/// Says on the socket what a problem document would say.
fn said(problem: impl Into<Problem>) -> socket::Problem {
    let kind = problem.into().kind();
    socket::Problem::new(kind.uri(), kind.facts().title)
}

fn refused(kind: Kind, code: CloseCode) -> NotOpened {
    NotOpened::Refused {
        problem: socket::Problem::new(kind.uri(), kind.facts().title),
        code,
    }
}

fn unverified(error: TokenError) -> NotOpened {
    if error == TokenError::KeysUnavailable {
        return NotOpened::Closing {
            reason: CloseReason::Overloaded,
            after: KEYS_RETRY_AFTER,
        };
    }
    NotOpened::Refused {
        problem: said(Problem::from(error)),
        code: CloseCode::Unauthorised,
    }
}

fn not_opened(error: SubscribeError) -> NotOpened {
    match error {
        SubscribeError::Later { reason, after } => NotOpened::Closing { reason, after },
        SubscribeError::Request(error) => {
            let code = if matches!(error, Error::Forbidden(_)) {
                CloseCode::Forbidden
            } else {
                CloseCode::BadProtocol
            };
            NotOpened::Refused {
                problem: said(error),
                code,
            }
        }
    }
}
