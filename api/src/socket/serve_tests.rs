#[path = "serve_world.rs"]
mod world;

use std::sync::atomic::Ordering;

use application::ports::Outgoing;
use domain::stream::CloseReason;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, join, simplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};
use world::{Client, KERNEL_BYTES, POISON_FRAME, POISON_SEQUENCE, Routes, World, error, error_of, run};

use super::*;

const HELLO: &str = r#"{"op":"hello","token":"t","cursor":"8f3a-7"}"#;
const ID: &str = "018f6a3e-7d1c-7c2b-9a51-0123456789ab";

#[tokio::test]
async fn a_stream_opens_with_hello_carries_events_and_says_why_it_ends() {
    let world = World::new();
    let (ending, _) = run(&world, Identity::Awaited, async |io| {
        let mut client = Client::new(io).await;
        client.say(HELLO).await;
        world.send(r#"{"event":"ready"}"#);
        world.send("");
        assert_eq!(client.hears().await, json!({ "event": "ready" }));
        world.end(CloseReason::ShuttingDown);
        let closing = json!({ "reason": "shutting_down", "reconnect": true, "after_ms": 1_234 });
        assert_eq!(
            client.hears().await,
            json!({ "event": "closing", "data": closing })
        );
        assert_eq!(client.is_closed().await, 4_000);
    })
    .await;
    assert_eq!(ending, Ending::Closed(CloseCode::ShuttingDown));
    assert_eq!(world.calls(), ["open 8f3a-7"]);
    assert!(world.is_closed());
}

#[tokio::test]
async fn a_known_caller_gets_its_stream_without_a_word() {
    let world = World::new();
    world.send(r#"{"event":"ready"}"#);
    let (ending, _) = run(&world, Identity::Known, async |io| {
        let mut client = Client::new(io).await;
        assert_eq!(client.hears().await, json!({ "event": "ready" }));
        client.0.close(None).await.unwrap();
    })
    .await;
    assert_eq!(ending, Ending::Left);
    assert_eq!(world.calls(), ["open known"]);
    assert!(world.is_closed());
}

#[tokio::test(start_paused = true)]
async fn silence_is_closed_after_five_seconds_even_if_it_pings() {
    let world = World::new();
    let (ending, seconds) = run(&world, Identity::Awaited, async |io| {
        let mut client = Client::new(io).await;
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            client
                .0
                .send(Message::Ping(Bytes::from_static(b"x")))
                .await
                .unwrap();
            assert_eq!(client.next().await, Message::Pong(Bytes::from_static(b"x")));
        }
        assert_eq!(error_of(&client.hears().await), error("hello-timeout", None));
        assert_eq!(client.is_closed().await, 4_408);
    })
    .await;
    assert_eq!(ending, Ending::Closed(CloseCode::HelloTimeout));
    assert_eq!(seconds, 5);
    assert!(world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_pings_without_reading_does_not_put_the_deadline_off() {
    let world = World::new();
    let (ending, seconds) = run(&world, Identity::Awaited, async |io| {
        let mut client = Client::new(io).await;
        // The answers fill every buffer, and the rest of them is left out.
        for _ in 0..1_000 {
            client
                .0
                .send(Message::Ping(Bytes::from_static(&[b'x'; 100])))
                .await
                .unwrap();
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    assert_eq!(ending, Ending::Closed(CloseCode::HelloTimeout));
    assert_eq!(seconds, 10, "five for hello, and five for the farewell");
}

#[tokio::test]
async fn operations_are_called_in_order_while_events_go_on() {
    let world = World::new();
    world.permits.forget_permits(100);
    run(&world, Identity::Known, async |io| {
        let mut client = Client::new(io).await;
        client.say(r#"{"op":"heartbeat","sequence":7}"#).await;
        client
            .say(format!(r#"{{"op":"ack","notification_id":"{ID}"}}"#))
            .await;
        client.say(r#"{"op":"renew","token":"new"}"#).await;
        world.send(r#"{"event":"heartbeat"}"#);
        assert_eq!(client.hears().await, json!({ "event": "heartbeat" }));
        assert_eq!(
            world.calls(),
            ["open known"],
            "the first operation is still in flight"
        );
        world.permits.add_permits(3);
        assert_eq!(error_of(&client.hears().await), error("not-found", Some("ack")));
        let times = json!({
            "expires_at": "1970-01-01T00:00:00.002Z", "renew_before": "1970-01-01T00:00:00.001Z",
        });
        assert_eq!(client.hears().await, json!({ "event": "session", "data": times }));
        client.0.close(None).await.unwrap();
    })
    .await;
    let acknowledged = format!("Acknowledge {ID}");
    assert_eq!(
        world.calls(),
        ["open known", "heartbeat 7", &acknowledged, "renew new"]
    );
}

#[tokio::test]
async fn mistakes_are_answered_and_the_stream_goes_on() {
    let world = World::new();
    run(&world, Identity::Known, async |io| {
        let mut client = Client::new(io).await;
        client.say("{").await;
        client.say(r#"{"op":"publish"}"#).await;
        client
            .say(format!(
                "{{\"op\":\"heartbeat\",\"sequence\":1}}{}",
                " ".repeat(5_000)
            ))
            .await;
        assert_eq!(error_of(&client.hears().await), error("malformed-frame", None));
        assert_eq!(
            error_of(&client.hears().await),
            error("unknown-op", Some("publish"))
        );
        assert_eq!(
            error_of(&client.hears().await),
            error("frame-too-large", Some("heartbeat"))
        );
        world.send(r#"{"event":"heartbeat"}"#);
        assert_eq!(client.hears().await, json!({ "event": "heartbeat" }));
        client.0.close(None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn refusals_are_told_before_the_close() {
    let problem = Problem::new("token-expired", "the token has expired");
    let code = CloseCode::Unauthorised;
    let world = World::refusing(Some(NotOpened::Refused { problem, code }));
    let (ending, _) = run(&world, Identity::Awaited, async |io| {
        let mut client = Client::new(io).await;
        client.say(HELLO).await;
        assert_eq!(
            error_of(&client.hears().await),
            error("token-expired", Some("hello"))
        );
        assert_eq!(client.is_closed().await, 4_401);
    })
    .await;
    assert_eq!(ending, Ending::Closed(code));

    let (reason, after) = (CloseReason::Overloaded, Duration::from_secs(9));
    let world = World::refusing(Some(NotOpened::Closing { reason, after }));
    run(&world, Identity::Known, async |io| {
        let mut client = Client::new(io).await;
        let closing = json!({ "reason": "overloaded", "reconnect": true, "after_ms": 9_000 });
        assert_eq!(
            client.hears().await,
            json!({ "event": "closing", "data": closing })
        );
        assert_eq!(client.is_closed().await, 4_001);
    })
    .await;
}

#[tokio::test]
async fn a_large_message_arrives_whole_and_pings_pass_it() {
    let world = World::new();
    let text = format!("\"{}\"", "aç–😀".repeat(4_000));
    world.send(text.clone());
    world.frames.send(Outgoing::KeepAlive).unwrap();
    run(&world, Identity::Known, async |io| {
        let mut client = Client::new(io).await;
        assert_eq!(client.next().await, Message::text(text));
        assert_eq!(client.next().await, Message::Ping(Bytes::new()));
        client.0.close(None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn no_fragment_is_larger_than_the_write_buffer_keeps() {
    let world = World::new();
    world.send("x".repeat(10_000));
    run(&world, Identity::Known, async |mut io| {
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < 10_000 {
            let head = [io.read_u8().await.unwrap(), io.read_u8().await.unwrap()];
            let size = usize::from(io.read_u16().await.unwrap());
            sizes.push(size);
            assert_eq!(head[1], 126);
            assert_eq!(
                head[0],
                [0x01, 0x00, 0x80][sizes.len() - 1],
                "text, continued, final"
            );
            io.read_exact(&mut vec![0; size]).await.unwrap();
        }
        assert_eq!(sizes, [4_080, 4_080, 1_840]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_holds_back_its_stream_and_is_let_go() {
    let world = World::new();
    for number in 0..10_000 {
        world.send(format!("{number:0>200}"));
    }
    let (ending, seconds) = run(&world, Identity::Known, async |io| {
        tokio::time::sleep(Duration::from_secs(50)).await;
        let held = world.pulled.load(Ordering::SeqCst);
        assert!(held <= 64, "{held} frames were pulled for nobody");
        assert!(!world.is_closed());
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(world.is_closed());
        drop(io);
    })
    .await;
    assert_eq!(ending, Ending::Closed(CloseCode::Unresponsive));
    assert_eq!(seconds, 65, "sixty without reading, and five for the farewell");
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_gets_everything_in_order() {
    let world = World::new();
    for number in 0..300 {
        world.send(format!("{number:0>2000}"));
    }
    world.end(CloseReason::ShuttingDown);
    let (ending, _) = run(&world, Identity::Known, async |io| {
        let mut client = Client::new(io).await;
        for number in 0..300 {
            // In all this takes fifty times as long as one that reads nothing is waited for.
            if number < 290 {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            assert_eq!(client.next().await, Message::text(format!("{number:0>2000}")));
        }
        client.hears().await;
        assert_eq!(client.is_closed().await, 4_000);
    })
    .await;
    assert_eq!(ending, Ending::Closed(CloseCode::ShuttingDown));
}

#[tokio::test]
async fn a_client_that_asks_without_reading_is_answered_once_it_reads() {
    let world = World::new();
    run(&world, Identity::Known, async |io| {
        let mut client = Client::new(io).await;
        world.send("\"x\"".repeat(4_000));
        // The answers find the way blocked by the large frame.
        for _ in 0..10 {
            client.0.feed(Message::text("{")).await.unwrap();
        }
        client.0.flush().await.unwrap();
        assert_eq!(client.next().await.len(), 12_000);
        for _ in 0..10 {
            assert_eq!(error_of(&client.hears().await), error("malformed-frame", None));
        }
        client.0.close(None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_frame_waits_behind_the_answers_to_pings() {
    // Much can be asked at once and little answered.
    let (their_read, our_write) = simplex(1_024);
    let (our_read, their_write) = simplex(64 * 1_024);
    let (ours, theirs) = (join(our_read, our_write), join(their_read, their_write));
    let world = World::new();
    let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    for _ in 0..400 {
        let ping = Message::Ping(Bytes::from_static(&[b'x'; 100]));
        client.send(ping).await.unwrap();
    }
    let door = Arc::new(Routes(Arc::clone(&world)));
    let (ending, ()) = tokio::join!(serve(ours, Identity::Known, door, &*world), async {
        // By now the buffers are full of answers.
        world.send("y".repeat(9_000));
        let mut after_pongs = async || loop {
            let message = client.next().await.unwrap().unwrap();
            if !message.is_pong() {
                return message;
            }
        };
        let message = timeout(Duration::from_secs(10), after_pongs()).await;
        assert_eq!(message, Ok(Message::text("y".repeat(9_000))));
        client.close(None).await.unwrap();
        client.into_inner().shutdown().await.unwrap();
    });
    assert_eq!(ending, Ending::Left);
}

#[tokio::test]
async fn a_backlog_of_small_frames_needs_nothing_to_push_it() {
    let world = World::new();
    for number in 0..100 {
        world.send(format!("{number:0>20}"));
    }
    run(&world, Identity::Known, async |io| {
        let mut client = Client::new(io).await;
        for number in 0..100 {
            let next = timeout(Duration::from_secs(5), client.next()).await;
            assert_eq!(next, Ok(Message::text(format!("{number:0>20}"))));
        }
        client.0.close(None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn broken_frames_are_closed_as_the_rfc_says() {
    // A reserved opcode; a text frame of one byte that is no UTF-8; a frame that announces a megabyte.
    for (bytes, code, told) in [
        (&[0x83, 0x80, 0, 0, 0, 0][..], 1_002, false),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1_007, false),
        (&[0x81, 0xff, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0], 4_413, true),
        (&[0x81, 0x01, b'x'], 1_002, false),
    ] {
        let world = World::new();
        run(&world, Identity::Known, async |mut io| {
            io.write_all(bytes).await.unwrap();
            let mut client = Client::new(io).await;
            if told {
                assert_eq!(error_of(&client.hears().await), error("frame-too-large", None));
            }
            assert_eq!(client.is_closed().await, code);
        })
        .await;
        assert!(world.is_closed());
    }
}

#[tokio::test]
async fn a_peer_that_vanishes_takes_its_stream_along() {
    let world = World::new();
    let (ending, _) = run(&world, Identity::Known, async |io| {
        let mut client = Client::new(io).await;
        world.send("{}");
        client.hears().await;
        drop(client);
    })
    .await;
    assert_eq!(ending, Ending::Left);
    assert!(world.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_the_close_is_not_waited_for() {
    let world = World::new();
    world.end(CloseReason::ShuttingDown);
    let (ending, seconds) = run(&world, Identity::Known, async |io| {
        tokio::time::sleep(Duration::from_secs(20)).await;
        drop(io);
    })
    .await;
    assert_eq!(ending, Ending::Closed(CloseCode::ShuttingDown));
    assert_eq!(seconds, 5);
}

#[tokio::test]
async fn a_panic_closes_its_connection_with_a_code_that_lets_the_client_come_back_and_is_counted() {
    let world = World::new();
    world.send(POISON_FRAME);
    let (ending, _) = run(&world, Identity::Known, async |io| {
        assert_eq!(Client::new(io).await.is_closed().await, 4_004);
    })
    .await;
    assert_eq!(ending, Ending::Closed(CloseCode::Failed));
    assert!(world.is_closed(), "the stream goes with it");

    let called = World::new();
    let (ending, _) = run(&called, Identity::Known, async |io| {
        let mut client = Client::new(io).await;
        let poison = format!(r#"{{"op":"heartbeat","sequence":{POISON_SEQUENCE}}}"#);
        client.say(poison).await;
        assert_eq!(client.is_closed().await, 4_004);
    })
    .await;
    assert_eq!(ending, Ending::Closed(CloseCode::Failed));
    assert_eq!((world.panics(), called.panics()), (1, 1));
}

#[tokio::test]
async fn dropping_the_loop_closes_the_stream_and_the_call_in_flight() {
    let world = World::new();
    world.permits.forget_permits(100);
    let (ours, theirs) = duplex(KERNEL_BYTES);
    let mut client = Client::new(theirs).await;
    {
        let door = Arc::new(Routes(Arc::clone(&world)));
        let serving = serve(ours, Identity::Known, door, &*world);
        tokio::pin!(serving);
        tokio::select! {
            _ = &mut serving => panic!("nothing ends it"),
            () = async {
                client.say(r#"{"op":"heartbeat","sequence":7}"#).await;
                world.send("{}");
                client.hears().await;
            } => {}
        }
        assert!(!world.is_closed());
    }
    assert!(world.is_closed());
    assert_eq!(Arc::strong_count(&world), 1, "no call is left behind");
}

#[test]
fn an_idle_connection_is_small() {
    let world = World::new();
    let (ours, _theirs) = duplex(1);
    let door = Arc::new(Routes(Arc::clone(&world)));
    let serving = serve(ours, Identity::Known, door, &*world);
    let size = size_of_val(&serving);
    assert!(size <= 1_024, "the loop's state has {size} bytes");
}
