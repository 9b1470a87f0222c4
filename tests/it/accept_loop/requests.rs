//! Requests and answers on one connection: slow, long, early, endless.

use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn an_event_stream_is_framed_as_its_client_asked() {
    let (end_streams, streams_end) = watch::channel(false);
    let node = start(options(), streams_end);
    let mut pipelined = node.send(&(get("/") + &get("/endless"))).await;
    let mut old = node.send("GET /endless HTTP/1.0\r\n\r\n").await;
    let mut only_head = node.send("HEAD /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;

    assert_eq!(answer(&mut pipelined).await.1, "hello");
    let pipelined_head = head(&mut pipelined).await;
    let old_head = head(&mut old).await;
    assert!(head(&mut only_head).await.starts_with("HTTP/1.1 200"));
    end_streams.send(true).unwrap();

    assert!(
        pipelined_head.contains("transfer-encoding: chunked"),
        "{pipelined_head}"
    );
    assert!(pipelined_head.contains("connection: close"), "{pipelined_head}");
    assert!(!old_head.contains("transfer-encoding"), "{old_head}");
    assert_eq!(
        rest(&mut pipelined).await.unwrap(),
        b"9\r\n: hello\n\n\r\n0\r\n\r\n"
    );
    assert_eq!(rest(&mut old).await.unwrap(), b": hello\n\n");
    let usual = reqwest::get(format!("http://{}/endless", node.address))
        .await
        .unwrap();
    assert_eq!(usual.text().await.unwrap(), ": hello\n\n");
    drop((pipelined, old, only_head));
    node.until_open(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_every_byte_of_a_long_backlog() {
    const FRAMES: usize = 5_000;
    let frame = |number: usize| format!("id: 0-{number}\ndata: {}\n\n", "x".repeat(number % 2_000));
    let expected: String = (0..FRAMES).map(frame).collect();
    let backlog = make(move |_| async move {
        let frames = stream::iter((0..FRAMES).map(move |number| io::Result::Ok(Bytes::from(frame(number)))));
        let body = Body::from_bytes_stream(frames);
        Result::<_>::Ok(Response::builder().content_type("text/event-stream").body(body))
    });
    let node = start_with(options(), backlog);

    let mut answer = reqwest::get(format!("http://{}/", node.address)).await.unwrap();
    let mut received = Vec::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        received.extend_from_slice(&chunk);
        // Gives the server time to fill the buffers in between.
        tokio::task::yield_now().await;
    }

    assert!(
        received == expected.as_bytes(),
        "{} of {} bytes",
        received.len(),
        expected.len()
    );
}

#[tokio::test]
async fn a_head_that_takes_too_long_ends_the_connection() {
    let header_timeout = Duration::from_millis(300);
    let node = start(
        Options {
            header_timeout,
            ..options()
        },
        endless(),
    );
    for begun in ["", "GET / HTTP/1.1\r\nhost: a\r\nx-slow: "] {
        let start = Instant::now();
        let mut client = node.send(begun).await;

        let read = rest(&mut client).await;

        assert!(read.unwrap_or_default().is_empty());
        assert!(start.elapsed() >= header_timeout, "after {:?}", start.elapsed());
    }
    node.until_open(0).await;
}

#[tokio::test]
async fn a_connection_may_rest_between_requests_but_a_begun_head_may_not() {
    let node = start(
        Options {
            header_timeout: Duration::from_millis(200),
            keep_alive_timeout: Duration::from_secs(60),
            ..options()
        },
        endless(),
    );
    let mut client = node.send(&get("/")).await;
    answer(&mut client).await;

    let silence = timeout(Duration::from_millis(600), client.read_u8()).await;
    assert!(
        silence.is_err(),
        "the connection was not left to rest: {silence:?}"
    );
    client.write_all(get("/").as_bytes()).await.unwrap();
    assert_eq!(answer(&mut client).await.1, "hello");

    client.write_all(b"GET / HT").await.unwrap();
    assert!(rest(&mut client).await.unwrap_or_default().is_empty());
}

#[tokio::test]
async fn a_connection_that_rests_too_long_is_closed() {
    let keep_alive_timeout = Duration::from_millis(300);
    let node = start(
        Options {
            keep_alive_timeout,
            ..options()
        },
        endless(),
    );
    let mut client = node.send(&get("/")).await;
    answer(&mut client).await;
    assert!(rest(&mut client).await.unwrap().is_empty());
}

#[tokio::test]
async fn keep_alive_and_pipelining_work() {
    let node = start(options(), endless());
    let post = |body: &str| {
        let length = body.len();
        format!("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let pipelined = [get("/"), post("one"), get("/"), post("two")].concat();
    let mut client = node.send(&pipelined).await;

    let mut bodies = Vec::new();
    for _ in 0..4 {
        bodies.push(answer(&mut client).await.1);
    }
    client.write_all(post("three").as_bytes()).await.unwrap();
    bodies.push(answer(&mut client).await.1);

    assert_eq!(bodies, ["hello", "one", "hello", "two", "three"]);
    assert_eq!(node.connections.open(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_is_read_by_a_client_that_is_still_sending() {
    const LENGTH: usize = 8 << 20;
    let node = start(options(), endless());
    let mut client = node
        .send(&format!(
            "POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: {LENGTH}\r\n\r\n"
        ))
        .await;

    // A client of the simplest kind: it sends everything before it looks at the answer.
    let body = vec![b'x'; LENGTH];
    let sent = timeout(DEADLINE, client.write_all(&body)).await;
    sent.expect("the body is taken").expect("no reset while sending");

    let (head, body) = answer(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert_eq!(body, "too much");
    assert!(rest(&mut client).await.unwrap().is_empty());
    drop(client);
    node.until_open(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_is_read_by_a_usual_client() {
    let node = start(options(), endless());
    let client = reqwest::Client::new();
    for _ in 0..20 {
        let request = client.post(format!("http://{}/early", node.address));
        let answer = request.body(vec![b'x'; 8 << 20]).send().await.unwrap();
        assert_eq!(answer.status(), 413);
        assert_eq!(answer.text().await.unwrap(), "too much");
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_answered() {
    let node = start(options(), endless());
    let head_of = |bytes: usize| {
        let value = "x".repeat(bytes);
        format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {value}\r\n\r\n")
    };
    let mut long = node.send(&head_of(24 << 10)).await;
    assert!(head(&mut long).await.starts_with("HTTP/1.1 200"));

    let mut too_long = node.send(&head_of(256 << 10)).await;
    assert!(head(&mut too_long).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_request_that_panics_ends_its_own_connection_alone() {
    let node = start(options(), endless());
    let mut stream = node.open_streams(1).await.remove(0);
    let mut client = node.send(&get("/panic")).await;
    assert!(rest(&mut client).await.unwrap_or_default().is_empty());

    node.until_open(1).await;
    let (head, _) = answer(&mut node.send(&get("/")).await).await;
    assert!(head.starts_with("HTTP/1.1 200"));
    assert!(
        timeout(Duration::from_millis(50), rest(&mut stream))
            .await
            .is_err()
    );
}
