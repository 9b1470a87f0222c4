//! The configuration: read in one place, checked whole before anything starts, then passed on as values.

mod addresses;
mod checks;
mod error;
mod guard;
mod key;
pub mod keys;
mod layers;
mod listing;
mod secret;
mod takes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use domain::cost::Prices;
use domain::heartbeat::PaceLimits;
use ipnet::IpNet;
use tracing_subscriber::filter::Targets;
use url::Url;

pub use error::ConfigError;
pub use guard::GuardConfig;
pub use key::{Entry, Preset, Topic};
pub use layers::{Flag, Given, Layers, Origin as ValueOrigin, Sources};
pub use listing::{effective, example};
pub use secret::Secret;
pub use takes::{duration, duration_text};

/// Everything that can be set, by topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Addresses, timeouts, shutdown.
    pub server: ServerConfig,
    /// Who is calling, and what they may do.
    pub tokens: TokensConfig,
    /// Where notifications are kept.
    pub store: StoreConfig,
    /// How much is kept, and for how long.
    pub history: HistoryConfig,
    /// Open streams.
    pub streams: StreamsConfig,
    /// How often streams ask whether their client is there: `ARAUTO_HEARTBEAT_BASE`, `_MIN`, `_MAX`.
    pub heartbeat: PaceLimits,
    /// Sizes and rates.
    pub limits: LimitsConfig,
    /// Ably beside the streams.
    pub ably: AblyConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

/// Whether this is somebody's own machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `ARAUTO_DEV=true`: loopback only, with the demo page and tokens for the asking.
    Development,
    /// Anything else.
    Production,
}

/// Addresses, timeouts, shutdown.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// `ARAUTO_LISTEN`
    pub listen: SocketAddr,
    /// `ARAUTO_PUBLIC_URL`
    pub public_url: Option<Url>,
    /// `ARAUTO_DEV`
    pub mode: Mode,
    /// `ARAUTO_MAX_CONNECTIONS`: how many streams; by default what the descriptor limit gives.
    pub max_connections: Option<usize>,
    /// `ARAUTO_HEADER_TIMEOUT`
    pub header_timeout: Duration,
    /// `ARAUTO_REQUEST_TIMEOUT`
    pub request_timeout: Duration,
    /// `ARAUTO_KEEP_ALIVE_TIMEOUT`
    pub keep_alive_timeout: Duration,
    /// `ARAUTO_DRAIN_WINDOW`: less than the shutdown timeout.
    pub drain_window: Duration,
    /// `ARAUTO_SHUTDOWN_TIMEOUT`
    pub shutdown_timeout: Duration,
    /// `ARAUTO_CORS_ORIGINS`
    pub cors_origins: Vec<Origin>,
    /// `ARAUTO_TRUSTED_PROXIES`
    pub trusted_proxies: Vec<IpNet>,
    /// `ARAUTO_METRICS_NETWORKS`: loopback is allowed besides.
    pub metrics_networks: Vec<IpNet>,
}

/// A web origin as browsers write it: `https://app.example:8443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Returns the origin as it stands in the `Origin` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who is calling, and what they may do.
#[derive(Debug, Clone, PartialEq)]
pub struct TokensConfig {
    /// What tokens are verified with.
    pub key: KeySource,
    /// `ARAUTO_JWT_ISSUER`
    pub issuer: Option<String>,
    /// `ARAUTO_JWT_AUDIENCE`
    pub audience: Option<String>,
    /// `ARAUTO_REVOCATIONS_KEPT`
    pub revocations_kept: Duration,
    /// `ARAUTO_CAPABILITIES_FILE`: by default the built-in matrix.
    pub capabilities_file: Option<PathBuf>,
}

/// What tokens are verified with.
#[derive(Debug, Clone, PartialEq)]
pub enum KeySource {
    /// `ARAUTO_JWT_SECRET`
    Secret(Secret),
    /// `ARAUTO_JWT_JWKS_FILE`
    JwksFile(PathBuf),
    /// `ARAUTO_JWT_JWKS_URL`
    JwksUrl(Url),
    /// Development mode without any of these: whoever starts the service makes a secret up
    /// ([`Secret::generate`]).
    Generated,
}

