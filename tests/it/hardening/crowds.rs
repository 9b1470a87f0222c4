//! Clients that take their time, or never begin.

#![expect(clippy::print_stdout, reason = "what an attack costs is printed")]

use futures_util::{StreamExt as _, stream};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_loris() {
    let target = Target::with(Setup::new().with("ARAUTO_HEADER_TIMEOUT", "2s"));
    let mut clients: Vec<TcpStream> = Vec::new();
    for _ in 0..200 {
        let mut socket = target.connect().await;
        socket
            .write_all(b"GET /v1/stream HTTP/1.1\r\nhost: a\r\n")
            .await
            .unwrap();
        clients.push(socket);
    }
    // A header a second, so that something always comes.
    let slowly = stream::iter(clients).map(|mut socket| async move {
        for n in 0..20 {
            if socket
                .write_all(format!("x-{n}: a\r\n").as_bytes())
                .await
                .is_err()
            {
                return true;
            }
            let mut heard = [0; 64];
            let pause = timeout(Duration::from_secs(1), socket.read(&mut heard)).await;
            if matches!(pause, Ok(Ok(0) | Err(_))) {
                return true;
            }
        }
        false
    });
    target.neighbour_works().await;
    let ended: Vec<bool> = slowly.buffer_unordered(200).collect().await;
    assert!(
        ended.into_iter().all(|ended| ended),
        "a head may take two seconds as a whole"
    );
    target.neighbour_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_read() {
    let target = Target::start();
    let before = target.resident_kib();
    let mut deaf = Vec::new();
    for n in 0..50 {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        // The smallest window that the kernel gives.
        socket.set_recv_buffer_size(1_024).unwrap();
        socket.connect(&target.node.address().into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut socket = TcpStream::from_std(socket.into()).unwrap();
        let token = target.token(&format!("deaf-{n}"), "CIDADAO");
        let request = format!("GET /v1/stream HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        deaf.push(socket);
    }
    // Ten megabytes for each of those who never read: half a gigabyte if anybody kept it for them.
    let everyone = json!({
        "audience": { "everyone": true }, "type": "a", "title": "b", "data": { "padding": "x".repeat(20_000) },
    });
    for _ in 0..500 {
        assert_eq!(target.publish("back-end", None, &everyone).await.0, 201);
    }
    let grown = target.resident_kib().saturating_sub(before);
    println!("50 deaf readers, 10 MB each: the node grew by {grown} KiB");
    assert!(grown < 96 * 1_024, "{grown} KiB");
    target.neighbour_works().await;
    drop(deaf);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_half_open_connects() {
    const CLIENTS: usize = 10_000;
    let target = Target::with(Setup::new().with("ARAUTO_HEADER_TIMEOUT", "5s"));
    let before = target.resident_kib();
    let connecting = (0..CLIENTS).map(|_| TcpStream::connect(target.node.address()));
    let mut crowd: Vec<TcpStream> = stream::iter(connecting)
        .buffer_unordered(500)
        .filter_map(async |connected| connected.ok())
        .collect()
        .await;
    assert!(crowd.len() > CLIENTS * 9 / 10, "{}", crowd.len());
    target.neighbour_works().await;
    let grown = target.resident_kib().saturating_sub(before);
    println!("{} that say nothing: the node grew by {grown} KiB", crowd.len());
    // All are sent away when their time is over.
    let mut ended = 0;
    for socket in &mut crowd {
        let mut heard = [0; 512];
        while let Ok(Ok(1..)) = timeout(DEADLINE, socket.read(&mut heard)).await {}
        ended += 1;
    }
    assert_eq!(ended, crowd.len());
    target.neighbour_works().await;
}
