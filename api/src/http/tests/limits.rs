use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use application::limits::Rules;
use application::ports::{
    Budget, Clock as _, Document, Limiter, LimiterUnavailable, Reach, SettingsError, Spent, Written,
};
use application::testing::SimClock;
use async_trait::async_trait;
use domain::cursor::Epoch;
use domain::limit::{Log, Verdict, take};
use poem::http::Method;
use serde_json::{Value, json};

use super::world::frame;
use super::{Call, Client, Reply, World};

const OFFICE: &str = "203.0.113.9:4711";
const ELSEWHERE: &str = "203.0.113.10:4711";
/// What the built-in table gives a citizen for streams, and for tickets.
const HANDSHAKES: usize = 25;

/// A limiter of one node.
struct Counting {
    clock: Arc<SimClock>,
    logs: Mutex<HashMap<String, Log>>,
    reach: Reach,
}

#[async_trait]
impl Limiter for Counting {
    async fn take(&self, budgets: &[Budget]) -> Result<Verdict, LimiterUnavailable> {
        let mut logs = self.logs.lock().unwrap();
        let mut taken: Vec<Log> = budgets
            .iter()
            .map(|budget| logs.remove(&budget.key).unwrap_or_default())
            .collect();
        let mut asked: Vec<_> = taken
            .iter_mut()
            .zip(budgets)
            .map(|(log, budget)| (log, budget.allowance))
            .collect();
        let verdict = take(&mut asked, self.clock.uptime());
        logs.extend(budgets.iter().map(|budget| budget.key.clone()).zip(taken));
        Ok(verdict)
    }

    fn reach(&self) -> Reach {
        self.reach
    }
}

/// A world with limits, and its clock.
fn limited() -> (World, Arc<SimClock>) {
    let mut world = World::new();
    let clock = Arc::clone(&world.clock);
    world.limiter = Some(Arc::new(Counting {
        clock: Arc::clone(&clock),
        logs: Mutex::default(),
        reach: Reach::Whole,
    }));
    (world, clock)
}

fn ticket_of<'a>(client: &'a Client, person: &str) -> Call<'a> {
    client
        .post("/v1/stream/tickets")
        .bearer(person)
        .peer(OFFICE.parse().unwrap())
}

fn said(reply: &Reply) -> [Option<&str>; 4] {
    [
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
        "retry-after",
    ]
    .map(|name| reply.header(name))
}

#[tokio::test]
async fn answers_say_how_the_budget_stands_and_the_last_one_when_to_come_back() {
    let (world, clock) = limited();
    let client = world.serve();
    for left in (0..HANDSHAKES).rev() {
        let reply = ticket_of(&client, "u-42:CIDADAO").send().await;
        assert_eq!(reply.status, 200);
        assert_eq!(
            said(&reply),
            [Some("25"), Some(left.to_string().as_str()), Some("60"), None]
        );
    }
    clock.advance(Duration::from_millis(12_500));
    let reply = ticket_of(&client, "u-42:CIDADAO").send().await;
    reply.refuses(429, "rate-limited");
    assert_eq!(said(&reply), [Some("25"), Some("0"), Some("48"), Some("48")]);
    let other = ticket_of(&client, "u-43:CIDADAO").send().await;
    assert_eq!(other.status, 200, "somebody else at the same address");
    let staff = ticket_of(&client, "u-44:GESTOR").send().await;
    assert_eq!(staff.header("ratelimit-limit"), Some("60"), "another profile");
    clock.advance(Duration::from_millis(47_500));
    assert_eq!(ticket_of(&client, "u-42:CIDADAO").send().await.status, 200);
}

