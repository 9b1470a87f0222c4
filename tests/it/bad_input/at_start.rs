//! A start that cannot succeed ends soon, with one line that says why.

use std::process::{Command, Stdio};
use std::time::Duration;

use tests::forwarder::Mute;
use tests::node::Node;
use tests::postgres::database;
use tests::process::eventually;
use tests::redis::{Redis, Settings};
use tests::server::{binary, now};
use tests::token::Issuer;

/// Whatever is asked and does not answer is given up long before.
const AT_MOST: Duration = Duration::from_secs(10);

/// Starts a node that must not come up; returns its last words, which are one line beside what it logged.
fn refused(environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(binary().unwrap());
    let mut node = command
        .arg("serve")
        .env_clear()
        .env("ARAUTO_LISTEN", "127.0.0.1:0")
        .env("ARAUTO_LOG_FORMAT", "json")
        .env("ARAUTO_JWT_SECRET", Issuer::new().secret())
        .env("ARAUTO_STORE", "postgres")
        .envs(environment.iter().copied())
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // What it says fits into the pipe, so it ends whether that is read or not.
    let ended = eventually("it ends", AT_MOST, || Ok(node.try_wait()?));
    let _ = node.kill();
    let output = node.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(ended.is_ok(), "it runs: {said}");
    assert!(!output.status.success() && !said.contains("panicked"), "{said}");
    let words: Vec<&str> = said.lines().filter(|line| !line.starts_with('{')).collect();
    let [line] = words.as_slice() else {
        panic!("not one line: {said}")
    };
    assert!(line.len() < 250, "{line}");
    (*line).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_wrong_database_address_is_named_without_its_password() {
    let database = database().await.unwrap();
    let mute = Mute::start().unwrap();
    let mute = mute.address().unwrap();
    let nobody = tests::port::Port::free().unwrap();
    let unknown = format!("{}_gone", database.url());
    let cases = [
        ("postgres-is-elsewhere".to_owned(), "ARAUTO_DATABASE_URL"),
        (
            format!("postgres://arauto:hush@{}/arauto", nobody.address()),
            "cannot be reached",
        ),
        (format!("postgres://arauto:hush@{mute}/arauto"), "does not answer"),
        (unknown, "does not exist"),
    ];
    for (url, complaint) in cases {
        let line = tokio::task::block_in_place(|| refused(&[("ARAUTO_DATABASE_URL", &url)]));
        assert!(line.contains(complaint), "{url}: {line}");
        assert!(!line.contains("hush"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_schema_from_the_future_is_left_alone() {
    let database = database().await.unwrap();
    let client = database.connect().await.unwrap();
    let future = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
                  VALUES (9999, 'later', '2099-01-01T00:00:00Z', '0')";
    client.batch_execute(future).await.unwrap();
    let line = tokio::task::block_in_place(|| refused(&[("ARAUTO_DATABASE_URL", &database.url())]));
    assert!(line.contains("9999") && line.contains("newer"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_redis_that_is_away_refuses_or_says_nothing_holds_up_no_start() {
    let database = database().await.unwrap();
    let locked = Redis::start(Settings::default().set("requirepass", "unknown")).unwrap();
    let mute = Mute::start().unwrap();
    let nobody = tests::port::Port::free().unwrap();
    let urls = [
        locked.url(),
        format!("redis://{}", mute.address().unwrap()),
        format!("redis://{}", nobody.address()),
    ];
    let issuer = Issuer::new();
    // Its build counts against nothing.
    binary().unwrap();
    for url in urls {
        let started = now();
        let node = Node::start(&[
            ("ARAUTO_JWT_SECRET", issuer.secret()),
            ("ARAUTO_STORE", "postgres"),
            ("ARAUTO_DATABASE_URL", &database.url()),
            ("ARAUTO_REDIS_URL", &url),
        ]);
        let node = node.unwrap();
        assert!(started.elapsed() < AT_MOST, "{url}: {:?}", started.elapsed());
        assert!(!node.log().unwrap().contains("panicked"));
    }
}
