//! Settings in the database.

use application::ports::{Document, Settings, SettingsError, Version};
use async_trait::async_trait;
use deadpool_postgres::Pool;

use super::connect::{ConnectError, Database, Failure, Purpose};

const PURPOSE: Purpose = Purpose {
    name: "arauto-settings",
    statement: std::time::Duration::from_secs(2),
};

/// Settings are read at the start and when they change.
const CONNECTIONS: usize = 1;

const GET: &str = "
SELECT version, document
FROM settings
WHERE name = $1";

/// Of two that expect that there is none yet, the second finds the first one's row and writes nothing.
const CREATE: &str = "
INSERT INTO settings (name, version, document, written_at)
VALUES ($1, 1, $2, store_now())
ON CONFLICT (name) DO NOTHING
RETURNING version";

/// The row is locked from the comparison to the write.
const REPLACE: &str = "
UPDATE settings
SET version = version + 1, document = $2, written_at = store_now()
WHERE name = $1 AND version = $3
RETURNING version";

/// Documents that all nodes of a database share.
pub struct PgSettings {
    pool: Pool,
}

impl PgSettings {
    /// Opens the settings of a database whose schema is [migrated](super::migrate()).
    pub fn open(database: &Database) -> Result<Self, ConnectError> {
        Ok(Self {
            pool: database.pool(PURPOSE, CONNECTIONS)?,
        })
    }

    async fn read(&self, name: &str) -> Result<Option<Document>, Failure> {
        let client = self.pool.get().await?;
        let get = client.prepare_cached(GET).await?;
        let Some(row) = client.query_opt(&get, &[&name]).await? else {
            return Ok(None);
        };
        Ok(Some(Document {
            version: row.try_get::<_, i64>("version")?.cast_unsigned(),
            text: row.try_get("document")?,
        }))
    }

    /// Writes if the version is as expected; `None` where it is not.
    async fn write(&self, name: &str, expected: Version, text: &str) -> Result<Option<Version>, Failure> {
        let client = self.pool.get().await?;
        let written = if expected == 0 {
            let create = client.prepare_cached(CREATE).await?;
            client.query_opt(&create, &[&name, &text]).await?
        } else {
            let replace = client.prepare_cached(REPLACE).await?;
            let expected = i64::try_from(expected).unwrap_or(i64::MAX);
            client.query_opt(&replace, &[&name, &text, &expected]).await?
        };
        let Some(row) = written else {
            return Ok(None);
        };
        Ok(Some(row.try_get::<_, i64>("version")?.cast_unsigned()))
    }
}

impl From<Failure> for SettingsError {
    fn from(failure: Failure) -> Self {
        tracing::warn!(error = %failure, "the settings did not answer");
        Self::Unavailable
    }
}

#[async_trait]
impl Settings for PgSettings {
    async fn get(&self, name: &str) -> Result<Option<Document>, SettingsError> {
        Ok(PURPOSE.in_time(self.read(name)).await?)
    }

    async fn put(&self, name: &str, expected: Version, text: String) -> Result<Version, SettingsError> {
        if let Some(version) = PURPOSE.in_time(self.write(name, expected, &text)).await? {
            return Ok(version);
        }
        let current = PURPOSE.in_time(self.read(name)).await?;
        Err(SettingsError::Conflict {
            current: current.map_or(0, |document| document.version),
        })
    }
}
