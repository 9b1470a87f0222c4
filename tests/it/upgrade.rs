//! Versions side by side: while one version replaces another, both write to one schema.
//!
//! So a migration only adds what the version before it does not know; what nobody uses any more goes a version later,
//! and that migration is named here. Once two versions are tagged, a test starts both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tests::postgres::database;
use tokio_postgres::Client;

/// Migrations that take away what the version before no longer uses, with that version.
const CONTRACTIONS: [&str; 0] = [];

/// What a version may rely on: tables with their columns, rules that refuse rows, functions.
#[derive(Debug, Default)]
struct Schema {
    columns: BTreeMap<(String, String), Column>,
    rules: BTreeSet<(String, String)>,
    functions: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Column {
    kind: String,
    nullable: bool,
    /// Whether a row that does not name it is taken.
    optional: bool,
}

const COLUMNS: &str = "
SELECT
    table_name::text, column_name::text, udt_name::text AS kind, is_nullable = 'YES' AS nullable,
    is_nullable = 'YES' OR column_default IS NOT NULL OR is_identity = 'YES' OR is_generated = 'ALWAYS' AS optional
FROM information_schema.columns
WHERE table_schema = 'public'";

/// Constraints, and unique indexes that are none.
const RULES: &str = "
SELECT c.conrelid::regclass::text AS table_name, pg_get_constraintdef(c.oid) AS rule
FROM pg_constraint c
WHERE c.connamespace = 'public'::regnamespace AND c.conrelid <> 0
UNION
SELECT i.indrelid::regclass::text, pg_get_indexdef(i.indexrelid)
FROM pg_index i
JOIN pg_class k ON k.oid = i.indexrelid
WHERE k.relnamespace = 'public'::regnamespace AND i.indisunique
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)";

const FUNCTIONS: &str = "
SELECT p.oid::regprocedure::text || ' ' || p.prorettype::regtype::text AS name
FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace";

impl Schema {
    async fn read(client: &Client) -> Self {
        let columns = client.query(COLUMNS, &[]).await.unwrap();
        let rules = client.query(RULES, &[]).await.unwrap();
        let functions = client.query(FUNCTIONS, &[]).await.unwrap();
        let column = |row: &tokio_postgres::Row| {
            let name = (row.get("table_name"), row.get("column_name"));
            let column = Column {
                kind: row.get("kind"),
                nullable: row.get("nullable"),
                optional: row.get("optional"),
            };
            (name, column)
        };
        Self {
            columns: columns.iter().map(column).collect(),
            rules: rules
                .iter()
                .map(|row| (row.get("table_name"), row.get("rule")))
                .collect(),
            functions: functions.iter().map(|row| row.get("name")).collect(),
        }
    }

    fn has(&self, table: &str) -> bool {
        self.columns.keys().any(|(known, _)| known == table)
    }

    /// What a version that was made for this schema finds broken in a later one.
    fn broken_in(&self, later: &Self) -> Vec<String> {
        let mut broken = Vec::new();
        for ((table, name), column) in &self.columns {
            match later.columns.get(&(table.clone(), name.clone())) {
                None => broken.push(format!("{table}.{name} is gone")),
                Some(now) if now.kind != column.kind => {
                    broken.push(format!("{table}.{name} is {} and was {}", now.kind, column.kind));
                }
                Some(now) if column.nullable && !now.nullable || column.optional && !now.optional => {
                    broken.push(format!("{table}.{name} must be given"));
                }
                Some(now) if now.nullable && !column.nullable => {
                    broken.push(format!("{table}.{name} may be NULL, which nobody expects"));
                }
                Some(_) => {}
            }
        }
        for ((table, name), column) in &later.columns {
            let new = !self.columns.contains_key(&(table.clone(), name.clone()));
            if new && self.has(table) && !column.optional {
                broken.push(format!("{table}.{name} is new and must be given"));
            }
        }
        for (table, rule) in later.rules.difference(&self.rules) {
            if self.has(table) {
                broken.push(format!("{table} has a new rule: {rule}"));
            }
        }
        let gone = self.functions.difference(&later.functions);
        broken.extend(gone.map(|name| format!("{name} is gone")));
        broken
    }
}

/// A database without anything in it.
async fn empty(client: &Client) {
    let statements = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
    client.batch_execute(statements).await.unwrap();
}

/// The migrations in their order, by name.
fn migrations() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters/migrations");
    let mut found: Vec<(u32, String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let number = name[1..].split("__").next().unwrap().parse().unwrap();
            (number, name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    assert!(found.len() > 1, "the migrations were not found");
    found.into_iter().map(|(_, name, sql)| (name, sql)).collect()
}

#[tokio::test]
async fn a_migration_only_adds_what_the_version_before_does_not_know() {
    let database = database().await.unwrap();
    let client = database.connect().await.unwrap();
    empty(&client).await;
    let mut before = Schema::default();
    for (name, sql) in migrations() {
        client.batch_execute(&sql).await.unwrap();
        let after = Schema::read(&client).await;
        let broken = before.broken_in(&after);
        let announced = CONTRACTIONS.contains(&name.as_str());
        assert!(broken.is_empty() || announced, "{name}: {broken:#?}");
        before = after;
    }
}

#[tokio::test]
async fn a_migration_that_takes_something_away_is_found() {
    let database = database().await.unwrap();
    let client = database.connect().await.unwrap();
    let harmful = [
        "DROP TABLE marks",
        "ALTER TABLE marks RENAME TO person_marks",
        "ALTER TABLE notifications DROP COLUMN link",
        "ALTER TABLE notifications RENAME COLUMN link TO href",
        "ALTER TABLE notifications ALTER COLUMN priority TYPE integer",
        "ALTER TABLE notifications ALTER COLUMN title DROP NOT NULL",
        "ALTER TABLE notifications ADD COLUMN tenant text NOT NULL",
        "UPDATE notifications SET link = ''; ALTER TABLE notifications ALTER COLUMN link SET NOT NULL",
        "ALTER TABLE bounds ALTER COLUMN oldest DROP DEFAULT",
        "ALTER TABLE notifications ADD CHECK (priority < 4)",
        "CREATE UNIQUE INDEX ON marks (position)",
        "DROP FUNCTION store_now() CASCADE",
    ];
    let harmless = [
        "CREATE TABLE parcels (id bigint PRIMARY KEY)",
        "CREATE INDEX ON marks (channel)",
        "ALTER TABLE notifications ADD COLUMN tenant text",
        "ALTER TABLE notifications ADD COLUMN tenant text NOT NULL DEFAULT 'city'",
        "CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    ];
    let before = Schema::read(&client).await;
    for (statements, wanted) in harmful
        .iter()
        .map(|sql| (sql, true))
        .chain(harmless.iter().map(|sql| (sql, false)))
    {
        client
            .batch_execute(&format!("BEGIN; {statements}"))
            .await
            .unwrap();
        let broken = before.broken_in(&Schema::read(&client).await);
        client.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(!broken.is_empty(), wanted, "{statements}: {broken:?}");
    }
}
