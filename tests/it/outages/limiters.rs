//! Limits of the whole cluster in Redis, and each node's share of them while it is away.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use adapters::limiters::Limiters;
use adapters::memory::MemoryLimiter;
use adapters::redis::{RedisLimiter, Server};
use application::ports::{Budget, Limiter, Observation, Observer, Reach};
use application::testing::SimClock;
use domain::ids::NodeId;
use domain::limit::{Allowance, Verdict};
use tests::redis::{Redis, Settings};
use tests::server::now;

use super::{AT_ONCE, Noting, Tasks, in_time};

/// Whoever finds out that Redis hangs waits for it once.
const FOUND_OUT: Duration = Duration::from_millis(1_500);

struct Node {
    limiter: Arc<Limiters>,
    observer: Arc<Noting>,
    _tasks: Tasks,
}

fn node(node: u32, redis: &Redis) -> Node {
    let (tasks, observer) = (Tasks::new(), Arc::new(Noting::default()));
    let server: Server = redis.url().parse().unwrap();
    let watching: Arc<dyn Observer> = observer.clone();
    let own = MemoryLimiter::new(Arc::new(SimClock::new()), watching.clone());
    let shared = RedisLimiter::new(&server, NodeId(node));
    let limiter = Limiters::start(Arc::new(shared), Arc::new(own), watching, tasks.parts());
    Node {
        limiter,
        observer,
        _tasks: tasks,
    }
}

fn budget(key: &str, limit: u32, burst: u32) -> Budget {
    Budget {
        key: key.to_owned(),
        allowance: Allowance::try_new(limit, burst).unwrap(),
    }
}

async fn exhaust(node: &Node, budget: &Budget) -> u32 {
    let mut taken = 0;
    while let Verdict::Taken(_) = node.limiter.take(std::slice::from_ref(budget)).await.unwrap() {
        taken += 1;
    }
    taken
}

fn changes(node: &Node) -> Vec<Observation> {
    let seen = node.observer.0.lock().unwrap();
    let change = |seen: &&Observation| matches!(seen, Observation::Degraded(_) | Observation::Recovered(_));
    seen.iter().filter(change).copied().collect()
}

/// Waits until each of so many nodes has counted itself after all of them were there: from then on each knows its share.
pub(crate) async fn counted(nodes: usize, redis: &Redis) {
    const NODES: &str = "arauto:limiter:nodes";
    let reaches = async |command: &[&str]| {
        in_time("the nodes are counted", async {
            while redis.command(command).unwrap() != nodes.to_string() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    reaches(&["ZCARD", NODES]).await;
    let all_there = redis
        .command(&["EVAL", "return redis.call('TIME')[1] * 1000 + 1000", "0"])
        .unwrap();
    reaches(&["ZCOUNT", NODES, &all_there, "+inf"]).await;
}

async fn reaches(node: &Node, wanted: Reach) {
    in_time("the reach", async {
        while node.limiter.reach() != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn nodes_keep_to_their_share_while_redis_is_away_and_share_again_when_it_is_back() {
    let mut redis = Redis::start(Settings::default()).unwrap();
    let nodes = [node(1, &redis), node(2, &redis), node(3, &redis)];
    let [one, other, third] = &nodes;
    assert_eq!(exhaust(one, &budget("before", 10, 5)).await, 15);
    assert_eq!(exhaust(other, &budget("before", 10, 5)).await, 0);
    counted(nodes.len(), &redis).await;

    redis.kill_9().unwrap();
    let three = NonZeroU32::new(3).unwrap();
    for node in &nodes {
        assert_eq!(exhaust(node, &budget("during", 9, 6)).await, 5, "a third of it");
        assert_eq!(node.limiter.reach(), Reach::Share { nodes: three });
        assert_eq!(changes(node), [Observation::Degraded("limits")], "once");
    }

    redis.restart().unwrap();
    for node in &nodes {
        reaches(node, Reach::Whole).await;
        assert_eq!(changes(node)[1..], [Observation::Recovered("limits")]);
    }
    assert_eq!(exhaust(third, &budget("after", 10, 5)).await, 15);
    assert_eq!(exhaust(one, &budget("after", 10, 5)).await, 0);
}

#[tokio::test]
async fn a_frozen_redis_makes_one_caller_wait_and_nobody_after_it() {
    let redis = Redis::start(Settings::default()).unwrap();
    let alone = node(1, &redis);
    let budget = budget("u-1", 1_000, 0);
    assert!(alone.limiter.take(std::slice::from_ref(&budget)).await.is_ok());
    redis.freeze().unwrap();
    let started = now();
    alone.limiter.take(std::slice::from_ref(&budget)).await.unwrap();
    assert!(started.elapsed() < FOUND_OUT, "{:?}", started.elapsed());
    for _ in 0..200 {
        let started = now();
        alone.limiter.take(std::slice::from_ref(&budget)).await.unwrap();
        assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    redis.thaw().unwrap();
    reaches(&alone, Reach::Whole).await;
}

#[tokio::test]
async fn a_full_redis_takes_nothing_half_and_each_node_keeps_to_its_share() {
    let redis = Redis::start(Settings::default()).unwrap();
    let alone = node(1, &redis);
    let both = [budget("one", 10, 0), budget("other", 10, 0)];
    assert!(alone.limiter.take(&both).await.is_ok());
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    alone.limiter.take(&both).await.unwrap();
    assert_eq!(
        alone.limiter.reach(),
        Reach::Share {
            nodes: NonZeroU32::MIN
        }
    );
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    reaches(&alone, Reach::Whole).await;
    for budget in &both {
        assert_eq!(
            exhaust(&alone, budget).await,
            9,
            "what was refused was not counted"
        );
    }
}
