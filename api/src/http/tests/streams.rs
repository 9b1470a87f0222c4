use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use application::ports::{Format, OpenError, Outgoing, RegistryError, Selection, Spent, StoreError, Written};
use application::testing::SimClock;
use domain::channel::Channel;
use domain::cursor::Epoch;
use domain::ids::{ConnectionId, NodeId};
use domain::stream::{CloseReason, Resume};
use poem::http::Method;
use serde_json::json;

use super::world::{FakeSockets, FakeStreams, cursor, frame};
use super::{Call, Client, Reply, World};

/// A world in which streams open and tickets have been through what `spent` says.
fn open(spent: Result<Spent, RegistryError>) -> (World, Arc<FakeStreams>, Arc<FakeSockets>) {
    let mut world = World::new();
    world.store.expect_meet().returning(|_| Ok(()));
    world.registry.expect_spend().returning(move |_, _| spent.clone());
    world.registry.expect_renewed().returning(|_| Ok(None));
    let (streams, sockets) = (Arc::clone(&world.streams), Arc::clone(&world.sockets));
    *streams.frames.lock().unwrap() = vec![
        frame("id: 10-1\ndata: 1\n\n"),
        Outgoing::KeepAlive,
        frame("data: 2\n\n"),
    ];
    (world, streams, sockets)
}

async fn ticket(client: &Client) -> (String, String) {
    let reply = client
        .post("/v1/stream/tickets")
        .bearer("u-42:CIDADAO")
        .send()
        .await;
    let cookie = reply
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    (reply.json()["ticket"].as_str().unwrap().to_owned(), cookie)
}

#[tokio::test]
async fn a_stream_is_its_frames_and_nothing_else() {
    let (world, streams, _) = open(Ok(Spent::First));
    let reply = world
        .serve()
        .get("/v1/stream")
        .bearer("u-42:CIDADAO")
        .send()
        .await;

    assert_eq!(reply.status, 200);
    assert_eq!(reply.text, "id: 10-1\ndata: 1\n\n:\n\ndata: 2\n\n");
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("cache-control"), Some("no-store, no-transform"));
    assert_eq!(reply.header("x-accel-buffering"), Some("no"));
    let opened = streams.opened.lock().unwrap();
    assert_eq!(
        (opened[0].format, opened[0].resume, opened[0].ticket),
        (Format::Sse, Resume::Live, None)
    );
    assert_eq!(opened[0].selection, Selection::Default);
}

#[tokio::test]
async fn where_a_client_stands_is_in_the_header_or_in_the_address() {
    let (world, streams, _) = open(Ok(Spent::First));
    let client = world.serve();
    let cases = [
        ("", None, Resume::Live),
        ("?last_event_id=10-4", None, Resume::After(cursor(4))),
        ("?last_event_id=10-4", Some("10-5"), Resume::After(cursor(5))),
        ("?last_event_id=10-4", Some(""), Resume::After(cursor(4))),
        ("?last_event_id=", Some(""), Resume::Live),
        ("", Some("é"), Resume::Unreadable),
        ("?last_event_id=10-04", None, Resume::Unreadable),
    ];
    for (query, header, resume) in cases {
        let mut call = client.get(&format!("/v1/stream{query}")).bearer("u-42:CIDADAO");
        if let Some(header) = header {
            call = call.header("last-event-id", header);
        }
        assert_eq!(call.send().await.status, 200);
        assert_eq!(
            streams.opened.lock().unwrap().last().unwrap().resume,
            resume,
            "{query} {header:?}"
        );
    }
}

