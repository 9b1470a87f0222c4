//! Publishing over kept HTTP connections: one request at a time on each, nothing pipelined.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use crate::clock;
use crate::token;
use crate::wire::http::Answer;
use crate::wire::mark::{Kind, Mark};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who is published to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    Everyone,
    /// One reader, by index.
    Reader(usize),
}

impl Audience {
    fn kind(self) -> Kind {
        match self {
            Self::Everyone => Kind::Broadcast,
            Self::Reader(_) => Kind::Unicast,
        }
    }

    fn json(self) -> String {
        match self {
            Self::Everyone => r#"{"everyone":true}"#.to_owned(),
            Self::Reader(index) => format!(r#"{{"users":["{}"]}}"#, token::reader(index)),
        }
    }
}

/// Whom a publisher talks to. Server and floor get the same bytes but for the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Server,
    Floor,
}

impl Dialect {
    fn path(self, audience: Audience) -> String {
        match (self, audience) {
            (Self::Server, _) => "/v1/notifications".to_owned(),
            (Self::Floor, Audience::Everyone) => "/broadcast".to_owned(),
            (Self::Floor, Audience::Reader(index)) => format!("/unicast/{index}"),
        }
    }
}

/// Where and as whom to publish.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    pub(crate) dialect: Dialect,
}

/// One kept connection.
pub(crate) struct Publisher {
    endpoint: Endpoint,
    socket: TcpStream,
}

impl Publisher {
    pub(crate) fn connect(endpoint: &Endpoint) -> Result<Self> {
        let socket = TcpStream::connect_timeout(&endpoint.address, PATIENCE)
            .with_context(|| format!("cannot connect to {}", endpoint.address))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            endpoint: endpoint.clone(),
            socket,
        })
    }

    /// Publishes, stamped with `sent`, and returns the cursor of the receipt. The floor gives none.
    pub(crate) fn publish(&mut self, audience: Audience, sent: u64) -> Result<Option<String>> {
        let answer = self.accepted(audience, sent)?;
        let receipt: Value = serde_json::from_slice(&answer.body).context("receipt that is not JSON")?;
        Ok(receipt.get("cursor").and_then(Value::as_str).map(str::to_owned))
    }

    /// Publishes, stamped with `sent`. Nobody reads the receipt: the publishers share the machine with what they
    /// measure.
    fn accepted(&mut self, audience: Audience, sent: u64) -> Result<Answer> {
        let body = notification(audience, sent);
        let answer = self.request("POST", &self.endpoint.dialect.path(audience), body.as_bytes())?;
        if answer.status != 201 {
            bail!(
                "publishing was answered {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
        }
        Ok(answer)
    }

    /// Publishes to each of an audience in one call, all stamped with `sent`.
    pub(crate) fn publish_batch(&mut self, audiences: &[Audience], sent: u64) -> Result<()> {
        let items: Vec<String> = audiences.iter().map(|one| notification(*one, sent)).collect();
        let body = format!(r#"{{"items":[{}]}}"#, items.join(","));
        let answer = self.request("POST", "/v1/notifications/batch", body.as_bytes())?;
        if answer.status != 200 {
            let text = String::from_utf8_lossy(&answer.body);
            bail!("a batch was answered {}: {text}", answer.status);
        }
        Ok(())
    }

    /// Publishes under a key, under which it may be repeated until it is answered 201.
    pub(crate) fn publish_under(&mut self, key: &str, audience: Audience, sent: u64) -> Result<Answer> {
        let (path, body) = (self.endpoint.dialect.path(audience), notification(audience, sent));
        let headers = format!(
            "Authorization: Bearer {}\r\nIdempotency-Key: {key}\r\n",
            self.endpoint.token
        );
        self.exchange(&headers, "POST", &path, body.as_bytes())
    }

    /// Sends one request and waits for its answer.
    pub(crate) fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let token = self.endpoint.token.clone();
        self.request_as(&token, method, path, body)
    }

    /// Sends one request on behalf of whoever the token names and waits for its answer.
    pub(crate) fn request_as(
        &mut self,
        token: &str,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Answer> {
        self.exchange(&format!("Authorization: Bearer {token}\r\n"), method, path, body)
    }

    fn exchange(&mut self, headers: &str, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let address = self.endpoint.address;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.socket
            .write_all(&request)
            .with_context(|| format!("{method} {path}"))?;
        let mut bytes = Vec::new();
        let mut buffer = [0_u8; 8192];
        loop {
            let read = self
                .socket
                .read(&mut buffer)
                .with_context(|| format!("{method} {path}: no answer"))?;
            if read == 0 {
                bail!("{method} {path}: connection closed before the answer was whole");
            }
            bytes.extend_from_slice(&buffer[..read]);
            if let Some(answer) = Answer::parse(&bytes)? {
                return Ok(answer);
            }
        }
    }
}

/// A notification of ordinary size.
fn notification(audience: Audience, sent: u64) -> String {
    let mark = Mark {
        kind: audience.kind(),
        sent,
    }
    .text();
    format!(
        r#"{{"audience":{},"type":"solicitacao.aprovada","priority":"high","title":"Solicitação aprovada","#,
        audience.json()
    ) + &format!(
        r#""body":"Seu pedido <b>2024/17</b> foi aprovado.","link":"/solicitacoes/17","data":{{"sent":"{mark}"}}}}"#
    )
}

/// Publishes at set times whatever the answers do: a slot that starts late is still counted from when it was due,
/// so a stall shows in every request it delayed and not only in the one it hit.
pub(crate) struct OpenLoop<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// When slot 0 is due.
    pub(crate) start: u64,
    pub(crate) interval: Duration,
    pub(crate) slots: usize,
    /// Connections, and so requests under way at once; slots wait for one when all are busy.
    pub(crate) connections: usize,
}

