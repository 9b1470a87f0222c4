use std::sync::{Arc, Mutex};
use std::time::Duration;

use application::ports::{
    Acceptance, Accepted, Durability, Receipt, ReceiptStatus, Refusal, Retraction, StoreError, Written,
};
use application::testing::SimClock;
use domain::channel::Channel;
use domain::cursor::Epoch;
use futures_util::stream;
use poem::Body;
use poem::http::Method;
use serde_json::{Value, json};

use super::World;
use super::world::cursor;

const DRAFT: &str = r#"{"audience":{"users":["u-42"]},"type":"solicitacao.aprovada","title":"Aprovada"}"#;

fn accepted(item: &Acceptance, replayed: bool) -> Accepted {
    let receipt = Receipt {
        id: item.notification.id,
        status: ReceiptStatus::Published,
        events: 1,
        cursor: Some(cursor(7)),
        durability: Durability::Memory,
        accepted_at: SimClock::START,
    };
    Accepted { receipt, replayed }
}

fn written<T>(value: T) -> Written<T> {
    Written {
        value,
        epoch: Epoch(36),
        events: Vec::new(),
    }
}

/// A world whose store takes everything and keeps a copy.
fn taking() -> (World, Arc<Mutex<Vec<Acceptance>>>) {
    let mut world = World::new();
    let kept: Arc<Mutex<Vec<Acceptance>>> = Arc::default();
    let keep = Arc::clone(&kept);
    world.store.expect_accept().returning(move |batch| {
        let outcomes = batch.iter().map(|item| Ok(accepted(item, false))).collect();
        keep.lock().unwrap().extend(batch);
        Ok(written(outcomes))
    });
    (world, kept)
}

#[tokio::test]
async fn a_publish_is_answered_with_its_receipt() {
    let (world, kept) = taking();
    let client = world.serve();

    let reply = client
        .post("/v1/notifications")
        .bearer("svc:SERVICE")
        .json(DRAFT)
        .send()
        .await;

    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("idempotent-replayed"), None);
    assert_eq!(
        reply.json(),
        json!({
            "id": "00000000-0000-0000-0000-000000000001", "status": "published", "events": 1, "cursor": "10-7",
            "durability": "memory", "accepted_at": "2026-01-01T00:00:00.000Z",
        })
    );
    let kept = kept.lock().unwrap();
    assert_eq!(&*kept[0].notification.content.data, "{}");
    assert_eq!(kept[0].idempotency, None);
}

#[tokio::test]
async fn the_key_travels_and_a_repeat_says_so() {
    let mut world = World::new();
    world.store.expect_accept().returning(|batch| {
        assert_eq!(batch[0].idempotency.as_ref().unwrap().key, "k-1");
        Ok(written(vec![Ok(accepted(&batch[0], true))]))
    });
    let call = world.serve();
    let reply = call
        .post("/v1/notifications")
        .bearer("svc:SERVICE")
        .header("idempotency-key", "k-1");
    let reply = reply.json(DRAFT).send().await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("idempotent-replayed")),
        (201, Some("true"))
    );
}

