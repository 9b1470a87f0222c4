//! Publishing to Ably by its REST API.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Clock, Entropy, Host, Parcel, Transport};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::outbox::Outcome;
use domain::transport::{Reason, Transport as Kind};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, SERVER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use tokio::time::timeout;

use super::answer::Answer;
use super::hosts::{Endpoint, Hosts};
use super::shape::{Shaped, message_bytes, publish_one, publish_several};
use super::throttle::Throttle;
use super::{ChannelPrefix, Key};

/// The protocol whose answers are read here. Another one shapes the answers of batches differently.
const VERSION: &str = "6";
const AGENT: &str = concat!("arauto/", env!("CARGO_PKG_VERSION"));

/// What one batch may hold (Ably, batch publish): 100 channels and 2 MiB, less what stands around.
const BATCH_CHANNELS_MAX: usize = 100;
const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024 - 64 * 1024;
/// What a specification has around its message's data, name and channel, with room to spare.
const AROUND_MESSAGE: usize = 512;

/// The answer to a batch of 100 takes about 30 KiB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Ably's own codes for what it would refuse.
const TOO_LARGE: u32 = 40_009;
const INVALID_ID: u32 = 40_031;

/// How long Ably is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection to one host.
    pub connect: Duration,
    /// For an answer of one host.
    pub request: Duration,
    /// For all hosts together.
    pub total: Duration,
}

impl Default for Patience {
    /// 4, 10 and 15 seconds, as Ably's own clients (`TO3l`).
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(4),
            request: Duration::from_secs(10),
            total: Duration::from_secs(15),
        }
    }
}

/// How an Ably account is used.
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// Where Ably is.
    pub endpoint: Endpoint,
    /// What stands in front of channel names.
    pub prefix: Option<ChannelPrefix>,
    /// The largest message that the account may send: 64 KiB, or 256 KiB for the larger plans.
    pub message_bytes_max: usize,
    /// How long Ably is waited for.
    pub patience: Patience,
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            endpoint: Endpoint::Main,
            prefix: None,
            message_bytes_max: 64 * 1024,
            patience: Patience::default(),
        }
    }
}

/// A publisher that cannot be made on this system.
#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    /// The key cannot stand in a header.
    #[error("the key for publishing to Ably cannot stand in a header")]
    Key,
    /// There is no TLS.
    #[error("no HTTPS client can be made")]
    Client(#[source] reqwest::Error),
}

