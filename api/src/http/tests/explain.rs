//! Explaining to administrators why somebody is on a transport.

use application::ports::{DeliveryPage, DeliveryRow, EventPage, Head, TokenHolder};
use application::testing::SimClock;
use domain::breaker::BreakerState;
use domain::capability::Role;
use domain::cohort::Share;
use domain::cursor::Position;
use domain::event::{Change, Event};
use domain::outbox::{Delivery, Status};
use serde_json::json;

use super::world::cursor;
use super::{Call, Client, World};

const ID: &str = "019b76da-a800-7cc0-8a5e-0a6b6e1f2c3d";
const UNIT: &str = "private:unit:cras-1:notifications";

fn ask<'a>(client: &'a Client, query: &str) -> Call<'a> {
    let call = client.get(&format!("/v1/admin/explain{query}"));
    call.bearer("admin-1:ADMIN")
}

fn head() -> Head {
    Head {
        cursor: cursor(9),
        oldest: Position(1),
    }
}

#[tokio::test]
async fn a_persons_transport_and_a_notifications_way_are_explained() {
    let mut world = World::new();
    world.breaker = Some(BreakerState::Closed);
    world.rollout.share = Share::percent(100);
    world.outbox.expect_holders().returning(|users| {
        Ok(vec![TokenHolder {
            user: users[0].clone(),
            units: vec!["cras-1".parse().unwrap()],
            roles: vec![Role::new("TECNICO")],
            until: SimClock::START,
        }])
    });
    world
        .store
        .expect_channels_of()
        .returning(|_| Ok(Some(vec![UNIT.parse().unwrap()])));
    world.store.expect_head().returning(|| Ok(head()));
    world.store.expect_read_channels().returning(|query| {
        let event = Event {
            position: Position(6),
            at: SimClock::START,
            change: Change::Retracted {
                channel: UNIT.parse().unwrap(),
                id: ID.parse().unwrap(),
            },
        };
        Ok(EventPage {
            events: vec![event.into()],
            scanned_to: query.up_to,
            head: head(),
        })
    });
    world.outbox.expect_find().returning(|_| {
        Ok(DeliveryPage {
            rows: vec![DeliveryRow {
                cursor: cursor(6),
                channel: UNIT.parse().unwrap(),
                delivery: Delivery {
                    status: Status::Done,
                    attempts: 2,
                    ..Delivery::pending(SimClock::START)
                },
                version: 2,
            }],
            now: SimClock::START,
        })
    });
    let reply = ask(&world.serve(), &format!("?user=u-42&notification={ID}"))
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let rule = |rule: &str| json!({ "rule": rule, "said": null, "reason": null });
    assert_eq!(
        reply.json(),
        json!({
            "user": "u-42",
            "now": {
                "transport": "ably",
                "reason": "in_cohort",
                "steps": [
                    rule("configured"), rule("kill_switch"), rule("override"),
                    { "rule": "cohort", "said": "ably", "reason": "in_cohort" },
                    rule("breaker"), rule("health"),
                ],
            },
            "token": { "until": "2026-01-01T00:00:00.000Z", "units": ["cras-1"], "roles": ["TECNICO"] },
            "notification": {
                "id": ID, "addressed": "yes", "channel": UNIT, "complete": true,
                "events": [{
                    "cursor": "10-6", "event": "retracted", "at": "2026-01-01T00:00:00.000Z", "ably": "accepted",
                    "delivery": {
                        "id": "10-6", "channel": UNIT, "status": "done", "reason": null, "code": null, "retry_at": null,
                        "since": "2026-01-01T00:00:00.000Z", "attempts": 2, "revived": false,
                    },
                }],
            },
        })
    );
}

#[tokio::test]
async fn somebody_whom_nobody_knows_is_explained_as_things_would_be() {
    let mut world = World::new();
    world.outbox.expect_holders().returning(|_| Ok(Vec::new()));
    let reply = ask(&world.serve(), "?user=nobody").send().await;
    assert_eq!(
        reply.json(),
        json!({
            "user": "nobody",
            "now": {
                "transport": "sse",
                "reason": "not_configured",
                "steps": [{ "rule": "configured", "said": "sse", "reason": "not_configured" }],
            },
            "token": null,
            "notification": null,
        })
    );
}

#[tokio::test]
async fn a_notification_that_nobody_knows_is_not_found() {
    let mut world = World::new();
    world.outbox.expect_holders().returning(|_| Ok(Vec::new()));
    world.store.expect_channels_of().returning(|_| Ok(None));
    let reply = ask(&world.serve(), &format!("?user=u-42&notification={ID}"))
        .send()
        .await;
    reply.refuses(404, "not-found");
}

#[tokio::test]
async fn a_question_without_a_person_is_refused() {
    let client = World::new().serve();
    for (query, field) in [
        ("", "user"),
        ("?user=a:b", "user"),
        ("?user=", "user"),
        ("?user=ana&notification=x", "notification"),
    ] {
        let reply = ask(&client, query).send().await;
        reply.refuses(400, "invalid-request");
        assert_eq!(reply.fields(), [field], "{query}");
    }
}
