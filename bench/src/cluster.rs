//! Postgres of the run's own, and nodes over it.

use std::process::Command;
use std::sync::Arc;

use ::tests::postgres::{Postgres, Settings};
use anyhow::{Context as _, Result, bail};

use crate::subject::Server;
use crate::token::Mint;

/// Nodes and floors have their connections at the same time.
const CONNECTIONS: &str = "400";

/// A server with a database that the nodes share. Its settings are PostgreSQL's own but for the number of
/// connections: fsync, full-page writes and synchronous commits are on.
pub(crate) struct Cluster {
    binary: String,
    postgres: Postgres,
    url: String,
    mint: Arc<Mint>,
}

impl Cluster {
    /// Starts Postgres and migrates an empty database.
    pub(crate) fn start(binary: &str) -> Result<Self> {
        let settings = Settings::default()
            .set("max_connections", CONNECTIONS)
            .set("fsync", "on")
            .set("synchronous_commit", "on");
        let postgres = Postgres::start(settings).context("Postgres does not start")?;
        let mut cluster = Self {
            binary: binary.to_owned(),
            url: String::new(),
            postgres,
            mint: Arc::new(Mint::new()?),
        };
        cluster.url = cluster.database("arauto")?;
        Ok(cluster)
    }

    /// The address of the nodes' database.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn mint(&self) -> &Mint {
        &self.mint
    }

    /// Drops every session and shuts the server down without a checkpoint; it recovers when it starts again.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.postgres.stop_immediate()
    }

    /// Starts the server again with the same data.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.postgres.restart()
    }

    /// Stops the server's processes where they stand.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.postgres.freeze()
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.postgres.thaw()
    }

    /// Makes one more database with the same tables and indexes, which no node knows, and returns its address.
    pub(crate) fn database(&self, name: &str) -> Result<String> {
        let url = self.postgres.create(name)?;
        let migration = Command::new(&self.binary)
            .arg("migrate")
            .env_clear()
            .envs([
                ("ARAUTO_STORE", "postgres"),
                ("ARAUTO_DATABASE_URL", &url),
                ("ARAUTO_JWT_SECRET", self.mint.secret()),
            ])
            .output()
            .with_context(|| format!("cannot run {}", self.binary))?;
        if !migration.status.success() {
            let said = String::from_utf8_lossy(&migration.stderr);
            bail!("`{} migrate` failed: {said}", self.binary);
        }
        Ok(url)
    }

    /// Starts one more node and waits until it takes work. It ends when it is dropped.
    pub(crate) fn node(&self, redis: Option<&str>) -> Result<Server> {
        let mut stores = vec![
            ("ARAUTO_STORE", "postgres"),
            ("ARAUTO_DATABASE_URL", self.url.as_str()),
        ];
        stores.extend(redis.map(|url| ("ARAUTO_REDIS_URL", url)));
        Server::node(&self.binary, &self.mint, &stores)
    }

    /// Starts a node that keeps everything in memory, for comparison.
    pub(crate) fn node_in_memory(&self) -> Result<Server> {
        Server::node(&self.binary, &self.mint, &[])
    }

    /// The same without Redis, with more environment.
    pub(crate) fn node_with(&self, more: &[(&str, &str)]) -> Result<Server> {
        let mut environment = vec![
            ("ARAUTO_STORE", "postgres"),
            ("ARAUTO_DATABASE_URL", self.url.as_str()),
        ];
        environment.extend(more);
        Server::node(&self.binary, &self.mint, &environment)
    }
}
