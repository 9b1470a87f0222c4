use std::sync::Arc;
use std::time::Duration;

use application::ports::{
    EventPage, Head, InboxItem, InboxPage, Marking, ReadError, StoreError, Unread, Written,
};
use application::testing::SimClock;
use domain::channel::Channel;
use domain::cursor::{Epoch, Position};
use domain::event::{Change, Event};
use domain::ids::NotificationId;
use domain::notification::{Content, Notification, NotificationType, Priority};
use domain::state::{ItemState, Mark, StateFilter};
use serde_json::json;

use super::World;
use super::world::cursor;

const ID: &str = "00000000-0000-0000-0000-000000000001";

fn id() -> NotificationId {
    ID.parse().unwrap()
}

fn notification() -> Arc<Notification> {
    Arc::new(Notification {
        id: id(),
        content: Content {
            kind: NotificationType::parse("x").unwrap(),
            priority: Priority::High,
            title: "<b>".into(),
            body: "".into(),
            link: None,
            data: r#"{"n":1.50}"#.into(),
            requires_ack: true,
            expires_at: None,
        },
        published_at: SimClock::START,
    })
}

fn item(position: u64) -> InboxItem {
    InboxItem {
        position: Position(position),
        channel: Channel::System,
        notification: notification(),
        state: ItemState::default(),
    }
}

pub(super) fn page(has_more: bool) -> InboxPage {
    InboxPage {
        items: vec![item(9), item(8)],
        has_more,
        as_of: cursor(12),
    }
}

fn written<T>(value: T) -> Written<T> {
    Written {
        value,
        epoch: Epoch(36),
        events: Vec::new(),
    }
}