/// What an open loop did.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) accepted: usize,
    /// How late each request went out, in nanoseconds: the share of the latency that is the publishers' own.
    pub(crate) lags: Vec<u64>,
    pub(crate) failure: Option<String>,
}

impl OpenLoop<'_> {
    /// Runs all slots; `audience` names who slot n is for. Stops early once `give_up` is set.
    pub(crate) fn run(&self, audience: impl Fn(usize) -> Audience + Sync, give_up: &AtomicBool) -> Published {
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut done = Published::default();
            if let Err(error) = self.work(&next, &audience, give_up, &mut done) {
                done.failure = Some(format!("{error:#}"));
            }
            done
        };
        let mut total = Published::default();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..self.connections).map(|_| scope.spawn(worker)).collect();
            for worker in workers {
                let Ok(done) = worker.join() else {
                    total.failure = Some("a publisher panicked".to_owned());
                    continue;
                };
                total.accepted += done.accepted;
                total.lags.extend(done.lags);
                total.failure = total.failure.take().or(done.failure);
            }
        });
        total
    }

    fn work(
        &self,
        next: &AtomicUsize,
        audience: &impl Fn(usize) -> Audience,
        give_up: &AtomicBool,
        done: &mut Published,
    ) -> Result<()> {
        let mut publisher = Publisher::connect(self.endpoint)?;
        loop {
            let slot = next.fetch_add(1, Ordering::Relaxed);
            if slot >= self.slots || give_up.load(Ordering::Relaxed) {
                return Ok(());
            }
            let due = self.start + clock::in_nanos(self.interval) * slot as u64;
            clock::sleep_until(due);
            done.lags.push(clock::now().saturating_sub(due));
            publisher.publish(audience(slot), due)?;
            done.accepted += 1;
        }
    }
}

/// Publishes as fast as the answers come: each publisher sends its next request when the last one is answered.
pub(crate) struct ClosedLoop<'a> {
    /// Publishers are spread over these, one after another.
    pub(crate) endpoints: &'a [Endpoint],
    pub(crate) publishers: usize,
    /// Answers before that are not counted: connections and caches are cold.
    pub(crate) warm_up: Duration,
    pub(crate) length: Duration,
}

impl ClosedLoop<'_> {
    /// Returns how long each publish that was answered within the measured time took, in nanoseconds. `audience`
    /// names whom publish `n` of publisher `p` is for.
    pub(crate) fn run(&self, audience: impl Fn(usize, usize) -> Audience + Sync) -> Result<Vec<u64>> {
        let connect = |p: usize| Publisher::connect(&self.endpoints[p % self.endpoints.len()]);
        let connected: Vec<Publisher> = (0..self.publishers).map(connect).collect::<Result<_>>()?;
        let from = clock::after(self.warm_up);
        let until = from + clock::in_nanos(self.length);
        let publish = |mut publisher: Publisher, p: usize| -> Result<Vec<u64>> {
            let mut latencies = Vec::new();
            for n in 0.. {
                let sent = clock::now();
                publisher.accepted(audience(p, n), sent)?;
                let answered = clock::now();
                if answered > until {
                    break;
                }
                if answered >= from {
                    latencies.push(answered - sent);
                }
            }
            Ok(latencies)
        };
        let publish = &publish;
        thread::scope(|scope| {
            let publishers: Vec<_> = connected
                .into_iter()
                .enumerate()
                .map(|(p, publisher)| scope.spawn(move || publish(publisher, p)))
                .collect();
            let mut all = Vec::new();
            for publisher in publishers {
                let latencies = publisher.join().map_err(|_| anyhow!("a publisher panicked"))?;
                all.extend(latencies?);
            }
            Ok(all)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_json_and_carries_its_mark() {
        for audience in [Audience::Everyone, Audience::Reader(7)] {
            let text = notification(audience, 42);
            let body: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                Mark::find(text.as_bytes()),
                Some(Mark {
                    kind: audience.kind(),
                    sent: 42
                })
            );
            assert_eq!(body["data"]["sent"].as_str().map(str::len), Some(21));
        }
        let body: Value = serde_json::from_str(&notification(Audience::Reader(7), 42)).unwrap();
        assert_eq!(body["audience"], serde_json::json!({"users": ["bench-00007"]}));
    }
}
