//! Event streams, on which rights may change and tokens be taken back while they are open.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tests::whatwg::{EventStream, Message};
use tokio::time::{Instant, sleep, timeout_at};

use super::actor::Actor;
use super::people::Audience;
use super::revoked::{NOTICED, TakenBack};
use super::watch::{Rights, foreign};
use crate::cluster::Dice;

/// What a stream goes on for, at most.
const SHORT: (u64, u64) = (100, 1_200);

/// What happens to a stream while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// It is given other rights.
    Renew,
    /// Its token is taken back.
    Revoke,
    /// Its client goes.
    Leave,
}

/// When it happens, in order.
pub(super) type Plan = VecDeque<(Instant, Act)>;

pub(super) fn plan(dice: &mut Dice) -> Plan {
    let begin = Instant::now();
    let at = |dice: &mut Dice| begin + dice.millis(SHORT.0, SHORT.1);
    let mut plan = Plan::new();
    if dice.chance(50) {
        plan.push_back((at(dice), Act::Renew));
    }
    let last = if dice.chance(20) { Act::Revoke } else { Act::Leave };
    let from = plan.back().map_or(begin, |(at, _)| *at);
    plan.push_back((at(dice).max(from), last));
    plan
}

/// A stream that somebody listens to.
pub(super) struct Listening {
    pub(super) surface: &'static str,
    /// What it stands on.
    pub(super) token: String,
    pub(super) ticket: Option<Ticket>,
    pub(super) connection: Option<String>,
    /// It named a channel that is not theirs.
    pub(super) asks_for_foreign: bool,
    pub(super) taken_back: Option<TakenBack>,
}

/// What an `EventSource` comes with.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) text: String,
    pub(super) cookie: String,
}

impl Actor {
    pub(super) async fn listens(&mut self) {
        let token = self.token();
        let request = self.ask_with(&token, Method::GET, "/v1/stream");
        self.hears(("stream", token, None), request).await;
    }

    /// Has a ticket issued.
    pub(super) async fn ticket(&mut self, token: &str) -> Option<Ticket> {
        let issued = self.ask_with(token, Method::POST, "/v1/stream/tickets");
        let issued = issued.send().await.unwrap();
        if !issued.status().is_success() {
            return None;
        }
        let cookie = issued.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let body: Value = issued.json().await.unwrap();
        let text = body["ticket"].as_str().unwrap().to_owned();
        Some(Ticket { text, cookie })
    }

    pub(super) async fn listens_by_ticket(&mut self) {
        let mut token = self.token();
        let Some(ticket) = self.ticket(&token).await else {
            return;
        };
        // The browser comes back by itself, perhaps to another node, and with what it was given meanwhile.
        for surface in ["ticket", "ticket again"] {
            if surface == "ticket again" {
                self.waits_for_what_it_was_given(&ticket).await;
            }
            let url = format!("{}/v1/stream?ticket={}", self.door(), ticket.text);
            let request = self.stage.http.get(&url).header("cookie", &ticket.cookie);
            token = self.hears((surface, token, Some(ticket.clone())), request).await;
        }
        let whose = self.rights.now.user;
        self.stage
            .found
            .tickets
            .lock()
            .unwrap()
            .push((ticket.text, whose));
    }

