//! From texts to one value: each key read, and the values held against one another.

use domain::cost::Prices;
use domain::heartbeat::PaceLimits;

use super::error::ConfigError;
use super::key::Entry;
use super::keys;
use super::layers::Layers;
use super::takes::listed;
use super::{
    AblyConfig, Config, HistoryConfig, KeySource, LimitsConfig, Mode, ServerConfig, StoreConfig, StoreKind,
    StreamsConfig, TelemetryConfig, TokensConfig,
};

impl Config {
    /// Reads every key and checks that the values fit one another. The first thing that is wrong stops it.
    pub fn from_layers(layers: &Layers) -> Result<Self, ConfigError> {
        let server = server(layers)?;
        let config = Self {
            tokens: tokens(layers, server.mode)?,
            server,
            store: store(layers)?,
            history: HistoryConfig {
                ttl: layers.get(&keys::HISTORY_TTL)?,
                max_events: count(layers.get(&keys::HISTORY_MAX_EVENTS)?),
                max_bytes: count(layers.get(&keys::HISTORY_MAX_BYTES)?),
                inbox_ttl: layers.get(&keys::INBOX_TTL)?,
                archive_read_after: layers.get(&keys::ARCHIVE_READ_AFTER)?,
                audit_ttl: layers.get(&keys::AUDIT_TTL)?,
                idempotency_ttl: layers.get(&keys::IDEMPOTENCY_TTL)?,
            },
            streams: StreamsConfig {
                ring_max_bytes: count(layers.get(&keys::RING_MAX_BYTES)?),
                max_per_user: count(layers.get(&keys::MAX_STREAMS_PER_USER)?),
                session_warning: layers.get(&keys::SESSION_WARNING)?,
                reconnect_per_second: u32::try_from(layers.get(&keys::RECONNECT_PER_SECOND)?)
                    .unwrap_or(u32::MAX),
                handshakes: count(layers.get(&keys::HANDSHAKES)?),
                handshake_queue: count(layers.get(&keys::HANDSHAKE_QUEUE)?),
                compression: layers.get(&keys::COMPRESSION)?,
            },
            heartbeat: heartbeat(layers)?,
            limits: LimitsConfig {
                max_notification_bytes: count(layers.get(&keys::MAX_NOTIFICATION_BYTES)?),
                request_bodies_max_bytes: count(layers.get(&keys::REQUEST_BODIES_MAX_BYTES)?),
                alert_users: layers.find(&keys::ALERT_USERS)?,
                rate_limit_enabled: layers.get(&keys::RATE_LIMIT_ENABLED)?,
            },
            ably: AblyConfig {
                publish_key: layers.find(&keys::ABLY_PUBLISH_KEY)?,
                endpoint: layers.get(&keys::ABLY_ENDPOINT)?,
                token_key: layers.find(&keys::ABLY_TOKEN_KEY)?,
                channel_prefix: layers.find(&keys::ABLY_CHANNEL_PREFIX)?,
                probe_every: layers.get(&keys::ABLY_PROBE_EVERY)?,
                prices: prices(layers)?,
                guard: super::guard::guard(layers)?,
            },
            telemetry: TelemetryConfig {
                filter: layers.get(&keys::LOG)?,
                format: layers.find(&keys::LOG_FORMAT)?,
            },
        };
        refuse_what_is_to_come(layers)?;
        Ok(config)
    }
}

