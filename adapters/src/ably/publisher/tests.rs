//! The publisher against hosts that do as they are told.

mod stand_in;

use application::testing::{SeededEntropy, SimClock};
use domain::channel::Channel;
use serde_json::{Value, json};

use self::stand_in::{Reply, StandIn, nobody};
use super::*;

const AGAIN: Outcome = Outcome::Transient {
    retry_after: Duration::ZERO,
};

/// Hosts on loopback answer within it even on a machine that is busy with other tests, or never.
const SHORT: Patience = Patience {
    connect: Duration::from_secs(2),
    request: Duration::from_secs(1),
    total: Duration::from_secs(20),
};

struct Scene {
    publisher: Publisher,
    clock: Arc<SimClock>,
}

fn scene(primary: &str, fallbacks: &[&StandIn], patience: Patience) -> Scene {
    let clock = Arc::new(SimClock::new());
    let config = PublisherConfig {
        endpoint: Endpoint::Address(primary.to_owned()),
        prefix: Some("staging".parse().unwrap()),
        message_bytes_max: 1_000,
        patience,
    };
    let key = Key::parse("app.key:secret").unwrap();
    let mut publisher = Publisher::new(&key, config, clock.clone(), Arc::new(SeededEntropy::new(1))).unwrap();
    let fallbacks = fallbacks.iter().map(|host| host.url()).collect();
    publisher.hosts = Hosts::new(primary.to_owned(), fallbacks);
    Scene { publisher, clock }
}

fn at(host: &StandIn) -> Scene {
    scene(&host.url(), &[], SHORT)
}

fn parcel(user: &str, data: &str) -> Parcel {
    Parcel {
        id: format!("evt-{user}"),
        channel: Channel::User(user.parse().unwrap()),
        event: "notification",
        data: data.into(),
    }
}

fn people(count: usize) -> Vec<Parcel> {
    (0..count).map(|n| parcel(&format!("u-{n}"), "{}")).collect()
}

fn name(user: &str) -> String {
    format!("staging:private:user:{user}:notifications")
}

fn taken() -> Reply {
    Reply::Says(
        201,
        "",
        json!({ "channel": "c", "messageId": "m", "serials": ["s"] }),
    )
}

fn failing(status: u16, code: u32) -> Reply {
    Reply::Says(
        status,
        "",
        json!({ "error": { "code": code, "statusCode": status, "message": "no" } }),
    )
}

async fn one(scene: &Scene) -> Outcome {
    let outcomes = scene.publisher.deliver(&[parcel("ana", "{\"a\":1}")]).await;
    assert_eq!(outcomes.len(), 1);
    outcomes[0]
}

#[tokio::test]
async fn one_message_goes_to_its_channel_with_its_own_id() {
    let host = StandIn::telling([taken()]);
    assert_eq!(one(&at(&host)).await, Outcome::Accepted);
    let asked = &host.asked()[0];
    assert_eq!(
        asked.line,
        "POST /channels/staging%3Aprivate%3Auser%3Aana%3Anotifications/messages HTTP/1.1"
    );
    assert_eq!(
        asked.body,
        json!([{ "id": "evt-ana", "name": "notification", "data": "{\"a\":1}", "encoding": "json" }])
    );
    for header in [
        "x-ably-version: 6",
        "content-type: application/json",
        "accept: application/json",
        // app.key:secret
        "authorization: basic yxbwlmtletpzzwnyzxq=",
    ] {
        assert!(asked.head.contains(header), "{header} in {}", asked.head);
    }
    assert!(asked.head.contains("ably-agent: arauto/"), "{}", asked.head);
    assert!(!asked.head.contains("content-encoding"));
}

