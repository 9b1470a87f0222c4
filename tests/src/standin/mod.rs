//! A stand-in for Ably on loopback: its REST API, event streams and realtime protocol, faults on demand, and a ledger.
//!
//! It is our reading of Ably's documentation, held against `ably-js`, and not Ably: a test against it shows what our side
//! and `ably-js` do, never that Ably takes it. It speaks JSON alone, has no TLS (Ably refuses keys without it), no
//! presence, no push, no quotas but what keeps its own memory bounded, and its history is two minutes long.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use tests::standin::{Fault, Rule, StandIn};
//!
//! let ably = StandIn::start()?;
//! ably.faults().add(Rule::from(Fault::answer(503, 50003)).times(2).on_path("/channels"));
//! // … publish to ably.url() …
//! assert_eq!(ably.ledger().accepted("system:notifications").len(), 1);
//! # Ok(())
//! # }
//! ```

mod answer;
mod app;
mod batch;
mod call;
mod capability;
mod channels;
mod connections;
mod control;
mod credentials;
mod error;
mod event_stream;
mod fault;
mod grant;
mod key;
mod ledger;
mod message;
mod power;
mod realtime;
mod rest;
mod revocation;
mod site;
mod token;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use adapters::system::SystemClock;
use anyhow::{Context as _, ensure};
use application::ports::Clock;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use self::app::App;
use self::channels::Put;
use self::connections::Order;
use self::message::Message;
use self::power::Power;
use self::revocation::Wish;
use crate::port::Port;

pub use self::connections::Connection;
pub use self::control::{FAULTS, SWITCHES};
pub use self::error::ErrorInfo;
pub use self::fault::{Fault, Faults, Rule};
pub use self::key::{AccountKey, Tokens};
pub use self::ledger::{Accepted, Counts, Delivery, Ledger, Outcome, Seen};
pub use self::power::Remembers;

/// The key that a publisher is given where nothing else is said. It is no secret.
pub const PUBLISH_KEY: &str = "standin.publish:for-development-only-publish";
/// The key that tokens are signed with where nothing else is said. It is no secret.
pub const TOKEN_KEY: &str = "standin.tokens:for-development-only-tokens";
/// What a key for publishing may do.
pub const PUBLISH_RIGHTS: &str = r#"{"*":["history","publish"]}"#;
/// What a key for tokens may do.
pub const TOKEN_RIGHTS: &str = r#"{"*":["history","subscribe"]}"#;

/// Everything that is cut has ended within this, or something is wrong.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How a stand-in is set up.
pub struct Setup {
    keys: Vec<AccountKey>,
    clock: Arc<dyn Clock>,
    listen: Option<SocketAddrV4>,
    message_bytes_max: usize,
    reauth_lead: Option<Duration>,
}

