use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use application::ports::{Durability, Head, MockProbe, NotServing, Part, StoreError, StreamsReport};
use domain::cursor::Position;
use serde_json::json;

use super::World;
use super::world::cursor;

fn head() -> Head {
    Head {
        cursor: cursor(12),
        oldest: Position(1),
    }
}

/// A world whose store answers.
fn well() -> World {
    let mut world = World::new();
    world.store.expect_head().returning(|| Ok(head()));
    world.store.expect_durability().return_const(Durability::Memory);
    world
}

pub(super) const fn unavailable() -> StoreError {
    StoreError::Unavailable {
        retry_after: Duration::from_secs(1),
    }
}

fn away() -> World {
    let mut world = World::new();
    world.store.expect_durability().return_const(Durability::Postgres);
    world.store.expect_head().returning(|| Err(unavailable()));
    world
}

#[tokio::test]
async fn a_node_that_is_well_says_so() {
    let client = well().serve();
    for address in ["/health/live", "/health/ready", "/health/streams"] {
        let reply = client.get(address).send().await;
        assert_eq!(
            (reply.status.as_u16(), reply.json()),
            (200, json!({ "status": "up" })),
            "{address}"
        );
    }
    let parts = json!({ "node": "up", "store": "up", "streams": "up", "redis": "disabled", "limits": "disabled", "ably": "disabled" });
    assert_eq!(
        client.get("/health").send().await.json(),
        json!({ "status": "up", "level": "normal", "parts": parts })
    );
    for part in ["postgres", "redis", "ably"] {
        let reply = client.get(&format!("/health/{part}")).send().await;
        assert_eq!(
            (reply.status.as_u16(), reply.json()),
            (200, json!({ "status": "disabled" }))
        );
    }
    client.get("/health/mysql").send().await.refuses(404, "not-found");
}

#[tokio::test]
async fn a_node_that_goes_takes_no_work_and_is_alive() {
    let world = well();
    world.config.ready.store(false, Ordering::Release);
    let client = world.serve();
    assert_eq!(client.get("/health/ready").send().await.status, 503);
    assert_eq!(client.get("/health").send().await.json()["parts"]["node"], "down");
    assert_eq!(client.get("/health/live").send().await.status, 200);
}

#[tokio::test]
async fn a_node_without_its_store_or_its_tail_takes_no_work() {
    let client = away().serve();
    assert_eq!(client.get("/health/ready").send().await.status, 503);
    assert_eq!(
        client.get("/health/postgres").send().await.json(),
        json!({ "status": "down" })
    );
    assert_eq!(
        client.get("/health").send().await.json()["parts"]["store"],
        "down"
    );

    let world = well();
    *world.streams.report.lock().unwrap() = StreamsReport::default();
    let client = world.serve();
    assert_eq!(client.get("/health/ready").send().await.status, 503);
    assert_eq!(client.get("/health/streams").send().await.status, 503);
}

#[tokio::test]
async fn a_node_that_others_stand_in_for_is_degraded_and_takes_work() {
    let mut redis = MockProbe::new();
    redis.expect_part().return_const(Part::Redis);
    redis.expect_probe().returning(|| Err(NotServing));
    let mut world = well();
    world.probes.push(Arc::new(redis));
    let client = world.serve();
    for address in ["/health/ready", "/health"] {
        let reply = client.get(address).send().await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["status"]),
            (200, &json!("degraded")),
            "{address}"
        );
    }
    assert_eq!(
        client.get("/health").send().await.json()["parts"]["redis"],
        "down"
    );
    let reply = client.get("/health/redis").send().await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (503, json!({ "status": "down" }))
    );
}

#[tokio::test]
async fn details_of_streams_are_for_administrators() {
    let world = well();
    *world.streams.report.lock().unwrap() = StreamsReport {
        connections: 3,
        connections_max: 10,
        cursor: Some(cursor(12)),
        lag_positions: 1,
        lag: Duration::from_millis(40),
        ring_events: 4,
        ring_bytes: 500,
        store_reads: 6,
        tailing: true,
    };
    let client = world.serve();
    let details = json!({
        "connections": 3, "connections_max": 10, "cursor": "10-12", "lag_positions": 1, "lag_ms": 40, "ring_events": 4,
        "ring_bytes": 500, "store_reads": 6,
    });
    let admin = client.get("/health/streams").bearer("root:ADMIN").send().await;
    assert_eq!(admin.json(), json!({ "status": "up", "details": details }));
    let person = client.get("/health/streams").bearer("u-42:GESTOR").send().await;
    assert_eq!(person.json(), json!({ "status": "up" }));
    client
        .get("/health/streams")
        .bearer("forged")
        .send()
        .await
        .refuses(401, "token-invalid");
}