#[tokio::test]
async fn channels_narrow_a_stream_as_far_as_rights_go() {
    let (world, streams, _) = open(Ok(Spent::First));
    let client = world.serve();
    let get = |channels: &str| {
        client
            .get(&format!("/v1/stream?channels={channels}"))
            .bearer("u-42:CIDADAO")
    };

    assert_eq!(get("system:notifications").send().await.status, 200);
    let selection = streams.opened.lock().unwrap()[0].selection.clone();
    assert_eq!(selection, Selection::Named(vec![Channel::System]));
    get("private:unit:cras-1:notifications")
        .send()
        .await
        .refuses(403, "forbidden");
    for bad in [
        "",
        "all",
        "system:notifications,x",
        "private:unit:a:b:notifications",
    ] {
        let reply = get(bad).send().await;
        reply.refuses(400, "invalid-request");
        assert_eq!(reply.fields(), ["channels"]);
    }
    client
        .get("/v1/stream")
        .bearer("svc:SERVICE")
        .send()
        .await
        .refuses(403, "forbidden");
    assert_eq!(streams.opened.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_passes_by_itself_is_said_in_band() {
    let after = Duration::from_millis(4_200);
    let refused = OpenError::Refused {
        reason: CloseReason::ShuttingDown,
        after,
    };
    let away = OpenError::Store(StoreError::Unavailable { retry_after: after });
    for (error, reason) in [(refused, "shutting_down"), (away, "overloaded")] {
        let (world, streams, _) = open(Ok(Spent::First));
        *streams.refusal.lock().unwrap() = Some(error);
        let reply = world
            .serve()
            .get("/v1/stream")
            .bearer("u-42:CIDADAO")
            .send()
            .await;
        says_closing(&reply, reason);
        assert!(reply.text.contains("retry: 4200\n"), "{}", reply.text);
    }
}

fn says_closing(reply: &Reply, reason: &str) {
    assert_eq!(
        (reply.status.as_u16(), reply.header("content-type")),
        (200, Some("text/event-stream"))
    );
    assert!(
        reply.text.contains("event: closing\n") && reply.text.contains("retry: "),
        "{}",
        reply.text
    );
    assert!(
        reply.text.contains(&format!(r#""reason":"{reason}""#)),
        "{}",
        reply.text
    );
    assert!(!reply.text.contains("id:"), "{}", reply.text);
}

#[tokio::test]
async fn a_ticket_comes_with_its_cookie_and_opens_a_stream() {
    let (world, streams, _) = open(Ok(Spent::First));
    let client = world.serve();
    let reply = client
        .post("/v1/stream/tickets")
        .bearer("u-42:CIDADAO")
        .header("host", "127.0.0.1:8080")
        .send()
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["expires_at"], "2026-01-01T01:00:00.000Z");
    let cookie = reply.header("set-cookie").unwrap();
    assert!(
        cookie.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));

    let address = format!("/v1/stream?ticket={}", reply.json()["ticket"].as_str().unwrap());
    assert_eq!(client.get(&address).send().await.status, 200);
    let opened = streams.opened.lock().unwrap();
    assert_eq!(opened[0].principal.user.as_str(), "u-42");
    assert!(opened[0].ticket.is_some());
}

#[tokio::test]
async fn a_used_ticket_needs_its_cookie() {
    let (world, streams, _) = open(Ok(Spent::Again));
    let client = world.serve();
    let (ticket, cookie) = ticket(&client).await;
    let get = || client.get(&format!("/v1/stream?ticket={ticket}"));

    get().send().await.refuses(401, "ticket-replayed");
    get()
        .header("cookie", "arauto_stream=another")
        .send()
        .await
        .refuses(401, "ticket-replayed");
    assert_eq!(
        get()
            .header("cookie", &format!("a=b; {cookie}"))
            .send()
            .await
            .status,
        200
    );
    assert_eq!(streams.opened.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn each_ticket_that_does_not_count_has_its_answer() {
    let (world, _, _) = open(Ok(Spent::First));
    let clock = Arc::clone(&world.clock);
    let client = world.serve();
    for address in [
        "/v1/stream",
        "/v1/stream?token=u-42:CIDADAO",
        "/v1/stream?access_token=u-42:CIDADAO",
    ] {
        let reply = client.get(address).send().await;
        reply.refuses(401, "token-missing");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"arauto\""));
    }
    client
        .get("/v1/stream?ticket=forged")
        .send()
        .await
        .refuses(401, "ticket-invalid");
    client
        .get("/v1/stream?ticket=")
        .send()
        .await
        .refuses(401, "ticket-invalid");
    let (late, cookie) = ticket(&client).await;
    clock.advance(Duration::from_secs(3_601));
    let late = client
        .get(&format!("/v1/stream?ticket={late}"))
        .header("cookie", &cookie)
        .send()
        .await;
    late.refuses(401, "ticket-expired");

    let (ended, _, _) = open(Ok(Spent::Ended));
    let client = ended.serve();
    let (ticket_text, _) = ticket(&client).await;
    let gone = client
        .get(&format!("/v1/stream?ticket={ticket_text}"))
        .send()
        .await;
    assert_eq!((gone.status.as_u16(), gone.text.as_str()), (204, ""));

    let (away, _, _) = open(Err(RegistryError::Unavailable));
    let client = away.serve();
    let (ticket_text, _) = ticket(&client).await;
    says_closing(
        &client
            .get(&format!("/v1/stream?ticket={ticket_text}"))
            .send()
            .await,
        "overloaded",
    );
}

#[tokio::test]
async fn a_head_request_opens_no_stream() {
    let (world, streams, _) = open(Ok(Spent::First));
    let client = world.serve();
    for address in ["/v1/stream", "/v1/ws"] {
        let reply = client
            .request(Method::HEAD, address)
            .bearer("u-42:CIDADAO")
            .send()
            .await;
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, Some("GET")));
    }
    assert!(streams.opened.lock().unwrap().is_empty());
}

