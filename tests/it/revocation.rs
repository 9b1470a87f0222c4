//! Tokens that are taken back: refused on every node within a second, with the streams that stand on them, and after a
//! restart as well.

use std::time::Duration;

use api::wire::Moment;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::time::Timestamp;
use futures_util::{Stream, StreamExt as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::node::Node;
use tests::postgres::{Database, database};
use tests::server::now;
use tests::standin::{PUBLISH_KEY, StandIn, TOKEN_KEY};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::cluster::{Setup, http};

/// What is promised for streams and requests on every node.
const WITHIN: Duration = Duration::from_secs(1);
const REVOCATIONS: &str = "/v1/admin/revocations";

struct Site {
    setup: Setup,
    nodes: [Node; 2],
    client: reqwest::Client,
    ably: StandIn,
    _database: Database,
}

impl Site {
    /// Two nodes that share nothing but a database.
    async fn open() -> Self {
        let database = database().await.unwrap();
        let ably = StandIn::start().unwrap();
        let setup = Setup::new()
            .on_postgres(&database.url())
            .with("ARAUTO_ABLY_PUBLISH_KEY", PUBLISH_KEY)
            .with("ARAUTO_ABLY_TOKEN_KEY", TOKEN_KEY)
            .with("ARAUTO_ABLY_ENDPOINT", &ably.url());
        Self {
            nodes: [setup.node(), setup.node()],
            client: http(Duration::from_secs(20)),
            setup,
            ably,
            _database: database,
        }
    }

    fn token(&self, user: &str) -> String {
        self.setup.issuer.token(user, "CIDADAO", &[]).unwrap()
    }

    async fn call(
        &self,
        node: usize,
        token: &str,
        (method, path): (Method, &str),
        body: Value,
    ) -> (StatusCode, Value) {
        let call = self
            .client
            .request(method, format!("{}{path}", self.nodes[node].url()));
        let answer = call.bearer_auth(token).json(&body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    async fn admin(&self, call: (Method, &str), body: Value) -> Value {
        let token = self.setup.issuer.token("admin-1", "ADMIN", &[]).unwrap();
        let (status, answer) = self.call(0, &token, call, body).await;
        assert!(status.is_success(), "{status} {answer}");
        answer
    }

    async fn revoke(&self, body: Value) -> String {
        let mut body = body;
        body["why"] = json!("a test");
        let revoked = self.admin((Method::POST, REVOCATIONS), body).await;
        revoked["id"].as_str().unwrap().to_owned()
    }

    /// Asks until a node answers as it should; fails if that takes longer than is promised.
    async fn answers(&self, node: usize, token: &str, expected: u16) -> Value {
        let since = now();
        loop {
            let path = (Method::GET, "/v1/notifications/unread-count");
            let (status, body) = self.call(node, token, path, Value::Null).await;
            if status == expected {
                return body;
            }
            assert!(since.elapsed() < WITHIN, "node {node} answers {status}: {body}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stream(&self, node: usize, token: &str) -> Reading {
        let call = self.client.get(format!("{}/v1/stream", self.nodes[node].url()));
        let answer = call.bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut reading = Reading {
            body: answer.bytes_stream().boxed(),
            text: String::new(),
        };
        reading.until("event: ready").await;
        reading
    }

    async fn publish(&self, user: &str) {
        let token = self.setup.issuer.token("back-end", "SERVICE", &[]).unwrap();
        let draft = json!({ "type": "t", "title": "x", "audience": { "users": [user] } });
        let published = self
            .call(0, &token, (Method::POST, "/v1/notifications"), draft)
            .await;
        assert_eq!(published.0, 201, "{}", published.1);
    }
}

/// An event stream as it comes.
struct Reading {
    body: std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
}

impl Reading {
    async fn until(&mut self, wanted: &str) {
        while !self.text.contains(wanted) {
            let chunk = self.body.next().await.expect("the stream ended").unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Reads to the end, which says that the stream was revoked.
    async fn revoked(&mut self) {
        let reading = async {
            while let Some(Ok(chunk)) = self.body.next().await {
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        tokio::time::timeout(WITHIN, reading)
            .await
            .expect("the stream goes on");
        let said = r#""reason":"revoked","reconnect":false"#;
        assert!(self.text.contains(said), "{}", self.text);
    }
}

fn now_second() -> i64 {
    i64::try_from(jsonwebtoken::get_current_timestamp()).unwrap()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

async fn socket(site: &Site, node: usize, token: &str) -> impl Stream<Item = Message> + Unpin {
    let address = site.nodes[node].url().replacen("http", "ws", 1);
    let mut request = format!("{address}/v1/ws").into_client_request().unwrap();
    for (name, value) in [
        ("authorization", format!("Bearer {token}")),
        ("sec-websocket-protocol", "arauto.v1".to_owned()),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let (socket, _) = connect_async(request).await.unwrap();
    let mut socket = socket.filter_map(|message| std::future::ready(message.ok()));
    let first = socket.next().await.unwrap().into_text().unwrap();
    assert!(first.contains(r#""event":"ready""#), "{first}");
    socket
}

async fn socket_closes(mut socket: impl Stream<Item = Message> + Unpin) {
    let reading = async {
        let mut told = String::new();
        while let Some(message) = socket.next().await {
            match message {
                Message::Close(frame) => return (told, frame.map(|frame| u16::from(frame.code))),
                Message::Text(text) => told = text.to_string(),
                _ => {}
            }
        }
        (told, None)
    };
    let (told, code) = tokio::time::timeout(WITHIN, reading)
        .await
        .expect("the socket goes on");
    assert!(told.contains(r#""reason":"revoked""#), "{told}");
    assert!(
        code.is_some_and(|code| (4_400..4_500).contains(&code)),
        "{code:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_is_shut_out_is_out_on_every_node_within_a_second_and_after_a_restart() {
    let mut site = Site::open().await;
    let (ana, bia) = (site.token("ana"), site.token("bia"));
    let ticket = site
        .call(0, &ana, (Method::POST, "/v1/stream/tickets"), Value::Null)
        .await
        .1;
    let mut events = site.stream(0, &ana).await;
    let elsewhere = socket(&site, 1, &ana).await;
    let mut unconcerned = site.stream(1, &bia).await;

    let id = site.revoke(json!({ "subject": "ana" })).await;
    tokio::join!(events.revoked(), socket_closes(elsewhere));
    for node in 0..2 {
        let refused = site.answers(node, &ana, 401).await;
        assert_eq!(refused["type"], "/problems/token-revoked", "{refused}");
        let opened = site
            .call(node, &ana, (Method::GET, "/v1/stream"), Value::Null)
            .await;
        assert_eq!(opened.0, 401);
        let renewed = "/v1/connections/00000001-0000000000000001/renew";
        assert_eq!(
            site.call(node, &ana, (Method::POST, renewed), Value::Null)
                .await
                .0,
            401
        );
        // ably-js asks for ever after anything but 403.
        let for_ably = site
            .call(node, &ana, (Method::GET, "/v1/ably/token"), Value::Null)
            .await;
        assert_eq!(for_ably.0, 403, "{}", for_ably.1);
        let text = ticket["ticket"].as_str().unwrap();
        let url = format!("{}/v1/stream?ticket={text}", site.nodes[node].url());
        assert_eq!(site.client.get(url).send().await.unwrap().status(), 401);
    }
    // A token that is issued later is no better, and others notice nothing.
    site.answers(1, &site.token("ana"), 401).await;
    site.publish("bia").await;
    unconcerned.until("event: notification").await;

    site.nodes[1].restart().unwrap();
    site.nodes[1].ready(Duration::from_secs(60)).unwrap();
    let (status, _) = site
        .call(
            1,
            &ana,
            (Method::GET, "/v1/notifications/unread-count"),
            Value::Null,
        )
        .await;
    assert_eq!(status, 401, "a restart lets nobody in, not even for a moment");

    let path = format!("{REVOCATIONS}/{id}");
    site.admin((Method::DELETE, &path), Value::Null).await;
    for node in 0..2 {
        site.answers(node, &ana, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_token_and_those_of_before_a_moment_are_refused_and_others_served() {
    let site = Site::open().await;
    let (phone, laptop) = (site.token("ana"), site.token("ana"));
    let mut on_phone = site.stream(1, &phone).await;
    let mut on_laptop = site.stream(0, &laptop).await;
    site.revoke(json!({ "token_id": claims(&phone)["jti"] })).await;
    on_phone.revoked().await;
    site.answers(0, &phone, 401).await;
    site.publish("ana").await;
    on_laptop.until("event: notification").await;

    let issued = claims(&laptop)["iat"].as_i64().unwrap();
    let moment = |second: i64| Moment(Timestamp::from_millis(second * 1_000)).to_string();
    // The second of its issue itself: issued before nothing of it.
    site.revoke(json!({ "subject": "ana", "issued_before": moment(issued) }))
        .await;
    site.answers(1, &laptop, 200).await;
    while now_second() <= issued {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    site.revoke(json!({ "everyone": true, "issued_before": moment(issued + 1) }))
        .await;
    on_laptop.revoked().await;
    site.answers(1, &laptop, 401).await;
    site.answers(1, &site.token("ana"), 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ably_is_told_and_a_cached_token_is_not_given_out_again() {
    let site = Site::open().await;
    let ana = site.token("ana");
    let path = (Method::GET, "/v1/ably/token");
    let ask = async |node: usize| {
        let url = format!("{}/v1/ably/token", site.nodes[node].url());
        site.client
            .get(url)
            .bearer_auth(&ana)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    let first = ask(1).await;
    assert_eq!(ask(1).await, first, "it is given out again while it is fresh");
    while now_second() <= claims(&first)["iat"].as_i64().unwrap() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let id = site.revoke(json!({ "subject": "ana" })).await;
    site.answers(1, &ana, 401).await;
    assert_eq!(site.call(1, &ana, path, Value::Null).await.0, 403);
    let lifted = format!("{REVOCATIONS}/{id}");
    site.admin((Method::DELETE, &lifted), Value::Null).await;
    site.answers(1, &ana, 200).await;
    assert_ne!(ask(1).await, first, "Ably takes that one for revoked");

    let since = now();
    let told = async || {
        let metrics = format!("{}/metrics", site.nodes[0].url());
        let metrics = site
            .client
            .get(metrics)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let told = r#"arauto_ably_revocations_total{outcome="accepted"} 2"#;
        (metrics.contains(told), metrics)
    };
    loop {
        let (told, metrics) = told().await;
        if told {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{metrics}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The stand-in judges as Ably does: the first token is refused, wherever it is shown.
    let url = format!("{}/channels/system:notifications/messages", site.ably.url());
    let shown = site.client.get(url).bearer_auth(&first).send().await.unwrap();
    assert_eq!(shown.status(), 401);
}
