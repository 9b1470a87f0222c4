//! A real standby: an asynchronous copy that follows a primary and can take its place.

use super::install::{command, private_folder, run};
use super::{Home, Postgres, Settings};
use crate::port::Port;
use crate::process::folder;

impl Postgres {
    /// Starts a server that follows `primary` asynchronously: what it has confirmed nobody waits for.
    pub fn standby_of(primary: &Self) -> anyhow::Result<Self> {
        let address = primary.address();
        let settings = primary.home.settings.clone();
        let home = Home {
            folder: folder("standby")?,
            port: Port::free()?,
            settings: follow(settings, primary),
        };
        let data = home.data();
        private_folder(&data)?;
        run(command("pg_basebackup")?
            .arg("-D")
            .arg(&data)
            .args([
                "--host",
                &address.ip().to_string(),
                "--port",
                &address.port().to_string(),
            ])
            .args([
                "--username",
                super::USER,
                "--wal-method",
                "stream",
                "--checkpoint",
                "fast",
            ])
            .args(["--no-sync", "--write-recovery-conf"]))?;
        Self::launch(home)
    }

    /// Makes a primary of a standby. Returns when it takes writes.
    pub async fn promote(&self) -> anyhow::Result<()> {
        let client = super::connect(&self.url()).await?;
        let promoted = client.query_one("SELECT pg_promote(true, 60)", &[]).await?;
        let promoted: bool = promoted.get(0);
        anyhow::ensure!(promoted, "the standby was not promoted within a minute");
        Ok(())
    }
}

fn follow(settings: Settings, primary: &Postgres) -> Settings {
    let address = primary.address();
    let at = format!(
        "host={} port={} user={}",
        address.ip(),
        address.port(),
        super::USER
    );
    settings.set("primary_conninfo", &at)
}
