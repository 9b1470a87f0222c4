//! What is far too large, or becomes so.

use super::*;

/// How a packed body begins (RFC 1952, 2.3). A gigabyte of zeros takes a megabyte of it.
const GZIP_MAGIC: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_bomb() {
    let target = Target::start();
    let before = target.resident_kib();
    let one_long = format!(
        "GET /health/live HTTP/1.1\r\nhost: a\r\nx-bomb: {}\r\n\r\n",
        "a".repeat(4 << 20)
    );
    let many: Vec<String> = (0..5_000).map(|n| format!("x-bomb-{n}: a\r\n")).collect();
    let many = many.concat();
    let many = format!("GET /health/live HTTP/1.1\r\nhost: a\r\n{many}\r\n");
    let long_address = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(1 << 20));
    for bomb in [one_long, many, long_address] {
        let answer = target.send(bomb.as_bytes()).await;
        let refused = answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 414");
        assert!(refused || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert!(target.resident_kib() < before + 16 * 1_024);
    target.neighbour_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn body_bomb() {
    let target = Target::start();
    let token = target.token("back-end", "SERVICE");
    let before = target.resident_kib();
    // Announced, and not sent.
    let announced = format!(
        "POST /v1/notifications HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-type: \
         application/json\r\ncontent-length: 99999999999\r\n\r\n"
    );
    let answer = target.send(announced.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // Sent without end, in chunks.
    let mut endless = format!(
        "POST /v1/notifications HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-type: \
         application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for _ in 0..512 {
        endless.extend_from_slice(b"4000\r\n");
        endless.extend_from_slice(&[b' '; 0x4000]);
        endless.extend_from_slice(b"\r\n");
    }
    let answer = target.send(&endless).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // Nested deeper than anybody reads.
    let deep = format!("{}{}", "[".repeat(60_000), "]".repeat(60_000));
    let draft = format!(r#"{{"audience":{{"users":["a"]}},"type":"a","title":"b","data":{deep}}}"#);
    let call = target
        .client
        .post(target.url("/v1/notifications"))
        .bearer_auth(&token);
    let answer = call
        .header("content-type", "application/json")
        .body(draft)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
    assert!(target.resident_kib() < before + 32 * 1_024);
    target.neighbour_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_bodies_that_never_end() {
    let target = Target::with(Setup::new().with("ARAUTO_REQUEST_BODIES_MAX_BYTES", "4MiB"));
    let token = target.token("back-end", "SERVICE");
    let begun = format!(
        "POST /v1/notifications/batch HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-type: \
         application/json\r\ncontent-length: 3000000\r\n\r\n"
    );
    let mut held = Vec::new();
    // Each sends a megabyte and then nothing.
    for _ in 0..8 {
        let mut socket = target.connect().await;
        socket.write_all(begun.as_bytes()).await.unwrap();
        let _ = timeout(Duration::from_secs(2), socket.write_all(&vec![b' '; 1 << 20])).await;
        held.push(socket);
    }
    let full = async || {
        target
            .metrics()
            .await
            .contains("arauto_full_total{bound=\"request_bodies\"}")
    };
    let started = tests::server::now();
    while !full().await {
        assert!(started.elapsed() < DEADLINE, "the budget is never full");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(target.node.status("/health/ready"), Some(200));
    drop(held);
    target.neighbour_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gzip_bomb() {
    let target = Target::start();
    let token = target.token("back-end", "SERVICE");
    let before = target.resident_kib();
    let mut bomb = GZIP_MAGIC.to_vec();
    bomb.resize(100_000, 0);
    for coding in ["gzip", "deflate", "br", "zstd", "gzip, gzip"] {
        let call = target
            .client
            .post(target.url("/v1/notifications"))
            .bearer_auth(&token);
        let call = call
            .header("content-type", "application/json")
            .header("content-encoding", coding);
        let answer = call.body(bomb.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 415, "nothing is unpacked: {coding}");
    }
    assert!(target.resident_kib() < before + 8 * 1_024);
    target.neighbour_works().await;
}
