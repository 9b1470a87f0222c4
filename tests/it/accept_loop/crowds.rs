//! Many clients: that come at once, that are too many, that vanish.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_vanish_from_an_idle_stream_are_released_without_traffic() {
    const CLIENTS: usize = 2_000;
    let node = start(options(), endless());
    let mut clients = node.open("/endless", CLIENTS / 2).await;
    clients.extend(node.open("/download", CLIENTS / 2).await);
    // Some have said more than they were asked.
    for client in clients.iter_mut().take(10) {
        client.write_all(get("/").as_bytes()).await.unwrap();
    }
    assert_eq!(node.connections.open(), CLIENTS);

    // Half of them say goodbye, half of them are cut off.
    for client in clients.iter().step_by(2) {
        client.set_zero_linger().unwrap();
    }
    drop(clients);

    node.until_open(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_over_the_cap_are_told_so_at_once() {
    let node = start(
        Options {
            max_connections: 2,
            ..options()
        },
        endless(),
    );
    let mut streams = node.open_streams(2).await;

    // More than the server turns away in peace at a time.
    let turned_away = stream::iter((0..200).map(|_| async {
        let mut client = node.send(&get("/")).await;
        let (head, body) = answer(&mut client).await;
        assert!(rest(&mut client).await.unwrap_or_default().is_empty());
        (head, body)
    }));
    let answers: Vec<_> = turned_away.buffer_unordered(100).collect().await;

    for (head, body) in &answers {
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains("\r\ncontent-type: application/problem+json\r\n"));
        assert!(head.contains("\r\nretry-after: "));
        assert!(
            body.starts_with("{\"type\":\"/problems/capacity-reached\","),
            "{body}"
        );
    }
    assert_eq!(node.seen.connections.load(Ordering::SeqCst), 200);
    assert_eq!(node.connections.open(), 2);

    drop(streams.pop());
    node.until_open(1).await;
    let (head, _) = answer(&mut node.send(&get("/")).await).await;
    assert!(head.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_over_the_cap_that_says_nothing_is_not_kept() {
    let node = start(
        Options {
            max_connections: 0,
            ..options()
        },
        endless(),
    );
    let mut silent = node.connect().await;
    assert!(rest(&mut silent).await.unwrap_or_default().is_empty());
}

#[tokio::test]
async fn a_pool_of_connections_takes_the_refusal_for_an_answer() {
    let node = start(
        Options {
            max_connections: 0,
            ..options()
        },
        endless(),
    );
    let answer = reqwest::get(format!("http://{}/", node.address)).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_accepted_at_once() {
    const CLIENTS: usize = 3_000;
    let node = start(options(), endless());
    let connecting = (0..CLIENTS).map(|_| node.connect());
    let crowd: Vec<TcpStream> = stream::iter(connecting).buffer_unordered(CLIENTS).collect().await;
    node.until_open(CLIENTS).await;
    drop(crowd);
    node.until_open(0).await;
}
