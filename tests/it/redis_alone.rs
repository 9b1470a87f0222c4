//! Nodes that share nothing but one Redis.

use std::time::Duration;

use tests::redis::{Redis, Settings};

use crate::cluster::cast::Cast;
use crate::cluster::publisher::Pace;
use crate::cluster::reader::{Manners, OnReset, Return};
use crate::cluster::{Setup, plain};

const CLIENTS: usize = 40;
const CAUGHT_UP: Duration = Duration::from_secs(30);

/// Publishers and listeners use either node at random. Redis is killed once, and syncs every write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_acknowledges_reaches_everybody_at_the_other() {
    let mut redis = Redis::start(Settings::default()).unwrap();
    let setup = Setup::new()
        .with("ARAUTO_STORE", "redis")
        .with("ARAUTO_REDIS_URL", &redis.url());
    let nodes = [setup.node(), setup.node()];
    let doors = nodes.each_ref().map(|node| plain(node.address()));
    let manners = Manners {
        back: Return::Soon,
        reset: OnReset::Complain,
    };
    let cast = Cast::new(&setup, 1, CLIENTS, &doors, manners);
    cast.listen().await;
    let pace = Pace {
        rest: Duration::from_millis(50),
        batches: 10,
    };
    cast.publish(2, pace);
    cast.published(50, CAUGHT_UP).await;
    redis.kill_9().unwrap();
    redis.restart().unwrap();
    cast.published(cast.ledger.len() + 50, CAUGHT_UP).await;
    cast.hush(CAUGHT_UP).await;
    cast.settle(CAUGHT_UP).await;
}