/// The stores that can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// This process.
    Memory,
    /// A Redis server.
    Redis,
    /// A `PostgreSQL` database.
    Postgres,
}

/// Where notifications are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreConfig {
    /// `ARAUTO_STORE`
    pub kind: StoreKind,
    /// `ARAUTO_DATABASE_URL`
    pub database_url: Option<Secret>,
    /// `ARAUTO_REDIS_URL`
    pub redis_url: Option<Secret>,
    /// `ARAUTO_STORE_REPLAYS`
    pub replays: usize,
}

/// How much is kept, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryConfig {
    /// `ARAUTO_HISTORY_TTL`
    pub ttl: Duration,
    /// `ARAUTO_HISTORY_MAX_EVENTS`
    pub max_events: usize,
    /// `ARAUTO_HISTORY_MAX_BYTES`
    pub max_bytes: usize,
    /// `ARAUTO_INBOX_TTL`
    pub inbox_ttl: Duration,
    /// `ARAUTO_ARCHIVE_READ_AFTER`
    pub archive_read_after: Duration,
    /// `ARAUTO_AUDIT_TTL`
    pub audit_ttl: Duration,
    /// `ARAUTO_IDEMPOTENCY_TTL`
    pub idempotency_ttl: Duration,
}

/// Open streams.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamsConfig {
    /// `ARAUTO_RING_MAX_BYTES`
    pub ring_max_bytes: usize,
    /// `ARAUTO_MAX_STREAMS_PER_USER`
    pub max_per_user: usize,
    /// `ARAUTO_SESSION_WARNING`
    pub session_warning: Duration,
    /// `ARAUTO_RECONNECT_PER_SECOND`
    pub reconnect_per_second: u32,
    /// `ARAUTO_HANDSHAKES`
    pub handshakes: usize,
    /// `ARAUTO_HANDSHAKE_QUEUE`
    pub handshake_queue: usize,
    /// `ARAUTO_COMPRESSION`
    pub compression: bool,
}

/// Sizes and rates.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitsConfig {
    /// `ARAUTO_MAX_NOTIFICATION_BYTES`
    pub max_notification_bytes: usize,
    /// `ARAUTO_REQUEST_BODIES_MAX_BYTES`
    pub request_bodies_max_bytes: usize,
    /// `ARAUTO_RATE_LIMIT_ENABLED`
    pub rate_limit_enabled: bool,
    /// `ARAUTO_ALERT_USERS`
    pub alert_users: Option<String>,
}

/// Ably beside the streams.
#[derive(Debug, Clone, PartialEq)]
pub struct AblyConfig {
    /// `ARAUTO_ABLY_PUBLISH_KEY`
    pub publish_key: Option<Secret>,
    /// `ARAUTO_ABLY_ENDPOINT`
    pub endpoint: AblyEndpoint,
    /// `ARAUTO_ABLY_TOKEN_KEY`
    pub token_key: Option<Secret>,
    /// `ARAUTO_ABLY_CHANNEL_PREFIX`
    pub channel_prefix: Option<String>,
    /// `ARAUTO_ABLY_PROBE_EVERY`
    pub probe_every: Duration,
    /// `ARAUTO_ABLY_PRICE_MESSAGES`, `_CONNECTION_MINUTES`, `_CHANNEL_MINUTES`
    pub prices: Prices,
    /// What takes the rollout back.
    pub guard: GuardConfig,
}

/// Where Ably is.
#[derive(Debug, Clone, PartialEq)]
pub enum AblyEndpoint {
    /// Ably's own default.
    Main,
    /// A routing policy.
    Policy(String),
    /// Something on this machine that stands in for it.
    StandIn(Url),
}

/// Logs and traces.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryConfig {
    /// `ARAUTO_LOG`
    pub filter: Targets,
    /// `ARAUTO_LOG_FORMAT`: by default what suits standard error.
    pub format: Option<LogFormat>,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}
