//! Tokens that are taken back while they are in use: what stood on them ends, on whichever node, and opens nothing more.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message as Frame;

use super::actor::Actor;
use super::streams::Ticket;

/// A revocation is in force everywhere by then. A second is promised, and held by `revocation.rs`; this machine has more to
/// do here.
pub(super) const NOTICED: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
const REVOCATIONS: &str = "/v1/admin/revocations";

/// What was taken back.
#[derive(Debug)]
pub(super) struct TakenBack {
    id: String,
    whose: Whose,
    /// Of the same token, and not used yet.
    spare: Option<Ticket>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The one token.
    Token,
    /// All that were issued before.
    Before,
    /// All of the person.
    Person,
}

/// What a token says.
pub(super) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

impl Actor {
    fn as_admin(&mut self, method: Method, path: &str) -> RequestBuilder {
        let claims = json!({ "sub": "operator", "roles": ["ADMIN"], "units": [], "benefits": [] });
        let token = self.stage.issuer.sign(&claims).unwrap();
        self.ask_with(&token, method, path)
    }

    /// Has a token taken back, at either node.
    pub(super) async fn takes_back(&mut self, token: &str, surface: &'static str) -> TakenBack {
        let spare = self.ticket(token).await;
        let claims = claims(token);
        let user = self.rights.now.user;
        let this_second = jsonwebtoken::get_current_timestamp();
        let (whose, mut body) = match self.dice.below(3) {
            0 => (Whose::Token, json!({ "token_id": claims["jti"] })),
            // A token of this very second may have been issued afterwards.
            1 if claims["iat"].as_u64().unwrap() < this_second => {
                let moment =
                    domain::time::Timestamp::from_millis(i64::try_from(this_second).unwrap() * 1_000);
                let before = api::wire::Moment(moment).to_string();
                (Whose::Before, json!({ "subject": user, "issued_before": before }))
            }
            _ => (Whose::Person, json!({ "subject": user })),
        };
        body["why"] = "a test".into();
        let request = self.as_admin(Method::POST, REVOCATIONS).json(&body);
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{status} {text}");
        let revocation: Value = serde_json::from_str(&text).unwrap();
        self.stage.watch.did(match surface {
            "socket" => "taken back on a socket",
            "stream" => "taken back on a stream",
            _ => "taken back on a ticket's stream",
        });
        TakenBack {
            id: revocation["id"].as_str().unwrap().to_owned(),
            whose,
            spare,
        }
    }

    /// What was taken back opens nothing on any node; then it is lifted.
    pub(super) async fn stays_out(&mut self, taken_back: TakenBack, token: &str, ticket: Option<&Ticket>) {
        let mut tokens = vec![token.to_owned()];
        if taken_back.whose == Whose::Person {
            tokens.push(self.token());
        }
        for door in self.stage.doors.clone() {
            for token in &tokens {
                self.is_refused(&door, token).await;
                self.opens_nothing(&door, token).await;
            }
            for ticket in ticket.into_iter().chain(&taken_back.spare) {
                let url = format!("{door}/v1/stream?ticket={}", ticket.text);
                let request = self.stage.http.get(url).header("cookie", &ticket.cookie);
                let status = request.send().await.unwrap().status().as_u16();
                if !matches!(status, 204 | 401) {
                    self.leak("ticket", &format!("{status} for what was taken back"));
                }
            }
        }
        let path = format!("{REVOCATIONS}/{}", taken_back.id);
        let lifted = self.as_admin(Method::DELETE, &path).send().await.unwrap();
        assert!(lifted.status().is_success(), "{}", lifted.status());
        for door in self.stage.doors.clone() {
            let token = self.token();
            let until = Instant::now() + NOTICED;
            while self.counts(&door, &token).await == 401 {
                assert!(Instant::now() < until, "{taken_back:?} is not lifted");
                sleep(LOOK).await;
            }
        }
    }

    async fn counts(&self, door: &str, token: &str) -> u16 {
        let url = format!("{door}/v1/notifications/unread-count");
        let answer = self.stage.http.get(url).bearer_auth(token).send().await.unwrap();
        answer.status().as_u16()
    }

    async fn is_refused(&self, door: &str, token: &str) {
        let until = Instant::now() + NOTICED;
        while self.counts(door, token).await != 401 {
            if Instant::now() > until {
                self.leak("revoked", "an inbox, with a token that was taken back");
                return;
            }
            sleep(LOOK).await;
        }
    }

    async fn opens_nothing(&mut self, door: &str, token: &str) {
        let cursor = self.a_cursor().unwrap_or_else(|| "0-0".to_owned());
        let replay = format!("/v1/events/replay?after={cursor}");
        let connection = self.stage.found.connections.lock().unwrap().last().cloned();
        let renew = connection.map(|(id, _)| format!("/v1/connections/{id}/renew"));
        let calls = [
            (Method::GET, "/v1/notifications"),
            (Method::GET, "/v1/stream"),
            (Method::GET, replay.as_str()),
            (Method::POST, "/v1/stream/tickets"),
            (Method::GET, "/v1/ably/token"),
            (Method::GET, "/v1/transport"),
            (Method::POST, "/v1/notifications/read-all"),
        ];
        let renew = renew.as_deref().map(|path| (Method::POST, path));
        for (method, path) in calls.into_iter().chain(renew) {
            let request = self.stage.http.request(method, format!("{door}{path}"));
            let status = request.bearer_auth(token).send().await.unwrap().status();
            // ably-js asks for ever after anything but 403.
            if !matches!(status.as_u16(), 401 | 403) {
                self.leak("revoked", &format!("{path}: {status}"));
            }
        }
        let mut socket = Self::socket(door).await;
        let hello = json!({ "op": "hello", "token": token });
        socket.send(Frame::text(hello.to_string())).await.unwrap();
        let first = timeout(NOTICED, socket.next()).await;
        if let Ok(Some(Ok(Frame::Text(text)))) = first
            && text.contains(r#""event":"ready""#)
        {
            self.leak("revoked", "a WebSocket");
        }
    }
}
