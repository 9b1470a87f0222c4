//! The registry and the settings over Redis.

use std::sync::Arc;
use std::time::Duration;

use adapters::redis::{RedisRegistry, RedisSettings, Server};
use application::ports::{Registry, Settings as _, SettingsError};
use application::testing::Unobserved;
use domain::ids::NodeId;
use domain::time::Timestamp;
use tests::redis::{Redis, Settings};

use super::registry::{HOUR, counts, ended, enters, leave, person, presence, refuses_everything_within};
use super::{Noting, Tasks};

/// What the registry promises.
const BOUND: Duration = Duration::from_millis(500);

struct Node {
    registry: RedisRegistry,
    _tasks: Tasks,
}

fn node(redis: &Redis) -> Node {
    let (tasks, server) = (Tasks::new(), redis.url().parse::<Server>().unwrap());
    let registry = RedisRegistry::start(&server, NodeId(1), &(Arc::new(Unobserved) as _), tasks.parts());
    Node {
        registry,
        _tasks: tasks,
    }
}

/// Forgets everything when it ends.
fn forgetful() -> Settings {
    Settings::default().set("appendonly", "no")
}

#[tokio::test]
async fn a_frozen_redis_makes_nobody_wait_and_is_put_right_when_it_thaws() {
    let redis = Redis::start(Settings::default()).unwrap();
    let Node { registry, _tasks } = node(&redis);
    for serial in 1..=3 {
        registry.enter(presence(serial), 5).await.unwrap();
    }
    redis.freeze().unwrap();
    refuses_everything_within(&registry, BOUND).await;
    leave(&registry, 1);
    assert!(registry.enter(presence(4), 5).await.is_err());
    redis.thaw().unwrap();
    // 2 and 3 stayed; 4 and the one whose entering was refused came while nobody answered.
    counts(&registry, 4).await;
    let beyond = enters(&registry, presence(5), 3).await;
    assert_eq!(beyond, [2, 3].map(|serial| presence(serial).connection));
}

#[tokio::test]
async fn a_redis_that_lost_everything_is_told_again() {
    let mut redis = Redis::start(forgetful()).unwrap();
    let Node { registry, _tasks } = node(&redis);
    for serial in 1..=1_200 {
        if serial < 3 {
            registry.enter(presence(serial), 5_000).await.unwrap();
        } else {
            let mut presence = presence(serial);
            presence.user = format!("u-{serial}").parse().unwrap();
            registry.enter(presence, 5).await.unwrap();
        }
    }
    redis.kill_9().unwrap();
    refuses_everything_within(&registry, BOUND).await;
    leave(&registry, 1);
    redis.restart().unwrap();
    // One left, one came.
    counts(&registry, 1_200).await;
    assert_eq!(registry.list(None, 2_000).await.unwrap().len(), 1_200);
}

#[tokio::test]
async fn what_happened_to_tickets_in_an_outage_is_known_after_it() {
    let mut redis = Redis::start(Settings::default()).unwrap();
    let Node { registry, _tasks } = node(&redis);
    registry.spend(1, HOUR).await.unwrap();
    registry.spend(2, HOUR).await.unwrap();
    redis.kill_9().unwrap();
    refuses_everything_within(&registry, BOUND).await;
    registry.end(1, HOUR);
    let fresh = person(Timestamp::from_millis(i64::MAX));
    registry.renew(2, fresh.clone());
    redis.restart().unwrap();
    ended(&registry, 1).await;
    registry.flush().await;
    assert_eq!(registry.renewed(2).await, Ok(Some(fresh)));
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_told_again() {
    let redis = Redis::start(Settings::default()).unwrap();
    let Node { registry, _tasks } = node(&redis);
    registry.enter(presence(1), 5).await.unwrap();
    redis.command(&["SCRIPT", "FLUSH"]).unwrap();
    assert_eq!(
        registry.enter(presence(2), 1).await.unwrap(),
        [presence(1).connection]
    );
    redis.command(&["SCRIPT", "FLUSH"]).unwrap();
    assert_eq!(registry.count().await, Ok(2));
}

#[tokio::test]
async fn a_redis_that_answers_errors_is_unavailable_and_used_again_when_it_does_not() {
    let redis = Redis::start(Settings::default()).unwrap();
    let Node { registry, _tasks } = node(&redis);
    registry.enter(presence(1), 5).await.unwrap();
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    assert!(registry.enter(presence(2), 5).await.is_err());
    assert!(registry.spend(1, HOUR).await.is_err());
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    counts(&registry, 2).await;
}

#[tokio::test]
async fn what_waits_for_redis_is_bounded() {
    let redis = Redis::start(Settings::default()).unwrap();
    let (tasks, observer) = (Tasks::new(), Arc::new(Noting::default()));
    let server = redis.url().parse::<Server>().unwrap();
    let registry = RedisRegistry::start(&server, NodeId(1), &(observer.clone() as _), tasks.parts());
    registry.enter(presence(1), 5).await.unwrap();
    redis.freeze().unwrap();
    for ticket in 0..20_000 {
        registry.end(ticket, HOUR);
    }
    assert!(observer.saw_full("redis_registry"));
}

#[tokio::test]
async fn settings_say_that_they_are_unavailable_and_come_back() {
    let mut redis = Redis::start(Settings::default()).unwrap();
    let settings = RedisSettings::new(&redis.url().parse().unwrap());
    settings.put("rollout", 0, "5".into()).await.unwrap();
    redis.kill_9().unwrap();
    assert_eq!(settings.get("rollout").await, Err(SettingsError::Unavailable));
    let put = settings.put("rollout", 1, "25".into()).await;
    assert_eq!(put, Err(SettingsError::Unavailable));
    redis.restart().unwrap();
    super::in_time("the settings", async {
        while settings.get("rollout").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(settings.put("rollout", 1, "25".into()).await, Ok(2));
}