    /// What a stream was given is written behind it. Whoever comes back a moment later stands on it.
    async fn waits_for_what_it_was_given(&mut self, ticket: &Ticket) {
        let until = Instant::now() + NOTICED;
        for door in self.stage.doors.clone() {
            let url = format!("{door}/v1/stream?ticket={}", ticket.text);
            loop {
                let request = self.stage.http.get(&url).header("cookie", &ticket.cookie);
                let mut answer = request.send().await.unwrap();
                let (mut heard, mut parser) = (None, EventStream::new());
                while answer.status() == 200
                    && heard.is_none()
                    && let Some(bytes) = answer.chunk().await.unwrap()
                {
                    let ready = |message: &Message| message.event == "ready";
                    heard = parser.push(&bytes).into_iter().find(ready);
                }
                if heard.is_none_or(|ready| foreign(&self.rights, &ready.data).is_none()) {
                    break;
                }
                if Instant::now() > until {
                    self.leak("ticket again", "the channels of before its stream was renewed");
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Listens for a moment, and returns the token that the stream stood on in the end.
    async fn hears(
        &mut self,
        (surface, token, ticket): (&'static str, String, Option<Ticket>),
        request: RequestBuilder,
    ) -> String {
        let mut listening = Listening {
            surface,
            token,
            ticket,
            connection: None,
            asks_for_foreign: false,
            taken_back: None,
        };
        self.rights.listening = Some(Instant::now());
        let request = self.wishes(&mut listening, request);
        self.listens_to(&mut listening, request).await;
        // What is asked for from here on stands on the rights of now alone.
        self.rights = Rights::of(self.rights.now.clone());
        if let Some(taken_back) = listening.taken_back {
            self.stays_out(taken_back, &listening.token, listening.ticket.as_ref())
                .await;
        }
        listening.token
    }

    /// Asks for some channels, perhaps, and from somewhere.
    fn wishes(&mut self, listening: &mut Listening, mut request: RequestBuilder) -> RequestBuilder {
        if self.dice.chance(40) {
            let channels: Vec<String> = (0..=self.dice.below(3))
                .map(|_| Audience::draw(&mut self.dice).channel())
                .collect();
            listening.asks_for_foreign = foreign(&self.rights, &channels.join(",")).is_some();
            request = request.query(&[("channels", channels.join(","))]);
        }
        if self.dice.chance(60)
            && let Some(cursor) = self.a_cursor()
        {
            request = request.header("last-event-id", cursor);
        }
        request
    }

    async fn listens_to(&mut self, listening: &mut Listening, request: RequestBuilder) {
        let answer = request.send().await.unwrap();
        if answer.status() != 200 {
            let text = answer.text().await.unwrap();
            self.stage
                .watch
                .shown(listening.surface, &self.rights, &text, false);
            return;
        }
        if listening.asks_for_foreign {
            self.leak(
                listening.surface,
                "a stream that is silent about a channel it asked for",
            );
        }
        let mut plan = plan(&mut self.dice);
        let (mut chunks, mut parser) = (answer.bytes_stream(), EventStream::new());
        while let Some((until, act)) = plan.front().copied() {
            match timeout_at(until, chunks.next()).await {
                Ok(Some(Ok(bytes))) => {
                    for message in parser.push(&bytes) {
                        self.heard(listening, &message);
                    }
                }
                Ok(_) => return,
                Err(_) => {
                    plan.pop_front();
                    if !self.acts(listening, act, &mut plan).await {
                        return;
                    }
                }
            }
        }
    }

    /// Does what is to be done to an event stream, and says whether it goes on.
    async fn acts(&mut self, listening: &mut Listening, act: Act, plan: &mut Plan) -> bool {
        let Some(connection) = listening.connection.clone() else {
            return act == Act::Renew;
        };
        match act {
            Act::Renew => {
                let before = self.takes_other_rights();
                let token = self.token();
                let path = format!("/v1/connections/{connection}/renew");
                let request = self.ask_with(&token, Method::POST, &path);
                let renewed = request.send().await.unwrap().status().is_success();
                self.renewed(before, renewed);
                if renewed {
                    listening.token = token;
                }
                true
            }
            Act::Revoke => {
                let surface = listening.surface;
                listening.taken_back = Some(self.takes_back(&listening.token, surface).await);
                plan.push_back((Instant::now() + NOTICED, Act::Leave));
                true
            }
            Act::Leave => {
                self.goes_on(listening);
                false
            }
        }
    }

    /// A stream that is still there when it is left must not have been taken back.
    pub(super) fn goes_on(&self, listening: &Listening) {
        if let Some(taken_back) = &listening.taken_back {
            let what = format!("a stream that goes on without its token: {taken_back:?}");
            self.leak(listening.surface, &what);
        }
    }

    fn heard(&self, listening: &mut Listening, message: &Message) {
        let surface = listening.surface;
        self.stage.watch.shown(surface, &self.rights, &message.data, true);
        if message.event == "ready" {
            let ready: Value = serde_json::from_str(&message.data).unwrap();
            listening.connection = Some(self.is_ready(&ready));
        }
        let cursor = &message.last_event_id;
        if !cursor.is_empty() {
            self.stage.found.cursors.lock().unwrap().push(cursor.clone());
        }
    }

    pub(super) fn is_ready(&self, ready: &Value) -> String {
        let id = ready["connection_id"].as_str().unwrap().to_owned();
        let found = (id.clone(), self.rights.now.user);
        self.stage.found.connections.lock().unwrap().push(found);
        id
    }

    /// Takes other rights, and returns those of until now.
    pub(super) fn takes_other_rights(&mut self) -> Rights {
        let before = self.rights.clone();
        self.rights.now = before.now.changed(&mut self.dice);
        before
    }

    /// What is begun after the answer is held against the new rights alone.
    pub(super) fn renewed(&mut self, before: Rights, renewed: bool) {
        if renewed {
            self.stage.watch.did("renewed");
            self.rights.before = Some((before.now, self.stage.watch.next()));
        } else {
            self.rights = before;
        }
    }
}