impl Setup {
    /// Two keys with the names and rights of this module's constants, the system's clock, and a free port.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self::with_keys(vec![
            AccountKey::parse(PUBLISH_KEY, PUBLISH_RIGHTS, Tokens::Lasting)?,
            AccountKey::parse(TOKEN_KEY, TOKEN_RIGHTS, Tokens::Revocable)?,
        ]))
    }

    /// Other keys.
    pub fn with_keys(keys: Vec<AccountKey>) -> Self {
        Self {
            keys,
            clock: Arc::new(SystemClock::start()),
            listen: None,
            message_bytes_max: 64 * 1024,
            reauth_lead: None,
        }
    }

    /// One more key.
    #[must_use]
    pub fn key(mut self, key: AccountKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Another clock: two minutes of history and the life of tokens pass by it. Timers and pauses do not.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// A port that was chosen by somebody.
    #[must_use]
    pub const fn listen(mut self, address: SocketAddrV4) -> Self {
        self.listen = Some(address);
        self
    }

    /// The largest message, in bytes as Ably counts them: 64 KiB where nothing is said.
    #[must_use]
    pub const fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// Asks a connection for another token (AUTH) this long before its token ends. Where nothing is said nobody is asked,
    /// and connections end with 40142. Ably asks; how early is not documented.
    #[must_use]
    pub const fn asks_before_expiry(mut self, lead: Duration) -> Self {
        self.reauth_lead = Some(lead);
        self
    }

    /// Starts it.
    pub fn start(self) -> anyhow::Result<StandIn> {
        ensure!(!self.keys.is_empty(), "a stand-in needs a key");
        let (address, port) = if let Some(address) = self.listen {
            ensure!(
                *address.ip() == Ipv4Addr::LOCALHOST && address.port() != 0,
                "a stand-in listens on a port of 127.0.0.1 and nowhere else, not on {address}"
            );
            (SocketAddr::from(address), None)
        } else {
            let port = Port::free()?;
            (port.address(), Some(port))
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ably-stand-in")
            .enable_all()
            .build()
            .context("no runtime for the stand-in")?;
        let app = Arc::new(App::new(
            self.keys,
            self.clock,
            self.message_bytes_max,
            self.reauth_lead,
        ));
        let power = Power::off(Arc::clone(&app), address, runtime.handle().clone());
        power
            .turn_on()
            .with_context(|| format!("nobody can listen on {address}"))?;
        Ok(StandIn {
            app,
            power,
            address,
            _port: port,
            runtime: Some(runtime),
        })
    }
}

/// A stand-in that runs on threads of its own, and ends when it is dropped. Its methods can be called from tests with a
/// runtime and from tests without.
pub struct StandIn {
    app: Arc<App>,
    power: Arc<Power>,
    address: SocketAddr,
    _port: Option<Port>,
    runtime: Option<Runtime>,
}

impl StandIn {
    /// Starts one with two keys, [`PUBLISH_KEY`] and [`TOKEN_KEY`], on a free port.
    pub fn start() -> anyhow::Result<Self> {
        Setup::new()?.start()
    }

    /// Where it listens, while it does.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as `ARAUTO_ABLY_ENDPOINT` takes it, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What goes wrong on demand.
    pub fn faults(&self) -> &Faults {
        &self.app.faults
    }

    /// What was seen and done. It outlives [`StandIn::kill`].
    pub fn ledger(&self) -> &Ledger {
        &self.app.ledger
    }

    /// Who is connected in realtime.
    pub fn connections(&self) -> Vec<Connection> {
        self.app.memory().connections.present()
    }

    /// Stops listening and cuts every connection. Its port stays its own. Returns when nobody can reach it any more.
    pub fn kill(&self) -> anyhow::Result<()> {
        let (Some(tasks), Some(runtime)) = (self.power.turn_off(), &self.runtime) else {
            return Ok(());
        };
        let (said, heard) = mpsc::channel();
        runtime.spawn(async move {
            tasks.wait().await;
            let _ = said.send(());
        });
        heard
            .recv_timeout(END_WITHIN)
            .context("a connection of the stand-in does not end")
    }

    /// Comes back on the same port, killed or not.
    pub fn restart(&self, remembers: Remembers) -> anyhow::Result<()> {
        self.kill()?;
        if remembers == Remembers::Nothing {
            self.app.forget();
        }
        self.power.turn_on().context("the stand-in does not come back")
    }

    /// Cuts every connection and goes on listening.
    pub fn cut(&self) {
        self.power.cut();
    }

    /// Asks every realtime client for another token, on the connection that it has (AUTH).
    pub fn ask_for_tokens(&self) {
        rest::tell_all(&self.app, &Order::Authenticate);
    }

    /// Tells every realtime client that its token has expired (40142), and ends its connection.
    pub fn expire_connections(&self) {
        self.disconnect(ErrorInfo::expired());
    }

    /// Tells every realtime client why, and ends its connection.
    pub fn disconnect(&self, reason: ErrorInfo) {
        rest::tell_all(&self.app, &Order::Disconnect(reason));
    }

    /// Takes the tokens of a key back that were issued before now, as `revokeTokens` does: `clientId:x`,
    /// `revocationKey:y` or `channel:z`.
    pub fn revoke(&self, key_name: &str, targets: &[&str]) -> anyhow::Result<()> {
        let key = self.app.key(key_name).context("no such key")?;
        let wish = Wish::read(&json!({ "targets": targets }), self.app.now_ms());
        let wish = wish.map_err(|error| anyhow::anyhow!("{error}"))?;
        let answer = rest::revoke(&self.app, key, &wish);
        ensure!(
            answer["failureCount"] == 0,
            "not all targets were taken: {answer}"
        );
        Ok(())
    }

    /// Puts one message on a channel, without a request, a key and faults. Returns its id.
    pub fn publish(&self, channel: &str, name: &str, data: &serde_json::Value) -> anyhow::Result<String> {
        let messages = Message::read_all(&json!({ "name": name, "data": data }));
        let put = Put {
            channel: channel.to_owned(),
            messages: messages.map_err(|error| anyhow::anyhow!("{error}"))?,
            connection: None,
            swallowed: false,
        };
        let receipt = self.app.put(put).map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(receipt.id)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.power.turn_off();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
