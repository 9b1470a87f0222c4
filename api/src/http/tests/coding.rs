//! What is compressed, for whom, and what never is.

use std::sync::Arc;

use application::ports::{EventPage, Format, Head, OpenError, Outgoing};
use application::testing::SimClock;
use domain::channel::Channel;
use domain::degrade::Level;
use domain::event::{Change, Event};
use domain::notification::{Content, Notification};
use domain::stream::CloseReason;

use super::inbox::page;
use super::world::{cursor, frame};
use super::{Call, Client, Reply, World};

const STREAM: &str = "/v1/stream";
const INBOX: &str = "/v1/notifications";
const REPLAY: &str = "/v1/events/replay?after=10-5";

/// A world with something to read on a stream, in an inbox and in history: far more than a page has to have.
fn world() -> World {
    let mut world = World::new();
    world.store.expect_meet().returning(|_| Ok(()));
    world.store.expect_inbox().returning(|_, _| {
        let mut page = page(false);
        page.items = page.items.into_iter().cycle().take(20).collect();
        Ok(page)
    });
    let head = || Head {
        cursor: cursor(12),
        oldest: cursor(1).position,
    };
    world.store.expect_head().returning(move || Ok(head()));
    world.store.expect_read_channels().returning(move |_| {
        let item = page(false).items.remove(0);
        let events = (6..12).map(|position| {
            Arc::new(Event {
                position: cursor(position).position,
                at: SimClock::START,
                change: Change::Published {
                    channel: Channel::System,
                    notification: Arc::new(Notification {
                        content: Content {
                            body: "Seu pedido foi aprovado. ".repeat(20).into(),
                            ..item.notification.content.clone()
                        },
                        ..(*item.notification).clone()
                    }),
                },
            })
        });
        Ok(EventPage {
            events: events.collect(),
            scanned_to: cursor(12).position,
            head: head(),
        })
    });
    *world.streams.frames.lock().unwrap() = vec![
        frame("id: 10-1\ndata: 1\n\n"),
        Outgoing::KeepAlive,
        frame("data: 2\n\n"),
    ];
    world
}

fn asking<'a>(client: &'a Client, address: &str) -> Call<'a> {
    let call = client.get(address).bearer("u-42:CIDADAO");
    call.header("accept-encoding", "gzip, deflate, br")
}

fn varies(reply: &Reply) -> Vec<&str> {
    let values = reply.headers.get_all("vary").iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn streams_and_pages_are_compressed_where_that_is_asked_for_and_say_the_same() {
    let client = world().serve();
    for address in [STREAM, INBOX, REPLAY] {
        let plain = client.get(address).bearer("u-42:CIDADAO").send().await;
        let gzip = asking(&client, address).send().await;
        assert_eq!(plain.header("content-encoding"), None, "{address}");
        assert_eq!(gzip.header("content-encoding"), Some("gzip"), "{address}");
        assert_eq!(plain.text, gzip.text, "{address}");
        for reply in [plain, gzip] {
            assert_eq!(varies(&reply), ["Accept-Encoding", "Origin"], "{address}");
        }
    }
}

#[tokio::test]
async fn a_compressed_stream_is_opened_as_one_and_keeps_its_headers() {
    let world = world();
    let streams = Arc::clone(&world.streams);
    let client = world.serve();
    let reply = asking(&client, STREAM).send().await;
    assert_eq!(reply.text, "id: 10-1\ndata: 1\n\n:\n\ndata: 2\n\n");
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("cache-control"), Some("no-store, no-transform"));
    assert_eq!(streams.opened.lock().unwrap()[0].format, Format::SseGzip);
}

#[tokio::test]
async fn from_moderate_on_neither_new_streams_nor_pages_are_compressed() {
    let world = world();
    let load = Arc::clone(&world.load);
    let client = world.serve();
    for level in Level::ALL {
        load.enter(level);
        for address in [STREAM, INBOX, REPLAY] {
            let reply = asking(&client, address)
                .header("last-event-id", "10-4")
                .send()
                .await;
            let compressed = reply.header("content-encoding").is_some();
            let expected = matches!(level, Level::Normal | Level::Light);
            assert_eq!(compressed, expected, "{address} on the level {level}");
            assert_eq!(varies(&reply), ["Accept-Encoding", "Origin"]);
        }
    }
}

#[tokio::test]
async fn where_it_is_switched_off_nothing_is_compressed() {
    let mut world = world();
    world.config.compression = false;
    let client = world.serve();
    for address in [STREAM, INBOX, REPLAY] {
        let reply = asking(&client, address).send().await;
        assert_eq!(reply.header("content-encoding"), None, "{address}");
    }
}

#[tokio::test]
async fn a_page_that_fits_into_a_packet_is_sent_as_it_is() {
    let mut world = World::new();
    world.store.expect_inbox().returning(|_, _| {
        let mut page = page(false);
        page.items.truncate(1);
        Ok(page)
    });
    let client = world.serve();
    let reply = asking(&client, INBOX).send().await;
    assert!(reply.text.len() < 1_024);
    assert_eq!(reply.header("content-encoding"), None);
}

#[tokio::test]
async fn the_size_of_a_page_is_blurred() {
    let client = world().serve();
    let mut sizes = Vec::new();
    for _ in 0..8 {
        sizes.push(asking(&client, INBOX).send().await.sent_bytes);
    }
    sizes.dedup();
    assert!(sizes.len() > 1, "the same page has always {} bytes", sizes[0]);
}

#[tokio::test]
async fn what_carries_secrets_or_is_refused_is_never_compressed() {
    let mut world = world();
    world.config.dev = true;
    *world.streams.refusal.lock().unwrap() = Some(OpenError::Refused {
        reason: CloseReason::Overloaded,
        after: std::time::Duration::from_secs(3),
    });
    let client = world.serve();
    let forged = client.get(INBOX).bearer("forged");
    let calls = [
        client.post("/v1/stream/tickets").bearer("u-42:CIDADAO"),
        client.post("/dev/token").json(r#"{"sub":"u-42"}"#),
        client.get(STREAM).bearer("u-42:CIDADAO"),
        forged,
        client.get("/nowhere"),
    ];
    for call in calls {
        let reply = call.header("accept-encoding", "gzip, identity;q=0").send().await;
        assert_eq!(reply.header("content-encoding"), None, "{reply:?}");
    }
}
