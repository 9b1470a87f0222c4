//! One person who does whatever comes to mind: what is theirs to do, and what is not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tests::token::Issuer;

use super::people::{Audience, Claims};
use super::watch::{Rights, Watch};
use crate::cluster::Dice;

/// What people leave lying about: everybody may find it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) cursors: Mutex<Vec<String>>,
    /// Connections, and whose they are.
    pub(super) connections: Mutex<Vec<(String, &'static str)>>,
    /// Tickets that were used, and whose they are.
    pub(super) tickets: Mutex<Vec<(String, &'static str)>>,
}

/// What everybody shares.
pub(super) struct Stage {
    pub(super) doors: Vec<String>,
    pub(super) issuer: Issuer,
    pub(super) http: Client,
    pub(super) watch: Watch,
    pub(super) found: Found,
}

/// One person, with the rights of the moment.
pub(super) struct Actor {
    pub(super) stage: Arc<Stage>,
    pub(super) dice: Dice,
    pub(super) rights: Rights,
}

/// An answer that was looked at.
pub(super) struct Shown {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Actor {
    pub(super) fn token(&self) -> String {
        self.stage.issuer.sign(&self.rights.now.json()).unwrap()
    }

    pub(super) fn door(&mut self) -> String {
        self.stage.doors[self.dice.below(self.stage.doors.len())].clone()
    }

    pub(super) fn ask(&mut self, method: Method, path: &str) -> RequestBuilder {
        let token = self.token();
        self.ask_with(&token, method, path)
    }

    pub(super) fn ask_with(&mut self, token: &str, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.door());
        self.stage.http.request(method, url).bearer_auth(token)
    }

    /// Asks, and has whatever comes looked at.
    pub(super) async fn shown(&self, surface: &'static str, request: RequestBuilder) -> Shown {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), format!("{:?}", answer.headers()));
        let text = answer.text().await.unwrap();
        assert!(status.as_u16() < 500, "{surface}: {status} {text}");
        self.stage.watch.shown(surface, &self.rights, &headers, false);
        self.stage
            .watch
            .shown(surface, &self.rights, &text, status.is_success());
        Shown {
            status: status.as_u16(),
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
        }
    }

    pub(super) fn leak(&self, surface: &str, what: &str) {
        self.stage.watch.leak(surface, &self.rights, what, "");
    }

    /// Somebody's cursor, perhaps their own.
    pub(super) fn a_cursor(&mut self) -> Option<String> {
        let found = self.stage.found.cursors.lock().unwrap();
        (!found.is_empty()).then(|| found[self.dice.below(found.len())].clone())
    }

    pub(super) fn a_notification(&mut self) -> Option<(String, Audience)> {
        let (stage, dice) = (Arc::clone(&self.stage), &mut self.dice);
        stage.watch.one(|count| dice.below(count))
    }

    /// Does one thing.
    pub(super) async fn act(&mut self) {
        match self.dice.below(20) {
            0..3 => self.listens().await,
            3..5 => self.listens_by_ticket().await,
            5..7 => self.talks().await,
            7..9 => self.replays().await,
            9..11 => self.reads_the_inbox().await,
            11..13 => self.takes_an_item().await,
            13 => self.gets_an_ably_token().await,
            14 => self.retracts().await,
            15 => self.reaches_into_a_connection().await,
            16 => self.steals_a_ticket().await,
            17 => self.asks_where_to_listen().await,
            18 => self.pries().await,
            _ => {
                self.publishes().await;
                self.rights = Rights::of(self.rights.now.changed(&mut self.dice));
            }
        }
    }

    async fn replays(&mut self) {
        let Some(mut after) = self.a_cursor() else { return };
        for _ in 0..3 {
            let request = self.ask(Method::GET, "/v1/events/replay");
            let page = self.shown("replay", request.query(&[("after", &*after), ("limit", "200")]));
            let page = page.await;
            let Some(cursor) = page.body["cursor"].as_str() else {
                return;
            };
            cursor.clone_into(&mut after);
            if page.body["has_more"] != true {
                return;
            }
        }
    }

    async fn reads_the_inbox(&mut self) {
        let mut query = vec![("limit", "100".to_owned())];
        if self.dice.chance(50) {
            query.push(("channel", Audience::draw(&mut self.dice).channel()));
        }
        if self.dice.chance(30)
            && let Some(before) = self.a_cursor()
        {
            query.push(("before", before));
        }
        let states = ["all", "unread", "read", "archived"];
        query.push(("state", states[self.dice.below(states.len())].to_owned()));
        let request = self.ask(Method::GET, "/v1/notifications");
        self.shown("inbox", request.query(&query)).await;
    }

    async fn takes_an_item(&mut self) {
        let Some((id, audience)) = self.a_notification() else {
            return;
        };
        let verbs = ["", "/read", "/unread", "/archive", "/unarchive", "/ack"];
        let verb = verbs[self.dice.below(verbs.len())];
        let method = if verb.is_empty() {
            Method::GET
        } else {
            Method::POST
        };
        let request = self.ask(method, &format!("/v1/notifications/{id}{verb}"));
        let item = self.shown("item", request).await;
        if item.status < 300 && !self.rights.now.carries(&audience) {
            self.leak("item", &format!("{verb} of {audience:?}"));
        }
    }

    async fn gets_an_ably_token(&mut self) {
        let path = [
            "/v1/ably/token",
            "/v1/ably/token?clientId=ana&capability=%7B%22*%22%3A%5B%22*%22%5D%7D",
        ];
        let path = path[self.dice.below(path.len())];
        let request = self.ask(Method::GET, path);
        let answer = request.send().await.unwrap();
        if !answer.status().is_success() {
            return;
        }
        let jwt = answer.text().await.unwrap();
        let claims = super::revoked::claims(&jwt);
        let capability = claims["x-ably-capability"].as_str().unwrap();
        self.stage.watch.shown("ably", &self.rights, capability, true);
        let given: std::collections::BTreeMap<String, Vec<String>> =
            serde_json::from_str(capability).unwrap();
        let fine = |(channel, operations): (&String, &Vec<String>)| {
            Audience::of(channel).is_some_and(|audience| {
                operations.iter().all(|operation| match operation.as_str() {
                    "subscribe" => self.rights.now.may_see(&audience),
                    "history" => self.rights.now.may_look_back(&audience),
                    _ => false,
                })
            })
        };
        if given.is_empty() || !given.iter().all(fine) || claims["x-ably-clientId"] != self.rights.now.user {
            self.leak("ably", capability);
        }
    }

    async fn publishes(&mut self) {
        let audience = Audience::draw(&mut self.dice);
        let published = publish(&self.stage, &self.token(), audience.clone(), &mut self.dice).await;
        if published && !self.rights.now.may_publish(&audience) {
            self.leak("publish", &format!("{audience:?}"));
        }
    }

    async fn asks_where_to_listen(&mut self) {
        let mut request = self.ask(Method::GET, "/v1/transport");
        if let Some(cursor) = self.a_cursor() {
            request = request.query(&[("after", cursor)]);
        }
        self.shown("transport", request).await;
    }

    /// Looks at what is for administrators, and for auditors.
    async fn pries(&mut self) {
        let other = super::people::PEOPLE[self.dice.below(super::people::PEOPLE.len())];
        let Some((id, _)) = self.a_notification() else {
            return;
        };
        let explain = format!("/v1/admin/explain?user={other}&notification={id}");
        let (paths, role) = (
            [
                explain.as_str(),
                "/v1/admin/connections",
                "/v1/admin/revocations",
                "/v1/admin/audit",
            ],
            self.rights.now.role,
        );
        let path = paths[self.dice.below(paths.len())];
        let status = self.ask(Method::GET, path).send().await.unwrap().status();
        let may = role == "ADMIN" || role == "AUDITOR" && path.ends_with("audit");
        if status.is_success() && !may {
            self.leak("admin", path);
        }
    }

    async fn retracts(&mut self) {
        let Some((id, audience)) = self.a_notification() else {
            return;
        };
        let request = self.ask(Method::DELETE, &format!("/v1/notifications/{id}"));
        let gone = self.shown("retract", request).await;
        if gone.status < 300 && !self.rights.now.may_publish(&audience) {
            self.leak("retract", &format!("{audience:?}"));
        }
    }

    async fn reaches_into_a_connection(&mut self) {
        let found = self.stage.found.connections.lock().unwrap().clone();
        let others = found.iter().filter(|(_, whose)| *whose != self.rights.now.user);
        let others: Vec<_> = others.collect();
        if others.is_empty() {
            return;
        }
        let (id, whose) = others[self.dice.below(others.len())];
        let path = format!("/v1/connections/{id}");
        let beat = self.ask(Method::POST, &format!("{path}/heartbeat"));
        let beat = self
            .shown("heartbeat", beat.json(&json!({ "sequence": 1 })))
            .await;
        let renew = self.ask(Method::POST, &format!("{path}/renew"));
        let renew = self.shown("renew", renew).await;
        if beat.status < 300 || renew.status < 300 {
            self.leak("connection", &format!("the connection of {whose}"));
        }
    }

    /// A ticket that was used before is worth nothing without its cookie.
    async fn steals_a_ticket(&mut self) {
        let found = self.stage.found.tickets.lock().unwrap().clone();
        if found.is_empty() {
            return;
        }
        let (ticket, whose) = &found[self.dice.below(found.len())];
        let own = self.ask(Method::POST, "/v1/stream/tickets").send().await.unwrap();
        let cookie = own
            .headers()
            .get("set-cookie")
            .and_then(|cookie| cookie.to_str().ok());
        let cookie = cookie
            .and_then(|cookie| cookie.split(';').next())
            .unwrap_or_default()
            .to_owned();
        let url = format!("{}/v1/stream?ticket={ticket}", self.door());
        let mut request = self.stage.http.get(url);
        if self.dice.chance(50) && *whose != self.rights.now.user {
            request = request.header("cookie", cookie);
        }
        let status = request.send().await.unwrap().status().as_u16();
        // One whose stream was closed for good ends an `EventSource`.
        if !matches!(status, 204 | 401) {
            self.leak("ticket", &format!("the stream of {whose}: {status}"));
        }
    }
}

impl Claims {
    /// Whether they may publish to an audience.
    pub(super) fn may_publish(&self, audience: &Audience) -> bool {
        match (self.role, audience) {
            ("ADMIN" | "SERVICE", _) | ("GESTOR", Audience::Unit(_) | Audience::Benefit(_)) => true,
            ("COORDENADOR", Audience::Unit(unit)) => self.units.contains(unit),
            _ => false,
        }
    }
}

/// Publishes one notification, and says whether it was taken.
pub(super) async fn publish(stage: &Stage, token: &str, audience: Audience, dice: &mut Dice) -> bool {
    let audience_json = audience.json();
    let number = stage.watch.begins(audience);
    let door = &stage.doors[dice.below(stage.doors.len())];
    let request = stage
        .http
        .post(format!("{door}/v1/notifications"))
        .bearer_auth(token);
    let body = json!({
        "audience": audience_json, "type": "t", "priority": "normal",
        "title": format!("[[{number}]]"), "body": "b",
    });
    let answer = request
        .json(&body)
        .timeout(Duration::from_secs(20))
        .send()
        .await
        .unwrap();
    let published = answer.status().as_u16() == 201;
    if published {
        let receipt: Value = answer.json().await.unwrap();
        stage.watch.is(number, receipt["id"].as_str().unwrap().to_owned());
    }
    published
}