#[tokio::test]
async fn a_page_says_where_the_next_one_begins_and_as_of_when_it_is() {
    let mut world = World::new();
    world.store.expect_inbox().returning(|_, query| {
        assert_eq!(
            (query.limit, query.filter, query.before),
            (50, StateFilter::Unarchived, None)
        );
        Ok(page(true))
    });
    let reply = world
        .serve()
        .get("/v1/notifications")
        .bearer("u-42:CIDADAO")
        .send()
        .await;
    assert_eq!(reply.status, 200);
    let body = reply.json();
    assert_eq!(
        (&body["next"], &body["cursor"]),
        (&json!("10-8"), &json!("10-12"))
    );
    let state = json!({ "read_at": null, "archived_at": null, "acknowledged_at": null });
    assert_eq!(body["items"][0]["cursor"], "10-9");
    assert_eq!(body["items"][0]["channel"], "system:notifications");
    assert_eq!(body["items"][0]["state"], state);
    assert!(
        reply.text.contains(r#""title":"\u003cb\u003e""#),
        "{}",
        reply.text
    );
    assert!(reply.text.contains(r#""data":{"n":1.50}"#), "{}", reply.text);
}

#[tokio::test]
async fn the_last_page_has_no_next() {
    let mut world = World::new();
    world.store.expect_inbox().returning(|_, _| Ok(page(false)));
    let reply = world
        .serve()
        .get("/v1/notifications")
        .bearer("u-42:CIDADAO")
        .send()
        .await;
    assert_eq!(reply.json()["next"], json!(null));
}

#[tokio::test]
async fn every_filter_reaches_the_store() {
    let mut world = World::new();
    world.store.expect_inbox().returning(|reader, query| {
        assert_eq!(reader.user.as_str(), "u-42");
        assert_eq!((query.limit, query.before), (1_000, Some(Position(7))));
        assert_eq!(query.filter, StateFilter::Archived);
        assert_eq!(query.kind.as_ref().unwrap().as_str(), "a.b");
        assert_eq!(query.priority, Some(Priority::Urgent));
        assert_eq!(query.channel, Some(Channel::System));
        Ok(page(false))
    });
    let address = "/v1/notifications?limit=1000&before=10-7&state=archived&type=a.b&priority=urgent\
                   &channel=system%3Anotifications&unknown=ignored";
    let reply = world.serve().get(address).bearer("u-42:CIDADAO").send().await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn bad_parameters_are_all_named() {
    let client = World::new().serve();
    let cases: [(&str, &[&str]); 11] = [
        ("limit=0", &["limit"]),
        ("limit=1001", &["limit"]),
        ("limit=", &["limit"]),
        ("limit=%2B5", &["limit"]),
        ("limit=1&limit=2", &["limit"]),
        ("before=10-07", &["before"]),
        ("state=new", &["state"]),
        ("type=A", &["type"]),
        ("priority=HIGH", &["priority"]),
        ("channel=private:unit:*:notifications", &["channel"]),
        (
            "limit=x&before=x&state=x&type=X&priority=x&channel=x",
            &["limit", "before", "state", "type", "priority", "channel"],
        ),
    ];
    for (query, fields) in cases {
        let reply = client
            .get(&format!("/v1/notifications?{query}"))
            .bearer("u-42:CIDADAO")
            .send()
            .await;
        reply.refuses(400, "invalid-request");
        assert_eq!(reply.fields(), fields, "{query}");
    }
}

#[tokio::test]
async fn inboxes_are_for_those_who_have_one() {
    let client = World::new().serve();
    for address in ["/v1/notifications", "/v1/notifications/unread-count"] {
        client.get(address).send().await.refuses(401, "token-missing");
        client
            .get(address)
            .bearer("svc:SERVICE")
            .send()
            .await
            .refuses(403, "forbidden");
    }
    let foreign = "/v1/notifications?channel=private:user:u-1:notifications";
    client
        .get(foreign)
        .bearer("u-42:CIDADAO")
        .send()
        .await
        .refuses(403, "forbidden");
}

#[tokio::test]
async fn one_notification_is_found_or_unknown() {
    let mut world = World::new();
    world
        .store
        .expect_item()
        .returning(|_, asked| Ok((asked == id()).then(|| item(9))));
    let head = Head {
        cursor: cursor(12),
        oldest: Position(1),
    };
    world.store.expect_head().returning(move || Ok(head));
    let client = world.serve();
    let get = |id: &str| {
        client
            .get(&format!("/v1/notifications/{id}"))
            .bearer("u-42:CIDADAO")
    };

    let reply = get(ID).send().await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["cursor"]),
        (200, &json!("10-9"))
    );
    for unknown in [
        "00000000-0000-0000-0000-000000000002",
        "junk",
        "%00",
        "00000000000000000000000000000001",
    ] {
        get(unknown).send().await.refuses(404, "not-found");
    }
}

#[tokio::test]
async fn each_mark_has_its_address() {
    let marks = [
        ("read", Mark::Read),
        ("unread", Mark::Unread),
        ("archive", Mark::Archive),
        ("unarchive", Mark::Unarchive),
        ("ack", Mark::Acknowledge),
    ];
    for (name, mark) in marks {
        let mut world = World::new();
        world.store.expect_mark().returning(move |_, asked, made| {
            assert_eq!(made, mark);
            let unread = Unread {
                unread: 0,
                as_of: cursor(1),
            };
            let state = ItemState::default().after(mark, SimClock::START);
            Ok((asked == id()).then(|| written(Marking { state, unread })))
        });
        let client = world.serve();
        let post = |id: &str| {
            client
                .post(&format!("/v1/notifications/{id}/{name}"))
                .bearer("u-42:CIDADAO")
        };
        let reply = post(ID).send().await;
        assert_eq!(reply.status, 200, "{name}");
        assert_eq!(
            reply.json()["acknowledged_at"].is_string(),
            mark == Mark::Acknowledge
        );
        post("00000000-0000-0000-0000-000000000002")
            .send()
            .await
            .refuses(404, "not-found");
    }
}

#[tokio::test]
async fn everything_is_marked_up_to_a_cursor_or_to_the_end() {
    let mut world = World::new();
    world.store.expect_head().returning(|| {
        Ok(Head {
            cursor: cursor(12),
            oldest: Position(1),
        })
    });
    world.store.expect_read_all().returning(|_, up_to| {
        Ok(written(Unread {
            unread: up_to.map_or(0, |position| position.0),
            as_of: cursor(12),
        }))
    });
    let client = world.serve();
    let post = || client.post("/v1/notifications/read-all").bearer("u-42:CIDADAO");

    for (body, unread) in [("{}", 0), (r#"{"up_to":null}"#, 0), (r#"{"up_to":"10-5"}"#, 5)] {
        let reply = post().json(body).send().await;
        assert_eq!(
            (reply.status.as_u16(), reply.json()),
            (200, json!({ "unread": unread, "cursor": "10-12" }))
        );
    }
    assert_eq!(post().send().await.status, 200, "no body at all is an empty one");
    for body in [r#"{"up_to":"5"}"#, r#"{"up_to":5}"#, r#"{"upto":"10-5"}"#] {
        post().json(body).send().await.refuses(400, "invalid-request");
    }
    let foreign = post().json(r#"{"up_to":"11-5"}"#).send().await;
    foreign.refuses(409, "cursor-of-another-history");
}

#[tokio::test]
async fn the_count_is_as_of_a_cursor() {
    let mut world = World::new();
    world.store.expect_unread().returning(|_| {
        Ok(Unread {
            unread: 3,
            as_of: cursor(12),
        })
    });
    let reply = world
        .serve()
        .get("/v1/notifications/unread-count")
        .bearer("u-42:CIDADAO")
        .send()
        .await;
    assert_eq!(reply.json(), json!({ "unread": 3, "cursor": "10-12" }));
}

fn head() -> Head {
    Head {
        cursor: cursor(12),
        oldest: Position(3),
    }
}

#[tokio::test]
async fn a_replay_gives_events_as_the_stream_does() {
    let mut world = World::new();
    world.store.expect_head().returning(|| Ok(head()));
    world.store.expect_read_channels().returning(|query| {
        assert_eq!((query.after, query.limit), (cursor(5), 100));
        let event = |position, change| {
            Arc::new(Event {
                position: Position(position),
                at: SimClock::START,
                change,
            })
        };
        let published = Change::Published {
            channel: Channel::System,
            notification: notification(),
        };
        let retracted = Change::Retracted {
            channel: Channel::System,
            id: id(),
        };
        Ok(EventPage {
            events: vec![event(6, published), event(8, retracted)],
            scanned_to: Position(8),
            head: head(),
        })
    });
    let reply = world
        .serve()
        .get("/v1/events/replay?after=10-5")
        .bearer("u-42:CIDADAO")
        .send()
        .await;
    let body = reply.json();
    assert_eq!(
        (&body["cursor"], &body["has_more"], &body["reset"]),
        (&json!("10-8"), &json!(true), &json!(null))
    );
    assert_eq!(body["events"][0]["event"], "notification");
    assert_eq!(body["events"][0]["data"]["cursor"], "10-6");
    let second = json!({
        "cursor": "10-8", "event": "retracted",
        "data": { "cursor": "10-8", "channel": "system:notifications", "notification_id": ID },
    });
    assert_eq!(body["events"][1], second);
    assert!(
        reply.text.contains(r#""title":"\u003cb\u003e""#),
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn a_replay_that_cannot_be_given_says_so() {
    let mut world = World::new();
    world.store.expect_head().returning(|| Ok(head()));
    world
        .store
        .expect_read_channels()
        .returning(|_| Err(ReadError::Expired { head: head() }));
    let client = world.serve();
    for (after, reason) in [
        ("10-1", "expired"),
        ("9-5", "epoch_changed"),
        ("10-13", "unknown"),
        ("10-5", "expired"),
    ] {
        let reply = client
            .get(&format!("/v1/events/replay?after={after}"))
            .bearer("u-42:CIDADAO")
            .send()
            .await;
        let body = reply.json();
        assert_eq!(
            (reply.status.as_u16(), &body["reset"]["reason"]),
            (200, &json!(reason))
        );
        assert_eq!(
            (&body["reset"]["from"], &body["reset"]["to"]),
            (&json!(after), &json!("10-12"))
        );
        assert_eq!(body["cursor"], "10-12");
    }
}

#[tokio::test]
async fn a_replay_needs_a_cursor_and_a_store() {
    let mut world = World::new();
    let away = StoreError::Unavailable {
        retry_after: Duration::from_secs(1),
    };
    world.store.expect_head().returning(move || Err(away.clone()));
    let client = world.serve();
    let get = |query: &str| {
        client
            .get(&format!("/v1/events/replay{query}"))
            .bearer("u-42:CIDADAO")
    };
    for (query, fields) in [
        ("", ["after"].as_slice()),
        ("?after=", &["after"]),
        ("?after=10-5&limit=1001", &["limit"]),
        ("?limit=0", &["after", "limit"]),
    ] {
        let reply = get(query).send().await;
        reply.refuses(400, "invalid-request");
        assert_eq!(reply.fields(), fields, "{query}");
    }
    get("?after=10-5").send().await.refuses(503, "store-unavailable");
}
