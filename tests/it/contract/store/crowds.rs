//! Many who want to know the same are answered together: what is counted are the statements that the server logs.

use std::sync::Arc;

use adapters::postgres::{Database as Place, PgOutbox, migrate};
use application::ports::{Outbox as _, Store as _, TokenHolder};
use domain::cursor::Position;
use domain::time::Timestamp;
use futures_util::future::join_all;
use tests::postgres::{Postgres, Settings};

use super::durable::node;

const CROWD: usize = 200;
/// Those who come while a question is under way share the next one.
const QUESTIONS_MAX: usize = 10;

/// How often the server was asked since its log had this length.
fn asked(server: &Postgres, since: usize, statement: &str) -> usize {
    server.log().unwrap()[since..].matches(statement).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_costs_the_database_few_questions() {
    let server = Postgres::start(Settings::default().set("log_statement", "all")).unwrap();
    let place: Place = server.url().parse().unwrap();
    migrate(&place).await.unwrap();
    let store = node(&server.url()).await;
    let outbox = Arc::new(PgOutbox::open(&place).unwrap());
    let holder = |n: usize| TokenHolder {
        user: format!("u-{n}").parse().unwrap(),
        units: Vec::new(),
        roles: Vec::new(),
        until: Timestamp::from_millis(i64::MAX / 2_000),
    };
    // Connections are made and statements prepared.
    store.head().await.unwrap();
    outbox.find(&[Position(1)]).await.unwrap();
    outbox.hold(holder(CROWD)).await.unwrap();

    let since = server.log().unwrap().len();
    let heads = join_all((0..CROWD).map(|_| store.head())).await;
    assert!(heads.iter().all(Result::is_ok));
    let found = (0..CROWD).map(|n| {
        let outbox = Arc::clone(&outbox);
        async move { outbox.find(&[Position(n as u64)]).await }
    });
    assert!(join_all(found).await.iter().all(Result::is_ok));
    let held = join_all((0..CROWD).map(|n| outbox.hold(holder(n)))).await;
    assert!(held.iter().all(Result::is_ok));
    let questions = [
        "(SELECT oldest FROM bounds) AS oldest",
        "FROM deliveries",
        "INSERT INTO token_holders",
    ]
    .map(|statement| (asked(&server, since, statement), statement));
    assert!(
        questions
            .iter()
            .all(|(asked, _)| (1..=QUESTIONS_MAX).contains(asked)),
        "{questions:?}"
    );
}
