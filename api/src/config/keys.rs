//! Every key there is: the one list that the parser, the example file, `check-config` and the hints read.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use domain::ids::UserId;
use ipnet::IpNet;
use tracing_subscriber::filter::Targets;
use url::Url;

use super::addresses::{AblyPlace, Address, Networks, Origins, Web};
use super::guard::People;
use super::key::{Entry, Key, Preset, Topic};
use super::takes::{Bytes, Count, File, Flag, Kept, LOG_FORMATS, Lasting, LogFilter, STORES, Text, Word};
use super::{AblyEndpoint, LogFormat, Origin, Secret, StoreKind};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEARS: Duration = Duration::from_hours(24 * 3_650);
const TENTH: Duration = Duration::from_millis(100);

const fn value(value: &'static str) -> Preset {
    Preset::Value(value)
}

const fn unset(meaning: &'static str, sample: &'static str) -> Preset {
    Preset::Unset { meaning, sample }
}

const fn secret(meaning: &'static str) -> Preset {
    Preset::Secret { meaning }
}

macro_rules! keys {
    ($($title:literal {$(
        $(#[doc = $doc:literal])+
        $name:ident: $type:ty = $preset:expr, $takes:expr;
    )+})+) => {
        $($(
            $(#[doc = $doc])+
            pub(super) const $name: Key<$type> = Key {
                suffix: stringify!($name),
                doc: &[$($doc),+],
                preset: $preset,
                takes: &$takes,
            };
        )+)+

        /// Every key, by topic.
        pub const TOPICS: &[Topic] = &[$(Topic {
            title: $title,
            keys: &[$(&$name),+],
        }),+];
    };
}

keys! {
    "Server" {
        /// The address to listen on. Port 0 picks a free one, and the log line `listening` carries it.
        LISTEN: SocketAddr = value("127.0.0.1:8080"), Address;
        /// The service's address as browsers see it: for the path of cookies and for links.
        PUBLIC_URL: Url = unset("the address to listen on", "https://avisos.example/arauto"), Web::Any;
        /// Development mode: makes up a signing secret, serves the demo page and `POST /dev/token`, and says more
        /// in problems. Only on a loopback address.
        DEV: bool = value("false"), Flag;
        /// How many streams this node holds. Each takes a descriptor, so the limit of the process bounds it.
        MAX_CONNECTIONS: u64 = unset("the descriptor limit less a reserve", "10000"), Count(1..=10_000_000);
        /// How long a client may take to send the head of a request.
        HEADER_TIMEOUT: Duration = value("10s"), Lasting(TENTH, Duration::from_mins(5));
        /// How long a request may take, its body included. Streams are not requests in this sense.
        REQUEST_TIMEOUT: Duration = value("15s"), Lasting(TENTH, Duration::from_mins(10));
        /// How long a connection may rest between two requests. Keep it above the proxy's own, or a request may
        /// meet a connection that is just closing.
        KEEP_ALIVE_TIMEOUT: Duration = value("75s"), Lasting(TENTH, HOUR);
        /// On shutdown, streams are closed one by one over this window, so that they do not all come back to the
        /// next node in the same instant.
        DRAIN_WINDOW: Duration = value("5s"), Lasting(Duration::ZERO, Duration::from_mins(10));
        /// On shutdown, whatever is still open after this long is cut off.
        SHUTDOWN_TIMEOUT: Duration = value("15s"), Lasting(TENTH, HOUR);
        /// The web pages that may call this service from a browser, other than its own.
        CORS_ORIGINS: Vec<Origin> = unset("none", "https://app.example"), Origins;
        /// The proxies whose `Forwarded` and `X-Forwarded-For` are believed.
        TRUSTED_PROXIES: Vec<IpNet> = unset("none", "10.0.0.0/8"), Networks;
        /// Who may read `/metrics`, apart from loopback, which always may.
        METRICS_NETWORKS: Vec<IpNet> = unset("loopback alone", "10.0.0.0/8"), Networks;
    }
    "Tokens: who is calling" {
        /// The secret that tokens are signed with (HS256, HS384, HS512). Outside development mode exactly one of
        /// this, the key file and the key address is needed.
        JWT_SECRET: Secret = secret("made up at the start in development mode"), Kept::Signing;
        /// A file with the public keys of tokens, as a JSON Web Key Set.
        JWT_JWKS_FILE: PathBuf = unset("none", "/etc/arauto/jwks.json"), File;
        /// Where the public keys of tokens are fetched, as a JSON Web Key Set. No token can change it.
        JWT_JWKS_URL: Url = unset("none", "https://id.example/.well-known/jwks.json"), Web::Encrypted;
        /// The issuer that tokens must name.
        JWT_ISSUER: String = unset("not checked", "https://id.example"), Text;
        /// The audience that tokens must name.
        JWT_AUDIENCE: String = unset("not checked", "arauto"), Text;
        /// How long a revocation counts where it does not say until when: longer than any token lives, or one that was
        /// taken back would count again.
        REVOCATIONS_KEPT: Duration = value("30d"), Lasting(HOUR, YEARS);
        /// A file with the capability matrix: what each role may subscribe to, read back and publish.
        CAPABILITIES_FILE: PathBuf = unset("the built-in matrix", "/etc/arauto/capabilities.json"), File;
    }
    "Store" {
        /// Where notifications are kept. `memory` keeps them for as long as the process lives, `postgres` through
        /// a crash of everything, `redis` through what that Redis' own persistence survives: docs/stores.md.
        STORE: StoreKind = value("memory"), STORES;
        /// The database, needed by the store `postgres`. With `?sslmode=require` every connection is encrypted and the
        /// certificate verified, by the machine's authorities or those in the PEM file of `&sslrootcert=`.
        DATABASE_URL: Secret = secret("none"), Kept::Postgres;
        /// The Redis server, needed by the store `redis`; with `postgres` it adds a faster bus between nodes, and limits
        /// that they share: docs/limits.md.
        REDIS_URL: Secret = secret("none"), Kept::Redis;
        /// How many streams are caught up from the store at the same time; the others wait their turn.
        STORE_REPLAYS: u64 = value("4"), Count(1..=256);
    }
    "History and inbox" {
        /// How long events can be resumed from. History ends at the first of the three bounds that is reached.
        HISTORY_TTL: Duration = value("7d"), Lasting(SECOND, YEARS);
        /// How many events can be resumed from.
        HISTORY_MAX_EVENTS: u64 = value("1_000_000"), Count(1..=1_000_000_000);
        /// How much memory or disk those events may take.
        HISTORY_MAX_BYTES: u64 = value("1GiB"), Bytes(4_096..=1 << 40);
        /// How long a notification stays in the inbox.
        INBOX_TTL: Duration = value("90d"), Lasting(SECOND, YEARS);
        /// A notification that was read is archived after this long.
        ARCHIVE_READ_AFTER: Duration = value("30d"), Lasting(SECOND, YEARS);
        /// How long the audit trail is kept.
        AUDIT_TTL: Duration = value("365d"), Lasting(DAY, YEARS);
        /// How long a repeated `Idempotency-Key` is recognised.
        IDEMPOTENCY_TTL: Duration = value("24h"), Lasting(SECOND, Duration::from_hours(24 * 30));
    }
    "Streams" {
        /// How much memory the latest events may take, from which streams are served without asking the store.
        RING_MAX_BYTES: u64 = value("256MiB"), Bytes(4_096..=1 << 40);
        /// How many streams one person may have open in the whole cluster. The newest is served and the oldest
        /// closed.
        MAX_STREAMS_PER_USER: u64 = value("5"), Count(1..=10_000);
        /// How often a stream asks whether the client is still there, at first. It moves between the two bounds
        /// with the round trips that are measured.
        HEARTBEAT_BASE: Duration = value("30s"), Lasting(SECOND, HOUR);
        /// The shortest interval between heartbeats.
        HEARTBEAT_MIN: Duration = value("10s"), Lasting(SECOND, HOUR);
        /// The longest interval between heartbeats.
        HEARTBEAT_MAX: Duration = value("120s"), Lasting(SECOND, HOUR);
        /// How long before the end of a session its stream says so.
        SESSION_WARNING: Duration = value("60s"), Lasting(SECOND, DAY);
        /// How many clients may come back in a second. Each is told a moment of its own, spread so widely that no
        /// more than this many come at once.
        RECONNECT_PER_SECOND: u64 = value("2000"), Count(1..=1_000_000);
        /// How many streams are opened at a time. Whoever comes beyond that waits for a moment, those who come back with
        /// a cursor before those who are new: docs/resilience.md.
        HANDSHAKES: u64 = value("256"), Count(1..=100_000);
        /// How many wait for that. Whoever comes beyond is told when to come back.
        HANDSHAKE_QUEUE: u64 = value("4096"), Count(0..=1_000_000);
        /// Whether streams and pages of history are compressed (gzip) for clients that ask for it, as browsers do. An event
        /// is compressed once for all streams. Switch it off where a proxy in front compresses.
        COMPRESSION: bool = value("true"), Flag;
    }
    "Limits" {
        /// The size of a notification as it is sent.
        MAX_NOTIFICATION_BYTES: u64 = value("32768"), Bytes(1_024..=1 << 20);
        /// How much memory all request bodies together may take while they are read. Beyond it requests are answered
        /// 503.
        REQUEST_BODIES_MAX_BYTES: u64 = value("64MiB"), Bytes(4_194_304..=1 << 40);
        /// Whether requests are limited by person and by address.
        RATE_LIMIT_ENABLED: bool = value("true"), Flag;
        /// Who is told when somebody tries too often what they have no right to and is shut out: ids of people, separated by
        /// commas.
        ALERT_USERS: String = unset("nobody", "admin-1,admin-2"), Text;
    }
    "Ably" {
        /// The key that notifications are published to Ably with. Whom they reach there is the rollout's to say: nobody
        /// at first.
        ABLY_PUBLISH_KEY: Secret = secret("nothing is published to Ably"), Kept::Ably;
        /// The key that tokens for browsers are made with, `/v1/ably/token`. Give it no right but to subscribe and
        /// to read history.
        ABLY_TOKEN_KEY: Secret = secret("there are no tokens for Ably"), Kept::Ably;
        /// What stands in front of channel names at Ably, and there alone, so that several environments can share
        /// one Ably app: `staging` makes `staging:system:notifications`.
        ABLY_CHANNEL_PREFIX: String = unset("nothing", "staging"), Word;
        /// Where Ably is.
        ABLY_ENDPOINT: AblyEndpoint = value("main"), AblyPlace;
        /// How often each node sends itself a message through Ably while anybody may be on it, and listens for it with the
        /// key for tokens; `0s` is never. An Ably that accepts and does not deliver is found out by that alone.
        ABLY_PROBE_EVERY: Duration = value("15s"), Lasting(Duration::ZERO, HOUR);
    }
    "What Ably costs" {
        /// The price of a million messages, in hundredths of a dollar, or of whatever else; as Ably published it in August
        /// 2026, without volume rates: docs/ably/cost.md.
        ABLY_PRICE_MESSAGES: u64 = value("250"), Count(0..=1_000_000);
        /// The price of a million connection minutes, in the same unit.
        ABLY_PRICE_CONNECTION_MINUTES: u64 = value("100"), Count(0..=1_000_000);
        /// The price of a million channel minutes, in the same unit.
        ABLY_PRICE_CHANNEL_MINUTES: u64 = value("100"), Count(0..=1_000_000);
    }
    "The guard of the rollout of Ably" {
        /// Whether the share of people on Ably goes down a step by itself when Ably does badly, and up by its schedule
        /// where one runs: docs/ably/health-and-guard.md.
        ABLY_GUARD: bool = value("true"), Flag;
        /// A larger share of failed publishes takes it down, in percent. A schedule goes on up to four fifths of it.
        ABLY_GUARD_ERROR_PERCENT: u64 = value("5"), Count(1..=99);
        /// A larger 95th percentile of publish times takes it down: 50, 75, 100, 150, 200, 300, 400, 500, 750 ms, 1 s
        /// or 2500 ms. A schedule goes on up to the one of these that lies at four fifths of it or below.
        ABLY_GUARD_P95: Duration = value("500ms"), Lasting(Duration::from_millis(50), Duration::from_millis(2_500));
        /// How far back publishes are looked at.
        ABLY_GUARD_WINDOW: Duration = value("5m"), Lasting(SECOND, HOUR);
        /// Fewer publishes than this are no evidence.
        ABLY_GUARD_MIN_PUBLISHES: u64 = value("50"), Count(1..=1_000_000);
        /// After a step down nothing moves for this long, and after any change nothing goes up. Longer than the window.
        ABLY_GUARD_HOLD: Duration = value("30m"), Lasting(Duration::from_secs(2), DAY);
        /// The ids of those who are told of each step, at most 50, besides whoever changed the rollout.
        ABLY_GUARD_NOTIFY: Vec<UserId> = unset("nobody besides", "admin-1,admin-2"), People;
    }
    "Logs and traces" {
        /// What is logged.
        LOG: Targets = value("info"), LogFilter;
        /// How it is written, to standard error.
        LOG_FORMAT: LogFormat = unset("text on a terminal, else json", "json"), LOG_FORMATS;
        /// Where traces are sent, by OTLP. Not available in this version yet.
        OTLP_ENDPOINT: Url = unset("traces are not sent", "http://127.0.0.1:4318"), Web::Any;
    }
}

/// Every key, in reading order.
pub fn all() -> impl Iterator<Item = &'static dyn Entry> {
    TOPICS.iter().flat_map(|topic| topic.keys.iter().copied())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_key_takes_its_own_default_and_its_own_sample() {
        for key in all() {
            match key.preset() {
                Preset::Value(text) | Preset::Unset { sample: text, .. } => {
                    assert!(key.accepts(text), "{} = {text}", key.name());
                }
                Preset::Secret { .. } => assert!(key.is_secret()),
            }
        }
    }

    #[test]
    fn no_two_keys_share_a_name() {
        let names: BTreeSet<&str> = all().map(Entry::suffix).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn every_key_says_what_it_is_for_and_what_it_takes() {
        for key in all() {
            assert!(
                key.doc().iter().all(|line| line.starts_with(' ')),
                "{}",
                key.name()
            );
            assert!(!key.describe().is_empty(), "{}", key.name());
        }
    }
}
