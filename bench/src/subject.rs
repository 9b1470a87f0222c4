//! The two processes that are measured: the server, and the floor beside it.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use crate::child::Child;
use crate::clock;
use crate::fleet::{Fleet, Protocol};
use crate::procfs::Process;
use crate::publisher::{Dialect, Endpoint, Publisher};
use crate::token::Mint;
use crate::wire::websocket;

/// Longest wait for all streams of a fleet to be open.
pub(crate) const OPENING: Duration = Duration::from_secs(60);

/// Between two looks at whether a node takes work.
const LOOK: Duration = Duration::from_millis(20);

/// Refuses a path without a server, before anything is started.
pub(crate) fn must_exist(server: &str) -> Result<()> {
    if Path::new(server).is_file() {
        return Ok(());
    }
    bail!(
        "no server at {server}: build it with `cargo build --release -p api`, or name another with --server"
    )
}

/// Runs `measure` against a server of its own, so that nothing one scenario left behind weighs on the next.
pub(crate) fn serve<T>(path: &str, measure: impl FnOnce(&Server) -> Result<T>) -> Result<T> {
    let server = Server::start(path)?;
    measure(&server).inspect_err(|_| server.child.show_tail())
}

/// A server under test with a secret of its own.
pub(crate) struct Server {
    child: Child,
    mint: Arc<Mint>,
}

impl Server {
    fn start(path: &str) -> Result<Self> {
        must_exist(path)?;
        let mint = Arc::new(Mint::new()?);
        let environment = [
            ("ARAUTO_LISTEN", "127.0.0.1:0"),
            ("ARAUTO_LOG_FORMAT", "json"),
            ("ARAUTO_RATE_LIMIT_ENABLED", "false"),
            ("ARAUTO_JWT_SECRET", mint.secret()),
        ];
        let child = Child::start(path, &["serve", "--dev"], &environment)?;
        Ok(Self { child, mint })
    }

    /// Starts a node of a cluster, as operators run it, and waits until it takes work.
    pub(crate) fn node(path: &str, mint: &Arc<Mint>, stores: &[(&str, &str)]) -> Result<Self> {
        let mut environment = vec![
            ("ARAUTO_LISTEN", "127.0.0.1:0"),
            ("ARAUTO_LOG_FORMAT", "json"),
            ("ARAUTO_RATE_LIMIT_ENABLED", "false"),
            ("ARAUTO_JWT_SECRET", mint.secret()),
        ];
        environment.extend(stores);
        let child = Child::start(path, &["serve"], &environment)?;
        let mint = Arc::clone(mint);
        let node = Self { child, mint };
        let deadline = clock::after(OPENING);
        while Publisher::connect(&node.endpoint()?)?
            .request("GET", "/health/ready", b"")?
            .status
            != 200
        {
            if clock::now() > deadline {
                node.show_tail();
                bail!("a node was not ready after {} s", OPENING.as_secs());
            }
            thread::sleep(LOOK);
        }
        Ok(node)
    }

    /// Shows the last lines it logged, to explain a failure.
    pub(crate) fn show_tail(&self) {
        self.child.show_tail();
    }

    pub(crate) fn process(&self) -> Process {
        self.child.process()
    }

    /// Readers `0..size`, each a person with one stream. Not open yet.
    pub(crate) fn fleet(&self, protocol: Protocol, size: usize) -> Result<Fleet> {
        self.fleet_of(protocol, 0..size)
    }

    /// The readers of a range, each a person with one stream. Not open yet.
    pub(crate) fn fleet_of(&self, protocol: Protocol, readers: Range<usize>) -> Result<Fleet> {
        let (address, mint) = (self.child.address(), Arc::clone(&self.mint));
        let (first, size) = (readers.start, readers.len());
        let request = move |index: usize, last_id: Option<&str>| {
            let token = mint.reader(first + index)?;
            let resume = last_id
                .map(|id| format!("Last-Event-ID: {id}\r\n"))
                .unwrap_or_default();
            let (path, rest) = match protocol {
                Protocol::EventStream => ("/v1/stream", format!("Accept: text/event-stream\r\n{resume}")),
                Protocol::WebSocket => (
                    "/v1/ws",
                    format!(
                        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: {}\r\nSec-WebSocket-Protocol: arauto.v1\r\n",
                        websocket::KEY
                    ),
                ),
            };
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{rest}\r\n"
            );
            Ok(head.into_bytes())
        };
        Fleet::new(address, protocol, size, Box::new(request))
    }

    /// Where and as whom to publish.
    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        let token = self.mint.publisher()?;
        Ok(Endpoint {
            address: self.child.address(),
            token,
            dialect: Dialect::Server,
        })
    }

    /// Store reads since its start, as `GET /health/streams` tells an administrator.
    pub(crate) fn store_reads(&self) -> Result<u64> {
        let token = self.mint.admin()?;
        let endpoint = Endpoint {
            address: self.child.address(),
            token,
            dialect: Dialect::Server,
        };
        let answer = Publisher::connect(&endpoint)?.request("GET", "/health/streams", b"")?;
        let text = String::from_utf8_lossy(&answer.body);
        if answer.status != 200 {
            bail!("/health/streams answered {}: {text}", answer.status);
        }
        let body: Value = serde_json::from_str(&text).context("/health/streams is not JSON")?;
        find_number(&body, "store_reads").ok_or_else(|| anyhow!("no store_reads in /health/streams: {text}"))
    }

    /// Lets the server answer one request on a connection that is then closed.
    pub(crate) fn touch(&self) -> Result<()> {
        Publisher::connect(&self.endpoint()?)?
            .request("GET", "/health/live", b"")
            .map(drop)
    }
}

/// The floor as a process of its own.
pub(crate) struct FloorProcess {
    child: Child,
    /// As long as the server's, so that requests have the same size.
    token: String,
}

impl FloorProcess {
    pub(crate) fn start(server: &Server) -> Result<Self> {
        let child = Child::start("/proc/self/exe", &["floor"], &[])?;
        Ok(Self {
            child,
            token: server.mint.publisher()?,
        })
    }

    pub(crate) fn process(&self) -> Process {
        self.child.process()
    }

    pub(crate) fn fleet(&self, size: usize) -> Result<Fleet> {
        let address = self.child.address();
        let request = move |index: usize, _: Option<&str>| {
            Ok(format!("GET /stream/{index} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes())
        };
        Fleet::new(address, Protocol::EventStream, size, Box::new(request))
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.child.address(),
            token: self.token.clone(),
            dialect: Dialect::Floor,
        }
    }
}

/// The number under `key`, however deep the details nest.
fn find_number(value: &Value, key: &str) -> Option<u64> {
    match value {
        Value::Object(fields) => fields
            .get(key)
            .and_then(Value::as_u64)
            .or_else(|| fields.values().find_map(|value| find_number(value, key))),
        Value::Array(items) => items.iter().find_map(|value| find_number(value, key)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_however_deep_it_nests() {
        let body = serde_json::json!({"status": "ok", "details": [{"store_reads": 7}]});
        assert_eq!(find_number(&body, "store_reads"), Some(7));
        assert_eq!(find_number(&body, "status"), None);
    }
}
