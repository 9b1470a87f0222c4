//! Streams and sockets, on which rights may change while they are open.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::whatwg::{EventStream, Message};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::actor::Actor;
use super::people::Audience;
use super::watch::Rights;

/// What a stream goes on for, at most.
const SHORT: (u64, u64) = (100, 1_200);

impl Actor {
    pub(super) async fn listens(&mut self) {
        let request = self.ask(Method::GET, "/v1/stream");
        self.hears("stream", request).await;
    }

    pub(super) async fn listens_by_ticket(&mut self) {
        let issued = self.ask(Method::POST, "/v1/stream/tickets").send().await.unwrap();
        if !issued.status().is_success() {
            return;
        }
        let cookie = issued.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let body: Value = issued.json().await.unwrap();
        let ticket = body["ticket"].as_str().unwrap().to_owned();
        let url = format!("{}/v1/stream?ticket={ticket}", self.door());
        let request = self.stage.http.get(&url).header("cookie", cookie);
        self.hears("ticket", request).await;
        let whose = self.rights.now.user;
        self.stage.found.tickets.lock().unwrap().push((ticket, whose));
    }

    /// Listens for a moment. Half of the streams are given other rights meanwhile.
    async fn hears(&mut self, surface: &'static str, request: RequestBuilder) {
        let mut request = request;
        if self.dice.chance(40) {
            let channels: Vec<String> = (0..=self.dice.below(3))
                .map(|_| Audience::draw(&mut self.dice).channel())
                .collect();
            request = request.query(&[("channels", channels.join(","))]);
        }
        if self.dice.chance(60)
            && let Some(cursor) = self.a_cursor()
        {
            request = request.header("last-event-id", cursor);
        }
        let answer = request.send().await.unwrap();
        if answer.status() != 200 {
            self.stage
                .watch
                .shown(surface, &self.rights, &answer.text().await.unwrap(), false);
            return;
        }
        let end = Instant::now() + self.dice.millis(SHORT.0, SHORT.1);
        let renew_at = Instant::now() + self.dice.millis(SHORT.0 / 2, SHORT.1);
        let (mut chunks, mut parser) = (answer.bytes_stream(), EventStream::new());
        let (mut connection, mut renewed) = (None, self.dice.chance(50));
        loop {
            let until = if renewed || connection.is_none() {
                end
            } else {
                end.min(renew_at)
            };
            match timeout_at(until, chunks.next()).await {
                Ok(Some(Ok(bytes))) => {
                    for message in parser.push(&bytes) {
                        self.heard(surface, &message, &mut connection);
                    }
                }
                Err(_) if until < end => {
                    renewed = true;
                    self.renews(connection.as_deref().unwrap_or_default()).await;
                }
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn heard(&self, surface: &'static str, message: &Message, connection: &mut Option<String>) {
        self.stage.watch.shown(surface, &self.rights, &message.data, true);
        if message.event == "ready" {
            let ready: Value = serde_json::from_str(&message.data).unwrap();
            let id = ready["connection_id"].as_str().unwrap().to_owned();
            let whose = self.rights.now.user;
            self.stage
                .found
                .connections
                .lock()
                .unwrap()
                .push((id.clone(), whose));
            *connection = Some(id);
        }
        let cursor = &message.last_event_id;
        if !cursor.is_empty() {
            self.stage.found.cursors.lock().unwrap().push(cursor.clone());
        }
    }

    /// What is begun after the answer is held against the new rights alone.
    async fn renews(&mut self, connection: &str) {
        let before = self.rights.clone();
        self.rights = Rights::of(before.now.changed(&mut self.dice));
        let request = self.ask(Method::POST, &format!("/v1/connections/{connection}/renew"));
        let renewed = request.send().await.unwrap().status().is_success();
        let next = self.stage.watch.next();
        if renewed {
            self.rights.before = Some((before.now, next));
        } else {
            self.rights = before;
        }
    }

    /// Listens over a WebSocket, and asks there for what is not theirs.
    pub(super) async fn talks(&mut self) {
        let url = self.door().replace("http://", "ws://");
        let mut request = format!("{url}/v1/ws").into_client_request().unwrap();
        let protocol = "arauto.v1".parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let mut hello = json!({ "op": "hello", "token": self.token() });
        if self.dice.chance(60)
            && let Some(cursor) = self.a_cursor()
        {
            hello["cursor"] = cursor.into();
        }
        socket.send(Frame::text(hello.to_string())).await.unwrap();
        let end = Instant::now() + self.dice.millis(SHORT.0, SHORT.1);
        let other = self.stage.watch.one(|count| self.dice.below(count));
        let mut asked = other.is_none();
        while let Ok(Some(Ok(frame))) = timeout_at(end, socket.next()).await {
            let Frame::Text(text) = frame else { continue };
            let said: Value = serde_json::from_str(&text).unwrap();
            self.stage
                .watch
                .shown("socket", &self.rights, &text, said["event"] != "error");
            if let Some(cursor) = said["id"].as_str() {
                self.stage.found.cursors.lock().unwrap().push(cursor.to_owned());
            }
            if let (false, Some((id, _))) = (asked, &other) {
                asked = true;
                let ask = json!({ "op": "read", "notification_id": id });
                if socket.send(Frame::text(ask.to_string())).await.is_err() {
                    return;
                }
            }
        }
        // A socket that is cut is what most of them come to.
        let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
    }
}
