//! A connection to Postgres for one thread: what the floors ask, and what the rows themselves say.

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use crate::procfs::Process;
use std::time::Duration;

/// Makes a runtime for one thread.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// A connection. It moves only while it is asked something, on the asking thread.
pub(crate) struct Sql {
    runtime: Runtime,
    client: Client,
}

impl Sql {
    pub(crate) fn connect(url: &str) -> Result<Self> {
        let runtime = runtime()?;
        let config: Config = url.parse()?;
        let (client, connection) = runtime
            .block_on(config.connect(NoTls))
            .context("cannot connect to Postgres")?;
        runtime.spawn(connection);
        Ok(Self { runtime, client })
    }

    /// Runs statements without parameters.
    pub(crate) fn execute(&self, statements: &str) -> Result<()> {
        self.runtime
            .block_on(self.client.batch_execute(statements))
            .with_context(|| statements.to_owned())
    }

    pub(crate) fn prepare(&self, statement: &str) -> Result<Statement> {
        self.runtime
            .block_on(self.client.prepare(statement))
            .with_context(|| statement.to_owned())
    }

    /// Asks a prepared statement: one round trip.
    pub(crate) fn ask(&self, statement: &Statement, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        Ok(self.runtime.block_on(self.client.query(statement, parameters))?)
    }

    /// Asks for one row.
    pub(crate) fn row(&self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row> {
        self.runtime
            .block_on(self.client.query_one(query, parameters))
            .with_context(|| query.to_owned())
    }

    /// Runs work that needs the client itself.
    pub(crate) fn with<T>(&self, work: impl AsyncFnOnce(&Client) -> Result<T>) -> Result<T> {
        self.runtime.block_on(work(&self.client))
    }

    /// User and system time of all processes of the server that are there now.
    pub(crate) fn server_cpu(&self) -> Result<Duration> {
        let rows = self
            .runtime
            .block_on(self.client.query("SELECT pid FROM pg_stat_activity", &[]))?;
        let pids = rows
            .iter()
            .filter_map(|row| u32::try_from(row.get::<_, i32>(0)).ok());
        // A process that ended since it was listed counts for nothing.
        Ok(pids.filter_map(|pid| Process::new(pid).cpu().ok()).sum())
    }
}
