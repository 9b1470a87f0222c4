//! What the stand-in has seen and done, for tests to look at.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use serde::Serialize;
use serde_json::Value;

/// Each list keeps its newest entries.
const KEPT_MAX: usize = 50_000;
/// A longer body is noted by its length.
const BODY_MAX: usize = 256 * 1024;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// The status of HTTP.
        status: u16,
        /// Ably's code, of an error.
        code: Option<u32>,
    },
    /// It became a WebSocket, and this connection.
    Connected {
        /// Its id.
        connection: String,
    },
    /// It became a WebSocket that was refused in its first frame.
    Refused {
        /// Ably's code.
        code: u32,
    },
    /// Its connection was cut by a fault, before or after it was done.
    Cut,
    /// It was left without an answer by a fault.
    Hung,
}

/// A request.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// `GET`, `POST` and so on.
    pub method: String,
    /// Its path as it came, without the query.
    pub path: String,
    /// Its query, without secrets.
    pub query: BTreeMap<String, String>,
    /// Its headers, without secrets.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: Value,
    /// What became of it.
    pub outcome: Outcome,
}

/// A message that was acknowledged for the first time.
#[derive(Debug, Clone, Serialize)]
pub struct Accepted {
    /// Its channel.
    pub channel: String,
    /// The message as subscribers get it.
    pub message: Value,
    /// Whether a fault keeps it from everybody.
    pub swallowed: bool,
}

/// A message that was written to one subscriber.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Its channel.
    pub channel: String,
    /// Its id.
    pub message_id: String,
    /// The connection, or the event stream.
    pub subscriber: String,
    /// Whom that counts as.
    pub client_id: Option<String>,
}

/// How much there was of everything since the start, whatever the lists still hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Calls of the REST API that were read, whatever became of them.
    pub rest_calls: u64,
    /// Connections that were reset by a fault before they could say anything.
    pub resets: u64,
    /// Realtime connections that were given an id, resumed ones included.
    pub connections: u64,
    /// Those that went on under an id that they had before.
    pub resumes: u64,
    /// Channels that were attached.
    pub attaches: u64,
    /// Event streams that were opened.
    pub event_streams: u64,
    /// Tokens that were issued for requests.
    pub tokens: u64,
    /// Messages that were acknowledged for the first time.
    pub accepted: u64,
    /// Publishes that were acknowledged again by their id.
    pub repeated: u64,
    /// Messages that were written to subscribers.
    pub deliveries: u64,
}

#[derive(Debug, Default)]
struct State {
    seen: VecDeque<Seen>,
    accepted: VecDeque<Accepted>,
    deliveries: VecDeque<Delivery>,
    counts: Counts,
}

/// The ledger. It outlives `kill` and `restart`.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<State>);

impl Ledger {
    /// Every request, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.lock().seen.iter().cloned().collect()
    }

    /// Every message that was accepted on a channel, oldest first.
    pub fn accepted(&self, channel: &str) -> Vec<Accepted> {
        let state = self.lock();
        let on = |accepted: &&Accepted| accepted.channel == channel;
        state.accepted.iter().filter(on).cloned().collect()
    }

    /// Every delivery of a channel, oldest first.
    pub fn deliveries(&self, channel: &str) -> Vec<Delivery> {
        let state = self.lock();
        let on = |delivery: &&Delivery| delivery.channel == channel;
        state.deliveries.iter().filter(on).cloned().collect()
    }

    /// How much there was of everything.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Forgets everything, counts included.
    pub fn clear(&self) {
        *self.lock() = State::default();
    }

    /// Everything as JSON, the newest `limit` of each list.
    pub(super) fn to_value(&self, limit: usize) -> Value {
        fn newest<T: Serialize + Clone>(list: &VecDeque<T>, limit: usize) -> Value {
            let newest: Vec<&T> = list.iter().skip(list.len().saturating_sub(limit)).collect();
            serde_json::to_value(newest).unwrap_or_default()
        }
        let state = self.lock();
        serde_json::json!({
            "counts": state.counts,
            "requests": newest(&state.seen, limit),
            "accepted": newest(&state.accepted, limit),
            "deliveries": newest(&state.deliveries, limit),
        })
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.lock().counts);
    }

    pub(super) fn saw(&self, seen: Seen) {
        keep(&mut self.lock().seen, seen);
    }

    pub(super) fn took(&self, channel: &str, messages: &[Value], swallowed: bool) {
        let mut state = self.lock();
        for message in messages {
            state.counts.accepted += 1;
            let accepted = Accepted {
                channel: channel.to_owned(),
                message: message.clone(),
                swallowed,
            };
            keep(&mut state.accepted, accepted);
        }
    }

    pub(super) fn delivered(
        &self,
        channel: &str,
        messages: &[Value],
        subscriber: &str,
        client_id: Option<&str>,
    ) {
        let mut state = self.lock();
        for message in messages {
            state.counts.deliveries += 1;
            let delivery = Delivery {
                channel: channel.to_owned(),
                message_id: message["id"].as_str().unwrap_or_default().to_owned(),
                subscriber: subscriber.to_owned(),
                client_id: client_id.map(str::to_owned),
            };
            keep(&mut state.deliveries, delivery);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep<T>(list: &mut VecDeque<T>, entry: T) {
    if list.len() >= KEPT_MAX {
        list.pop_front();
    }
    list.push_back(entry);
}

/// Shows headers without what they prove.
pub(super) fn without_secrets(headers: &HeaderMap) -> BTreeMap<String, String> {
    let shown = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        let value = match name.as_str() {
            "authorization" => format!("{} …", value.split(' ').next().unwrap_or_default()),
            "cookie" => "…".to_owned(),
            _ => value.into_owned(),
        };
        (name.as_str().to_owned(), value)
    });
    shown.collect()
}

/// Shows a query without what it proves.
pub(super) fn query_without_secrets(query: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let shown = query.iter().map(|(name, value)| {
        let secret = matches!(
            name.as_str(),
            "key" | "access_token" | "accessToken" | "resume" | "recover"
        );
        (name.clone(), if secret { "…".to_owned() } else { value.clone() })
    });
    shown.collect()
}

/// Shows a body, unless it is large.
pub(super) fn body_shown(bytes: &[u8], body: &Value) -> Value {
    if bytes.len() > BODY_MAX {
        return Value::from(format!("{} bytes", bytes.len()));
    }
    body.clone()
}
