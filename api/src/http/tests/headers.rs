use application::ports::Unread;
use poem::http::Method;

use super::World;
use super::world::cursor;

const COUNT: &str = "/v1/notifications/unread-count";

fn counting() -> World {
    let mut world = World::new();
    world.store.expect_unread().returning(|_| {
        Ok(Unread {
            unread: 0,
            as_of: cursor(1),
        })
    });
    world
}

#[tokio::test]
async fn each_token_that_does_not_count_says_why() {
    let client = World::new().serve();
    let cases = [
        (
            "malformed",
            "token-invalid",
            "the token is malformed: three parts are expected",
        ),
        (
            "algorithm",
            "token-invalid",
            "the token's algorithm is not accepted",
        ),
        (
            "foreign",
            "token-invalid",
            "the token was not signed by a known key",
        ),
        ("forged", "token-invalid", "the token's signature is wrong"),
        ("expired", "token-expired", "the token has expired"),
        ("early", "token-invalid", "the token is not valid yet"),
        ("issuer", "token-invalid", "the token's issuer is not accepted"),
        (
            "audience",
            "token-invalid",
            "the token's audience is not this service",
        ),
        (
            "subject",
            "subject-not-addressable",
            "the token's subject is not 1 to 64 of A-Z a-z 0-9 _ -",
        ),
        (
            "memberships",
            "too-many-memberships",
            "the token names too many units and benefits",
        ),
    ];
    for (token, kind, detail) in cases {
        let reply = client.get(COUNT).bearer(token).send().await;
        reply.refuses(401, kind);
        assert_eq!(reply.json()["detail"], detail);
        let challenge =
            format!("Bearer realm=\"arauto\", error=\"invalid_token\", error_description=\"{detail}\"");
        assert_eq!(reply.header("www-authenticate"), Some(challenge.as_str()));
    }
    let reply = client.get(COUNT).bearer("keys").send().await;
    reply.refuses(503, "unavailable");
    assert_eq!(reply.header("retry-after"), Some("5"));
}

#[tokio::test]
async fn without_a_token_nothing_is_said_about_one() {
    let client = World::new().serve();
    for call in [
        client.get(COUNT),
        client.get(COUNT).header("authorization", "Basic dTpw"),
    ] {
        let reply = call.send().await;
        reply.refuses(401, "token-missing");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"arauto\""));
    }
    client
        .get("/v1/notifications/unread-count?access_token=u-42:CIDADAO")
        .send()
        .await
        .refuses(401, "token-missing");
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_is_not_to_be_kept() {
    let client = counting().serve();
    for call in [
        client.get(COUNT).bearer("u-42:CIDADAO"),
        client.get(COUNT),
        client.get("/nowhere"),
    ] {
        let reply = call.header("x-request-id", "req-1").send().await;
        assert_eq!(reply.header("x-request-id"), Some("req-1"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(
            reply.header("content-security-policy"),
            Some("default-src 'none'; frame-ancestors 'none'")
        );
        assert_eq!(reply.header("vary"), Some("Origin"));
    }
    let drawn = client.get(COUNT).header("x-request-id", "<script>").send().await;
    assert_eq!(drawn.header("x-request-id").unwrap().len(), 16);
}

#[tokio::test]
async fn unknown_addresses_and_methods_are_problems() {
    let client = World::new().serve();
    for address in [
        "/nowhere",
        "/v1",
        "/v1/notifications/",
        "/v1/notifications/a/b",
        "/V1/notifications",
        "//",
    ] {
        client.get(address).send().await.refuses(404, "not-found");
    }
    let cases = [
        (Method::PUT, "/v1/notifications", "GET, HEAD, POST"),
        (Method::DELETE, "/v1/notifications/read-all", "POST"),
        (Method::TRACE, "/v1/stream", "GET"),
        (Method::POST, "/health/live", "GET, HEAD"),
        (Method::OPTIONS, "/v1/notifications/batch", "POST"),
    ];
    for (method, address, allow) in cases {
        let reply = client.request(method, address).send().await;
        reply.refuses(405, "method-not-allowed");
        assert_eq!(reply.header("allow"), Some(allow), "{address}");
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_and_says_nothing_of_its_cause() {
    let mut world = World::new();
    world.store.expect_unread().returning(|_| panic!("the secret"));
    let client = world.serve();
    let (_, reply) = client.get(COUNT).bearer("u-42:CIDADAO").send_unchecked().await;
    reply.refuses(500, "internal-error");
    assert!(!reply.text.contains("secret"));
}

#[tokio::test]
async fn listed_origins_may_read_every_answer_and_others_none() {
    let mut world = counting();
    world.config.cors_origins = vec!["https://app.example".to_owned()];
    let client = world.serve();
    let calls = || {
        [
            client.get(COUNT).bearer("u-42:CIDADAO"),
            client.get(COUNT),
            client.get("/nowhere"),
            client.post(COUNT),
        ]
    };
    for call in calls() {
        let reply = call.header("origin", "https://app.example").send().await;
        assert_eq!(
            reply.header("access-control-allow-origin"),
            Some("https://app.example")
        );
        assert_eq!(reply.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(
            reply.header("access-control-expose-headers"),
            Some(
                "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, X-Request-Id, \
                 Idempotent-Replayed, x-ably-errorcode"
            )
        );
        assert_eq!(reply.header("vary"), Some("Origin"));
    }
    for origin in ["https://evil.example", "null", "*", "http://localhost:3000"] {
        for call in calls() {
            let reply = call.header("origin", origin).send().await;
            assert_eq!(reply.header("access-control-allow-origin"), None);
            assert_eq!(reply.header("access-control-allow-credentials"), None);
            assert_eq!(reply.header("vary"), Some("Origin"));
        }
    }
}

#[tokio::test]
async fn preflights_are_answered_for_listed_origins_alone() {
    let mut world = World::new();
    world.config.cors_origins = vec!["https://app.example".to_owned()];
    let client = world.serve();
    let ask = |origin: &str| {
        let call = client
            .request(Method::OPTIONS, "/v1/notifications")
            .header("origin", origin);
        call.header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization")
    };
    let reply = ask("https://app.example").send().await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (204, ""));
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    assert_eq!(
        reply.header("access-control-allow-methods"),
        Some("GET, HEAD, POST, PUT, DELETE")
    );
    assert_eq!(
        reply.header("access-control-allow-headers"),
        Some("Authorization, Content-Type, Last-Event-ID, Idempotency-Key, traceparent")
    );
    assert_eq!(reply.header("access-control-max-age"), Some("7200"));
    let refused = ask("https://evil.example").send().await;
    refused.refuses(403, "origin-not-allowed");
    assert_eq!(refused.header("access-control-allow-origin"), None);
}
