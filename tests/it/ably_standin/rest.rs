//! Publishing, history and the time.

use std::sync::Arc;
use std::time::Duration;

use application::testing::SimClock;
use serde_json::json;
use tests::standin::{PUBLISH_KEY, Setup, StandIn, TOKEN_KEY};

use super::{CHANNEL, batch, client, message, publishing, refused, told, with_key};

#[tokio::test]
async fn one_id_counts_once_for_two_minutes() {
    let clock = Arc::new(SimClock::new());
    let ably = Setup::new().unwrap().clock(clock.clone()).start().unwrap();
    let (status, first) = told(publishing(&ably, &json!([message("evt-1")]))).await;
    assert_eq!(
        (status, &first["channel"], &first["messageId"]),
        (201, &json!(CHANNEL), &json!("evt-1"))
    );
    clock.advance(Duration::from_secs(119));
    let (status, second) = told(publishing(&ably, &message("evt-1"))).await;
    assert_eq!((status, second), (201, first), "the first receipt again");
    assert_eq!(ably.ledger().accepted(CHANNEL).len(), 1);
    assert_eq!(ably.ledger().counts().repeated, 1);
    clock.advance(Duration::from_secs(1));
    told(publishing(&ably, &message("evt-1"))).await;
    assert_eq!(
        ably.ledger().accepted(CHANNEL).len(),
        2,
        "after two minutes it is a new message"
    );
}

#[tokio::test]
async fn what_the_key_may_not_do_is_refused_with_401() {
    let ably = StandIn::start().unwrap();
    let path = format!("{}/channels/{CHANNEL}/messages", ably.url());
    let weak = with_key(client().post(&path), TOKEN_KEY).json(&message("evt-1"));
    assert_eq!(refused(weak).await, (401, 40160));
    let wrong = with_key(client().post(&path), "standin.publish:wrong").json(&message("evt-1"));
    assert_eq!(refused(wrong).await, (401, 40101));
    assert_eq!(
        refused(client().post(&path).json(&message("evt-1"))).await,
        (401, 40106)
    );
    assert!(ably.ledger().accepted(CHANNEL).is_empty());
    let shown = format!("{:?}", ably.ledger().requests());
    assert!(
        !shown.contains("YXBw") && !shown.contains("development-only"),
        "a secret is in the ledger"
    );
    assert!(shown.contains("Basic …"), "{shown}");
}

#[tokio::test]
async fn messages_that_ably_would_refuse_are_refused() {
    let ably = StandIn::start().unwrap();
    for (body, expected) in [
        (json!({ "data": "x".repeat(64 * 1024) + "y" }), (413, 40009)),
        (json!({ "data": 7 }), (400, 40013)),
        (json!([{ "id": "a:0" }, { "id": "b:1" }]), (400, 40031)),
        (json!([]), (400, 40000)),
        (json!("text"), (400, 40000)),
    ] {
        assert_eq!(refused(publishing(&ably, &body)).await, expected, "{body}");
    }
    let nowhere = with_key(
        client().post(format!("{}/channels/%5Bmeta%5Dlog/messages", ably.url())),
        PUBLISH_KEY,
    );
    assert_eq!(refused(nowhere.json(&message("evt-1"))).await, (400, 40010));
    let packed = with_key(client().post(format!("{}/messages", ably.url())), PUBLISH_KEY);
    let packed = packed
        .header("content-type", "application/x-msgpack")
        .body("\u{1}");
    assert_eq!(refused(packed).await, (415, 40000));
}

#[tokio::test]
async fn a_batch_has_a_result_for_each_specification() {
    let ably = StandIn::start().unwrap();
    let (status, body) = told(batch(&ably, &["a", "[b", "c"])).await;
    assert_eq!(status, 201);
    assert_eq!(body[0]["results"][0]["messageId"], "evt-a");
    assert_eq!(
        (&body[1]["failureCount"], &body[1]["results"][0]["error"]["code"]),
        (&json!(1), &json!(40010))
    );
    assert_eq!(
        (&body[2]["successCount"], &body[2]["results"][0]["channel"]),
        (&json!(1), &json!("c"))
    );
}

#[tokio::test]
async fn the_older_shape_of_a_batch_is_flat_and_fails_as_a_whole() {
    let ably = StandIn::start().unwrap();
    let ask = |channels: serde_json::Value| {
        let (name, secret) = PUBLISH_KEY.split_once(':').unwrap();
        let request = client()
            .post(format!("{}/messages", ably.url()))
            .basic_auth(name, Some(secret));
        request.json(&json!({ "channels": channels, "messages": message("evt-1") }))
    };
    let (status, body) = told(ask(json!(["a", "b"]))).await;
    assert_eq!((status, &body[1]["channel"]), (201, &json!("b")));
    let (status, body) = told(ask(json!(["c", "[d"]))).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!(40020)));
    assert_eq!(body["batchResponse"][0]["channel"], "c");
    assert_eq!(body["batchResponse"][1]["error"]["code"], 40010);
}

#[tokio::test]
async fn history_is_two_minutes_long_newest_first() {
    let clock = Arc::new(SimClock::new());
    let ably = Setup::new().unwrap().clock(clock.clone()).start().unwrap();
    for id in ["evt-1", "evt-2", "evt-3"] {
        told(publishing(&ably, &message(id))).await;
        clock.advance(Duration::from_secs(50));
    }
    let path = format!("{}/channels/{CHANNEL}/messages", ably.url());
    let ids = async |query: &str| {
        let (status, body) = told(with_key(client().get(format!("{path}{query}")), TOKEN_KEY)).await;
        assert_eq!(status, 200);
        let ids = body
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(
        ids("").await,
        ["evt-3", "evt-2"],
        "the first is older than two minutes"
    );
    assert_eq!(ids("?direction=forwards").await, ["evt-2", "evt-3"]);
    assert_eq!(ids("?limit=1").await, ["evt-3"]);
}

#[tokio::test]
async fn everybody_is_told_the_time() {
    let clock = Arc::new(SimClock::new());
    let ably = Setup::new().unwrap().clock(clock).start().unwrap();
    let answer = told(client().get(format!("{}/time", ably.url()))).await;
    assert_eq!(answer, (200, json!([SimClock::START.as_millis()])));
}
