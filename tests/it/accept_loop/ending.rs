//! The end: what is idle, what runs, and what does not end by itself.

use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn an_upgraded_connection_counts_until_it_is_closed() {
    let mut node = start(options(), endless());
    let request = "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let mut client = node.send(request).await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101"));
    client.write_all(b"echo").await.unwrap();
    let mut back = [0; 4];
    timeout(DEADLINE, client.read_exact(&mut back))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(node.connections.open(), 1);

    node.shutdown.begin();
    assert!(
        timeout(Duration::from_millis(100), node.running.join_next())
            .await
            .is_err()
    );
    drop(client);

    assert_eq!(node.ended().await, Ending::Drained);
    assert_eq!(node.connections.open(), 0);
}

#[tokio::test]
async fn draining_closes_what_is_idle_finishes_what_runs_and_takes_nothing_new() {
    let (end_streams, streams_end) = watch::channel(false);
    let mut node = start(options(), streams_end);
    let mut idle = node.send(&get("/")).await;
    answer(&mut idle).await;
    let mut silent = node.connect().await;
    let mut stream = node.open_streams(1).await.remove(0);
    let mut half = node
        .send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nha")
        .await;
    node.until_open(4).await;

    node.shutdown.begin();
    node.shutdown.begin();

    assert!(rest(&mut idle).await.unwrap().is_empty());
    assert!(rest(&mut silent).await.unwrap().is_empty());
    half.write_all(b"lf").await.unwrap();
    let (head, body) = answer(&mut half).await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, "half");
    assert!(rest(&mut half).await.unwrap().is_empty());
    let refused = TcpStream::connect(node.address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    node.until_open(1).await;

    end_streams.send(true).unwrap();
    assert!(rest(&mut stream).await.unwrap().ends_with(b"0\r\n\r\n"));
    drop((idle, silent, half, stream));
    assert_eq!(node.ended().await, Ending::Drained);
}

#[tokio::test]
async fn whoever_the_system_had_accepted_before_the_drain_is_still_served() {
    let (node, server) = bind(options());
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(node.send(&get("/")).await);
    }
    node.shutdown.begin();

    let mut node = node.run(server, routes(endless()));

    for mut client in waiting {
        assert_eq!(answer(&mut client).await.1, "hello");
        assert!(rest(&mut client).await.unwrap().is_empty());
    }
    assert_eq!(node.ended().await, Ending::Drained);
}

#[tokio::test]
async fn what_does_not_end_is_cut_off_in_time() {
    let shutdown_timeout = Duration::from_millis(500);
    let mut node = start(
        Options {
            shutdown_timeout,
            ..options()
        },
        endless(),
    );
    let mut stuck = node.send(&get("/stuck")).await;
    let mut stream = node.open_streams(1).await.remove(0);
    node.until_open(2).await;
    let start = Instant::now();

    node.shutdown.begin();

    assert_eq!(node.ended().await, Ending::CutOff { connections: 2 });
    let took = start.elapsed();
    assert!(
        took >= shutdown_timeout && took < shutdown_timeout * 3,
        "{took:?}"
    );
    assert!(rest(&mut stuck).await.unwrap_or_default().is_empty());
    let _ = rest(&mut stream).await;
    assert_eq!(node.connections.open(), 0);
}

#[tokio::test]
async fn whoever_is_told_not_to_wait_does_not() {
    let mut node = start(options(), endless());
    let _stuck = node.send(&get("/stuck")).await;
    node.until_open(1).await;
    node.shutdown.begin();
    let start = Instant::now();
    node.shutdown.force();
    assert_eq!(node.ended().await, Ending::Forced);
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_to_stop_is_never_taken_for_an_accident() {
    for _ in 0..200 {
        let mut node = start(options(), endless());
        node.shutdown.begin();
        assert_eq!(node.ended().await, Ending::Drained);
    }
}
