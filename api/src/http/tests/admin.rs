//! What administrators may do, and nobody else.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{StoreError, Written};
use application::settings::ROLLOUT;
use application::testing::Drawer;
use domain::cursor::Epoch;
use poem::http::Method;
use serde_json::{Value, json};

use super::{Call, Client, Reply, World};
use crate::openapi;

const ROLLOUT_ADDRESS: &str = "/v1/admin/rollout";
const KILL_SWITCH: &str = "/v1/admin/kill-switch";

fn world() -> (World, Arc<Drawer>) {
    let mut world = World::new();
    world.store.expect_control().returning(|_| {
        Ok(Written {
            value: (),
            epoch: Epoch(36),
            events: Vec::new(),
        })
    });
    let settings = Arc::clone(&world.settings);
    (world, settings)
}

fn serve() -> Client {
    world().0.serve()
}

fn admin<'a>(client: &'a Client, method: Method, address: &str) -> Call<'a> {
    client.request(method, address).bearer("admin-1:ADMIN")
}

async fn put(client: &Client, body: Value) -> Reply {
    admin(client, Method::PUT, ROLLOUT_ADDRESS)
        .json(body.to_string())
        .send()
        .await
}

async fn show(client: &Client) -> Value {
    admin(client, Method::GET, ROLLOUT_ADDRESS).send().await.json()
}

/// Every address of administrators in the document, with its methods.
fn operations() -> Vec<(Method, String)> {
    let document = openapi::described(None);
    let paths = document["paths"].as_object().unwrap().clone();
    let ours = paths
        .into_iter()
        .filter(|(path, _)| path.starts_with("/v1/admin/"));
    ours.flat_map(|(path, operations)| {
        let methods: Vec<String> = operations.as_object().unwrap().keys().cloned().collect();
        let method = |name: String| Method::from_bytes(name.to_ascii_uppercase().as_bytes()).unwrap();
        methods.into_iter().map(move |name| (method(name), path.clone()))
    })
    .collect()
}

#[tokio::test]
async fn only_administrators_administer_whatever_the_address() {
    let client = serve();
    let operations = operations();
    assert!(operations.len() >= 4, "{operations:?}");
    let others = [
        "CIDADAO",
        "TECNICO",
        "TECNICO_SEMTAS",
        "ASSISTENTE_SOCIAL",
        "COORDENADOR",
        "GESTOR",
        "SERVICE",
        "AUDITOR",
        "UNKNOWN",
    ];
    for (method, address) in operations {
        let call = || client.request(method.clone(), &address);
        call().send().await.refuses(401, "token-missing");
        call().bearer("forged").send().await.refuses(401, "token-invalid");
        // Auditors read the trail, and nothing else here.
        let audits = |role: &&str| *role == "AUDITOR" && address == "/v1/admin/audit";
        for role in others.into_iter().filter(|role| !audits(role)) {
            // What they send is not even looked at.
            let call = call().bearer(&format!("u-1:{role}")).json("nonsense");
            call.send().await.refuses(403, "forbidden");
        }
    }
    for role in ["ADMIN", "SUPER_ADMIN", "admin"] {
        let call = client.get(ROLLOUT_ADDRESS).bearer(&format!("u-1:{role}"));
        assert_eq!(call.send().await.status, 200, "{role}");
    }
}

#[tokio::test]
async fn a_service_that_never_had_a_rollout_shows_that_nobody_is_on_ably() {
    let shown = show(&serve()).await;
    assert_eq!(
        shown,
        json!({
            "version": 0,
            "in_force": 0,
            "share": 0,
            "overrides": { "users": {}, "units": {}, "roles": {} },
            "stages": [
                { "share": 5, "lasts_seconds": 172_800 },
                { "share": 25, "lasts_seconds": 259_200 },
                { "share": 75, "lasts_seconds": 604_800 },
                { "share": 100, "lasts_seconds": 0 },
            ],
            "schedule": "stopped",
            "kill_switch": null,
            "changes": [],
        })
    );
}

