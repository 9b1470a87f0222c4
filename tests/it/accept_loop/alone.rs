//! What concerns the whole process: descriptors and signals. Each test runs in a process of its own.

use std::fs::File;

use api::server::Capacity;
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use tokio::net::TcpSocket;
use tokio::process::Command;

use super::*;

/// Says that this process was started by [`in_a_process_of_its_own`].
const ALONE: &str = "TEST_RUNS_ALONE";

/// Runs one test of this binary again, in a process of its own, with at most `descriptors` descriptors.
async fn in_a_process_of_its_own(test: &str, descriptors: u32) {
    let binary = std::env::current_exe().unwrap();
    let script =
        format!("ulimit -n {descriptors} && exec \"$0\" --exact accept_loop::alone::{test} --nocapture");
    let child = Command::new("sh")
        .args(["-c", &script])
        .arg(binary)
        .env(ALONE, "1")
        .kill_on_drop(true)
        .output();
    let output = timeout(DEADLINE * 4, child).await.expect("it ends").unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{printed}{errors}"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "not configuration: how the test runs itself"
)]
fn runs_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_clients_are_turned_away_and_streams_live_on() {
    if !runs_alone() {
        let test = "without_descriptors_clients_are_turned_away_and_streams_live_on";
        return in_a_process_of_its_own(test, 128).await;
    }
    let (end_streams, streams_end) = watch::channel(false);
    let node = start(options(), streams_end);
    let mut stream = node.open_streams(1).await.remove(0);
    let late: Vec<TcpSocket> = (0..20).map(|_| TcpSocket::new_v4().unwrap()).collect();
    // Whatever is left is taken.
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }

    let turned_away = late.into_iter().map(|socket| async {
        let mut client = socket.connect(node.address).await.unwrap();
        let _ = client.write_all(get("/").as_bytes()).await;
        // A client that went now would leave a descriptor to the next one.
        (head(&mut client).await, client)
    });
    let answers: Vec<_> = stream::iter(turned_away).buffer_unordered(20).collect().await;

    for (head, _) in &answers {
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    }
    let reported = node.seen.descriptors.load(Ordering::SeqCst);
    assert!(reported >= 20, "{reported}");
    // It waits for the next client instead of trying over and over.
    let quiet = timeout(Duration::from_millis(300), std::future::pending::<()>()).await;
    assert!(quiet.is_err());
    let more = node.seen.descriptors.load(Ordering::SeqCst) - reported;
    assert!(more <= 8, "{more} more failures with nobody there");
    assert_eq!(node.connections.open(), 1);

    drop(taken);
    let (head, _) = answer(&mut node.send(&get("/")).await).await;
    assert!(head.starts_with("HTTP/1.1 200"));
    end_streams.send(true).unwrap();
    assert!(read_to(&mut stream, "0\r\n\r\n").await.contains(": hello"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_even_a_spare_descriptor_it_waits_and_goes_on() {
    if !runs_alone() {
        return in_a_process_of_its_own("without_even_a_spare_descriptor_it_waits_and_goes_on", 128).await;
    }
    let (node, server) = bind(options());
    let late = TcpSocket::new_v4().unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    let node = node.run(server, routes(endless()));
    let mut client = late.connect(node.address).await.unwrap();
    client.write_all(get("/").as_bytes()).await.unwrap();

    let answered = timeout(Duration::from_millis(400), client.read_u8()).await;

    assert!(answered.is_err(), "{answered:?}");
    let failures = node.seen.descriptors.load(Ordering::SeqCst);
    assert!((1..=20).contains(&failures), "{failures} failures in 400 ms");
    drop(taken);
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_stops_at_once() {
    if !runs_alone() {
        return in_a_process_of_its_own("the_first_signal_drains_and_the_second_stops_at_once", 1_024).await;
    }
    for (first, second) in [(Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM)] {
        let mut node = start(options(), endless());
        let _watch = node.shutdown.on_signals().unwrap();
        let _stuck = node.send(&get("/stuck")).await;
        node.until_open(1).await;
        let shutdown = node.shutdown.clone();

        kill_process(getpid(), first).unwrap();
        until(|| shutdown.has_begun(), || "not stopping".to_owned()).await;
        assert!(!shutdown.forced().is_cancelled());

        kill_process(getpid(), second).unwrap();
        assert_eq!(node.ended().await, Ending::Forced);
    }
}

#[tokio::test]
async fn the_descriptor_limit_is_raised_as_far_as_it_goes() {
    if !runs_alone() {
        return in_a_process_of_its_own("the_descriptor_limit_is_raised_as_far_as_it_goes", 512).await;
    }
    // `ulimit` has lowered both limits, so the soft one is lowered further here.
    let low = Rlimit {
        current: Some(300),
        maximum: Some(512),
    };
    setrlimit(Resource::Nofile, low).unwrap();

    let capacity = Capacity::claim(None).unwrap();

    assert_eq!(getrlimit(Resource::Nofile).current, Some(512));
    assert_eq!(capacity, Capacity::plan(512, None));
}
