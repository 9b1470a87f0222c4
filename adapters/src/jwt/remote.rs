//! Keys that an issuer serves.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::{Clock, TokenError};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::header::ACCEPT;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::keys::{KeySet, KeysError, SET_MAX_BYTES, UnfitSet};

/// An issuer that takes a key back is believed after this long.
pub(super) const MAX_AGE: Duration = Duration::from_secs(600);
/// While the issuer cannot be reached, its keys count for this long. A key taken back counts no longer either.
pub(super) const STALE_MAX: Duration = Duration::from_secs(3_600);
/// Whoever sends tokens with made-up key ids makes us ask no more often than this.
pub(super) const REFETCH_MIN: Duration = Duration::from_secs(10);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// From the first packet to the last byte.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);

/// An address that keys may not come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("keys come from an https:// address without a user name, or from http:// on this machine")]
pub struct AddressRefused;

/// Fetches the keys of one fixed address and keeps them.
///
/// A token decides nothing here but this: when it names a key that is not known, the keys are fetched again, by
/// one task for all who wait, and not sooner than [`REFETCH_MIN`] after the last time. The task goes on when those
/// who waited have left.
pub(super) struct RemoteKeys {
    url: Url,
    client: Client,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    /// Never held across an await.
    state: Mutex<State>,
    /// Counts the fetches that came to an end.
    landed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    flying: bool,
    /// The uptime at which the last fetch began.
    asked_at: Option<Duration>,
    /// Whether the last fetch that came to an end failed.
    failing: bool,
}

#[derive(Clone)]
struct Kept {
    set: Arc<KeySet>,
    /// The uptime at which it was asked for.
    asked_at: Duration,
}

/// What can be said without asking the issuer.
enum Known {
    /// This, for good.
    Settled(Result<Arc<DecodingKey>, TokenError>),
    /// This key while the issuer cannot be reached; it is time to try.
    MeanwhileKey(Arc<DecodingKey>),
    /// Nothing: ask.
    Nothing,
}

impl RemoteKeys {
    /// Checks the address. Nothing is fetched yet: the issuer may start later than this service.
    pub(super) fn new(url: &str, clock: Arc<dyn Clock>, tasks: TaskTracker) -> Result<Self, KeysError> {
        let (url, loopback) = checked(url)?;
        let builder = Client::builder()
            .user_agent(concat!("arauto/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            // An answer that leads elsewhere could lead out of https.
            .redirect(Policy::none())
            .https_only(!loopback)
            // One request in minutes is not worth an open connection.
            .pool_max_idle_per_host(0);
        let builder = if loopback { builder.no_proxy() } else { builder };
        Ok(Self {
            url,
            client: builder.build().map_err(KeysError::Client)?,
            clock,
            tasks,
            state: Mutex::default(),
            landed: watch::Sender::new(0),
        })
    }

    /// Finds a key, asking the issuer where it must.
    pub(super) async fn find(
        self: &Arc<Self>,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<DecodingKey>, TokenError> {
        match self.known(kid, algorithm) {
            Known::Settled(answer) => return answer,
            Known::MeanwhileKey(key) => {
                self.fetch();
                return Ok(key);
            }
            Known::Nothing => {}
        }
        if let Some(mut landed) = self.fetch() {
            // It fails when the sender is gone, which this holds.
            let _ = landed.changed().await;
        }
        self.settle(kid, algorithm)
    }

    fn known(&self, kid: Option<&str>, algorithm: Algorithm) -> Known {
        let now = self.clock.uptime();
        let state = self.state();
        let Some(kept) = state.kept_within(STALE_MAX, now) else {
            return Known::Nothing;
        };
        let fresh = state.kept_within(MAX_AGE, now).is_some();
        match kept.set.find(kid, algorithm) {
            Err(TokenError::UnknownKey) if kid.is_some() => Known::Nothing,
            found if fresh => Known::Settled(found),
            Ok(key) if state.failing => Known::MeanwhileKey(key),
            _ => Known::Nothing,
        }
    }

    /// Says what is to be said once the issuer was asked, or must not be asked yet.
    fn settle(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Arc<DecodingKey>, TokenError> {
        let now = self.clock.uptime();
        let state = self.state();
        let kept = state
            .kept_within(STALE_MAX, now)
            .ok_or(TokenError::KeysUnavailable)?;
        let found = kept.set.find(kid, algorithm);
        // The key may be one that could not be fetched.
        let cannot_tell = found.is_err() && state.failing;
        if cannot_tell {
            Err(TokenError::KeysUnavailable)
        } else {
            found
        }
    }

    /// Begins to fetch, or joins who does. `None` when it is too soon.
    fn fetch(self: &Arc<Self>) -> Option<watch::Receiver<u64>> {
        let now = self.clock.uptime();
        let mut state = self.state();
        // Subscribed before the flight can land, which takes the same lock.
        let landed = self.landed.subscribe();
        if !state.flying {
            if state
                .asked_at
                .is_some_and(|asked| now.saturating_sub(asked) < REFETCH_MIN)
            {
                return None;
            }
            state.flying = true;
            state.asked_at = Some(now);
            let flight = Flight {
                remote: Arc::clone(self),
                asked_at: now,
                fetched: None,
            };
            self.tasks.spawn(flight.fly());
        }
        Some(landed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment after another without a call between, so none is left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kept_within(&self, age: Duration, now: Duration) -> Option<&Kept> {
        self.kept
            .as_ref()
            .filter(|kept| now.saturating_sub(kept.asked_at) < age)
    }
}

/// A fetch under way. It lands however it ends, so that nobody waits for ever.
struct Flight {
    remote: Arc<RemoteKeys>,
    asked_at: Duration,
    fetched: Option<KeySet>,
}

impl Flight {
    async fn fly(mut self) {
        match fetch(&self.remote.client, self.remote.url.clone()).await {
            Ok(set) => self.fetched = Some(set),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the issuer's keys cannot be fetched"
                );
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = self.remote.state();
        state.flying = false;
        state.failing = self.fetched.is_none();
        if let Some(set) = self.fetched.take() {
            state.kept = Some(Kept {
                set: Arc::new(set),
                asked_at: self.asked_at,
            });
        }
        self.remote.landed.send_modify(|count| *count += 1);
    }
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the issuer did not answer")]
    Request(#[from] reqwest::Error),
    #[error("the issuer answered {0}")]
    Status(StatusCode),
    #[error("the issuer's key set is longer than {SET_MAX_BYTES} bytes")]
    TooLong,
    #[error("the issuer's key set does not count")]
    Unfit(#[from] UnfitSet),
}

async fn fetch(client: &Client, url: Url) -> Result<KeySet, FetchError> {
    let request = client
        .get(url)
        .header(ACCEPT, "application/jwk-set+json, application/json");
    let mut response = request.send().await?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > SET_MAX_BYTES {
            return Err(FetchError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(KeySet::parse(&body)?)
}

/// Reads an address, and tells whether it is plain HTTP on this machine.
fn checked(url: &str) -> Result<(Url, bool), AddressRefused> {
    let url = Url::parse(url).map_err(|_| AddressRefused)?;
    let host = url.host_str().ok_or(AddressRefused)?;
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    let plain = match url.scheme() {
        "https" => false,
        "http" if loopback => true,
        _ => return Err(AddressRefused),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AddressRefused);
    }
    Ok((url, plain))
}
