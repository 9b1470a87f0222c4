//! The REST API.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::ErrorInfo;
use super::answer::{Answer, told};
use super::app::{App, Publisher};
use super::batch;
use super::call::Call;
use super::channels::Receipt;
use super::connections::Order;
use super::credentials::Credentials;
use super::event_stream;
use super::fault::Befalling;
use super::grant::{Grant, Life};
use super::key::{AccountKey, Tokens};
use super::message::{Message, check_channel};
use super::revocation::Wish;

/// What one page of history holds, at most and where nothing is said (Ably, history).
const PAGE_MAX: usize = 1_000;
const PAGE: usize = 100;

/// Says which channels a call names, and whether it publishes to them.
pub(super) fn named(call: &Call) -> (Vec<String>, bool) {
    let posts = call.method == Method::POST;
    match call.route().as_slice() {
        ["channels", name, ..] => (vec![(*name).to_owned()], posts),
        ["messages"] => (batch::channels(&call.body), posts),
        ["sse" | "event-stream"] => (event_stream::channels(call), false),
        _ => (Vec::new(), false),
    }
}

/// Does what a call asks for.
pub(super) fn serve(app: &Arc<App>, call: &Call, befalling: &Befalling) -> Result<Answer, ErrorInfo> {
    if let Some(error) = &call.unread {
        return Err(error.clone());
    }
    match (call.method.as_str(), call.route().as_slice()) {
        ("GET", ["time"]) => Ok(told(200, &json!([app.now_ms()]))),
        ("POST", ["channels", name, "messages"]) => publish(app, call, name, befalling),
        ("GET", ["channels", name, "messages"]) => history(app, call, name),
        ("POST", ["messages"]) => batch::publish(app, call, &admitted(app, call)?, befalling),
        ("POST", ["keys", key, "requestToken"]) => request_token(app, call, key),
        ("POST", ["keys", key, "revokeTokens"]) => revoke_tokens(app, call, key),
        ("GET", ["sse" | "event-stream"]) => event_stream::open(app, call, admitted(app, call)?),
        _ => {
            let why = format!("the stand-in has no {} {}", call.method, call.path);
            Err(ErrorInfo::new(40400, 404, why))
        }
    }
}

fn admitted(app: &App, call: &Call) -> Result<Grant, ErrorInfo> {
    app.admit(&Credentials::of(&call.headers, &call.query))
}

/// With a key, whom the publisher acts for may stand in a header.
pub(super) fn acting_for(call: &Call) -> Result<Option<String>, ErrorInfo> {
    let Some(header) = call.header("x-ably-clientid") else {
        return Ok(None);
    };
    let decoded = STANDARD
        .decode(header)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded {
        Some(client) if client != "*" => Ok(Some(client)),
        _ => Err(ErrorInfo::new(40012, 400, "invalid X-Ably-ClientId")),
    }
}

fn publish(app: &App, call: &Call, channel: &str, befalling: &Befalling) -> Result<Answer, ErrorInfo> {
    let (grant, client) = (admitted(app, call)?, acting_for(call)?);
    let publisher = Publisher {
        grant: &grant,
        client_id: client.as_deref(),
        connection: None,
    };
    let messages = Message::read_all(&call.body)?;
    let receipt = app.publish(&publisher, channel, &messages, befalling)?;
    Ok(told(201, &shown(channel, &receipt)))
}

/// A receipt as publishers get it.
pub(super) fn shown(channel: &str, receipt: &Receipt) -> Value {
    json!({ "channel": channel, "messageId": receipt.id, "serials": receipt.serials })
}

/// Two minutes of messages, newest first unless `direction=forwards`; `limit`, `start` and `end` narrow that. There is
/// no second page.
fn history(app: &App, call: &Call, channel: &str) -> Result<Answer, ErrorInfo> {
    let grant = admitted(app, call)?;
    check_channel(channel)?;
    grant.demand("history", channel)?;
    let number = |name: &str| call.asks(name).and_then(|text| text.parse::<i64>().ok());
    let (start, end) = (
        number("start").unwrap_or(i64::MIN),
        number("end").unwrap_or(i64::MAX),
    );
    let limit = number("limit")
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(PAGE);
    let now_ms = app.now_ms();
    let mut memory = app.memory();
    let publications = memory.channels.history(channel, now_ms);
    let within = publications.filter(|publication| (start..=end).contains(&publication.at_ms));
    let mut messages: Vec<Value> = within
        .flat_map(|publication| publication.messages.clone())
        .collect();
    drop(memory);
    if call.asks("direction") != Some("forwards") {
        messages.reverse();
    }
    messages.truncate(limit.min(PAGE_MAX));
    Ok(told(200, &Value::from(messages)))
}

fn found<'a>(app: &'a App, name: &str) -> Result<&'a AccountKey, ErrorInfo> {
    let unknown = || ErrorInfo::new(40400, 404, format!("no key {name}"));
    app.key(name).ok_or_else(unknown)
}

fn request_token(app: &App, call: &Call, name: &str) -> Result<Answer, ErrorInfo> {
    let key = found(app, name)?;
    let token = app.memory().issued.exchange(key, &call.body, app.now_ms())?;
    app.ledger.count(|counts| counts.tokens += 1);
    Ok(told(201, &token))
}

/// Only the key that issued may take back.
fn revoke_tokens(app: &App, call: &Call, name: &str) -> Result<Answer, ErrorInfo> {
    let key = found(app, name)?;
    let grant = admitted(app, call)?;
    if grant.life != Life::Key {
        return Err(ErrorInfo::new(
            40162,
            401,
            "tokens are revoked with a key, by basic authentication",
        ));
    }
    if grant.key_name != key.name() {
        return Err(ErrorInfo::new(
            40133,
            401,
            "tokens are revoked with the key that issued them",
        ));
    }
    if key.tokens == Tokens::Lasting {
        return Err(ErrorInfo::new(
            40163,
            401,
            "revocable tokens are not enabled for this key",
        ));
    }
    let wish = Wish::read(&call.body, app.now_ms())?;
    Ok(told(201, &revoke(app, key, &wish)))
}

/// Takes tokens back, and wakes the connections that have them.
pub(super) fn revoke(app: &App, key: &AccountKey, wish: &Wish) -> Value {
    let answer = app.memory().revocations.add(key.name(), wish, app.now_ms());
    app.ring();
    answer
}

/// Tells every connection to do something.
pub(super) fn tell_all(app: &App, order: &Order) {
    app.memory().connections.tell_all(order);
    app.ring();
}
