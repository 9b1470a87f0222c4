//! Connections: how they are opened, and how long anything may take.

use std::fmt;
use std::future::poll_fn;
use std::str::FromStr;
use std::time::Duration;

use application::ports::StoreError;
use deadpool_postgres::{Hook, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use domain::ids::NodeId;
use tokio::sync::{mpsc, watch};
use tokio_postgres::config::Host;
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::TaskTracker;

use super::tls::{Address, TlsError};

/// A database that takes longer to let somebody in is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that does not acknowledge for this long is gone, whatever the kernel's patience.
const USER_TIMEOUT: Duration = Duration::from_secs(5);
/// Whoever waits longer for a free connection is told to come back.
const WAIT_TIMEOUT: Duration = Duration::from_secs(1);
/// No answer takes longer than what the server itself allows a statement, and the way there and back.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);
/// Messages that a listening connection may be ahead of its reader; then the socket waits.
const MESSAGES_MAX: usize = 1_024;
/// An unavailable database is asked again no sooner.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none.
    #[error("the database URL cannot be read")]
    Url(#[source] tokio_postgres::Error),
    /// It cannot be spoken to over TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nobody answers, or nobody lets this service in.
    #[error("the database cannot be reached")]
    Unreachable(#[source] tokio_postgres::Error),
    /// Somebody accepts connections and says nothing.
    #[error("the database does not answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Silent,
}

/// Where a database is, and how to speak to it.
#[derive(Clone)]
pub struct Database {
    config: Config,
    tls: MakeRustlsConnect,
    /// Who speaks, where that matters.
    node: Option<NodeId>,
    /// Whether another bus carries copies between nodes at present, where there is one.
    copies: Option<watch::Receiver<bool>>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.place()).finish()
    }
}

impl FromStr for Database {
    type Err = ConnectError;

    /// Takes `postgres://user:password@host:port/name?options`. With the option `sslmode=require` every connection is
    /// encrypted and the server's certificate verified, against the machine's authorities or those in the PEM file that
    /// `sslrootcert` names; otherwise none is.
    fn from_str(url: &str) -> Result<Self, ConnectError> {
        let address = Address::read(url);
        let mut config = Config::from_str(&address.url).map_err(ConnectError::Url)?;
        let tls = address.tls(&mut config)?;
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(USER_TIMEOUT)
            .keepalives_idle(Duration::from_secs(10));
        Ok(Self {
            config,
            tls,
            node: None,
            copies: None,
        })
    }
}

/// What a connection is for: its name at the server, and how long a statement may take there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose {
    pub(super) name: &'static str,
    pub(super) statement: Duration,
}

impl Purpose {
    /// The longest that an answer can take: beyond it the server does not answer any more.
    pub(super) const fn patience(self) -> Duration {
        self.statement.saturating_add(ANSWER_MARGIN)
    }
}

impl Purpose {
    /// Waits for an answer no longer than one can take.
    pub(super) async fn in_time<T>(
        self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::time::timeout(self.patience(), work).await?
    }
}

impl Database {
    /// The same, on behalf of a node: its bell names it, so that it knows its own.
    #[must_use]
    pub const fn on_behalf_of(mut self, node: NodeId) -> Self {
        self.node = Some(node);
        self
    }

    /// Says on whose behalf.
    pub(super) const fn node(&self) -> Option<NodeId> {
        self.node
    }

    /// The same, beside a bus that carries copies between nodes, and says whether it does at present: then nobody needs
    /// the database's bell.
    #[must_use]
    pub fn beside(mut self, copies: watch::Receiver<bool>) -> Self {
        self.copies = Some(copies);
        self
    }

    /// Says whether another bus carries copies between nodes at present, where there is one.
    pub(super) const fn copies(&self) -> Option<&watch::Receiver<bool>> {
        self.copies.as_ref()
    }

    /// Returns host and port, for messages. Nothing secret is in them.
    pub fn place(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        format!("{host}:{port}")
    }

    /// Has whoever asks look things up by an index, never walk through a table. Plans are made once, often when there is
    /// nothing to be found yet and walking would be right, and stay until the server has counted the rows. Where only
    /// walking is left its cost looks immense, which is no reason to compile the statement.
    #[must_use]
    pub(super) fn by_index(&self) -> Self {
        let mut database = self.clone();
        let given = self.config.get_options().unwrap_or_default();
        let options = format!("{given} -c enable_seqscan=off -c jit=off");
        database.config.options(options);
        database
    }

