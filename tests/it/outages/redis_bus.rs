//! The bus over Redis.

use std::sync::Arc;

use adapters::redis::{Own, RedisBus, Server};
use application::ports::{Bus as _, Observer, Reply, Rung};
use application::testing::Unobserved;
use domain::ids::NodeId;
use tests::redis::{Redis, Settings};

use super::{Noting, Tasks, announce_at_once, doorbell, hears, hears_again, in_time};

fn redis() -> Redis {
    Redis::start(Settings::default()).unwrap()
}

struct Node {
    bus: RedisBus,
    _tasks: Tasks,
}

fn node(url: &str, node: u32, own: Own, observer: &Arc<dyn Observer>) -> Node {
    let (tasks, server) = (Tasks::new(), url.parse::<Server>().unwrap());
    let bus = RedisBus::start(&server, (NodeId(node), own), observer, tasks.parts());
    Node { bus, _tasks: tasks }
}

fn unobserved() -> Arc<dyn Observer> {
    Arc::new(Unobserved)
}

async fn hearing(url: &str) -> Node {
    let node = node(url, 1, Own::Heard, &unobserved());
    becomes(&node.bus, true).await;
    node
}

async fn becomes(bus: &RedisBus, wanted: bool) {
    in_time("whether it hears", async {
        bus.hears().wait_for(|hears| *hears == wanted).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_killed_redis_is_noticed_and_heard_again_when_it_is_back() {
    let mut redis = redis();
    let Node { bus, _tasks } = hearing(&redis.url()).await;
    let mut listener = bus.listen();
    redis.kill_9().unwrap();
    becomes(&bus, false).await;
    for position in 1..=1_000 {
        announce_at_once(&bus, position).await;
    }
    redis.restart().unwrap();
    hears(&mut listener, |rung| *rung == Rung::Missed).await;
    hears_again(&bus, &mut listener, 1_001).await;
}

#[tokio::test]
async fn a_frozen_redis_holds_nobody_up_and_is_heard_again_when_it_thaws() {
    let redis = redis();
    let observer = Arc::new(Noting::default());
    let Node { bus, _tasks } = node(&redis.url(), 1, Own::Heard, &(observer.clone() as _));
    becomes(&bus, true).await;
    let mut listener = bus.listen();
    redis.freeze().unwrap();
    for position in 1..=1_000 {
        announce_at_once(&bus, position).await;
    }
    assert!(
        observer.saw_full("redis_bus"),
        "a thousand doorbells wait nowhere"
    );
    becomes(&bus, false).await;
    redis.thaw().unwrap();
    hears(&mut listener, |rung| *rung == Rung::Missed).await;
    hears_again(&bus, &mut listener, 1_001).await;
}

#[tokio::test]
async fn what_a_full_queue_left_out_is_made_up_for_by_the_head() {
    let redis = redis();
    let observer = Arc::new(Noting::default());
    let Node { bus, _tasks } = node(&redis.url(), 1, Own::Heard, &(observer.clone() as _));
    let listening = hearing(&redis.url()).await;
    let mut listener = listening.bus.listen();
    redis.freeze().unwrap();
    for position in 1..=1_000 {
        bus.announce(doorbell(position)).await;
    }
    assert!(observer.saw_full("redis_bus"));
    // Shorter than anybody's patience, so that no connection breaks and nothing is missed.
    redis.thaw().unwrap();
    hears(
        &mut listener,
        |rung| matches!(rung, Rung::Head(head) if head.position.0 == 1_000),
    )
    .await;
}

#[tokio::test]
async fn a_node_may_start_before_its_redis() {
    let mut redis = redis();
    redis.kill_9().unwrap();
    let Node { bus, _tasks } = node(&redis.url(), 1, Own::Heard, &unobserved());
    let mut listener = bus.listen();
    announce_at_once(&bus, 1).await;
    redis.restart().unwrap();
    hears(&mut listener, |rung| *rung == Rung::Missed).await;
    hears_again(&bus, &mut listener, 2).await;
}

#[tokio::test]
async fn a_subscription_that_was_cut_is_taken_up_again() {
    let redis = redis();
    let Node { bus, _tasks } = hearing(&redis.url()).await;
    let mut listener = bus.listen();
    let cut = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    assert_eq!(cut, "1");
    hears(&mut listener, |rung| *rung == Rung::Missed).await;
    hears_again(&bus, &mut listener, 1).await;
}

#[tokio::test]
async fn what_nobody_understands_counts_as_missed() {
    let redis = redis();
    let Node { bus, _tasks } = hearing(&redis.url()).await;
    let mut listener = bus.listen();
    for said in [
        "",
        "x",
        "00000002 z 1",
        "00000002 d {\"epoch\":1}",
        "00000002 h \u{fffd}",
    ] {
        redis.command(&["PUBLISH", "arauto:bus", said]).unwrap();
        let heard = in_time("a ring", listener.next()).await;
        assert_eq!(heard, Rung::Missed, "{said}");
    }
}

#[tokio::test]
async fn a_node_that_hears_itself_another_way_skips_what_it_said() {
    let redis = redis();
    let one = node(&redis.url(), 1, Own::Skipped, &unobserved());
    let other = node(&redis.url(), 2, Own::Skipped, &unobserved());
    becomes(&one.bus, true).await;
    becomes(&other.bus, true).await;
    let mut listener = one.bus.listen();
    one.bus.announce(doorbell(1)).await;
    one.bus.forward(Reply {
        connection: "00000002-0000000000000001".parse().unwrap(),
        user: "u-1".parse().unwrap(),
        sequence: 1,
    });
    other.bus.announce(doorbell(2)).await;
    let heard = in_time("the other's", listener.next()).await;
    assert_eq!(heard, Rung::Doorbell(doorbell(2)));
}

#[tokio::test]
async fn a_listener_that_stands_still_is_told_that_it_missed_something() {
    let redis = redis();
    let observer = Arc::new(Noting::default());
    let Node { bus, _tasks } = node(&redis.url(), 1, Own::Heard, &(observer.clone() as _));
    becomes(&bus, true).await;
    let (mut still, mut awake) = (bus.listen(), bus.listen());
    for position in 1..=300 {
        bus.announce(doorbell(position)).await;
        hears(&mut awake, |rung| matches!(rung, Rung::Doorbell(_))).await;
    }
    assert_eq!(still.next().await, Rung::Missed);
    assert!(observer.saw_full("redis_bus_listener"));
    assert!(matches!(still.next().await, Rung::Doorbell(_)), "and goes on");
}

#[tokio::test]
async fn whether_a_redis_answers_is_said_in_bounded_time() {
    let mut redis = redis();
    let server: Server = redis.url().parse().unwrap();
    server.check().await.unwrap();
    redis.freeze().unwrap();
    let refused = in_time("an answer", server.check()).await.unwrap_err();
    redis.thaw().unwrap();
    redis.kill_9().unwrap();
    let gone = server.check().await.unwrap_err();
    assert_eq!(gone.to_string(), "Redis cannot be reached", "{refused:?}");
}
