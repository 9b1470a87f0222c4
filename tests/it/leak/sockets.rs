//! Sockets, the same: rights change on them, and tokens are taken back.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::actor::Actor;
use super::revoked::NOTICED;
use super::streams::{Act, Listening, plan};
use super::watch::Rights;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Actor {
    /// Opens a WebSocket at a node, and says nothing.
    pub(super) async fn socket(door: &str) -> Socket {
        let url = door.replace("http://", "ws://");
        let mut request = format!("{url}/v1/ws").into_client_request().unwrap();
        let protocol = "arauto.v1".parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        tokio_tungstenite::connect_async(request).await.unwrap().0
    }

    /// Listens over a WebSocket, and asks there for what is not theirs.
    pub(super) async fn talks(&mut self) {
        let token = self.token();
        let mut hello = json!({ "op": "hello", "token": token });
        if self.dice.chance(60)
            && let Some(cursor) = self.a_cursor()
        {
            hello["cursor"] = cursor.into();
        }
        let mut listening = Listening {
            surface: "socket",
            token,
            ticket: None,
            connection: None,
            asks_for_foreign: false,
            taken_back: None,
        };
        self.rights.listening = Some(Instant::now());
        let mut socket = Self::socket(&self.door()).await;
        says(&mut socket, &hello).await;
        if self.dice.chance(50)
            && let Some((id, _)) = self.a_notification()
        {
            says(&mut socket, &json!({ "op": "read", "notification_id": id })).await;
        }
        self.talks_on(&mut socket, &mut listening).await;
        self.rights = Rights::of(self.rights.now.clone());
        // A socket that is cut is what most of them come to.
        let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
        if let Some(taken_back) = listening.taken_back {
            self.stays_out(taken_back, &listening.token, None).await;
        }
    }

    async fn talks_on(&mut self, socket: &mut Socket, listening: &mut Listening) {
        let mut plan = plan(&mut self.dice);
        // What is asked for on a socket is answered on it.
        let mut renewing: Option<(Rights, String)> = None;
        while let Some((until, act)) = plan.front().copied() {
            match timeout_at(until, socket.next()).await {
                Ok(Some(Ok(Frame::Text(text)))) => self.hears_on(listening, &mut renewing, &text),
                Ok(Some(Ok(_))) => {}
                Ok(_) => return,
                Err(_) => {
                    plan.pop_front();
                    match act {
                        _ if listening.connection.is_none() => {}
                        Act::Renew => {
                            let before = self.takes_other_rights();
                            // Until it is answered either may count.
                            self.rights.before = Some((before.now.clone(), usize::MAX));
                            let token = self.token();
                            says(socket, &json!({ "op": "renew", "token": token })).await;
                            renewing = Some((before, token));
                        }
                        // Which token counts is not known yet.
                        Act::Revoke if renewing.is_some() => {}
                        Act::Revoke => {
                            let taken_back = self.takes_back(&listening.token, "socket").await;
                            listening.taken_back = Some(taken_back);
                            plan.push_back((Instant::now() + NOTICED, Act::Leave));
                        }
                        Act::Leave => self.goes_on(listening),
                    }
                }
            }
        }
    }

    fn hears_on(&mut self, listening: &mut Listening, renewing: &mut Option<(Rights, String)>, text: &str) {
        let said: Value = serde_json::from_str(text).unwrap();
        let event = said["event"].as_str().unwrap_or_default();
        self.stage
            .watch
            .shown("socket", &self.rights, text, event != "error");
        if let Some(cursor) = said["id"].as_str() {
            self.stage.found.cursors.lock().unwrap().push(cursor.to_owned());
        }
        let renewal_failed = event == "error" && said["data"]["op"] == "renew";
        match event {
            "ready" => listening.connection = Some(self.is_ready(&said["data"])),
            "session" | "error" if event == "session" || renewal_failed => {
                if let Some((before, token)) = renewing.take() {
                    self.renewed(before, !renewal_failed);
                    if !renewal_failed {
                        listening.token = token;
                    }
                }
            }
            _ => {}
        }
    }
}

async fn says(socket: &mut Socket, what: &Value) {
    // Whoever was turned away hears why, or finds the socket closed.
    let _ = socket.send(Frame::text(what.to_string())).await;
}