    /// A statement that hangs, and a transaction whose owner was frozen, hold the others up for two seconds at most.
    /// Commits are flushed: a receipt names what survives a crash. Each statement sees what was committed before it,
    /// whatever the database's default: what follows a lock must see what its last holder wrote.
    fn config_for(&self, purpose: Purpose) -> Config {
        let millis = purpose.statement.as_millis();
        let mut config = self.config.clone();
        let given = config.get_options().unwrap_or_default().to_owned();
        config.application_name(purpose.name).options(format!(
            "{given} -c statement_timeout={millis} -c idle_in_transaction_session_timeout=2000 \
             -c synchronous_commit=on -c default_transaction_isolation=read\\ committed -c TimeZone=UTC"
        ));
        config
    }

    /// Opens a connection of its own.
    pub(super) async fn connect(
        &self,
        purpose: Purpose,
        tasks: &TaskTracker,
    ) -> Result<Client, ConnectError> {
        let config = self.config_for(purpose);
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(self.tls.clone()));
        let (client, connection) = connecting
            .await
            .map_err(|_| ConnectError::Silent)?
            .map_err(ConnectError::Unreachable)?;
        let name = purpose.name;
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, name, "a database connection ended");
            }
        });
        Ok(client)
    }

    /// Opens a connection that hears notifications.
    pub(super) async fn listen(
        &self,
        purpose: Purpose,
        tasks: &TaskTracker,
    ) -> Result<(Client, mpsc::Receiver<AsyncMessage>), ConnectError> {
        let config = self.config_for(purpose);
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(self.tls.clone()));
        let (client, mut connection) = connecting
            .await
            .map_err(|_| ConnectError::Silent)?
            .map_err(ConnectError::Unreachable)?;
        let (heard, messages) = mpsc::channel(MESSAGES_MAX);
        tasks.spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if heard.send(message).await.is_err() {
                    break;
                }
            }
        });
        Ok((client, messages))
    }

    /// Prepares a pool, which connects as it is used.
    pub(super) fn pool(&self, purpose: Purpose, size: usize) -> Result<Pool, ConnectError> {
        let taken_as_it_is = Hook::sync_fn(|_, _| Ok(()));
        self.pool_with(purpose, size, taken_as_it_is)
    }

    /// Prepares a pool, which connects as it is used and gives out what the hook has verified.
    pub(super) fn pool_with(
        &self,
        purpose: Purpose,
        size: usize,
        verified: Hook,
    ) -> Result<Pool, ConnectError> {
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(self.config_for(purpose), self.tls.clone(), recycling);
        let pool = Pool::builder(manager)
            .max_size(size)
            .post_create(verified)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(WAIT_TIMEOUT),
                create: Some(CONNECT_TIMEOUT),
                recycle: Some(WAIT_TIMEOUT),
            })
            .build();
        // Timeouts without a runtime are the one mistake there is, and a runtime is given.
        pool.map_err(|_| ConnectError::Silent)
    }
}

/// Nothing was written: whoever asked may ask again.
pub(super) const fn unavailable() -> StoreError {
    StoreError::Unavailable {
        retry_after: RETRY_AFTER,
    }
}

/// What went wrong with a question to the database.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No connection.
    #[error("no connection")]
    Pool(#[from] PoolError),
    /// The database, or the way to it.
    #[error("the database failed")]
    Postgres(#[from] tokio_postgres::Error),
    /// No answer in time.
    #[error("no answer in time")]
    Silent,
    /// What is stored cannot be read.
    #[error(transparent)]
    Unreadable(#[from] crate::record::Unreadable),
}

impl From<tokio::time::error::Elapsed> for Failure {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::Silent
    }
}

impl From<Failure> for StoreError {
    /// Logged here, where it becomes an answer: the caller learns that the store is away, the operator why.
    fn from(failure: Failure) -> Self {
        let cause = std::error::Error::source(&failure).map(ToString::to_string);
        tracing::warn!(error = %failure, cause, "the database did not serve");
        unavailable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURPOSE: Purpose = Purpose {
        name: "arauto-test",
        statement: Duration::from_secs(2),
    };

    #[test]
    fn no_connection_can_hold_the_others_up_or_answer_before_the_disk_has_it() {
        let database: Database = "postgres://u:secret@127.0.0.1:5433/db?options=-csynchronous_commit%3Doff"
            .parse()
            .unwrap();
        let config = database.config_for(PURPOSE);
        let options = config.get_options().unwrap();
        for setting in [
            "statement_timeout=2000",
            "idle_in_transaction_session_timeout=2000",
            "synchronous_commit=on",
            "default_transaction_isolation=read\\ committed",
        ] {
            assert!(options.contains(setting), "{options}");
        }
        // The last word is the service's own.
        assert!(options.rfind("synchronous_commit=on") > options.find("synchronous_commit=off"));
        assert_eq!(database.place(), "127.0.0.1:5433");
    }

    #[test]
    fn an_address_that_is_none_is_refused_without_being_shown() {
        let error = "postgres://u:secret@:port".parse::<Database>().unwrap_err();
        assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
    }
}
