//! Listening to Ably over its event streams, as a browser without its library does.

use std::time::Duration;

use application::ports::{Clock, Echo, EchoError, Heard};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::channel::Channel;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use std::sync::Arc;

use super::hosts::{Endpoint, Hosts};
use super::publisher::PublisherError;
use super::shape::encode_component;
use super::{ChannelPrefix, Key};

/// Connecting, and waiting for the head of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// A stream is opened anew after this, so that none is forgotten half open.
const STREAM_LASTS: Duration = Duration::from_secs(60 * 60);
/// Ably sends a comment every 15 s or so. What is silent for longer is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// A probe has some hundred bytes; whatever else comes on its channel is dropped.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// The version of the protocol that Ably documents for event streams.
const VERSION: &str = "1.2";

/// Listens with a key that may subscribe.
pub struct EventStreams {
    authorization: HeaderValue,
    prefix: Option<ChannelPrefix>,
    hosts: Hosts,
    client: Client,
    clock: Arc<dyn Clock>,
}

impl EventStreams {
    /// Prepares a client; nothing is sent yet.
    pub fn new(
        key: &Key,
        endpoint: &Endpoint,
        prefix: Option<ChannelPrefix>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PublisherError> {
        let basic = STANDARD.encode([key.name().as_bytes(), b":", key.secret()].concat());
        let mut authorization =
            HeaderValue::try_from(format!("Basic {basic}")).map_err(|_| PublisherError::Key)?;
        authorization.set_sensitive(true);
        let local = matches!(endpoint, Endpoint::Address(_));
        let builder = Client::builder()
            .connect_timeout(ANSWER_TIMEOUT)
            .read_timeout(SILENCE)
            .redirect(Policy::none())
            .https_only(!local);
        let builder = if local { builder.no_proxy() } else { builder };
        Ok(Self {
            authorization,
            prefix,
            hosts: Hosts::of(endpoint),
            client: builder.build().map_err(PublisherError::Client)?,
            clock,
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.hosts.primary())
    }
}

#[async_trait]
impl Echo for EventStreams {
    async fn listen(&self, channel: &Channel) -> Result<Box<dyn Heard>, EchoError> {
        let name = match &self.prefix {
            Some(prefix) => prefix.before(channel),
            None => channel.to_string(),
        };
        let path = format!("/sse?v={VERSION}&channels={}", encode_component(&name));
        let asked = self
            .client
            .get(self.url(&path))
            .header(AUTHORIZATION, self.authorization.clone())
            .timeout(STREAM_LASTS)
            .send();
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, asked).await;
        let response = answer
            .map_err(|_| EchoError::Unreachable)?
            .map_err(|_| EchoError::Unreachable)?;
        match response.status() {
            StatusCode::OK => Ok(Box::new(Stream {
                response,
                line: Vec::new(),
            })),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(EchoError::Forbidden),
            _ => Err(EchoError::Unreachable),
        }
    }

    async fn time(&self) -> Result<Duration, EchoError> {
        let started = self.clock.uptime();
        let asked = self.client.get(self.url("/time")).timeout(ANSWER_TIMEOUT).send();
        let answer = asked.await.map_err(|_| EchoError::Unreachable)?;
        if answer.status() != StatusCode::OK {
            return Err(EchoError::Unreachable);
        }
        Ok(self.clock.uptime().saturating_sub(started))
    }
}

struct Stream {
    response: Response,
    /// What has come of a line whose end has not.
    line: Vec<u8>,
}

impl Stream {
    /// Takes the next whole line, without its end.
    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.line.iter().position(|byte| *byte == b'\n')?;
        let rest = self.line.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.line, rest);
        line.truncate(end);
        Some(line)
    }
}

#[async_trait]
impl Heard for Stream {
    async fn next(&mut self) -> Option<String> {
        loop {
            while let Some(line) = self.line() {
                if let Some(data) = line.strip_prefix(b"data:") {
                    return Some(String::from_utf8_lossy(data).trim().to_owned());
                }
            }
            if self.line.len() > LINE_BYTES_MAX {
                self.line.clear();
            }
            let chunk = self.response.chunk().await.ok()??;
            self.line.extend_from_slice(&chunk);
        }
    }
}