/// Publishes with one key, the stronger one. It is sent in a header that is never shown, and never logged.
pub struct Publisher {
    authorization: HeaderValue,
    config: PublisherConfig,
    hosts: Hosts,
    client: Client,
    throttle: Throttle,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Publisher {
    /// Prepares a client; nothing is sent yet.
    pub fn new(
        key: &Key,
        config: PublisherConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, PublisherError> {
        let basic = STANDARD.encode([key.name().as_bytes(), b":", key.secret()].concat());
        let mut authorization =
            HeaderValue::try_from(format!("Basic {basic}")).map_err(|_| PublisherError::Key)?;
        authorization.set_sensitive(true);
        let local = matches!(config.endpoint, Endpoint::Address(_));
        let builder = Client::builder()
            .connect_timeout(config.patience.connect)
            .timeout(config.patience.request)
            // An answer that leads elsewhere would take the key along.
            .redirect(Policy::none())
            .https_only(!local);
        let builder = if local { builder.no_proxy() } else { builder };
        Ok(Self {
            authorization,
            hosts: Hosts::of(&config.endpoint),
            client: builder.build().map_err(PublisherError::Client)?,
            throttle: Throttle::default(),
            config,
            clock,
            entropy,
        })
    }

    fn channel(&self, parcel: &Parcel) -> String {
        match &self.config.prefix {
            Some(prefix) => prefix.before(&parcel.channel),
            None => parcel.channel.to_string(),
        }
    }

    /// Says what Ably would refuse. A channel's name is always one that it takes.
    fn refused_here(&self, parcel: &Parcel) -> Option<Outcome> {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let code = if message_bytes(parcel) > self.config.message_bytes_max {
            TOO_LARGE
        } else if parcel.id.is_empty() || !parcel.id.bytes().all(is_word) {
            INVALID_ID
        } else {
            return None;
        };
        Some(Outcome::Refused { code })
    }

    /// Sends what fits into one request.
    async fn send(&self, parcels: &[(String, &Parcel)]) -> Vec<Outcome> {
        if let Err(retry_after) = self.throttle.take(self.clock.uptime()) {
            let by = Reason::RateLimited;
            return vec![Outcome::Held { retry_after, by }; parcels.len()];
        }
        let again = Outcome::Transient {
            retry_after: Duration::ZERO,
        };
        let shaped = match parcels {
            [(channel, only)] => publish_one(channel, only),
            several => publish_several(
                several
                    .iter()
                    .map(|(channel, parcel)| (channel.as_str(), *parcel)),
            ),
        };
        let Some(mut answer) = self.ask(&shaped).await else {
            return vec![again; parcels.len()];
        };
        self.take_note(&mut answer);
        match answer.by_channel() {
            Some(outcomes) if parcels.len() > 1 => {
                let found =
                    |(channel, _): &(String, &Parcel)| outcomes.get(channel).copied().unwrap_or(again);
                parcels.iter().map(found).collect()
            }
            // A batch was taken, and nobody can say what of it.
            None if parcels.len() > 1 && answer.is_success() => vec![again; parcels.len()],
            _ => vec![answer.outcome(); parcels.len()],
        }
    }

    fn take_note(&self, answer: &mut Answer) {
        if answer.status == 429 {
            let asked = answer.retry_after.unwrap_or_default();
            let pause = self
                .throttle
                .refused(self.clock.uptime(), asked, self.entropy.bits());
            answer.retry_after = Some(pause);
        } else {
            self.throttle.taken();
        }
        if !answer.is_success() {
            let error = answer.error();
            tracing::warn!(
                status = answer.status,
                code = error.code,
                href = error.href,
                "Ably refused a request"
            );
        }
    }

    /// Asks one host after the other until one has an answer of its own, within the whole patience. Where none has,
    /// the last one's answer counts.
    pub(super) async fn ask(&self, shaped: &Shaped) -> Option<Answer> {
        let turn = self.hosts.in_turn(self.clock.uptime(), &*self.entropy);
        let mut last = None;
        let asking = async {
            for host in turn {
                match self.ask_host(&host, shaped).await {
                    Ok(answer) if answer.tries_next_host() => {
                        tracing::debug!(host, status = answer.status, "another host of Ably is tried");
                        last = Some(answer);
                    }
                    Ok(answer) => {
                        self.hosts.served(&host, self.clock.uptime());
                        last = Some(answer);
                        return;
                    }
                    Err(error) => {
                        let error = error.without_url();
                        tracing::warn!(
                            host,
                            error = &error as &dyn std::error::Error,
                            "a host of Ably is away"
                        );
                    }
                }
            }
        };
        let _ = timeout(self.config.patience.total, asking).await;
        last
    }

    async fn ask_host(&self, host: &str, shaped: &Shaped) -> reqwest::Result<Answer> {
        let request = self
            .client
            .post(format!("{host}{}", shaped.path))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .header("x-ably-version", VERSION)
            .header("ably-agent", AGENT)
            .body(shaped.body.clone());
        read(request.send().await?).await
    }
}

async fn read(mut response: Response) -> reqwest::Result<Answer> {
    fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
        headers.get(name)?.to_str().ok()?.trim().parse().ok()
    }
    let headers = response.headers();
    let mut answer = Answer {
        status: response.status().as_u16(),
        retry_after: number(headers, RETRY_AFTER.as_str()).map(Duration::from_secs),
        error_code: number(headers, "x-ably-errorcode"),
        from_edge: headers.get(SERVER).is_some_and(|server| server == "CloudFront"),
        body: Vec::new(),
    };
    while let Some(chunk) = response.chunk().await? {
        answer.body.extend_from_slice(&chunk);
        if answer.body.len() > ANSWER_BYTES_MAX {
            answer.body.clear();
            break;
        }
    }
    Ok(answer)
}

/// Splits what goes out into requests, in order.
fn requests<'a, 'b>(parcels: &'a [(String, &'b Parcel)]) -> Vec<&'a [(String, &'b Parcel)]> {
    let mut requests = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, (channel, parcel)) in parcels.iter().enumerate() {
        // Quotes in data are escaped: text within text is at most twice as long, as data has no control characters.
        let size = AROUND_MESSAGE + channel.len() + 2 * message_bytes(parcel);
        if at > from && (at - from == BATCH_CHANNELS_MAX || bytes + size > BATCH_BYTES_MAX) {
            requests.push(&parcels[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += size;
    }
    if from < parcels.len() {
        requests.push(&parcels[from..]);
    }
    requests
}

#[async_trait]
impl Transport for Publisher {
    fn kind(&self) -> Kind {
        Kind::Ably
    }

    fn host(&self) -> Host {
        self.hosts.first(self.clock.uptime())
    }

    async fn deliver(&self, batch: &[Parcel]) -> Vec<Outcome> {
        let refused: Vec<Option<Outcome>> = batch.iter().map(|parcel| self.refused_here(parcel)).collect();
        let fit = batch
            .iter()
            .zip(&refused)
            .filter(|(_, refused)| refused.is_none());
        let fit: Vec<(String, &Parcel)> = fit.map(|(parcel, _)| (self.channel(parcel), parcel)).collect();
        let mut sent = Vec::with_capacity(fit.len());
        for request in requests(&fit) {
            sent.extend(self.send(request).await);
        }
        let mut sent = sent.into_iter();
        let outcomes = refused.into_iter().map(|refused| refused.or_else(|| sent.next()));
        outcomes.map(|outcome| outcome.unwrap_or(Outcome::Lost)).collect()
    }
}

#[cfg(test)]
mod tests;
