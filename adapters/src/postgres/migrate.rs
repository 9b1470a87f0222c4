//! Migrations: forward only, embedded, run by one node at a time.
//!
//! A migration only adds what the version before it does not know, so that nodes of both versions work while one
//! replaces the other (expand); what nobody uses any more goes a version later (contract).

use std::time::Duration;

use tokio_postgres::Client;
use tokio_util::task::TaskTracker;

use super::connect::{ConnectError, Database, Purpose};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Building an index over millions of rows takes a while.
const PURPOSE: Purpose = Purpose {
    name: "arauto-migrate",
    statement: Duration::from_secs(3_600),
};

/// The advisory lock under which migrations run: "arauto" in ASCII, and 1.
const LOCK: i64 = 0x6172_6175_746f_0001;

/// Why the schema could not be brought to this version.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The database failed.
    #[error("the migration failed")]
    Postgres(#[from] tokio_postgres::Error),
    /// A migration failed; what was done before it stays.
    #[error("the migration failed")]
    Refinery(#[from] refinery::Error),
    /// A newer version of the service has been here.
    #[error(
        "the database has schema version {found}, this version of the service knows up to {known}; start a newer one"
    )]
    Future {
        /// What the database has.
        found: i32,
        /// What this version knows.
        known: i32,
    },
}

/// Brings the schema to this version and returns the names of the migrations that were applied. Nodes that start at
/// the same time wait for one another.
pub async fn migrate(database: &Database) -> Result<Vec<String>, MigrateError> {
    let tasks = TaskTracker::new();
    let mut client = database.connect(PURPOSE, &tasks).await?;
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
    let outcome = apply(&mut client).await;
    // The lock goes with the connection.
    drop(client);
    tasks.close();
    tasks.wait().await;
    outcome
}

async fn apply(client: &mut Client) -> Result<Vec<String>, MigrateError> {
    let runner = embedded::migrations::runner();
    let known = runner
        .get_migrations()
        .iter()
        .map(refinery::Migration::version)
        .max();
    let known = known.unwrap_or_default();
    let found = applied(client).await?;
    if found > known {
        return Err(MigrateError::Future { found, known });
    }
    let report = runner.run_async(client).await?;
    let applied = report.applied_migrations().iter();
    Ok(applied.map(ToString::to_string).collect())
}

/// Returns the last migration that was applied, 0 before the first.
async fn applied(client: &Client) -> Result<i32, MigrateError> {
    let exists = client
        .query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL", &[])
        .await?;
    if !exists.get::<_, bool>(0) {
        return Ok(0);
    }
    let version = client
        .query_one(
            "SELECT coalesce(max(version), 0)::int4 FROM refinery_schema_history",
            &[],
        )
        .await?;
    Ok(version.get(0))
}
