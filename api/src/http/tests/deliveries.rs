//! Dead deliveries, for administrators.

use application::ports::{DeliveryPage, DeliveryRow};
use application::testing::SimClock;
use domain::outbox::{DeadReason, Delivery, Status};
use poem::http::Method;
use serde_json::json;

use super::world::cursor;
use super::{Call, Client, World};

const ADDRESS: &str = "/v1/admin/deliveries";

fn row(position: u64, status: Status) -> DeliveryRow {
    DeliveryRow {
        cursor: cursor(position),
        channel: "system:notifications".parse().unwrap(),
        delivery: Delivery {
            status,
            attempts: 1,
            ..Delivery::pending(SimClock::START)
        },
        version: 2,
    }
}

fn page(rows: Vec<DeliveryRow>) -> DeliveryPage {
    DeliveryPage {
        rows,
        now: SimClock::START,
    }
}

const DEAD: Status = Status::Dead(DeadReason::Refused { code: 40_009 });

fn call<'a>(client: &'a Client, method: Method, rest: &str) -> Call<'a> {
    let call = client.request(method, &format!("{ADDRESS}{rest}"));
    call.bearer("admin-1:ADMIN")
}

#[tokio::test]
async fn dead_deliveries_are_listed_page_by_page() {
    let mut world = World::new();
    world.outbox.expect_dead().returning(|after, limit| {
        assert_eq!((after.map(|after| after.0), limit), (Some(4), 2));
        Ok(page(vec![row(5, DEAD), row(9, DEAD)]))
    });
    let client = world.serve();
    let reply = call(&client, Method::GET, "?status=dead&after=10-4&limit=1")
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(
        reply.json(),
        json!({
            "items": [{
                "id": "10-5", "channel": "system:notifications", "status": "dead", "reason": "refused", "code": 40_009,
                "retry_at": null, "since": "2026-01-01T00:00:00.000Z", "attempts": 1, "revived": false,
            }],
            "next": "10-5",
        })
    );
}

#[tokio::test]
async fn without_a_word_the_first_fifty_are_listed() {
    let mut world = World::new();
    world.outbox.expect_dead().returning(|after, limit| {
        assert_eq!((after, limit), (None, 51));
        Ok(page(Vec::new()))
    });
    let reply = call(&world.serve(), Method::GET, "").send().await;
    assert_eq!(reply.json(), json!({ "items": [], "next": null }));
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_question_is_named() {
    let client = World::new().serve();
    let reply = call(&client, Method::GET, "?status=done&after=x&limit=201")
        .send()
        .await;
    reply.refuses(400, "invalid-request");
    assert_eq!(reply.fields(), ["status", "after", "limit"]);
}

#[tokio::test]
async fn a_dead_delivery_is_sent_once_more() {
    let mut world = World::new();
    world
        .outbox
        .expect_find()
        .returning(|_| Ok(page(vec![row(5, DEAD)])));
    world.outbox.expect_update().times(1).returning(|rows| {
        assert_eq!(
            (rows[0].delivery.status, rows[0].delivery.revived),
            (Status::Pending, true)
        );
        Ok(vec![true])
    });
    let client = world.serve();
    let reply = call(&client, Method::POST, "/10-5/replay").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let told = reply.json();
    assert_eq!(
        (&told["id"], &told["status"], &told["revived"], &told["reason"]),
        (&json!("10-5"), &json!("pending"), &json!(true), &json!(null))
    );
}

#[tokio::test]
async fn what_is_not_dead_or_not_known_is_not_sent() {
    let mut world = World::new();
    world
        .outbox
        .expect_find()
        .returning(|_| Ok(page(vec![row(5, Status::Done)])));
    let client = world.serve();
    let done = call(&client, Method::POST, "/10-5/replay").send().await;
    done.refuses(409, "delivery-not-dead");
    assert!(done.text.contains("is done"), "{}", done.text);
    for unknown in ["/10-6/replay", "/9-5/replay", "/x/replay"] {
        let reply = call(&client, Method::POST, unknown).send().await;
        reply.refuses(404, "not-found");
    }
}
