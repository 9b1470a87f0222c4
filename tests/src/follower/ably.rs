//! A follower's connection to Ably, by its realtime protocol.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::{PATIENCE, Site};

/// Ably says something at least every 15 s, and a client gives up ten seconds later.
const IDLE_MAX: Duration = Duration::from_secs(25);
/// Hundreds of connections in one process.
const BUFFER: usize = 4 * 1024;
/// An attachment that goes on where an earlier one was.
const RESUMED: u64 = 1 << 2;

const CONNECTED: u64 = 4;
const DISCONNECTED: u64 = 6;
const ERROR: u64 = 9;
const ATTACH: u64 = 10;
const ATTACHED: u64 = 11;
const MESSAGE: u64 = 15;
const AUTH: u64 = 17;

/// What was heard.
pub(super) enum Heard {
    /// A channel is attached anew: what it carried before did not come.
    Joined,
    /// A message: the event's name and its data.
    Event(String, Value),
    /// Ably asks for another token.
    AskedForToken,
    /// A channel was refused.
    Refused(String),
    /// Nothing that matters.
    Nothing,
    /// It is over, and why.
    Over(String),
}

/// A connection, from its greeting on.
pub(super) struct Line {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    attaching: BTreeSet<String>,
    heard_at: Instant,
    /// When all channels are to be attached.
    pub(super) deadline: Instant,
    /// Whether no gap is open: what comes is shown at once.
    pub(super) settled: bool,
    /// What came while a gap was open.
    pub(super) held: Vec<(String, Value)>,
}

impl Line {
    /// Connects with a token and asks for its channels.
    pub(super) async fn open(site: &Site, token: &str) -> anyhow::Result<Self> {
        let attaching = channels(token)?;
        let query = format!("v=6&format=json&heartbeats=true&access_token={token}");
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER);
        let url = format!("ws://{}/?{query}", site.ably);
        let connecting = connect_async_with_config(url, Some(config), true);
        let (socket, _) = timeout(PATIENCE, connecting).await??;
        let mut line = Self {
            socket,
            attaching,
            heard_at: Instant::now(),
            deadline: Instant::now() + PATIENCE,
            settled: false,
            held: Vec::new(),
        };
        match timeout(PATIENCE, line.frame()).await? {
            Some(frame) if frame["action"] == CONNECTED => {}
            other => bail!("no greeting but {other:?}"),
        }
        for channel in line.attaching.clone() {
            line.say(&json!({ "action": ATTACH, "channel": channel })).await?;
        }
        Ok(line)
    }

    /// Whether every channel has been attached, or refused.
    pub(super) fn attached(&self) -> bool {
        self.attaching.is_empty()
    }

    /// Answers with another token.
    pub(super) async fn authenticate(&mut self, token: &str) -> anyhow::Result<()> {
        self.say(&json!({ "action": AUTH, "auth": { "accessToken": token } }))
            .await
    }

    async fn say(&mut self, frame: &Value) -> anyhow::Result<()> {
        let sent = self.socket.send(Message::text(frame.to_string()));
        Ok(timeout(PATIENCE, sent).await??)
    }

    /// The next frame; nothing at the end.
    async fn frame(&mut self) -> Option<Value> {
        loop {
            let heard = timeout_at(self.heard_at + IDLE_MAX, self.socket.next()).await;
            let message = heard.ok()??.ok()?;
            self.heard_at = Instant::now();
            match message {
                Message::Text(text) => return serde_json::from_str(&text).ok(),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// What is heard next. Messages of one frame come one by one.
    pub(super) async fn next(&mut self) -> Vec<Heard> {
        let Some(frame) = self.frame().await else {
            return vec![Heard::Over("the connection ended".to_owned())];
        };
        let why = || frame["error"].to_string();
        let channel = frame["channel"].as_str();
        match (frame["action"].as_u64(), channel) {
            (Some(ATTACHED), Some(channel)) => {
                self.attaching.remove(channel);
                let resumed = frame["flags"].as_u64().unwrap_or_default() & RESUMED != 0;
                vec![if resumed { Heard::Nothing } else { Heard::Joined }]
            }
            (Some(MESSAGE), Some(_)) => {
                let messages = frame["messages"].as_array();
                messages.into_iter().flatten().map(event).collect()
            }
            (Some(ERROR), Some(channel)) => {
                self.attaching.remove(channel);
                vec![Heard::Refused(format!("{channel}: {}", why()))]
            }
            (Some(ERROR | DISCONNECTED), _) => vec![Heard::Over(why())],
            (Some(AUTH), _) => vec![Heard::AskedForToken],
            _ => vec![Heard::Nothing],
        }
    }
}

/// What is heard next of a connection that may not be there: then nothing ever is.
pub(super) async fn next(line: &mut Option<Line>) -> Vec<Heard> {
    match line {
        Some(line) => line.next().await,
        None => std::future::pending().await,
    }
}

fn event(message: &Value) -> Heard {
    let name = message["name"].as_str().unwrap_or_default().to_owned();
    let data = match &message["data"] {
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        data => data.clone(),
    };
    Heard::Event(name, data)
}

/// The channels that a JWT for Ably gives.
fn channels(token: &str) -> anyhow::Result<BTreeSet<String>> {
    let claims = token.split('.').nth(1).context("a JWT has three parts")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    let capability = claims["x-ably-capability"].as_str().context("a capability")?;
    let capability: Value = serde_json::from_str(capability)?;
    let channels = capability.as_object().context("channels")?;
    Ok(channels.keys().cloned().collect())
}
