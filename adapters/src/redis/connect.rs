//! Connections: where a Redis is, and how long anything may take.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _,
    ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult,
};

/// A Redis that takes longer to let somebody in is away. The ways through Sentinels are several.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);
const SENTINEL_TIMEOUT: Duration = Duration::from_secs(1);
/// A Redis that takes longer to answer is away: whoever waits for it has others waiting.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_millis(400);
/// A peer that does not acknowledge for this long is gone, whatever the kernel's patience.
const USER_TIMEOUT: Duration = Duration::from_secs(5);
/// Where Sentinels listen unless the address says otherwise.
const SENTINEL_PORT: u16 = 26_379;
/// What the keys of this service begin with unless told otherwise.
const PREFIX: &str = "arauto:";

/// Why a Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none.
    #[error("the Redis URL cannot be read: {0}")]
    Url(&'static str),
    /// Nobody answers, or nobody lets this service in.
    #[error("Redis cannot be reached")]
    Unreachable(#[source] RedisError),
    /// Somebody accepts connections and says nothing, or something that is no Redis answers.
    #[error("Redis does not answer a PING")]
    Silent,
}

/// Where a Redis is, and what the keys there begin with.
#[derive(Debug, Clone)]
pub struct Server {
    place: Place,
    prefix: Arc<str>,
}

#[derive(Debug, Clone)]
enum Place {
    Alone(Box<ConnectionInfo>),
    Watched(Arc<Watched>),
}

/// A primary that Sentinels name.
#[derive(Debug)]
struct Watched {
    sentinels: Vec<ConnectionInfo>,
    name: String,
    settings: RedisConnectionInfo,
}

impl FromStr for Server {
    type Err = ConnectError;

    /// Takes `redis://[user:password@]host[:port][/database]`, or where Sentinels watch
    /// `redis+sentinel://[user:password@]host[:port],…/primary[/database]`. User and password are the primary's;
    /// the Sentinels' own stand behind it as `?sentinel_user=…&sentinel_password=…`.
    fn from_str(url: &str) -> Result<Self, ConnectError> {
        let place = match url.split_once("://") {
            Some(("redis", _)) => Place::Alone(Box::new(read(url)?)),
            Some(("redis+sentinel", rest)) => Place::Watched(Arc::new(Watched::read(rest)?)),
            Some(("rediss", _)) => {
                return Err(ConnectError::Url("TLS is not supported, put a tunnel before it"));
            }
            _ => return Err(ConnectError::Url("it begins with redis:// or redis+sentinel://")),
        };
        Ok(Self {
            place,
            prefix: PREFIX.into(),
        })
    }
}

impl Server {
    /// Has keys and channels begin with something else than `arauto:`, so that several services share one Redis.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Returns host and port, for messages. Nothing secret is in them.
    pub fn place(&self) -> String {
        match &self.place {
            Place::Alone(info) => info.addr().to_string(),
            Place::Watched(watched) => {
                let sentinels = watched.sentinels.iter().map(|info| info.addr().to_string());
                format!("{} ({})", watched.name, sentinels.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Asks whether it answers, in bounded time.
    pub async fn check(&self) -> Result<(), ConnectError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER_TIMEOUT));
        let connection = self.connect(config).await;
        let mut connection = connection.map_err(ConnectError::Unreachable)?;
        let pong: RedisResult<String> = redis::cmd("PING").query_async(&mut connection).await;
        match pong {
            Ok(said) if said == "PONG" => Ok(()),
            Ok(_) => Err(ConnectError::Silent),
            Err(error) if error.is_timeout() => Err(ConnectError::Silent),
            Err(error) => Err(ConnectError::Unreachable(error)),
        }
    }

    /// Returns the key of that name.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Tells whether Sentinels name the primary, which may then be another instance from one connection to the next.
    pub(super) const fn is_watched(&self) -> bool {
        matches!(self.place, Place::Watched(_))
    }

    /// The longest that [`Server::connect`] takes.
    pub(super) const fn connect_timeout(&self) -> Duration {
        match self.place {
            Place::Alone(_) => CONNECT_TIMEOUT,
            Place::Watched(_) => SENTINEL_TIMEOUT,
        }
    }

    /// Opens a connection: the one place where that happens.
    pub(super) async fn connect(&self, config: AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let config = config.set_connection_timeout(Some(CONNECT_TIMEOUT));
        let connecting = async {
            match &self.place {
                Place::Alone(info) => open(ConnectionInfo::clone(info), &config).await,
                Place::Watched(watched) => watched.connect(&config).await,
            }
        };
        match tokio::time::timeout(self.connect_timeout(), connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(RedisError::from((ErrorKind::Io, "no connection in time"))),
        }
    }
}

async fn open(info: ConnectionInfo, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_user_timeout(USER_TIMEOUT);
    let client = Client::open(info.set_tcp_settings(tcp))?;
    client.get_multiplexed_async_connection_with_config(config).await
}

impl Watched {
    fn read(rest: &str) -> Result<Self, ConnectError> {
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        let (name, database) = path.split_once('/').unwrap_or((path, "0"));
        if name.is_empty() {
            return Err(ConnectError::Url("the name of the primary is missing"));
        }
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let settings = read(&format!("redis://{login}@primary/{database}"))?
            .redis_settings()
            .clone();
        let login = sentinel_login(query)?;
        let sentinels = hosts.split(',').map(|host| {
            let host = if host.contains(':') {
                host.to_owned()
            } else {
                format!("{host}:{SENTINEL_PORT}")
            };
            read(&format!("redis://{login}@{host}"))
        });
        Ok(Self {
            sentinels: sentinels.collect::<Result<_, _>>()?,
            name: name.to_owned(),
            settings: settings.set_protocol(ProtocolVersion::RESP3),
        })
    }

    /// Asks the Sentinels each time: who is the primary changes exactly when connections break.
    async fn connect(&self, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let node = SentinelNodeConnectionInfo::default().set_redis_connection_info(self.settings.clone());
        let mut sentinels = SentinelClient::build(
            self.sentinels.clone(),
            self.name.clone(),
            Some(node),
            SentinelServerType::Master,
        )?;
        let primary = sentinels.async_get_client().await?;
        open(primary.get_connection_info().clone(), config).await
    }
}

/// Reads `redis://…`. RESP3 is spoken everywhere: it lets one connection hear messages and answer a PING.
fn read(url: &str) -> Result<ConnectionInfo, ConnectError> {
    let info = url
        .into_connection_info()
        .map_err(|_| ConnectError::Url("it is no address of the form redis://host:port/database"))?;
    if !matches!(info.addr(), ConnectionAddr::Tcp(..)) {
        return Err(ConnectError::Url("only TCP is supported"));
    }
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings))
}