#[tokio::test]
async fn several_messages_go_as_one_batch_and_each_has_its_own_outcome() {
    let results: Vec<Value> = vec![
        json!({ "successCount": 1, "failureCount": 0, "results": [{ "channel": name("u-0"), "messageId": "m" }] }),
        json!({ "successCount": 0, "failureCount": 1, "results": [
            { "channel": name("u-1"), "error": { "code": 40160, "statusCode": 401, "message": "no" } }] }),
        json!({ "successCount": 0, "failureCount": 1, "results": [
            { "channel": name("u-2"), "error": { "code": 42913, "statusCode": 429, "message": "slow" } }] }),
    ];
    let host = StandIn::telling([Reply::Says(201, "", results.into())]);
    let outcomes = at(&host).publisher.deliver(&people(4)).await;
    let refused = Outcome::Refused { code: 40_160 };
    let held = Outcome::Held {
        retry_after: Duration::ZERO,
        by: Reason::RateLimited,
    };
    assert_eq!(
        outcomes,
        [Outcome::Accepted, refused, held, AGAIN],
        "the fourth is not in the answer"
    );
    let asked = &host.asked()[0];
    assert_eq!(asked.line, "POST /messages HTTP/1.1");
    assert_eq!(
        asked.body[1],
        json!({
            "channels": [name("u-1")],
            "messages": { "id": "evt-u-1", "name": "notification", "data": "{}", "encoding": "json" },
        })
    );
}

#[tokio::test]
async fn the_older_shape_of_a_partial_failure_is_read() {
    let body = json!({ "error": { "code": 40020, "statusCode": 400 }, "batchResponse": [
        { "channel": name("u-1"), "error": { "code": 40009, "statusCode": 413 } },
        { "channel": name("u-0"), "messageId": "m" },
    ] });
    let host = StandIn::telling([Reply::Says(400, "", body)]);
    let outcomes = at(&host).publisher.deliver(&people(2)).await;
    assert_eq!(outcomes, [Outcome::Accepted, Outcome::Refused { code: 40_009 }]);
}

#[tokio::test]
async fn a_batch_whose_answer_cannot_be_read_is_sent_again() {
    let host = StandIn::telling([Reply::Text(201, "", "taken")]);
    assert_eq!(at(&host).publisher.deliver(&people(2)).await, [AGAIN, AGAIN]);
    let host = StandIn::telling([Reply::Text(201, "", "taken")]);
    assert_eq!(one(&at(&host)).await, Outcome::Accepted, "201 is enough for one");
}

#[tokio::test]
async fn a_batch_is_split_at_a_hundred_channels_and_what_is_refused_here_is_not_sent() {
    let host = StandIn::telling([failing(404, 40_400)]);
    let mut parcels = people(203);
    parcels[0] = parcel("u-0", &format!("\"{}\"", "x".repeat(1_000)));
    parcels[1].id = "evt:1".to_owned();
    let outcomes = at(&host).publisher.deliver(&parcels).await;
    let refused = |code| Outcome::Refused { code };
    assert_eq!(outcomes[..2], [refused(40_009), refused(40_031)]);
    assert!(outcomes[2..].iter().all(|outcome| *outcome == refused(40_400)));
    let sizes: Vec<usize> = host
        .asked()
        .iter()
        .map(|asked| asked.body.as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [100, 100, 1]);
}

#[tokio::test]
async fn each_class_of_failure_has_its_outcome() {
    for (reply, expected) in [
        (failing(400, 40_013), Outcome::Refused { code: 40_013 }),
        (failing(401, 40_142), Outcome::Renew),
        (failing(401, 40_160), Outcome::Refused { code: 40_160 }),
        (failing(403, 40_300), Outcome::Refused { code: 40_300 }),
        (
            Reply::Text(403, "x-ably-errorcode: 40111\r\n", "<html>"),
            Outcome::Refused { code: 40_111 },
        ),
        (
            Reply::Text(302, "location: http://127.0.0.1:1/\r\n", ""),
            Outcome::Refused { code: 0 },
        ),
        (failing(503, 50_003), AGAIN),
        (failing(505, 0), AGAIN),
        (Reply::Ends, AGAIN),
        (Reply::Hangs, AGAIN),
    ] {
        let host = StandIn::telling([reply.clone()]);
        assert_eq!(one(&at(&host)).await, expected, "{reply:?}");
        assert_eq!(host.asked().len(), 1, "{reply:?}");
    }
}

