//! What a client is told to listen on.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{DeliveryPage, DeliveryRow, EventPage, Head, ReadError, StoreError};
use application::testing::SimClock;
use domain::breaker::BreakerState;
use domain::cohort::Share;
use domain::cursor::Position;
use domain::event::{Change, Event};
use domain::outbox::{Delivery, Status};
use serde_json::{Value, json};

use super::world::cursor;
use super::{Call, Client, World};

const ADDRESS: &str = "/v1/transport";
const OWN: &str = "private:user:u-42:notifications";

fn head() -> Head {
    Head {
        cursor: cursor(9),
        oldest: Position(2),
    }
}

/// Everybody is on Ably, and the log holds one event of the caller, which stands like this there.
fn with_ably(status: Status) -> World {
    let mut world = World::new();
    world.breaker = Some(BreakerState::Closed);
    world.rollout.share = Share::percent(100);
    world.store.expect_head().returning(|| Ok(head()));
    world.store.expect_read_channels().returning(|query| {
        assert_eq!(query.channels.len(), 2);
        let event = Event {
            position: Position(6),
            at: SimClock::START,
            change: Change::Retracted {
                channel: OWN.parse().unwrap(),
                id: "019b76da-a800-7cc0-8a5e-0a6b6e1f2c3d".parse().unwrap(),
            },
        };
        Ok(EventPage {
            events: vec![Arc::new(event)],
            scanned_to: query.up_to,
            head: head(),
        })
    });
    world.outbox.expect_find().returning(move |_| {
        let row = DeliveryRow {
            cursor: cursor(6),
            channel: OWN.parse().unwrap(),
            delivery: Delivery {
                status,
                ..Delivery::pending(SimClock::START)
            },
            version: 1,
        };
        Ok(DeliveryPage {
            rows: vec![row],
            now: SimClock::START,
        })
    });
    world
}

fn ask<'a>(client: &'a Client, query: &str) -> Call<'a> {
    client.get(&format!("{ADDRESS}{query}")).bearer("u-42:CIDADAO")
}

async fn told(client: &Client, query: &str) -> Value {
    let reply = ask(client, query).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let mut body = reply.json();
    let poll = body.as_object_mut().unwrap().remove("poll_after_ms");
    let poll = poll.and_then(|poll| poll.as_u64()).unwrap();
    assert!((1..=20_000).contains(&poll), "{poll}");
    body
}

#[tokio::test]
async fn a_client_learns_the_last_cursor_of_each_of_its_channels() {
    let client = with_ably(Status::Done).serve();
    assert_eq!(
        told(&client, "?after=10-5").await,
        json!({
            "transport": "ably", "reason": "in_cohort", "fallback": "sse", "cursor": "10-9",
            "channels": { OWN: "10-6" }, "replay": false,
        })
    );
}

#[tokio::test]
async fn what_ably_has_not_accepted_is_to_be_replayed() {
    let client = with_ably(Status::Pending).serve();
    let told = told(&client, "?after=10-5").await;
    assert_eq!(
        (&told["replay"], &told["channels"]),
        (&json!(true), &json!({ OWN: "10-6" }))
    );
}

#[tokio::test]
async fn without_a_cursor_the_answer_says_where_to_begin() {
    let client = with_ably(Status::Done).serve();
    let told = told(&client, "").await;
    assert_eq!(
        (&told["cursor"], &told["replay"], &told["channels"]),
        (&json!("10-9"), &json!(false), &json!({}))
    );
}

#[tokio::test]
async fn without_ably_everybody_is_on_the_streams() {
    let mut world = World::new();
    world.store.expect_head().returning(|| Ok(head()));
    let told = told(&world.serve(), "?after=10-5").await;
    assert_eq!(
        told,
        json!({
            "transport": "sse", "reason": "not_configured", "fallback": "sse", "cursor": "10-9",
            "channels": {}, "replay": true,
        })
    );
}

#[tokio::test]
async fn a_cursor_of_another_history_or_of_the_future_is_for_the_replay() {
    let client = with_ably(Status::Done).serve();
    for after in ["z-5", "0-0", "10-10", "10-0"] {
        let told = told(&client, &format!("?after={after}")).await;
        assert_eq!(told["replay"], true, "{after}");
    }
}

#[tokio::test]
async fn only_one_cursor_is_taken_and_only_from_people_with_channels() {
    let client = with_ably(Status::Done).serve();
    for query in ["?after=", "?after=x", "?after=10-5&after=10-5", "?after=10-05"] {
        let reply = ask(&client, query).send().await;
        reply.refuses(400, "invalid-request");
        assert_eq!(reply.fields(), ["after"], "{query}");
    }
    client.get(ADDRESS).send().await.refuses(401, "token-missing");
    let service = client.get(ADDRESS).bearer("job:SERVICE");
    service.send().await.refuses(403, "forbidden");
}

#[tokio::test]
async fn a_store_that_is_away_is_said_and_not_taken_for_nothing_new() {
    let away = StoreError::Unavailable {
        retry_after: Duration::from_secs(3),
    };
    let mut world = World::new();
    world.breaker = Some(BreakerState::Closed);
    world.rollout.share = Share::percent(100);
    world.store.expect_head().returning(|| Ok(head()));
    world
        .store
        .expect_read_channels()
        .returning(move |_| Err(ReadError::Store(away.clone())));
    let reply = ask(&world.serve(), "?after=10-5").send().await;
    reply.refuses(503, "store-unavailable");
    assert_eq!(reply.header("retry-after"), Some("3"));
}
