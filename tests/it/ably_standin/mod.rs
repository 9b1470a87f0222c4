//! The stand-in for Ably does what it says: its REST API, its tokens, its event streams, its faults, its program. What
//! `ably-js` makes of it stands in `outside::ably_standin`.

mod event_streams;
mod faults;
mod program;
mod publisher;
mod realtime;
mod rest;
mod tokens;

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tests::standin::{PUBLISH_KEY, StandIn};

const CHANNEL: &str = "system:notifications";

/// A client that keeps no connection for later, so that a cut one is never met again.
fn client() -> Client {
    Client::builder()
        .pool_max_idle_per_host(0)
        .no_proxy()
        .build()
        .unwrap()
}

fn with_key(request: RequestBuilder, key: &str) -> RequestBuilder {
    let (name, secret) = key.split_once(':').unwrap();
    request
        .basic_auth(name, Some(secret))
        .header("x-ably-version", "6")
}

fn message(id: &str) -> Value {
    json!({ "id": id, "name": "notification", "data": "{\"a\":1}", "encoding": "json" })
}

fn publishing(ably: &StandIn, body: &Value) -> RequestBuilder {
    let path = format!("{}/channels/system%3Anotifications/messages", ably.url());
    with_key(client().post(path), PUBLISH_KEY).json(body)
}

fn batch(ably: &StandIn, channels: &[&str]) -> RequestBuilder {
    let one =
        |channel: &&str| json!({ "channels": [channel], "messages": message(&format!("evt-{channel}")) });
    let body: Value = channels.iter().map(one).collect();
    with_key(client().post(format!("{}/messages", ably.url())), PUBLISH_KEY).json(&body)
}

/// The status and the body of an answer.
async fn told(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

/// The status and Ably's code of a refusal.
async fn refused(request: RequestBuilder) -> (u16, u64) {
    let (status, body) = told(request).await;
    (status, body["error"]["code"].as_u64().unwrap_or_default())
}