#[tokio::test]
async fn a_change_is_answered_shown_and_audited_and_the_salt_is_not() {
    let client = serve();
    let reply = put(
        &client,
        json!({
            "version": 0,
            "why": " pilot in two units ",
            "share": 12.5,
            "overrides": { "users": { "u-42": "sse" }, "units": { "cras-1": "ably" }, "roles": { "tecnico": "ably" } },
            "stages": [{ "share": 0.25, "lasts_seconds": 60 }, { "share": 100, "lasts_seconds": 0 }],
            "schedule": "running",
        }),
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(!reply.text.contains("salt"), "{}", reply.text);
    let expected = json!({
        "version": 1,
        "in_force": 0,
        "share": 12.5,
        "overrides": { "users": { "u-42": "sse" }, "units": { "cras-1": "ably" }, "roles": { "TECNICO": "ably" } },
        "stages": [{ "share": 0.25, "lasts_seconds": 60 }, { "share": 100, "lasts_seconds": 0 }],
        "schedule": "running",
        "kill_switch": null,
        "changes": [{
            "by": "admin-1",
            "why": "pilot in two units",
            "at": "2026-01-01T00:00:00.000Z",
            "changed": {
                "share": { "from": 0, "to": 12.5 },
                "overrides": {
                    "count": 3,
                    "named": [
                        { "of": "user", "name": "u-42", "from": null, "to": "sse" },
                        { "of": "unit", "name": "cras-1", "from": null, "to": "ably" },
                        { "of": "role", "name": "TECNICO", "from": null, "to": "ably" },
                    ],
                },
                "stages": [{ "share": 0.25, "lasts_seconds": 60 }, { "share": 100, "lasts_seconds": 0 }],
                "schedule": "running",
            },
        }],
    });
    assert_eq!(reply.json(), expected);
    assert_eq!(show(&client).await, expected);
}

#[tokio::test]
async fn what_is_left_out_stays_as_it_is() {
    let client = serve();
    let users = json!({ "u-42": "ably" });
    put(
        &client,
        json!({ "version": 0, "why": "a", "share": 5, "overrides": { "users": users } }),
    )
    .await;
    let raised = put(
        &client,
        json!({ "version": 1, "why": "b", "share": 25.00, "stages": null }),
    )
    .await;
    let raised = raised.json();
    assert_eq!((&raised["version"], &raised["share"]), (&json!(2), &json!(25)));
    assert_eq!(raised["overrides"]["users"], users);
    let emptied = put(&client, json!({ "version": 2, "why": "c", "overrides": {} }))
        .await
        .json();
    assert_eq!(
        emptied["overrides"],
        json!({ "users": {}, "units": {}, "roles": {} })
    );
    assert_eq!(emptied["share"], 25);
}

#[tokio::test]
async fn whoever_decided_upon_an_older_version_changes_nothing() {
    let client = serve();
    assert_eq!(
        put(&client, json!({ "version": 0, "why": "a", "share": 5 }))
            .await
            .status,
        200
    );
    let late = put(&client, json!({ "version": 0, "why": "b", "share": 100 })).await;
    late.refuses(409, "settings-changed");
    assert_eq!(late.json()["detail"], "the rollout is at version 1 by now");
    let early = put(&client, json!({ "version": 7, "why": "b", "share": 100 })).await;
    early.refuses(409, "settings-changed");
    assert_eq!(show(&client).await["share"], 5);
}

#[tokio::test]
async fn the_kill_switch_is_thrown_once_and_taken_away() {
    let (world, _) = world();
    let clock = Arc::clone(&world.clock);
    let client = world.serve();
    let throw = |who: &str, why: &str| {
        let call = client.post(KILL_SWITCH).bearer(&format!("{who}:ADMIN"));
        call.json(json!({ "why": why }).to_string())
    };
    let first = throw("admin-1", "Ably repeats messages").send().await;
    assert_eq!(first.status, 200, "{}", first.text);
    let thrown = json!({ "by": "admin-1", "why": "Ably repeats messages", "at": "2026-01-01T00:00:00.000Z" });
    assert_eq!(first.json()["kill_switch"], thrown);

    clock.advance(Duration::from_secs(60));
    let second = throw("admin-2", "me too").send().await;
    assert_eq!(second.json(), first.json());

    let change = put(&client, json!({ "version": 1, "why": "lower", "share": 1 }))
        .await
        .json();
    assert_eq!(
        change["kill_switch"], thrown,
        "a change of the share leaves it alone"
    );

    let released = admin(&client, Method::DELETE, KILL_SWITCH).send().await;
    assert_eq!(released.status, 200, "{}", released.text);
    let released = released.json();
    assert_eq!(released["kill_switch"], Value::Null);
    assert_eq!(
        released["changes"][0],
        json!({
            "by": "admin-1",
            "why": null,
            "at": "2026-01-01T00:01:00.000Z",
            "changed": { "kill_switch": "released" },
        })
    );
    let why = json!({ "why": "to be sure" }).to_string();
    let again = admin(&client, Method::DELETE, KILL_SWITCH).json(why).send().await;
    assert_eq!(again.json(), released);
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_change_is_named_and_nothing_is_written() {
    let (world, settings) = world();
    let client = world.serve();
    let many: serde_json::Map<String, Value> = (0..1_001).map(|n| (format!("u{n}"), json!("ably"))).collect();
    let many = json!({ "version": 0, "why": "x", "overrides": { "users": many } }).to_string();
    let long = json!({ "version": 0, "why": "é".repeat(501), "share": 5 }).to_string();
    let cases: [(&str, &[&str]); 27] = [
        (r#"{"why":"x","share":5}"#, &["version"]),
        (r#"{"version":0,"share":5}"#, &["why"]),
        (r#"{"version":"0","why":"x","share":5}"#, &["version"]),
        (r#"{"version":-1,"why":"x","share":5}"#, &["version"]),
        (r#"{"version":0,"why":"x"}"#, &[""]),
        (r#"{"version":0,"why":"  ","share":5}"#, &["why"]),
        (&long, &["why"]),
        (r#"{"version":0,"why":"x","share":100.01}"#, &["share"]),
        (r#"{"version":0,"why":"x","share":-5}"#, &["share"]),
        (r#"{"version":0,"why":"x","share":0.001}"#, &["share"]),
        (r#"{"version":0,"why":"x","share":5e0}"#, &["share"]),
        (r#"{"version":0,"why":"x","share":"5"}"#, &["share"]),
        (r#"{"version":0,"why":"x","share":true}"#, &["share"]),
        (r#"{"version":0,"why":"x","share":5,"salt":"x"}"#, &["salt"]),
        (r#"{"version":0,"why":"x","share":5,"share":6}"#, &["share"]),
        (
            r#"{"version":0,"why":"","share":101,"overrides":{"users":{"a:b":"ably","ok":"ws"},"roles":{"":"sse"}}}"#,
            &[
                "why",
                "share",
                "overrides.users.a:b",
                "overrides.users.ok",
                "overrides.roles.",
            ],
        ),
        (
            r#"{"version":0,"why":"x","overrides":{"groups":{}}}"#,
            &["overrides.groups"],
        ),
        (
            r#"{"version":0,"why":"x","overrides":{"users":{"a":"ably","a":"sse"}}}"#,
            &["overrides.users"],
        ),
        (
            r#"{"version":0,"why":"x","overrides":{"roles":{"admin":"ably","ADMIN":"sse"}}}"#,
            &["overrides.roles.admin"],
        ),
        (&many, &["overrides"]),
        (r#"{"version":0,"why":"x","stages":[]}"#, &["stages"]),
        (r#"{"version":0,"why":"x","schedule":"Running"}"#, &["schedule"]),
        (
            r#"{"version":0,"why":"x","stages":[{"share":5,"lasts_seconds":1},{"share":5,"lasts_seconds":1}]}"#,
            &["stages"],
        ),
        (
            r#"{"version":0,"why":"x","stages":[{"share":5,"lasts_seconds":99999999}]}"#,
            &["stages"],
        ),
        (
            r#"{"version":0,"why":"x","stages":[{"share":5,"lasts_seconds":1},{"share":500,"lasts_seconds":1}]}"#,
            &["stages[1].share"],
        ),
        (
            r#"{"version":0,"why":"x","stages":[{"share":5}]}"#,
            &["stages[0].lasts_seconds"],
        ),
        (r#"[0,"x",5]"#, &[]),
    ];
    for (body, fields) in cases {
        let reply = admin(&client, Method::PUT, ROLLOUT_ADDRESS)
            .json(body)
            .send()
            .await;
        reply.refuses(400, "invalid-request");
        assert_eq!(reply.fields(), fields, "{body}: {}", reply.text);
    }
    assert_eq!(settings.stuff(ROLLOUT, ""), 1, "nothing was written before");
}

#[tokio::test]
async fn the_kill_switch_takes_a_reason_and_nothing_else() {
    let (world, settings) = world();
    let client = world.serve();
    for body in [
        "{}",
        r#"{"why":""}"#,
        r#"{"why":"x","version":1}"#,
        r#"{"why":null}"#,
        "[",
    ] {
        let reply = admin(&client, Method::POST, KILL_SWITCH).json(body).send().await;
        reply.refuses(400, "invalid-request");
    }
    admin(&client, Method::POST, KILL_SWITCH)
        .send()
        .await
        .refuses(415, "unsupported-media-type");
    admin(&client, Method::DELETE, KILL_SWITCH)
        .json(r#"{"why":" "}"#)
        .send()
        .await
        .refuses(400, "invalid-request");
    assert_eq!(settings.stuff(ROLLOUT, ""), 1, "nothing was written before");
}

#[tokio::test]
async fn faults_of_many_overrides_are_named_up_to_a_number() {
    let client = serve();
    let bad: serde_json::Map<String, Value> = (0..1_000).map(|n| (format!("u{n}"), json!("tcp"))).collect();
    let reply = put(
        &client,
        json!({ "version": 0, "why": "x", "overrides": { "users": bad } }),
    )
    .await;
    reply.refuses(400, "invalid-request");
    assert_eq!(reply.fields().len(), 21);
    assert!(reply.text.contains("980 more faults"), "{}", reply.text);
}

#[tokio::test]
async fn as_many_overrides_as_there_may_be_fit_into_one_request() {
    let client = serve();
    let users: serde_json::Map<String, Value> =
        (0..1_000).map(|n| (format!("{n:064}"), json!("ably"))).collect();
    let body = json!({ "version": 0, "why": "x", "overrides": { "users": users } });
    let call = admin(&client, Method::PUT, ROLLOUT_ADDRESS).json(format!("{body:#}"));
    let reply = call.send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["changes"][0]["changed"]["overrides"]["count"], 1_000);
}

#[tokio::test]
async fn what_another_version_wrote_is_not_shown_and_the_kill_switch_works() {
    let (world, settings) = world();
    let client = world.serve();
    settings.stuff(ROLLOUT, "from the future");
    let shown = admin(&client, Method::GET, ROLLOUT_ADDRESS).send().await;
    shown.refuses(503, "unavailable");
    assert!(!shown.text.contains("future"), "{}", shown.text);
    let changed = put(&client, json!({ "version": 1, "why": "x", "share": 5 })).await;
    changed.refuses(503, "unavailable");
    let call = admin(&client, Method::POST, KILL_SWITCH).json(r#"{"why":"stop"}"#);
    let killed = call.send().await;
    assert_eq!(
        (killed.status.as_u16(), &killed.json()["version"]),
        (200, &json!(2))
    );
}

#[tokio::test]
async fn settings_that_are_away_are_a_problem_with_a_time_to_come_back() {
    let (world, settings) = world();
    let client = world.serve();
    settings.lock();
    let of_the_rollout = operations()
        .into_iter()
        .filter(|(_, address)| address == ROLLOUT_ADDRESS || address == KILL_SWITCH);
    for (method, address) in of_the_rollout {
        let call = admin(&client, method, &address).json(r#"{"version":0,"why":"x","share":5}"#);
        let call = if address == KILL_SWITCH {
            admin(&client, call.method, &address).json(r#"{"why":"x"}"#)
        } else {
            call
        };
        let reply = call.send().await;
        reply.refuses(503, "unavailable");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
}

#[tokio::test]
async fn a_change_of_which_nodes_could_not_be_told_says_so() {
    let mut world = World::new();
    let error = StoreError::Unavailable {
        retry_after: Duration::from_secs(9),
    };
    world
        .store
        .expect_control()
        .returning(move |_| Err(error.clone()));
    let client = world.serve();
    let reply = put(&client, json!({ "version": 0, "why": "x", "share": 5 })).await;
    reply.refuses(503, "unavailable");
    assert!(reply.text.contains("the settings were written"), "{}", reply.text);
    assert_eq!(show(&client).await["share"], 5);
}

#[tokio::test]
async fn a_breaker_is_opened_and_reset_by_hand_on_the_node_that_answers() {
    let mut world = world().0;
    world.config.node = "00c0ffee".to_owned();
    let client = world.serve();
    let list = async || {
        admin(&client, Method::GET, "/v1/admin/breakers")
            .send()
            .await
            .json()
    };
    let breaker = |state: &str| {
        json!({
            "name": "postgres", "state": state, "retry_after_ms": null, "since": "2026-01-01T00:00:00.000Z",
            "opened": 1, "refused": 2, "latency_ms": 3, "last_failure": null,
        })
    };
    assert_eq!(
        list().await,
        json!({ "node": "00c0ffee", "breakers": [breaker("closed")] })
    );
    let switch = async |address: &str| admin(&client, Method::POST, address).send().await;
    let opened = switch("/v1/admin/breakers/postgres/open").await;
    assert_eq!(
        (opened.status.as_u16(), opened.json()),
        (200, breaker("forced_open"))
    );
    assert_eq!(list().await["breakers"][0]["state"], "forced_open");
    let reset = switch("/v1/admin/breakers/postgres/reset").await;
    assert_eq!((reset.status.as_u16(), reset.json()), (200, breaker("closed")));
    for unknown in ["mysql", "POSTGRES", "..", "a%2Fb"] {
        for verb in ["open", "reset"] {
            let address = format!("/v1/admin/breakers/{unknown}/{verb}");
            switch(&address).await.refuses(404, "not-found");
        }
    }
}
