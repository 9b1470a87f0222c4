//! Realtime connections over WebSocket.

mod frames;
mod session;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use self::frames::{Outgoing, action};
use self::session::Session;
use super::ErrorInfo;
use super::answer::Answer;
use super::app::App;
use super::call::Call;
use super::fault::{Befalling, Fault, Moment};
use super::ledger::Outcome;

/// Ably's default frame (`maxFrameSize`).
pub(super) const FRAME_MAX: usize = 512 * 1024;
/// How often a connection looks whether its token has ended; messages and orders wake it at once.
const LOOK: Duration = Duration::from_millis(50);
/// A client that does not read for this long is cut.
const WRITE_MAX: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Tells whether a request wants to become a WebSocket.
pub(super) fn is_wanted<B>(request: &Request<B>) -> bool {
    let upgrade = request
        .headers()
        .get(UPGRADE)
        .and_then(|value| value.to_str().ok());
    request.uri().path() == "/" && upgrade.is_some_and(|to| to.eq_ignore_ascii_case("websocket"))
}

/// Agrees to become a WebSocket. The socket itself comes once this answer is out.
pub(super) fn agree(request: &mut Request<Incoming>) -> Result<(Answer, OnUpgrade), ErrorInfo> {
    let refused = || ErrorInfo::new(40000, 400, "no WebSocket handshake");
    let key = request.headers().get(SEC_WEBSOCKET_KEY).ok_or_else(refused)?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| refused())?;
    let mut answer = Response::new(Empty::<Bytes>::new().boxed_unsync());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok((answer, hyper::upgrade::on(request)))
}

/// Serves a connection to its end. `befalling` is what hit its request.
pub(super) async fn serve(app: Arc<App>, call: Call, io: OnUpgrade, befalling: Befalling) {
    let Ok(io) = io.await else { return };
    let config = WebSocketConfig::default()
        .max_message_size(Some(FRAME_MAX))
        .max_frame_size(Some(FRAME_MAX));
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(config)).await;
    let refusal = match befalling.ending() {
        Some(Fault::Answer { error, .. }) => Some(frames::ended(error)),
        _ => None,
    };
    let opened = match refusal {
        Some(frame) => Err(frame),
        None => Session::open(&app, &call).map_err(|error| frames::error(None, &error)),
    };
    match opened {
        Ok((session, greeting)) => {
            let connection = session.id().to_owned();
            app.ledger.saw(call.seen(Outcome::Connected { connection }));
            let heartbeats = call.asks("heartbeats") == Some("true");
            Line::new(socket, session, heartbeats).run(greeting).await;
        }
        Err(frame) => {
            let code = frame["error"]["code"]
                .as_u64()
                .and_then(|code| u32::try_from(code).ok());
            app.ledger.saw(call.seen(Outcome::Refused {
                code: code.unwrap_or_default(),
            }));
            let _ = timeout(WRITE_MAX, socket.send(Message::text(frame.to_string()))).await;
            let _ = timeout(WRITE_MAX, socket.close(None)).await;
        }
    }
}

/// A session and its socket.
struct Line {
    /// Dropped before the socket: whoever sees the end can come back at once.
    session: Session,
    socket: Socket,
    heartbeats: bool,
    spoke: Instant,
}

/// Why a line ends.
struct Ended;

impl Line {
    fn new(socket: Socket, session: Session, heartbeats: bool) -> Self {
        Self {
            session,
            socket,
            heartbeats,
            spoke: Instant::now(),
        }
    }

    async fn run(mut self, greeting: Vec<Outgoing>) {
        let mut bell = self.session.bell();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut going = self.say(greeting).await;
        while going.is_ok() {
            going = tokio::select! {
                heard = self.socket.next() => match heard {
                    Some(Ok(message)) => self.hear(message).await,
                    Some(Err(_)) | None => Err(Ended),
                },
                rung = bell.changed() => match rung {
                    Ok(()) => self.look().await,
                    Err(_) => Err(Ended),
                },
                _ = looks.tick() => self.look().await,
            };
        }
    }

    async fn hear(&mut self, message: Message) -> Result<(), Ended> {
        let text = match message {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
            Message::Binary(_) | Message::Close(_) => return self.part().await,
        };
        let Ok(frame) = serde_json::from_str::<Value>(&text) else {
            return self.part().await;
        };
        let befalling = self.session.befalling(&frame);
        sleep(befalling.delay()).await;
        let mut out = Vec::new();
        let flow = match befalling.ending() {
            Some(Fault::Hang) => return Ok(()),
            Some(Fault::Answer { error, .. } | Fault::Edge { error }) => {
                out.push(Outgoing::Frame(frames::refusal_of(&frame, error)));
                ControlFlow::Continue(())
            }
            Some(_) => return Err(Ended),
            None => self.session.hear(&frame, &befalling, &mut out),
        };
        if befalling.cuts_answer() {
            return Err(Ended);
        }
        self.say(out).await?;
        self.go_on(flow).await
    }

    async fn look(&mut self) -> Result<(), Ended> {
        let mut out = Vec::new();
        let flow = self.session.look(&mut out);
        if out.is_empty() && self.spoke.elapsed() >= frames::IDLE_MAX {
            out.push(if self.heartbeats {
                Outgoing::Frame(frames::heartbeat(None))
            } else {
                Outgoing::Ping
            });
        }
        self.say(out).await?;
        self.go_on(flow).await
    }

    async fn go_on(&mut self, flow: ControlFlow<()>) -> Result<(), Ended> {
        match flow {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => self.part().await,
        }
    }

    async fn part(&mut self) -> Result<(), Ended> {
        let _ = timeout(WRITE_MAX, self.socket.close(None)).await;
        Err(Ended)
    }

    async fn say(&mut self, out: Vec<Outgoing>) -> Result<(), Ended> {
        for outgoing in out {
            let message = match &outgoing {
                Outgoing::Frame(frame) => Message::text(frame.to_string()),
                Outgoing::Publication(channel, publication) => {
                    Message::text(self.session.shown(channel, publication).to_string())
                }
                Outgoing::Ping => Message::Ping(Bytes::new()),
            };
            match timeout(WRITE_MAX, self.socket.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(Ended),
            }
            self.spoke = Instant::now();
            if let Outgoing::Publication(_, publication) = outgoing {
                self.session.delivered(&publication);
            }
        }
        Ok(())
    }
}

/// What a frame that rules can hit looks like to them.
fn moment_of<'a>(frame: &Value, channels: &'a [&'a str]) -> Option<Moment<'a>> {
    let kind = frame["action"].as_u64()?;
    matches!(kind, action::ATTACH | action::MESSAGE).then_some(Moment {
        path: "/",
        channels,
        publishes: kind == action::MESSAGE,
    })
}
