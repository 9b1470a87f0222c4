//! The frames of Ably's realtime protocol, as JSON.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::FRAME_MAX;
use crate::standin::ErrorInfo;
use crate::standin::channels::Publication;
use crate::standin::connections::RESUMABLE_MS;

/// What frames are about (Ably, protocol: `action`).
pub(super) mod action {
    pub(in crate::standin::realtime) const HEARTBEAT: u64 = 0;
    pub(in crate::standin::realtime) const ACK: u64 = 1;
    pub(in crate::standin::realtime) const NACK: u64 = 2;
    pub(in crate::standin::realtime) const CONNECTED: u64 = 4;
    pub(in crate::standin::realtime) const DISCONNECT: u64 = 5;
    pub(in crate::standin::realtime) const DISCONNECTED: u64 = 6;
    pub(in crate::standin::realtime) const CLOSE: u64 = 7;
    pub(in crate::standin::realtime) const CLOSED: u64 = 8;
    pub(in crate::standin::realtime) const ERROR: u64 = 9;
    pub(in crate::standin::realtime) const ATTACH: u64 = 10;
    pub(in crate::standin::realtime) const ATTACHED: u64 = 11;
    pub(in crate::standin::realtime) const DETACH: u64 = 12;
    pub(in crate::standin::realtime) const DETACHED: u64 = 13;
    pub(in crate::standin::realtime) const PRESENCE: u64 = 14;
    pub(in crate::standin::realtime) const MESSAGE: u64 = 15;
    pub(in crate::standin::realtime) const AUTH: u64 = 17;
}

/// Bits of an attachment.
pub(super) mod flag {
    pub(in crate::standin::realtime) const RESUMED: u64 = 1 << 2;
    pub(in crate::standin::realtime) const PRESENCE: u64 = 1 << 16;
    pub(in crate::standin::realtime) const PUBLISH: u64 = 1 << 17;
    pub(in crate::standin::realtime) const SUBSCRIBE: u64 = 1 << 18;
    pub(in crate::standin::realtime) const PRESENCE_SUBSCRIBE: u64 = 1 << 19;
    pub(in crate::standin::realtime) const MODES: u64 = PRESENCE | PUBLISH | SUBSCRIBE | PRESENCE_SUBSCRIBE;
}

/// A client drops a connection on which it has heard nothing for this long, and ten seconds.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(15);

/// Something to be written.
pub(super) enum Outgoing {
    Frame(Value),
    /// Under the name by which the client attached.
    Publication(String, Arc<Publication>),
    Ping,
}

/// Who a client is told that it is.
pub(super) struct Greeting<'a> {
    pub(super) id: &'a str,
    pub(super) key: &'a str,
    pub(super) client_id: Option<&'a str>,
    pub(super) message_bytes_max: usize,
    pub(super) error: Option<ErrorInfo>,
}

pub(super) fn connected(greeting: &Greeting<'_>) -> Value {
    let mut details = json!({
        "connectionKey": greeting.key,
        "maxMessageSize": greeting.message_bytes_max,
        "maxFrameSize": FRAME_MAX,
        "maxInboundRate": 50,
        "maxOutboundRate": 50,
        "connectionStateTtl": RESUMABLE_MS,
        "maxIdleInterval": u64::try_from(IDLE_MAX.as_millis()).unwrap_or_default(),
        "serverId": "stand-in",
    });
    if let Some(client) = greeting.client_id {
        details["clientId"] = json!(client);
    }
    let mut frame = json!({
        "action": action::CONNECTED,
        "connectionId": greeting.id,
        "connectionKey": greeting.key,
        "connectionDetails": details,
    });
    if let Some(error) = &greeting.error {
        frame["error"] = error.to_value();
    }
    frame
}

pub(super) fn heartbeat(id: Option<&Value>) -> Value {
    match id {
        Some(id) => json!({ "action": action::HEARTBEAT, "id": id }),
        None => json!({ "action": action::HEARTBEAT }),
    }
}

/// An error of a channel, or of the connection: then it is over.
pub(super) fn error(channel: Option<&str>, error: &ErrorInfo) -> Value {
    match channel {
        Some(channel) => json!({ "action": action::ERROR, "channel": channel, "error": error.to_value() }),
        None => json!({ "action": action::ERROR, "error": error.to_value() }),
    }
}

pub(super) fn disconnected(error: &ErrorInfo) -> Value {
    json!({ "action": action::DISCONNECTED, "error": error.to_value() })
}

/// The end of a connection for a reason: where the client may come back, it is told so.
pub(super) fn ended(reason: &ErrorInfo) -> Value {
    let comes_back = matches!(reason.code, 40140..=40149) || reason.status == 429 || reason.status >= 500;
    if comes_back {
        disconnected(reason)
    } else {
        error(None, reason)
    }
}

pub(super) fn acknowledged(frame: &Value, serials: &[String]) -> Value {
    json!({
        "action": action::ACK, "msgSerial": frame["msgSerial"], "count": 1, "res": [{ "serials": serials }],
    })
}

pub(super) fn refused(frame: &Value, error: &ErrorInfo) -> Value {
    json!({ "action": action::NACK, "msgSerial": frame["msgSerial"], "count": 1, "error": error.to_value() })
}

/// The refusal that fits a frame.
pub(super) fn refusal_of(frame: &Value, reason: &ErrorInfo) -> Value {
    if frame["action"] == action::MESSAGE {
        refused(frame, reason)
    } else {
        error(frame["channel"].as_str(), reason)
    }
}

/// A publication under the name by which a client attached.
pub(super) fn publication(channel: &str, publication: &Publication, serial: &str) -> Value {
    let mut frame = json!({
        "action": action::MESSAGE,
        "channel": channel,
        "channelSerial": serial,
        "id": publication.id,
        "timestamp": publication.at_ms,
        "messages": publication.messages,
    });
    if let Some(connection) = &publication.connection {
        frame["connectionId"] = json!(connection);
    }
    frame
}