fn handshake<'a>(client: &'a Client, query: &str) -> Call<'a> {
    let call = client
        .get(&format!("/v1/ws{query}"))
        .header("host", "arauto.example");
    let call = call
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket");
    call.header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "chat, arauto.v1")
}

#[tokio::test]
async fn a_socket_is_taken_over_with_what_the_handshake_said() {
    let (world, _, sockets) = open(Ok(Spent::First));
    let client = world.serve();
    let (ticket, _) = ticket(&client).await;

    assert_eq!(handshake(&client, "").send().await.status, 101);
    assert_eq!(
        handshake(&client, "").bearer("u-42:CIDADAO").send().await.status,
        101
    );
    let query = format!("?ticket={ticket}&last_event_id=10-4&channels=system:notifications");
    assert_eq!(handshake(&client, &query).send().await.status, 101);

    let openings = sockets.openings.lock().unwrap();
    assert!(openings[0].credentials.is_none());
    let (principal, ticket) = openings[1].credentials.clone().unwrap();
    assert_eq!((principal.user.as_str(), ticket), ("u-42", None));
    assert!(openings[2].credentials.as_ref().unwrap().1.is_some());
    assert_eq!(openings[2].resume, Resume::After(cursor(4)));
    assert_eq!(openings[2].selection, Selection::Named(vec![Channel::System]));
}

#[tokio::test]
async fn handshakes_that_may_not_go_on_are_refused() {
    let (mut world, _, sockets) = open(Err(RegistryError::Unavailable));
    world.config.cors_origins = vec!["https://app.example".to_owned()];
    let client = world.serve();
    let plain = client.get("/v1/ws").send().await;
    plain.refuses(426, "upgrade-required");
    assert_eq!(
        (plain.header("upgrade"), plain.header("sec-websocket-version")),
        (Some("websocket"), Some("13"))
    );
    for origin in ["https://evil.example", "null", "https://arauto.example.evil"] {
        let reply = handshake(&client, "")
            .header("origin", origin)
            .bearer("u-42:CIDADAO")
            .send()
            .await;
        reply.refuses(403, "origin-not-allowed");
    }
    handshake(&client, "")
        .bearer("expired")
        .send()
        .await
        .refuses(401, "token-expired");
    handshake(&client, "?ticket=forged")
        .send()
        .await
        .refuses(401, "ticket-invalid");
    handshake(&client, "?channels=x")
        .send()
        .await
        .refuses(400, "invalid-request");
    for (name, value) in [
        ("sec-websocket-protocol", "graphql-ws"),
        ("sec-websocket-key", "c2hvcnQ="),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZZ=="),
    ] {
        let reply = handshake(&client, "").set(name, value).send().await;
        reply.refuses(400, "invalid-request");
        assert_eq!(reply.fields()[0].to_ascii_lowercase(), name);
    }
    for (name, value) in [
        ("upgrade", "h2c"),
        ("connection", "close"),
        ("sec-websocket-version", "8"),
    ] {
        let reply = handshake(&client, "").set(name, value).send().await;
        reply.refuses(426, "upgrade-required");
    }
    let (ticket, _) = ticket(&client).await;
    let later = handshake(&client, &format!("?ticket={ticket}")).send().await;
    later.refuses(503, "unavailable");
    assert!(sockets.openings.lock().unwrap().is_empty());
    for origin in ["https://app.example", "https://arauto.example"] {
        assert_eq!(
            handshake(&client, "")
                .header("origin", origin)
                .send()
                .await
                .status,
            101
        );
    }
}

