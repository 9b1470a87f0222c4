//! The way to the database, encrypted: with the right authority and no other.

use std::time::Duration;

use adapters::postgres::{Database, migrate};
use serde_json::json;
use tests::postgres::{Postgres, Settings, connect};

use crate::cluster::{Setup, http};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_speaks_tls_with_a_database_whose_authority_it_was_given() {
    let (server, authority) = Postgres::start_with_tls(Settings::default()).unwrap();
    let url = format!(
        "{}?sslmode=verify-full&sslrootcert={}",
        server.url(),
        authority.display()
    );
    let setup = Setup::new().on_postgres(&url);
    let node = setup.node();
    let token = setup.issuer.token("back-end", "SERVICE", &[]).unwrap();
    let answer = http(Duration::from_secs(10))
        .post(format!("{}/v1/notifications", node.url()))
        .bearer_auth(token)
        .json(&json!({ "audience": { "everyone": true }, "type": "t", "title": "Olá" }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let plain = connect(&server.url()).await.unwrap();
    let sessions = "SELECT count(*), count(*) FILTER (WHERE ssl)
                    FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                    WHERE application_name LIKE 'arauto%'";
    let row = plain.query_one(sessions, &[]).await.unwrap();
    let (all, encrypted): (i64, i64) = (row.get(0), row.get(1));
    assert!(all > 3 && all == encrypted, "{encrypted} of {all} are encrypted");
}

#[tokio::test]
async fn a_database_that_nobody_vouches_for_is_not_spoken_to() {
    let (server, _) = Postgres::start_with_tls(Settings::default()).unwrap();
    let (_, strangers) = Postgres::start_with_tls(Settings::default()).unwrap();
    let url = server.url();
    for url in [
        format!("{url}?sslmode=require"),
        format!("{url}?sslmode=require&sslrootcert={}", strangers.display()),
    ] {
        let parsed = url.parse::<Database>();
        // A machine without any authority says so at once.
        let Ok(database) = parsed else { continue };
        let error = migrate(&database).await.unwrap_err();
        let said = format!("{error:?}");
        assert!(
            said.contains("certificate") || said.contains("Certificate"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_database_without_tls_is_not_spoken_to_when_tls_is_asked_for() {
    let (_server, authority) = Postgres::start_with_tls(Settings::default()).unwrap();
    let plain = tests::postgres::database().await.unwrap();
    let url = format!(
        "{}?sslmode=require&sslrootcert={}",
        plain.url(),
        authority.display()
    );
    let database: Database = url.parse().unwrap();
    let error = migrate(&database).await.unwrap_err();
    assert!(format!("{error:?}").contains("TLS"), "{error:?}");
}
