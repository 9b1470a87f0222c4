//! A fresh database for each test, copied from one template.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context as _;
use tokio_postgres::{Client, Config, NoTls};
use tokio_util::task::TaskTracker;

use super::shared_server;
use crate::port::random;
use crate::process::given;
use crate::shared::{self, run};

/// A database of a test's own, dropped with it.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
    /// How far its clock is ahead.
    ahead: Mutex<Duration>,
}

/// Makes a fresh database in the run's server, or in the one that `TEST_DATABASE_URL` names.
pub async fn database() -> anyhow::Result<Database> {
    tokio::task::spawn_blocking(|| {
        let server = match given("TEST_DATABASE_URL") {
            Some(url) => prepared(&url)?,
            None => shared_server()?,
        };
        let name = format!("t_{:016x}", random());
        let template = template_name();
        execute(&server, &[format!("CREATE DATABASE {name} TEMPLATE {template}")])?;
        Ok(Database {
            server,
            name,
            ahead: Mutex::new(Duration::ZERO),
        })
    })
    .await?
}

impl Database {
    /// Its address.
    pub fn url(&self) -> String {
        url_of(&self.server, &self.name)
    }

    /// Where its server listens.
    pub fn address(&self) -> SocketAddr {
        let (_, rest) = self.server.rsplit_once('@').unwrap_or(("", &self.server));
        let (place, _) = rest.split_once('/').unwrap_or((rest, ""));
        place
            .parse()
            .unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 5432)))
    }

    /// Opens a connection to it.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        connect(&self.url()).await
    }

    /// Moves its clock on, for everybody who asks `store_now()`.
    pub async fn advance(&self, by: Duration) -> anyhow::Result<()> {
        let ahead = {
            let mut ahead = self
                .ahead
                .lock()
                .map_err(|_| anyhow::anyhow!("a test has ended badly"))?;
            *ahead += by;
            *ahead
        };
        // The signature and the volatility are those of the migration: whoever has planned a query with it plans anew.
        let statement = format!(
            "CREATE OR REPLACE FUNCTION store_now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
                 SELECT date_trunc('milliseconds', statement_timestamp()) + interval '{} milliseconds'
             $$",
            ahead.as_millis()
        );
        let url = self.url();
        tokio::task::spawn_blocking(move || execute(&url, &[statement])).await?
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The run's server goes with the run; in one that was given it would stay, which a test need not fail for.
        let _ = execute(
            &self.server,
            &[format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)],
        );
    }
}

/// Opens a connection. It lives as long as the client.
pub async fn connect(url: &str) -> anyhow::Result<Client> {
    let config: Config = url.parse()?;
    let (client, connection) = config.connect(NoTls).await?;
    TaskTracker::new().spawn(connection);
    Ok(client)
}

/// Makes the database that all others are copied from. Once for each server.
pub(super) fn make_template(server: &str) -> anyhow::Result<()> {
    let name = template_name();
    execute(
        server,
        &[
            format!("DROP DATABASE IF EXISTS {name}"),
            format!("CREATE DATABASE {name}"),
        ],
    )?;
    prepare_template(server, &name)
}

/// What every test's database holds from the start.
fn prepare_template(server: &str, name: &str) -> anyhow::Result<()> {
    let database: adapters::postgres::Database = url_of(server, name).parse()?;
    let work = || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(adapters::postgres::migrate(&database))?;
        Ok(())
    };
    std::thread::scope(|scope| scope.spawn(work).join())
        .map_err(|_| anyhow::anyhow!("the migration ended badly"))?
}

/// The address of a database of a server.
fn url_of(server: &str, name: &str) -> String {
    // The configuration's own path is replaced, its parameters stay.
    let (address, parameters) = server.split_once('?').unwrap_or((server, ""));
    let (server, _) = address.rsplit_once('/').unwrap_or((address, ""));
    let mark = if parameters.is_empty() { "" } else { "?" };
    format!("{server}/{name}{mark}{parameters}")
}

/// Makes the template in a server that was given, once for this run.
fn prepared(url: &str) -> anyhow::Result<String> {
    shared::server(
        "given-postgres",
        |known| known == url,
        || {
            make_template(url)?;
            Ok(url.to_owned())
        },
    )
}

/// A server that was given serves several runs, one after another or at once.
fn template_name() -> String {
    match given("TEST_DATABASE_URL") {
        Some(_) => format!("arauto_template_{}", run()),
        None => "arauto_template".to_owned(),
    }
}

/// Runs statements one by one, each in a transaction of its own. On a thread of its own, so that it can be called from
/// where nothing may be awaited.
pub(super) fn execute(url: &str, statements: &[String]) -> anyhow::Result<()> {
    let config: Config = url.parse()?;
    let work = || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let (client, connection) = config.connect(NoTls).await?;
            let connection = TaskTracker::new().spawn(connection);
            for statement in statements {
                client
                    .batch_execute(statement)
                    .await
                    .with_context(|| statement.clone())?;
            }
            drop(client);
            // A database can be copied or dropped only once nobody is connected.
            let _ = connection.await;
            Ok(())
        })
    };
    std::thread::scope(|scope| scope.spawn(work).join())
        .map_err(|_| anyhow::anyhow!("the statements ended badly"))?
}