#[tokio::test]
async fn bad_keys_are_refused_and_never_ignored() {
    let (world, kept) = taking();
    let client = world.serve();
    for bad in ["", "a b", "é", &"k".repeat(129)] {
        let call = client
            .post("/v1/notifications")
            .bearer("svc:SERVICE")
            .header("idempotency-key", bad);
        let reply = call.json(DRAFT).send().await;
        reply.refuses(400, "invalid-request");
        assert_eq!(reply.fields(), ["Idempotency-Key"]);
    }
    let twice = client.post("/v1/notifications").bearer("svc:SERVICE");
    let twice = twice
        .header("idempotency-key", "a")
        .header("idempotency-key", "b")
        .json(DRAFT)
        .send()
        .await;
    assert_eq!(twice.fields(), ["Idempotency-Key"]);
    assert!(kept.lock().unwrap().is_empty());
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_draft_is_named_and_nothing_is_stored() {
    let (world, kept) = taking();
    let client = world.serve();
    let cases: [(&str, &[&str]); 17] = [
        ("{}", &["audience", "type", "title"]),
        (
            r#"{"audience":{"users":[]},"type":"x","title":"t"}"#,
            &["audience.users"],
        ),
        (
            r#"{"audience":{"users":["a"],"unit":"u"},"type":"x","title":"t"}"#,
            &["audience"],
        ),
        (
            r#"{"audience":{"users":["a",5]},"type":"x","title":"t"}"#,
            &["audience.users[1]"],
        ),
        (
            r#"{"audience":{"everyone":true,"unit":null},"type":"x","title":"t"}"#,
            &["audience.unit"],
        ),
        (
            r#"{"audience":{"channel":"x"},"type":"x","title":"t"}"#,
            &["audience.channel"],
        ),
        (
            r#"{"audience":{"everyone":true},"type":"x","title":"t","nmae":1}"#,
            &["nmae"],
        ),
        (
            r#"{"audience":{"everyone":true},"type":"x","title":"t","title":"u"}"#,
            &["title"],
        ),
        (
            r#"{"audience":{"everyone":true},"type":"x","title":"a\nb"}"#,
            &["title"],
        ),
        (
            r#"{"audience":{"everyone":true},"type":"x","title":"t","deliver_at":"soon"}"#,
            &["deliver_at"],
        ),
        (
            r#"{"audience":{"everyone":true},"type":"x","title":"t","expires_at":"2020-01-01T00:00:00Z"}"#,
            &["expires_at"],
        ),
        (
            r#"{"audience":{"everyone":true},"type":"x","title":"t","idempotency_key":"k"}"#,
            &["idempotency_key"],
        ),
        (
            r#"{"audience":{"everyone":true},"type":"x","title":"t","data":"\udc00"}"#,
            &["data"],
        ),
        (
            r#"{"audience":{"everyone":true},"type":"x","title":"t","requires_ack":1}"#,
            &["requires_ack"],
        ),
        (
            r#"{"audience":{"everyone":true},"type":"x","title":"t","link":"//evil"}"#,
            &["link"],
        ),
        (r#"{"audience":[["u-42"]],"type":"x","title":"t"}"#, &["audience"]),
        (r#"[{"everyone":true},"x",null,"t"]"#, &[]),
    ];
    for (body, fields) in cases {
        let reply = client
            .post("/v1/notifications")
            .bearer("svc:SERVICE")
            .json(body)
            .send()
            .await;
        reply.refuses(400, "invalid-request");
        assert_eq!(reply.fields(), fields, "{body}: {}", reply.text);
    }
    assert!(kept.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_way_of_refusing_has_its_status() {
    let (world, _) = taking();
    let client = world.serve();
    let call = || client.post("/v1/notifications");

    call().json(DRAFT).send().await.refuses(401, "token-missing");
    call()
        .bearer("u-1:CIDADAO")
        .json(DRAFT)
        .send()
        .await
        .refuses(403, "forbidden");
    call()
        .bearer("svc:SERVICE")
        .body(DRAFT)
        .send()
        .await
        .refuses(415, "unsupported-media-type");
    let plain = call()
        .bearer("svc:SERVICE")
        .body(DRAFT)
        .header("content-type", "text/plain");
    plain.send().await.refuses(415, "unsupported-media-type");
    let packed = call()
        .bearer("svc:SERVICE")
        .json(DRAFT)
        .header("content-encoding", "gzip");
    packed.send().await.refuses(415, "unsupported-media-type");
    for broken in ["", "{", "nonsense", "{\"title\":\"\\ud800\"}"] {
        call()
            .bearer("svc:SERVICE")
            .json(broken)
            .send()
            .await
            .refuses(400, "invalid-request");
    }
    let not_text = call()
        .bearer("svc:SERVICE")
        .body(b"{\"title\":\"\xff\"}".to_vec())
        .header("content-type", "application/json");
    not_text.send().await.refuses(400, "invalid-request");
    let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 4_096]));
    let endless = call()
        .bearer("svc:SERVICE")
        .body(Body::from_bytes_stream(endless))
        .header("content-type", "application/json");
    endless.send().await.refuses(413, "body-too-large");
    let large =
        json!({ "audience": { "everyone": true }, "type": "x", "title": "t", "data": "x".repeat(33_000) });
    call()
        .bearer("svc:SERVICE")
        .json(large.to_string())
        .send()
        .await
        .refuses(413, "notification-too-large");
}

#[tokio::test]
async fn a_thousand_people_and_the_longest_body_fit_into_one_request() {
    let (world, kept) = taking();
    let client = world.serve();
    let users: Vec<String> = (0..1_000).map(|n| format!("{n:064}")).collect();
    let escaped = "\\u00e9".repeat(5_000);
    let body = format!(
        r#"{{"audience":{{"users":{}}},"type":"x","title":"t","body":"{escaped}"}}"#,
        Value::from(users)
    );
    let reply = client
        .post("/v1/notifications")
        .bearer("svc:SERVICE")
        .json(body)
        .send()
        .await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(kept.lock().unwrap()[0].plan.channels.len(), 1_000);
}

#[tokio::test]
async fn what_the_store_says_becomes_a_problem() {
    let after = Duration::from_millis(1_500);
    let cases: [(StoreError, &str); 2] = [
        (
            StoreError::Unavailable { retry_after: after },
            "store-unavailable",
        ),
        (
            StoreError::OutcomeUnknown { retry_after: after },
            "outcome-unknown",
        ),
    ];
    for (error, kind) in cases {
        let mut world = World::new();
        world.store.expect_accept().returning(move |_| Err(error.clone()));
        let reply = world
            .serve()
            .post("/v1/notifications")
            .bearer("svc:SERVICE")
            .json(DRAFT)
            .send()
            .await;
        reply.refuses(503, kind);
        assert_eq!(reply.header("retry-after"), Some("2"));
    }
    let full = Refusal::Full {
        what: "scheduled notifications",
        retry_after: after,
    };
    for (refusal, status, kind) in [
        (Refusal::KeyReused, 409, "idempotency-key-reused"),
        (full, 503, "capacity-reached"),
    ] {
        let mut world = World::new();
        world
            .store
            .expect_accept()
            .returning(move |_| Ok(written(vec![Err(refusal.clone())])));
        let reply = world
            .serve()
            .post("/v1/notifications")
            .bearer("svc:SERVICE")
            .json(DRAFT)
            .send()
            .await;
        reply.refuses(status, kind);
    }
}

#[tokio::test]
async fn a_batch_has_one_result_for_each_item_in_order() {
    let (world, kept) = taking();
    let client = world.serve();
    let with_key = r#"{"audience":{"unit":"cras-1"},"type":"x","title":"t","idempotency_key":"k-2"}"#;
    let body = format!(r#"{{"items":[{DRAFT},{{"title":7}},{{"type":"x"}},{with_key}]}}"#);

    let reply = client
        .post("/v1/notifications/batch")
        .bearer("svc:SERVICE")
        .json(body)
        .send()
        .await;

    assert_eq!(reply.status, 200);
    let results = reply.json()["results"].clone();
    let statuses: Vec<u64> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [201, 400, 400, 201]);
    assert_eq!(results[0]["receipt"]["cursor"], "10-7");
    assert_eq!(results[0]["replayed"], false);
    assert_eq!(results[1]["problem"]["type"], "/problems/invalid-request");
    assert_eq!(results[1]["problem"]["errors"][0]["field"], "title");
    assert_eq!(results[2]["problem"]["errors"].as_array().unwrap().len(), 2);
    assert_eq!(kept.lock().unwrap()[1].idempotency.as_ref().unwrap().key, "k-2");
}

#[tokio::test]
async fn a_batch_that_cannot_be_taken_is_one_problem() {
    let (world, _) = taking();
    let client = world.serve();
    let call = || client.post("/v1/notifications/batch");
    for body in [
        r"{}".to_owned(),
        r#"{"items":[]}"#.to_owned(),
        r#"{"items":5}"#.to_owned(),
        format!(r#"{{"items":[{}]}}"#, vec!["{}"; 501].join(",")),
        r#"{"items":[{}],"mode":"x"}"#.to_owned(),
    ] {
        call()
            .bearer("svc:SERVICE")
            .json(body)
            .send()
            .await
            .refuses(400, "invalid-request");
    }
    call()
        .json(r#"{"items":[{}]}"#)
        .send()
        .await
        .refuses(401, "token-missing");
    let large = call()
        .bearer("svc:SERVICE")
        .json("{}")
        .header("content-length", "4194305");
    large.send().await.refuses(413, "body-too-large");
}

#[tokio::test]
async fn retracting_answers_204_and_to_strangers_404() {
    const ADDRESS: &str = "/v1/notifications/00000000-0000-0000-0000-000000000001";
    let serve = |known: bool| {
        let mut world = World::new();
        world
            .store
            .expect_channels_of()
            .returning(move |_| Ok(known.then(|| vec![Channel::System])));
        world
            .store
            .expect_retract()
            .returning(|_| Ok(written(Retraction::Retracted)));
        world.serve()
    };
    let known = serve(true);
    let delete = |address: &str, token: &str| known.request(Method::DELETE, address).bearer(token);

    let done = delete(ADDRESS, "svc:SERVICE").send().await;
    assert_eq!((done.status.as_u16(), done.text.as_str()), (204, ""));
    delete(ADDRESS, "u:COORDENADOR")
        .send()
        .await
        .refuses(404, "not-found");
    delete(ADDRESS, "u:CIDADAO")
        .send()
        .await
        .refuses(403, "forbidden");
    delete("/v1/notifications/junk", "svc:SERVICE")
        .send()
        .await
        .refuses(404, "not-found");
    let gone = serve(false);
    gone.request(Method::DELETE, ADDRESS)
        .bearer("svc:SERVICE")
        .send()
        .await
        .refuses(404, "not-found");
}