#[tokio::test]
async fn where_a_host_is_away_hangs_or_fails_another_is_asked_with_the_same_message() {
    let served = StandIn::telling([taken()]);
    for bad in [failing(500, 50_000), failing(504, 0), Reply::Ends, Reply::Hangs] {
        let primary = StandIn::telling([bad.clone()]);
        let before = served.asked().len();
        let scene = scene(&primary.url(), &[&served], SHORT);
        assert_eq!(one(&scene).await, Outcome::Accepted, "{bad:?}");
        assert_eq!(served.asked().len(), before + 1);
        assert_eq!(primary.asked()[0].body, served.asked()[before].body);
        // The one that served is asked first from now on, for ten minutes.
        assert_eq!(one(&scene).await, Outcome::Accepted);
        assert_eq!(primary.asked().len(), 1, "{bad:?}");
        scene.clock.advance(Duration::from_secs(600));
        assert_eq!(one(&scene).await, Outcome::Accepted);
        assert_eq!(primary.asked().len(), 2, "{bad:?}");
    }
    let scene = scene(&nobody(), &[&served], SHORT);
    assert_eq!(one(&scene).await, Outcome::Accepted);
}

#[tokio::test]
async fn an_answer_of_the_edge_leads_to_another_host() {
    let edge = StandIn::telling([Reply::Text(403, "server: CloudFront\r\n", "<html>")]);
    let served = StandIn::telling([taken()]);
    assert_eq!(
        one(&scene(&edge.url(), &[&served], SHORT)).await,
        Outcome::Accepted
    );
    assert_eq!(one(&at(&edge)).await, AGAIN, "nobody else to ask");
}

#[tokio::test]
async fn at_most_four_hosts_are_asked() {
    let hosts: Vec<StandIn> = (0..6).map(|_| StandIn::telling([failing(503, 0)])).collect();
    let fallbacks: Vec<&StandIn> = hosts[1..].iter().collect();
    assert_eq!(one(&scene(&hosts[0].url(), &fallbacks, SHORT)).await, AGAIN);
    let asked: usize = hosts.iter().map(|host| host.asked().len()).sum();
    assert_eq!((asked, hosts[0].asked().len()), (4, 1));
}

#[tokio::test]
async fn all_hosts_together_are_waited_for_no_longer_than_the_whole_patience() {
    let hosts: Vec<StandIn> = (0..4).map(|_| StandIn::telling([Reply::Hangs])).collect();
    let fallbacks: Vec<&StandIn> = hosts[1..].iter().collect();
    let patience = Patience {
        total: Duration::from_millis(1_500),
        ..SHORT
    };
    assert_eq!(one(&scene(&hosts[0].url(), &fallbacks, patience)).await, AGAIN);
    let asked: usize = hosts.iter().map(|host| host.asked().len()).sum();
    assert!(
        asked <= 2,
        "{asked} hosts were asked in a time that is enough for one and a half"
    );
}

#[tokio::test]
async fn refusals_and_too_many_requests_never_go_to_another_host() {
    let other = StandIn::telling([taken()]);
    for reply in [
        failing(400, 40_000),
        failing(401, 40_101),
        failing(429, 42_910),
        failing(505, 0),
    ] {
        let primary = StandIn::telling([reply]);
        one(&scene(&primary.url(), &[&other], SHORT)).await;
    }
    assert_eq!(other.asked().len(), 0);
}

#[tokio::test]
async fn after_too_many_requests_nothing_goes_out_for_a_while() {
    let asks = Reply::Says(429, "retry-after: 7\r\n", json!({ "error": { "code": 42910 } }));
    let host = StandIn::telling([asks, taken()]);
    let scene = at(&host);
    let wait = Duration::from_secs(7);
    let by = Reason::RateLimited;
    let refused = Outcome::Held {
        retry_after: wait,
        by,
    };
    assert_eq!(one(&scene).await, refused);
    scene.clock.advance(Duration::from_secs(5));
    let held = Outcome::Held {
        retry_after: Duration::from_secs(2),
        by: Reason::RateLimited,
    };
    assert_eq!(one(&scene).await, held);
    assert_eq!(host.asked().len(), 1);
    scene.clock.advance(Duration::from_secs(2));
    assert_eq!(one(&scene).await, Outcome::Accepted);
}

#[test]
fn a_key_is_never_shown() {
    let scene = scene("http://127.0.0.1:1", &[], SHORT);
    assert!(!format!("{:?}", scene.publisher.authorization).contains("YXBw"));
}