/// Calls without a token, or with one that does not count, until one is told to wait; returns how many were not.
async fn unknown_until_limited(client: &Client, make: impl Fn(usize) -> (String, &'static str)) -> usize {
    for n in 0..1_000 {
        let (forwarded, peer) = make(n);
        let call = client
            .get("/v1/notifications/unread-count")
            .header("x-forwarded-for", &forwarded)
            .peer(peer.parse().unwrap());
        let call = if n % 2 == 0 { call } else { call.bearer("forged") };
        let reply = call.send().await;
        if reply.status == 429 {
            assert_eq!(said(&reply)[0], Some("60"));
            return n;
        }
        assert_eq!(reply.status, 401);
    }
    panic!("nobody was told to wait")
}

#[tokio::test]
async fn a_forged_address_changes_nothing() {
    let (world, _) = limited();
    let client = world.serve();
    let forged = |n: usize| {
        let forged = [
            "127.0.0.1".to_owned(),
            format!("198.51.100.{n}"),
            "::1".to_owned(),
        ];
        (forged[n % 3].clone(), OFFICE)
    };
    assert_eq!(unknown_until_limited(&client, forged).await, 60);
    assert_eq!(unknown_until_limited(&client, forged).await, 0);
    let elsewhere = |_| ("127.0.0.1".to_owned(), ELSEWHERE);
    assert_eq!(unknown_until_limited(&client, elsewhere).await, 60);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_counts_and_not_what_it_claims() {
    let (mut world, _) = limited();
    world.config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let client = world.serve();
    let proxied = |n: usize| {
        (
            format!("127.0.0.1, 192.0.2.{n}, 203.0.113.9, 10.1.1.1"),
            "10.0.0.1:80",
        )
    };
    assert_eq!(unknown_until_limited(&client, proxied).await, 60);
    let another = |_| ("127.0.0.1, 203.0.113.10".to_owned(), "10.0.0.1:80");
    assert_eq!(unknown_until_limited(&client, another).await, 60);
}

#[tokio::test]
async fn whoever_guesses_tokens_shuts_nobody_out_who_has_one() {
    let (world, _) = limited();
    let client = world.serve();
    assert_eq!(
        unknown_until_limited(&client, |_| (String::new(), OFFICE)).await,
        60
    );
    let reply = ticket_of(&client, "u-42:CIDADAO").send().await;
    assert_eq!((reply.status.as_u16(), said(&reply)[1]), (200, Some("24")));
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_no_fault_of_the_caller() {
    let (world, _) = limited();
    let client = world.serve();
    for _ in 0..100 {
        let reply = ticket_of(&client, "keys").send().await;
        assert_eq!(reply.status, 503);
    }
}

/// A world with limits, in which streams open.
fn streaming() -> (World, Arc<SimClock>) {
    let (mut world, clock) = limited();
    world.store.expect_meet().returning(|_| Ok(()));
    let mut spent = false;
    world.registry.expect_spend().returning(move |_, _| {
        let before = std::mem::replace(&mut spent, true);
        Ok(if before { Spent::Again } else { Spent::First })
    });
    world.registry.expect_renewed().returning(|_| Ok(None));
    *world.streams.frames.lock().unwrap() = vec![frame("data: 1\n\n")];
    (world, clock)
}

fn is_open(reply: &Reply) -> bool {
    assert_eq!(reply.status, 200, "anything else ends an EventSource for ever");
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    reply.text == "data: 1\n\n"
}

#[tokio::test]
async fn an_event_source_that_comes_too_often_is_told_in_band_and_never_kept_out_for_trying() {
    let (world, clock) = streaming();
    let client = world.serve();
    let ticket = ticket_of(&client, "u-42:CIDADAO").send().await;
    let cookie = ticket.header("set-cookie").unwrap().split(';').next().unwrap();
    let address = format!("/v1/stream?ticket={}", ticket.json()["ticket"].as_str().unwrap());
    let connect = || {
        client
            .get(&address)
            .header("cookie", cookie)
            .peer(OFFICE.parse().unwrap())
            .send()
    };
    for _ in 0..HANDSHAKES {
        assert!(is_open(&connect().await));
    }
    clock.advance(Duration::from_secs(20));
    for _ in 0..200 {
        let reply = connect().await;
        assert!(!is_open(&reply));
        assert!(reply.text.starts_with("retry: 40000\n"), "{}", reply.text);
        assert!(reply.text.contains("event: closing\n"), "{}", reply.text);
        let said = r#"{"reason":"rate_limited","reconnect":true,"after_ms":40000}"#;
        assert!(reply.text.contains(said), "{}", reply.text);
    }
    let reply = ticket_of(&client, "u-42:CIDADAO").send().await;
    assert_eq!(reply.status, 200, "other actions have budgets of their own");
    // As it was told.
    clock.advance(Duration::from_secs(40));
    for _ in 0..HANDSHAKES {
        assert!(is_open(&connect().await));
    }
    assert!(!is_open(&connect().await));
}

#[tokio::test]
async fn an_office_behind_one_address_opens_its_streams_at_once() {
    let (world, _) = streaming();
    let client = world.serve();
    for person in 0..500 {
        let token = format!("u-{person}:TECNICO");
        assert_eq!(ticket_of(&client, &token).send().await.status, 200);
        let call = client
            .get("/v1/stream")
            .bearer(&token)
            .peer(OFFICE.parse().unwrap());
        assert!(is_open(&call.send().await), "{person}");
    }
}

#[tokio::test]
async fn bad_credentials_end_a_stream_however_often_they_come() {
    let (world, _) = streaming();
    let client = world.serve();
    for _ in 0..70 {
        for address in ["/v1/stream", "/v1/stream?ticket=x"] {
            let reply = client.get(address).peer(OFFICE.parse().unwrap()).send().await;
            assert_eq!(reply.status, 401);
        }
    }
    // They count for what else comes from there without credentials.
    assert_eq!(
        unknown_until_limited(&client, |_| (String::new(), OFFICE)).await,
        0
    );
}

#[tokio::test]
async fn networks_that_are_exempt_are_not_limited_and_told_nothing() {
    let (mut world, _) = limited();
    let mut rules = Rules::built_in();
    rules.exempt = vec!["203.0.113.9/32".parse().unwrap()];
    world.rules = Some(rules);
    let client = world.serve();
    for _ in 0..100 {
        let reply = ticket_of(&client, "u-42:CIDADAO").send().await;
        assert_eq!((reply.status.as_u16(), said(&reply)), (200, [None; 4]));
    }
    let loopback = |_| (String::new(), "127.0.0.1:4711");
    assert_eq!(
        unknown_until_limited(&client, loopback).await,
        60,
        "no longer exempt"
    );
}

#[tokio::test]
async fn without_limits_nobody_is_limited() {
    let client = World::new().serve();
    for _ in 0..100 {
        let reply = ticket_of(&client, "u-42:CIDADAO").send().await;
        assert_eq!((reply.status.as_u16(), said(&reply)), (200, [None; 4]));
    }
}

#[tokio::test]
async fn health_says_that_limits_are_each_nodes_own() {
    let mut world = World::new();
    world.limiter = Some(Arc::new(Counting {
        clock: Arc::default(),
        logs: Mutex::default(),
        reach: Reach::Share {
            nodes: NonZeroU32::MIN,
        },
    }));
    world.store.expect_head().returning(|| {
        Ok(application::ports::Head {
            cursor: super::world::cursor(1),
            oldest: domain::cursor::Position(1),
        })
    });
    let memory = application::ports::Durability::Memory;
    world.store.expect_durability().return_const(memory);
    let client = world.serve();
    let health = client.get("/health").send().await;
    assert_eq!(health.status, 200);
    let (status, limits) = (&health.json()["status"], &health.json()["parts"]["limits"]);
    assert_eq!((status, limits), (&json!("degraded"), &json!("degraded")));
}

/// A world whose settings hold a document, and take others at its version.
fn kept(version: u64, text: Option<&str>) -> (World, Arc<Mutex<Vec<String>>>) {
    let mut world = World::new();
    let document = text.map(|text| Document {
        version,
        text: text.to_owned(),
    });
    world.limit_settings.expect_get().returning(move |name| {
        assert_eq!(name, "limits");
        Ok(document.clone())
    });
    let put = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&put);
    world
        .limit_settings
        .expect_put()
        .returning(move |_, expected, text| {
            if expected != version {
                return Err(SettingsError::Conflict { current: version });
            }
            written.lock().unwrap().push(text);
            Ok(version + 1)
        });
    world.store.expect_control().returning(|_| {
        Ok(Written {
            value: (),
            epoch: Epoch(36),
            events: Vec::new(),
        })
    });
    (world, put)
}

const LIMITS: &str = "/v1/admin/limits";

async fn change(client: &Client, person: &str, body: &Value) -> Reply {
    client
        .request(Method::PUT, LIMITS)
        .bearer(person)
        .json(body.to_string())
        .send()
        .await
}

#[tokio::test]
async fn an_administrator_reads_the_limits_and_changes_them_at_their_version() {
    let (world, put) = kept(0, None);
    let client = world.serve();
    let reply = client.get(LIMITS).bearer("boss:ADMIN").send().await;
    let mut limits = reply.json();
    assert_eq!(
        (&limits["version"], &limits["changed_by"]),
        (&json!(0), &Value::Null)
    );
    let default = &limits["rules"]["profiles"]["default"]["stream"];
    assert_eq!(*default, json!({ "limit": 10, "burst": 15 }));
    assert_eq!(limits["rules"]["exempt"], json!(["127.0.0.0/8", "::1/128"]));

    limits["rules"]["profiles"]["default"]["stream"]["burst"] = json!(0);
    let wanted = json!({ "version": 0, "rules": limits["rules"] });
    let reply = change(&client, "boss:ADMIN", &wanted).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let changed = reply.json();
    assert_eq!(
        (
            &changed["version"],
            &changed["changed_by"],
            &changed["changed_at"]
        ),
        (&json!(1), &json!("boss"), &json!("2026-01-01T00:00:00.000Z"))
    );
    let written: Value = serde_json::from_str(&put.lock().unwrap()[0]).unwrap();
    assert_eq!(written["rules"], limits["rules"]);

    let stale = json!({ "version": 3, "rules": limits["rules"] });
    change(&client, "boss:ADMIN", &stale)
        .await
        .refuses(409, "settings-changed");
    assert_eq!(put.lock().unwrap().len(), 1);

    let (world, _) = kept(7, Some(&written.to_string()));
    let reply = world.serve().get(LIMITS).bearer("boss:SUPER_ADMIN").send().await;
    assert_eq!(
        (&reply.json()["version"], &reply.json()["rules"]),
        (&json!(7), &limits["rules"])
    );
}

#[tokio::test]
async fn nobody_else_sees_or_changes_the_limits() {
    let (world, put) = kept(0, None);
    let client = world.serve();
    let rules = client.get(LIMITS).bearer("boss:ADMIN").send().await.json()["rules"].take();
    for person in ["u-42:CIDADAO", "u-43:GESTOR", "u-44:SERVICE", "u-45:AUDITOR"] {
        client
            .get(LIMITS)
            .bearer(person)
            .send()
            .await
            .refuses(403, "forbidden");
        let wanted = json!({ "version": 0, "rules": rules });
        change(&client, person, &wanted).await.refuses(403, "forbidden");
    }
    client.get(LIMITS).send().await.refuses(401, "token-missing");
    assert!(put.lock().unwrap().is_empty());
}

#[tokio::test]
async fn limits_that_make_no_sense_are_refused_by_name() {
    let (world, put) = kept(0, None);
    let client = world.serve();
    let rules = client.get(LIMITS).bearer("boss:ADMIN").send().await.json()["rules"].take();
    let with = |pointer: &str, value: Value| {
        let mut wanted = json!({ "version": 0, "rules": rules });
        *wanted.pointer_mut(pointer).unwrap() = value;
        wanted
    };
    let cases = [
        (
            with("/rules/profiles/default/stream/limit", json!(0)),
            "rules.profiles.default.stream",
        ),
        (with("/rules/exempt", json!(["10.0.0.1/33"])), "rules.exempt[0]"),
        (with("/rules/roles/GESTOR", json!("gold")), "rules.profiles"),
        (
            with("/rules/addresses/unauthenticated", json!({ "limit": 5 })),
            "rules.addresses.unauthenticated",
        ),
        (with("/version", json!(-1)), "version"),
    ];
    for (wanted, field) in cases {
        let reply = change(&client, "boss:ADMIN", &wanted).await;
        reply.refuses(400, "invalid-request");
        assert!(
            reply.fields()[0].starts_with(field),
            "{:?}: {field}",
            reply.fields()
        );
    }
    assert!(put.lock().unwrap().is_empty());
}