/// Reads the Sentinels' own user and password, as they stand in an authority.
fn sentinel_login(query: &str) -> Result<String, ConnectError> {
    let (mut user, mut password) = ("", "");
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sentinel_user", value)) => user = value,
            Some(("sentinel_password", value)) => password = value,
            _ => {
                return Err(ConnectError::Url(
                    "behind it stand sentinel_user and sentinel_password",
                ));
            }
        }
    }
    Ok(if password.is_empty() {
        user.to_owned()
    } else {
        format!("{user}:{password}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Server {
        url.parse().unwrap()
    }

    #[test]
    fn an_address_is_one_instance_or_sentinels() {
        assert_eq!(server("redis://127.0.0.1:7000/3").place(), "127.0.0.1:7000");
        assert_eq!(server("redis://localhost").place(), "localhost:6379");
        assert_eq!(
            server("redis+sentinel://u:p%40w@a:1,b/primary/2?sentinel_password=x%2Fy").place(),
            "primary (a:1, b:26379)"
        );
    }

    #[test]
    fn logins_are_those_of_the_primary_and_of_the_sentinels() {
        let server = server("redis+sentinel://u:p%40w@a:1/primary/2?sentinel_password=x%2Fy");
        let Place::Watched(watched) = &server.place else {
            panic!("{server:?}")
        };
        let (primary, sentinel) = (&watched.settings, watched.sentinels[0].redis_settings());
        assert_eq!((primary.username(), primary.password()), (Some("u"), Some("p@w")));
        assert_eq!((primary.db(), sentinel.db()), (2, 0));
        assert_eq!((sentinel.username(), sentinel.password()), (None, Some("x/y")));
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for bad in [
            "",
            "localhost",
            "http://secret",
            "rediss://:secret@h",
            "redis://:secret@h:port",
            "redis+sentinel://:secret@h:1",
            "redis+sentinel://h/primary/secret",
            "redis+sentinel://h/primary?secret=1",
            "redis://:secret@h/secret",
        ] {
            let refused = bad.parse::<Server>().unwrap_err();
            assert!(matches!(refused, ConnectError::Url(_)), "{bad}");
            assert!(!format!("{refused}{refused:?}").contains("secret"), "{refused:?}");
        }
    }

    #[test]
    fn a_server_does_not_show_its_password() {
        for url in [
            "redis://u:hidden@h",
            "redis+sentinel://u:hidden@h/primary?sentinel_password=hidden",
        ] {
            assert!(!format!("{:?}", server(url)).contains("hidden"));
        }
    }
}
