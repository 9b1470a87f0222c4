//! The floor of durable publishing: pgbench, inserting the rows that accepting a notification inserts.
//!
//! The tables and indexes are those of the same migrations, in a database of the floor's own. A transaction is one
//! statement, sent prepared: one round trip and one commit for as many notifications as the script names, each a row
//! of `notifications` and a row of `events` as large as the service's. Positions come from a sequence, which may show
//! a higher one before a lower one and leave holes; nobody is told of what was stored, no key or id is looked up, no
//! right is asked for and nothing is read back. What the service takes beyond this is its own cost.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::tests::postgres::program;
use ::tests::process::folder;
use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::sql::Sql;

/// pgbench's own threads: as many as there are cores on the machine that the figures were set for.
const THREADS: usize = 2;

/// pgbench counts its connecting to its time: on a busy machine 64 of them took a second and left nothing to count.
const SHORTEST_SECONDS: u64 = 3;

/// A place for each notification, and its row. Ids ascend like the service's, which begin with the time.
const STORED: &str = "\
WITH place AS MATERIALIZED (
    SELECT nextval('places') AS n FROM generate_series(1, {rows})
),
stored AS (
    INSERT INTO notifications (
        id, kind, priority, title, body, link, data, requires_ack,
        accepted_at, published_at, bytes, first_position, events
    )
    SELECT
        lpad(to_hex(n), 32, '0')::uuid, 'solicitacao.aprovada', 3, 'Solicitação aprovada',
        'Seu pedido <b>2024/17</b> foi aprovado.', '/solicitacoes/17',
        '{\"sent\":\"u' || lpad(n::text, 20, '0') || '\"}', false, store_now(), store_now(), 300, n, 1
    FROM place
)";

/// The row of its event, with who published it. Colons are escaped: pgbench takes a word behind one for a variable, in
/// strings too.
const LOGGED: &str = "\
INSERT INTO events (position, at, kind, channel, notification, detail, bytes, bytes_through)
SELECT
    n, store_now(), 1, E'private\\x3Auser\\x3Abench-' || lpad((n * 7919 % 5000)::text, 5, '0') || E'\\x3Anotifications',
    lpad(to_hex(n), 32, '0')::uuid,
    E'{\"by\"\\x3A\"bench-publisher\",\"id\"\\x3A\"' || lpad(to_hex(n), 32, '0')::uuid || E'\",\"events\"\\x3A1}',
    500, n * 500
FROM place";

/// Where the positions come from.
const PLACES: &str = "CREATE SEQUENCE IF NOT EXISTS places";

/// Makes a migrated database ready for the statements.
pub(crate) fn prepare(url: &str) -> Result<()> {
    Sql::connect(url)?.execute(PLACES)
}

/// Returns the statement that stores `rows` notifications.
fn insert(rows: usize) -> String {
    format!("{}\n{LOGGED}", stored(rows))
}

/// Returns the statement that stores one notification and tells `$1` to whoever listens to `floor`.
pub(crate) fn insert_and_notify() -> String {
    format!(
        "{},\nlogged AS ({LOGGED} RETURNING 1)\nSELECT pg_notify('floor', $1) FROM logged",
        stored(1)
    )
}

fn stored(rows: usize) -> String {
    STORED.replace("{rows}", &rows.to_string())
}

/// A prepared floor.
pub(crate) struct Pgbench {
    url: String,
    scripts: TempDir,
}

impl Pgbench {
    /// Takes the address of a migrated database.
    pub(crate) fn new(url: String) -> Result<Self> {
        prepare(&url)?;
        let scripts = folder("pgbench")?;
        Ok(Self { url, scripts })
    }

    /// A folder on the disk that Postgres' own data is on.
    pub(crate) fn folder(&self) -> &Path {
        self.scripts.path()
    }

    /// Returns the notifications a second that `connections` store, `rows` with each commit.
    pub(crate) fn notifications(&self, connections: usize, rows: usize, length: Duration) -> Result<f64> {
        let script = self.script(rows)?;
        let mut command = program("pgbench")?;
        command
            .args(["--no-vacuum", "--protocol=prepared"])
            .arg(format!("--client={connections}"))
            .arg(format!("--jobs={}", connections.min(THREADS)))
            .arg(format!("--time={}", length.as_secs().max(SHORTEST_SECONDS)))
            .arg(format!("--file={}", script.display()))
            .arg(&self.url);
        let output = command.output().context("pgbench does not start")?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let commits = commits_a_second(&said).with_context(|| format!("pgbench said {said}"))?;
        Ok(commits * f64::from(u32::try_from(rows)?))
    }

    fn script(&self, rows: usize) -> Result<PathBuf> {
        let path = self.scripts.path().join(format!("insert-{rows}.sql"));
        let mut text = insert(rows);
        // pgbench takes a statement to its semicolon.
        writeln!(text, ";")?;
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// Finds `tps = 1234.5 (without initial connection time)`.
fn commits_a_second(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_among_what_pgbench_says() {
        let said = "number of transactions actually processed: 100\nlatency average = 2.5 ms\n\
                    tps = 399.87 (without initial connection time)\n";
        assert_eq!(commits_a_second(said), Some(399.87));
        assert_eq!(commits_a_second("tps unknown"), None);
    }

    #[test]
    fn the_statement_names_its_number_of_rows() {
        assert!(insert(7).contains("generate_series(1, 7)"));
    }
}
