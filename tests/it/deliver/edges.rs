//! What is planned, and what is sent, when something is in the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use application::deliver::{Deliver, Pass, Planned};
use application::ports::Outbox;
use domain::outbox::Status;
use domain::policy::Health;
use domain::rollout::KillSwitch;
use domain::transport::Reason;

use super::{Odd, World, run, unit};

#[tokio::test]
async fn what_has_expired_before_it_was_sent_is_not_sent() {
    let world = World::everybody().await;
    let node = world.node(1);
    let soon = application::ports::Clock::now(&*world.clock).plus(Duration::from_secs(5));
    let (_, position) = world.publish_until(&unit("norte"), Some(soon)).await;
    let (_, lasting) = world.publish(&unit("norte")).await;
    assert_eq!(node.plan().await, Ok(Planned::All));
    world.clock.advance(Duration::from_secs(6));
    run(&node).await;
    assert_eq!(world.sent(&unit("norte")), ["2"]);
    assert!(matches!(
        world.status(position).await,
        Some(Status::Withdrawn { .. })
    ));
    assert_eq!(world.status(lasting).await, Some(Status::Done));
}

#[tokio::test]
async fn what_the_kill_switch_keeps_back_is_accounted_for() {
    let world = World::everybody().await;
    let at = application::ports::Clock::now(&*world.clock);
    let thrown = KillSwitch::try_new("admin-1".parse().unwrap(), "a test", at).unwrap();
    world.rollout.lock().unwrap().kill_switch = Some(thrown);
    let (_, position) = world.publish(&unit("norte")).await;
    assert_eq!(run(&world.node(1)).await, Pass::default());
    let kept = Some(Status::Suppressed(Reason::KillSwitch));
    assert_eq!(world.status(position).await, kept);
}

#[tokio::test]
async fn a_transport_that_is_down_is_sent_nothing() {
    let world = World::everybody().await;
    let node = Deliver {
        health: Box::new(|| Health::Down),
        ..world.node(1)
    };
    let (_, position) = world.publish(&unit("norte")).await;
    assert_eq!(run(&node).await, Pass::default());
    let kept = Some(Status::Suppressed(Reason::Unhealthy));
    assert_eq!(world.status(position).await, kept);
}

#[tokio::test]
async fn an_event_that_cannot_be_planned_is_left_to_the_streams_alone() {
    let world = World::everybody().await;
    let asked = AtomicUsize::new(0);
    let node = Deliver {
        // The stretch panics, and then its first event by itself.
        health: Box::new(move || {
            assert!(asked.fetch_add(1, Ordering::Relaxed) >= 2, "planted");
            Health::Up
        }),
        ..world.node(1)
    };
    let (_, poison) = world.publish(&unit("norte")).await;
    world.publish(&unit("norte")).await;
    world.publish(&unit("sul")).await;
    run(&node).await;
    assert_eq!(world.status(poison).await, None);
    assert_eq!(world.sent(&unit("norte")), ["2"]);
    assert_eq!(world.sent(&unit("sul")), ["3"]);
}

#[tokio::test]
async fn what_does_not_fit_into_one_stretch_is_planned_with_the_next() {
    let world = World::everybody().await;
    let node = world.node(1);
    let mut positions = Vec::new();
    for _ in 0..1_001 {
        positions.push(world.publish(&unit("norte")).await.1);
    }
    assert_eq!(node.plan().await, Ok(Planned::Some));
    assert_eq!(node.plan().await, Ok(Planned::All));
    let rows = world.outbox.find(&positions).await.unwrap().rows;
    assert_eq!(rows.len(), positions.len());
}

#[tokio::test]
async fn what_another_node_leased_first_is_not_sent() {
    let world = World::everybody().await;
    let node = Deliver {
        // Somebody else was always faster.
        outbox: Arc::new(Odd {
            inner: world.outbox.clone(),
            shorter: 1,
            written: |_| false,
        }),
        ..world.node(1)
    };
    world.publish(&unit("norte")).await;
    assert_eq!(run(&node).await, Pass::default());
    assert!(world.sent(&unit("norte")).is_empty());
}