#[tokio::test]
async fn heartbeats_are_taken_from_the_owner_alone() {
    let world = World::new();
    let streams = Arc::clone(&world.streams);
    let connection = ConnectionId {
        node: NodeId(1),
        serial: 2,
    };
    *streams.owner.lock().unwrap() = Some(("u-42".parse().unwrap(), connection));
    let client = world.serve();
    let post = |id: &str| client.post(&format!("/v1/connections/{id}/heartbeat"));
    let own = connection.to_string();

    let done = post(&own)
        .bearer("u-42:CIDADAO")
        .json(r#"{"sequence":7}"#)
        .send()
        .await;
    assert_eq!((done.status.as_u16(), done.text.as_str()), (204, ""));
    for (id, token) in [
        (own.as_str(), "u-1:CIDADAO"),
        ("00000001-0000000000000003", "u-42:CIDADAO"),
        ("x", "u-42:CIDADAO"),
    ] {
        post(id)
            .bearer(token)
            .json(r#"{"sequence":7}"#)
            .send()
            .await
            .refuses(404, "not-found");
    }
    for body in [
        "{}",
        r#"{"sequence":-1}"#,
        r#"{"sequence":9007199254740992}"#,
        r#"{"sequence":1.5}"#,
        r#"{"sequence":"7"}"#,
    ] {
        let reply = post(&own).bearer("u-42:CIDADAO").json(body).send().await;
        reply.refuses(400, "invalid-request");
        assert_eq!(reply.fields(), ["sequence"], "{body}");
    }
    let large = post(&own)
        .bearer("u-42:CIDADAO")
        .json(format!("{{\"sequence\":7{}}}", " ".repeat(16_384)));
    large.send().await.refuses(413, "body-too-large");
    assert_eq!(streams.replies.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stream_lives_on_with_a_fresh_token_and_so_does_its_cookie() {
    let mut world = World::new();
    world.store.expect_control().returning(|_| {
        Ok(Written {
            value: (),
            epoch: Epoch(36),
            events: Vec::new(),
        })
    });
    let connection = ConnectionId {
        node: NodeId(1),
        serial: 2,
    };
    *world.streams.owner.lock().unwrap() = Some(("u-42".parse().unwrap(), connection));
    world.clock.advance(Duration::from_secs(600));
    let client = world.serve();
    let post = || client.post(&format!("/v1/connections/{connection}/renew"));

    let reply = post().bearer("u-42:CIDADAO").send().await;
    assert_eq!((reply.status.as_u16(), reply.header("set-cookie")), (200, None));
    let expires_at = crate::wire::Moment(SimClock::START.plus(Duration::from_secs(3_600))).to_string();
    assert_eq!(reply.json(), json!({ "expires_at": expires_at }));
    let reply = post()
        .bearer("u-42:CIDADAO")
        .header("cookie", "arauto_stream=v")
        .send()
        .await;
    let cookie = reply.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("arauto_stream=v; Path=/; Max-Age=3000; "),
        "{cookie}"
    );
    post()
        .bearer("u-1:CIDADAO")
        .send()
        .await
        .refuses(404, "not-found");
    post()
        .bearer("expired")
        .send()
        .await
        .refuses(401, "token-expired");
}
