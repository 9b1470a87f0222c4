use std::sync::Arc;
use std::time::Duration;

use application::ports::{
    AblyFormat, AblyGrant, AblySigner, AblyToken, AblyTokenError, AblyTokenRequest, MockAblySigner,
};
use application::testing::SimClock;
use poem::http::Method;
use serde_json::json;

use super::{Call, Client, Reply, World};

const ADDRESS: &str = "/v1/ably/token";

/// A signer that writes down what it was asked for.
struct Plain;

impl AblySigner for Plain {
    fn sign(&self, grant: &AblyGrant, format: AblyFormat) -> Result<AblyToken, AblyTokenError> {
        let person = &grant.person;
        Ok(match format {
            AblyFormat::Jwt => AblyToken::Jwt(format!("jwt.{person}.{}", grant.channels.len())),
            AblyFormat::Request => AblyToken::Request(AblyTokenRequest {
                key_name: "app.key".to_owned(),
                ttl: grant.expires_at.since(grant.issued_at),
                capability: r#"{"system:notifications":["subscribe"]}"#.to_owned(),
                client_id: person.to_string(),
                timestamp: grant.issued_at,
                nonce: "0123456789abcdef".to_owned(),
                mac: "bWFj".to_owned(),
            }),
        })
    }

    fn forget(&self, _: &domain::revocation::Revocation) {}
}

fn with_ably() -> Client {
    let mut world = World::new();
    world.ably = Some(Arc::new(Plain));
    world.serve()
}

fn ask<'a>(client: &'a Client, query: &str) -> Call<'a> {
    client.get(&format!("{ADDRESS}{query}")).bearer("u-42:CIDADAO")
}

/// Asserts that it is a refusal that `ably-js` reads in Node.js and in browsers, and a problem in all but its media
/// type.
fn refuses(reply: &Reply, status: u16, kind: &str) {
    assert_eq!(reply.status.as_u16(), status, "{reply:?}");
    assert_eq!(
        reply.header("content-type"),
        Some("application/json"),
        "Node.js reads no other"
    );
    let code = (u32::from(status) * 100).to_string();
    assert_eq!(
        reply.header("x-ably-errorcode"),
        Some(code.as_str()),
        "browsers need it"
    );
    let body = reply.json();
    assert_eq!(body["type"], format!("/problems/{kind}"));
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"].as_str(), reply.header("x-request-id"));
    assert_eq!(
        body["error"],
        json!({ "code": u32::from(status) * 100, "statusCode": status, "message": body["detail"] })
    );
    assert!(body.get("response").is_none(), "browsers would unwrap it");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_jwt_stands_bare_and_is_the_default() {
    let client = with_ably();
    for query in ["", "?format=jwt"] {
        let reply = ask(&client, query).send().await;
        assert_eq!(
            (reply.status.as_u16(), reply.text.as_str()),
            (200, "jwt.u-42.2"),
            "{query}"
        );
        assert_eq!(reply.header("content-type"), Some("application/jwt"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn a_request_is_json_as_ably_takes_it() {
    let reply = ask(&with_ably(), "?format=request").send().await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(
        reply.json(),
        json!({
            "keyName": "app.key", "ttl": 3_600_000, "capability": r#"{"system:notifications":["subscribe"]}"#,
            "clientId": "u-42", "timestamp": SimClock::START.as_millis(), "nonce": "0123456789abcdef", "mac": "bWFj",
        })
    );
}

#[tokio::test]
async fn what_ably_js_adds_is_ignored() {
    let client = with_ably();
    let wishes = "clientId=root&capability=%7B%22*%22%3A%5B%22*%22%5D%7D&ttl=86400000&timestamp=1&rnd=0.1";
    let reply = ask(&client, &format!("?{wishes}")).send().await;
    assert_eq!(reply.text, "jwt.u-42.2");
    let reply = client
        .post(ADDRESS)
        .bearer("u-42:CIDADAO")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(wishes)
        .send()
        .await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, "jwt.u-42.2"));
}

#[tokio::test]
async fn nobody_and_whoever_is_refused_logs_in_again() {
    let client = with_ably();
    let nobody = client.get(ADDRESS).send().await;
    refuses(&nobody, 401, "token-missing");
    for (token, kind) in [("expired", "token-expired"), ("forged", "token-invalid")] {
        let reply = client.post(ADDRESS).bearer(token).send().await;
        refuses(&reply, 401, kind);
        assert!(
            reply
                .header("www-authenticate")
                .is_some_and(|value| value.starts_with("Bearer "))
        );
    }
    refuses(
        &client.get(ADDRESS).bearer("keys").send().await,
        503,
        "unavailable",
    );
}

#[tokio::test]
async fn a_session_in_its_leeway_logs_in_again() {
    let mut world = World::new();
    world.ably = Some(Arc::new(Plain));
    let clock = world.clock.clone();
    let client = world.serve();
    clock.advance(Duration::from_secs(3_600));
    refuses(&ask(&client, "").send().await, 401, "token-expired");
}

#[tokio::test]
async fn whoever_may_hear_nothing_is_told_to_stop() {
    let client = with_ably();
    refuses(
        &client.get(ADDRESS).bearer("job:SERVICE").send().await,
        403,
        "forbidden",
    );
}

#[tokio::test]
async fn without_ably_the_address_is_unknown() {
    let client = World::new().serve();
    refuses(&ask(&client, "").send().await, 404, "not-found");
    refuses(&client.get(ADDRESS).send().await, 401, "token-missing");
}

#[tokio::test]
async fn an_unknown_format_or_method_is_refused_in_the_same_form() {
    let client = with_ably();
    for query in ["?format=xml", "?format=", "?format=jwt&format=jwt"] {
        let reply = ask(&client, query).send().await;
        refuses(&reply, 400, "invalid-request");
        assert_eq!(reply.fields(), ["format"]);
    }
    let reply = client.request(Method::DELETE, ADDRESS).send().await;
    refuses(&reply, 405, "method-not-allowed");
}

#[tokio::test]
async fn a_client_that_loops_is_told_to_wait() {
    let client = with_ably();
    for _ in 0..10 {
        assert_eq!(ask(&client, "").send().await.status, 200);
    }
    let reply = ask(&client, "").send().await;
    refuses(&reply, 429, "rate-limited");
    for (header, value) in [
        ("retry-after", "6"),
        ("ratelimit-limit", "10"),
        ("ratelimit-remaining", "0"),
        ("ratelimit-reset", "6"),
    ] {
        assert_eq!(reply.header(header), Some(value), "{header}");
    }
}

#[tokio::test]
async fn a_signer_that_fails_is_a_part_that_is_away() {
    let mut signer = MockAblySigner::new();
    signer
        .expect_sign()
        .returning(|_, _| Err(AblyTokenError::Unwritable));
    let mut world = World::new();
    world.ably = Some(Arc::new(signer));
    let reply = ask(&world.serve(), "").send().await;
    refuses(&reply, 503, "unavailable");
    assert_eq!(reply.header("retry-after"), Some("1"));
}
