//! The harness itself: what a test may rely on when it kills, freezes and restarts servers.

use std::time::Duration;

use tests::postgres::{Postgres, Settings, connect, database};
use tests::redis::{self, Redis};
use tests::server::now;
use tokio_postgres::Client;

/// The function as the migrations define it.
async fn count(client: &Client) -> i64 {
    client
        .query_one("SELECT count(*) FROM stones", &[])
        .await
        .unwrap()
        .get(0)
}

/// Queries until somebody answers: a standby follows when it does.
async fn eventually_counts(url: &str, expected: i64) {
    let client = connect(url).await.unwrap();
    let deadline = now() + Duration::from_secs(30);
    loop {
        if let Ok(row) = client.query_one("SELECT count(*) FROM stones", &[]).await
            && row.get::<_, i64>(0) == expected
        {
            return;
        }
        assert!(now() < deadline, "the standby does not follow");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn every_test_has_a_database_of_its_own() {
    let (one, other) = (database().await.unwrap(), database().await.unwrap());
    let client = one.connect().await.unwrap();
    client.batch_execute("CREATE TABLE stones ()").await.unwrap();
    let stranger = other.connect().await.unwrap();
    let found = stranger
        .query_one("SELECT to_regclass('stones') IS NULL", &[])
        .await
        .unwrap();
    assert!(found.get::<_, bool>(0));
}

#[tokio::test]
async fn a_database_is_dropped_with_its_test_even_while_somebody_is_connected() {
    let (kept, dropped) = (database().await.unwrap(), database().await.unwrap());
    let _connected = dropped.connect().await.unwrap();
    let url = dropped.url();
    drop(dropped);
    let refused = connect(&url).await.unwrap_err();
    assert!(format!("{refused:?}").contains("does not exist"), "{refused:?}");
    assert!(kept.connect().await.is_ok());
}

#[tokio::test]
async fn a_databases_clock_moves_on_when_it_is_told_to_and_only_its_own() {
    let (moved, other) = (database().await.unwrap(), database().await.unwrap());
    let mut seen = Vec::new();
    for database in [&moved, &other] {
        let client = database.connect().await.unwrap();
        // A session that has planned the query before must see the new clock, too.
        let ahead = client
            .prepare("SELECT (extract(epoch FROM store_now() - now()) / 60)::int")
            .await
            .unwrap();
        client.query_one(&ahead, &[]).await.unwrap();
        seen.push((client, ahead));
    }
    moved.advance(Duration::from_secs(60 * 60)).await.unwrap();
    moved.advance(Duration::from_secs(30 * 60)).await.unwrap();
    let mut minutes = Vec::new();
    for (client, ahead) in &seen {
        minutes.push(client.query_one(ahead, &[]).await.unwrap().get::<_, i32>(0));
    }
    assert_eq!(minutes, [90, 0]);
}

#[tokio::test]
async fn a_killed_postgres_comes_back_on_its_port_with_what_was_committed() {
    let mut server = Postgres::start(Settings::default()).unwrap();
    let url = server.url();
    let client = connect(&url).await.unwrap();
    client
        .batch_execute("CREATE TABLE stones (); INSERT INTO stones DEFAULT VALUES")
        .await
        .unwrap();
    client
        .batch_execute("BEGIN; INSERT INTO stones DEFAULT VALUES")
        .await
        .unwrap();
    server.kill_9().unwrap();
    assert!(connect(&url).await.is_err());
    assert!(client.batch_execute("COMMIT").await.is_err());
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(count(&connect(&url).await.unwrap()).await, 1);
}

#[tokio::test]
async fn an_immediate_shutdown_keeps_what_was_committed_and_fsync_is_on() {
    let mut server = Postgres::start(Settings::default().set("synchronous_commit", "on")).unwrap();
    let client = connect(&server.url()).await.unwrap();
    client
        .batch_execute("CREATE TABLE stones (); INSERT INTO stones DEFAULT VALUES")
        .await
        .unwrap();
    server.stop_immediate().unwrap();
    server.restart().unwrap();
    let client = connect(&server.url()).await.unwrap();
    assert_eq!(count(&client).await, 1);
    let fsync = client.query_one("SHOW fsync", &[]).await.unwrap();
    assert_eq!(fsync.get::<_, String>(0), "on");
}

#[tokio::test]
async fn a_frozen_postgres_answers_nothing_until_it_is_thawed() {
    let server = Postgres::start(Settings::default()).unwrap();
    let client = connect(&server.url()).await.unwrap();
    server.freeze().unwrap();
    let question = client.query_one("SELECT 42", &[]);
    tokio::pin!(question);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut question).await;
    assert!(early.is_err(), "it answered");
    server.thaw().unwrap();
    assert_eq!(question.await.unwrap().get::<_, i32>(0), 42);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_takes_them_again_when_there_is_room() {
    let server = Postgres::start(Settings::default()).unwrap();
    let client = connect(&server.url()).await.unwrap();
    let fill = "INSERT INTO stones SELECT repeat('x', 1000) FROM generate_series(1, 20000)";
    client
        .batch_execute("CREATE TABLE stones (text text)")
        .await
        .unwrap();
    server.limit_files(Some(16 << 20)).unwrap();
    let refused = client.batch_execute(fill).await.unwrap_err();
    assert!(format!("{refused:?}").contains("File too large"), "{refused:?}");
    server.limit_files(None).unwrap();
    client.batch_execute(fill).await.unwrap();
    assert_eq!(count(&client).await, 20_000);
}

#[tokio::test]
async fn a_promoted_standby_lacks_what_it_was_not_sent_and_is_on_another_timeline() {
    let mut primary = Postgres::start(Settings::default()).unwrap();
    let client = connect(&primary.url()).await.unwrap();
    client
        .batch_execute("CREATE TABLE stones (); INSERT INTO stones DEFAULT VALUES")
        .await
        .unwrap();
    let mut standby = Postgres::standby_of(&primary).unwrap();
    client
        .batch_execute("INSERT INTO stones DEFAULT VALUES")
        .await
        .unwrap();
    eventually_counts(&standby.url(), 2).await;
    standby.stop_immediate().unwrap();
    client
        .batch_execute("INSERT INTO stones DEFAULT VALUES")
        .await
        .unwrap();
    primary.kill_9().unwrap();
    standby.restart().unwrap();
    standby.promote().await.unwrap();
    let client = connect(&standby.url()).await.unwrap();
    assert_eq!(count(&client).await, 2);
    client
        .batch_execute("INSERT INTO stones DEFAULT VALUES")
        .await
        .unwrap();
    let timeline = client
        .query_one("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)", &[])
        .await
        .unwrap();
    assert_eq!(timeline.get::<_, String>(0), "00000002");
}

#[test]
fn a_killed_redis_comes_back_on_its_port_with_what_it_had_confirmed() {
    let mut server = Redis::start(redis::Settings::default()).unwrap();
    let url = server.url();
    server.command(&["SET", "stone", "1"]).unwrap();
    server.kill_9().unwrap();
    assert!(server.command(&["PING"]).is_err());
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_eq!(server.command(&["GET", "stone"]).unwrap(), "1");
}

#[test]
fn a_frozen_redis_answers_nothing_until_it_is_thawed() {
    let server = Redis::start(redis::Settings::default()).unwrap();
    server.freeze().unwrap();
    std::thread::scope(|scope| {
        let (said, heard) = std::sync::mpsc::channel();
        let server = &server;
        scope.spawn(move || said.send(server.command(&["PING"]).unwrap()));
        assert!(
            heard.recv_timeout(Duration::from_millis(300)).is_err(),
            "it answered"
        );
        server.thaw().unwrap();
        assert_eq!(heard.recv().unwrap(), "PONG");
    });
}

#[test]
fn the_runs_redis_is_one_and_the_same_for_all_who_ask() {
    assert_eq!(redis::shared().unwrap(), redis::shared().unwrap());
}

#[tokio::test]
async fn nginx_stands_before_a_server_and_comes_back_on_its_port() {
    let port = tests::port::Port::free().unwrap();
    let site = format!("server {{ listen {}; return 200 'here'; }}", port.address());
    let mut nginx = tests::nginx::Nginx::start(port, &site, &[]).unwrap();
    let url = format!("http://{}/", nginx.address());
    let said = || async { reqwest::get(&url).await.unwrap().text().await.unwrap() };
    assert_eq!(said().await, "here");
    nginx.kill_9().unwrap();
    assert!(reqwest::get(&url).await.is_err());
    nginx.restart().unwrap();
    assert_eq!(said().await, "here");
}