/// A hundredth is ten thousand millionths.
fn prices(layers: &Layers) -> Result<Prices, ConfigError> {
    let micros = |key| -> Result<u64, ConfigError> { Ok(layers.get(key)? * 10_000) };
    Ok(Prices {
        messages: micros(&keys::ABLY_PRICE_MESSAGES)?,
        connection_minutes: micros(&keys::ABLY_PRICE_CONNECTION_MINUTES)?,
        channel_minutes: micros(&keys::ABLY_PRICE_CHANNEL_MINUTES)?,
    })
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn server(layers: &Layers) -> Result<ServerConfig, ConfigError> {
    let listen = layers.get(&keys::LISTEN)?;
    let mode = if layers.get(&keys::DEV)? {
        Mode::Development
    } else {
        Mode::Production
    };
    if mode == Mode::Development && !listen.ip().is_loopback() {
        return Err(ConfigError::Together {
            names: places(layers, &[&keys::DEV, &keys::LISTEN]),
            got: got(layers, &[&keys::DEV, &keys::LISTEN]),
            rule: "development mode takes a loopback address, such as 127.0.0.1:8080".to_owned(),
        });
    }
    let drain_window = layers.get(&keys::DRAIN_WINDOW)?;
    let shutdown_timeout = layers.get(&keys::SHUTDOWN_TIMEOUT)?;
    if drain_window >= shutdown_timeout {
        return Err(ConfigError::Together {
            names: places(layers, &[&keys::DRAIN_WINDOW, &keys::SHUTDOWN_TIMEOUT]),
            got: got(layers, &[&keys::DRAIN_WINDOW, &keys::SHUTDOWN_TIMEOUT]),
            rule: "the window must be shorter than the timeout".to_owned(),
        });
    }
    Ok(ServerConfig {
        listen,
        public_url: layers.find(&keys::PUBLIC_URL)?,
        mode,
        max_connections: layers.find(&keys::MAX_CONNECTIONS)?.map(count),
        header_timeout: layers.get(&keys::HEADER_TIMEOUT)?,
        request_timeout: layers.get(&keys::REQUEST_TIMEOUT)?,
        keep_alive_timeout: layers.get(&keys::KEEP_ALIVE_TIMEOUT)?,
        drain_window,
        shutdown_timeout,
        cors_origins: layers.find(&keys::CORS_ORIGINS)?.unwrap_or_default(),
        trusted_proxies: layers.find(&keys::TRUSTED_PROXIES)?.unwrap_or_default(),
        metrics_networks: layers.find(&keys::METRICS_NETWORKS)?.unwrap_or_default(),
    })
}

fn tokens(layers: &Layers, mode: Mode) -> Result<TokensConfig, ConfigError> {
    let sources = [
        layers.find(&keys::JWT_SECRET)?.map(KeySource::Secret),
        layers.find(&keys::JWT_JWKS_FILE)?.map(KeySource::JwksFile),
        layers.find(&keys::JWT_JWKS_URL)?.map(KeySource::JwksUrl),
    ];
    let entries: [&dyn Entry; 3] = [&keys::JWT_SECRET, &keys::JWT_JWKS_FILE, &keys::JWT_JWKS_URL];
    let given: Vec<&dyn Entry> = entries
        .into_iter()
        .filter(|key| layers.given(*key).is_some())
        .collect();
    if given.len() > 1 {
        return Err(ConfigError::Together {
            names: places(layers, &given),
            got: format!("{} values", given.len()),
            rule: "tokens have one source of keys, so set exactly one of them".to_owned(),
        });
    }
    let key = match (sources.into_iter().flatten().next(), mode) {
        (Some(source), _) => source,
        (None, Mode::Development) => KeySource::Generated,
        (None, Mode::Production) => {
            return Err(ConfigError::Missing {
                names: format!(
                    "one of {}",
                    listed(entries.iter().map(|key| key.variable()), "or")
                ),
                rule: "outside development mode (--dev) tokens need a source of keys".to_owned(),
            });
        }
    };
    Ok(TokensConfig {
        key,
        issuer: layers.find(&keys::JWT_ISSUER)?,
        audience: layers.find(&keys::JWT_AUDIENCE)?,
        revocations_kept: layers.get(&keys::REVOCATIONS_KEPT)?,
        capabilities_file: layers.find(&keys::CAPABILITIES_FILE)?,
    })
}

fn store(layers: &Layers) -> Result<StoreConfig, ConfigError> {
    let kind = layers.get(&keys::STORE)?;
    let database_url = layers.find(&keys::DATABASE_URL)?;
    if kind == StoreKind::Postgres && database_url.is_none() {
        return Err(ConfigError::Missing {
            names: keys::DATABASE_URL.variable(),
            rule: "the store postgres needs a database".to_owned(),
        });
    }
    let redis_url = layers.find(&keys::REDIS_URL)?;
    if kind == StoreKind::Redis && redis_url.is_none() {
        return Err(ConfigError::Missing {
            names: keys::REDIS_URL.variable(),
            rule: "the store redis needs a Redis server".to_owned(),
        });
    }
    Ok(StoreConfig {
        kind,
        database_url,
        redis_url,
        replays: count(layers.get(&keys::STORE_REPLAYS)?),
    })
}

fn heartbeat(layers: &Layers) -> Result<PaceLimits, ConfigError> {
    let entries: [&dyn Entry; 3] = [&keys::HEARTBEAT_MIN, &keys::HEARTBEAT_BASE, &keys::HEARTBEAT_MAX];
    let base = layers.get(&keys::HEARTBEAT_BASE)?;
    let min = layers.get(&keys::HEARTBEAT_MIN)?;
    let max = layers.get(&keys::HEARTBEAT_MAX)?;
    PaceLimits::try_new(base, min, max).map_err(|invalid| ConfigError::Together {
        names: places(layers, &entries),
        got: got(layers, &entries),
        rule: invalid.to_string(),
    })
}

/// Features that are still to come are refused by name: a setting that silently does nothing is worse.
fn refuse_what_is_to_come(layers: &Layers) -> Result<(), ConfigError> {
    let not_yet = |key: &dyn Entry, instead: &str| ConfigError::NotAvailable {
        place: layers.place(key),
        got: layers.got(key),
        instead: instead.to_owned(),
    };
    if layers.find(&keys::OTLP_ENDPOINT)?.is_some() {
        return Err(not_yet(&keys::OTLP_ENDPOINT, "leave it out"));
    }
    Ok(())
}

pub(super) fn places(layers: &Layers, keys: &[&dyn Entry]) -> String {
    listed(keys.iter().map(|key| layers.place(*key)), "and")
}

pub(super) fn got(layers: &Layers, keys: &[&dyn Entry]) -> String {
    listed(keys.iter().map(|key| layers.got(*key)), "and")
}
