//! What a node leaves out when it is pressed, and what it never leaves out.

use std::sync::Arc;
use std::time::Duration;

use application::ports::Written;
use domain::capability::{Matrix, Operation, Principal, Role};
use domain::channel::Channel;
use domain::cursor::Epoch;
use domain::degrade::{Level, Signal, Signals};
use domain::ids::UserId;
use poem::http::Method;
use serde_json::json;

use super::world::frame;
use super::{Client, World};

const ROLES: [&str; 11] = [
    "CIDADAO",
    "TECNICO",
    "TECNICO_SEMTAS",
    "ASSISTENTE_SOCIAL",
    "COORDENADOR",
    "GESTOR",
    "ADMIN",
    "SUPER_ADMIN",
    "AUDITOR",
    "SERVICE",
    "UNKNOWN",
];

const CHANNELS: [&str; 5] = [
    "private:user:u-1:notifications",
    "private:user:u-2:notifications",
    "private:unit:cras-1:notifications",
    "private:benefit:natalidade:notifications",
    "system:notifications",
];

fn world() -> World {
    let mut world = World::new();
    world.store.expect_meet().returning(|_| Ok(()));
    world.store.expect_control().returning(|_| {
        Ok(Written {
            value: (),
            epoch: Epoch(36),
            events: Vec::new(),
        })
    });
    *world.streams.frames.lock().unwrap() = vec![frame("data: 1\n\n")];
    world
}

/// Asks for every channel as everybody and returns who got in: the matrix as it is enforced.
async fn enforced(client: &Client) -> Vec<(&'static str, &'static str, bool)> {
    let mut seen = Vec::new();
    for role in ROLES {
        for channel in CHANNELS {
            let call = client.get(&format!("/v1/stream?channels={channel}"));
            let reply = call.bearer(&format!("u-1:{role}")).send().await;
            let let_in = match reply.status.as_u16() {
                200 => true,
                403 => false,
                other => panic!("{other} for {role} on {channel}"),
            };
            seen.push((role, channel, let_in));
        }
    }
    seen
}

#[tokio::test]
async fn who_may_see_what_and_who_administers_is_the_same_on_every_level() {
    let world = world();
    let load = Arc::clone(&world.load);
    let client = world.serve();
    let matrix = Matrix::default_roles();
    let user: UserId = "u-1".parse().unwrap();
    for level in Level::ALL {
        load.enter(level);
        for (role, channel, let_in) in enforced(&client).await {
            let principal = Principal::new(user.clone(), [Role::new(role)]);
            let channel: Channel = channel.parse().unwrap();
            let allowed = matrix.allows(&principal, &channel, Operation::Subscribe);
            assert_eq!(let_in, allowed, "{role} on {channel} on the level {level}");
        }
        for role in ROLES {
            let call = client.get("/v1/admin/rollout").bearer(&format!("u-1:{role}"));
            let administers = matches!(role, "ADMIN" | "SUPER_ADMIN");
            let status = if administers { 200 } else { 403 };
            assert_eq!(call.send().await.status, status, "{role} on the level {level}");
        }
        let call = client.get("/v1/stream").bearer("forged").send().await;
        call.refuses(401, "token-invalid");
        let publish = client.post("/v1/notifications").bearer("u-1:CIDADAO");
        let draft = json!({ "audience": { "users": ["u-2"] }, "type": "a", "title": "b" });
        publish
            .json(draft.to_string())
            .send()
            .await
            .refuses(403, "forbidden");
    }
}

#[tokio::test]
async fn a_critical_node_tells_new_clients_in_band_to_come_back_and_serves_those_who_resume() {
    let world = world();
    let (load, streams) = (Arc::clone(&world.load), Arc::clone(&world.streams));
    let client = world.serve();
    load.enter(Level::Critical);
    let new = client.get("/v1/stream").bearer("u-1:CIDADAO").send().await;
    assert_eq!(
        new.status, 200,
        "any other status ends a native EventSource for ever"
    );
    assert!(
        new.text.contains("retry: ") && new.text.contains("\"reason\":\"overloaded\""),
        "{}",
        new.text
    );
    assert!(streams.opened.lock().unwrap().is_empty());
    let back = client
        .get("/v1/stream")
        .bearer("u-1:CIDADAO")
        .header("last-event-id", "10-4");
    assert_eq!(back.send().await.text, "data: 1\n\n");
}

#[tokio::test]
async fn health_says_the_level_and_administrators_why() {
    let mut world = world();
    world
        .store
        .expect_head()
        .returning(|| Err(super::health::unavailable()));
    world
        .store
        .expect_durability()
        .return_const(application::ports::Durability::Memory);
    world.signals = Signals::default().with(Signal::Memory, 0.92);
    let (client, degrade) = world.serve_with_degrade();
    degrade.run();
    degrade.run();
    let person = client.get("/health").bearer("u-1:GESTOR").send().await.json();
    assert_eq!(
        (&person["level"], &person["details"]),
        (&json!("severe"), &json!(null))
    );
    let admin = client.get("/health").bearer("u-1:ADMIN").send().await.json();
    assert_eq!(
        admin["details"],
        json!({
            "cause": "memory",
            "signals": [{ "name": "memory", "value": 0.92 }, { "name": "dependencies", "value": 0.0 }],
        })
    );
    let part = client
        .get("/health/postgres")
        .bearer("u-1:ADMIN")
        .send()
        .await
        .json();
    assert_eq!(part["details"]["breaker"], "closed");
}

#[tokio::test]
async fn availability_is_read_day_by_day_with_its_outages() {
    let world = world();
    let clock = Arc::clone(&world.clock);
    let settings = Arc::clone(&world.settings);
    // Two minutes away in the middle of the present day, which is three hours old.
    let day = u32::try_from(clock_day(&clock)).unwrap();
    let letters: String = (0..1_440)
        .map(|minute| match minute {
            60 | 61 => '-',
            0..=170 => '+',
            _ => '.',
        })
        .collect();
    settings.stuff(&format!("availability-{}", day % 90), &format!("{day} {letters}"));
    clock.advance(Duration::from_secs(3 * 3_600));
    let client = world.serve();
    let read = client.get("/v1/admin/availability?days=3").bearer("u-1:ADMIN");
    assert_eq!(
        read.send().await.json(),
        json!({ "days": [{
            "begins": "2026-01-01T00:00:00.000Z",
            "share": 169.0 / 171.0,
            "available": 169,
            "away": 2,
            "unknown": 9,
            "outages": [{ "from": 60, "to": 62 }],
        }] })
    );
    for bad in ["0", "91", "x", "-1"] {
        let call = client.request(Method::GET, &format!("/v1/admin/availability?days={bad}"));
        call.bearer("u-1:ADMIN")
            .send()
            .await
            .refuses(400, "invalid-request");
    }
    settings.lock();
    let read = client.get("/v1/admin/availability").bearer("u-1:ADMIN");
    read.send().await.refuses(503, "unavailable");
}

fn clock_day(clock: &application::testing::SimClock) -> i64 {
    use application::ports::Clock as _;
    clock.now().as_millis() / 86_400_000
}
