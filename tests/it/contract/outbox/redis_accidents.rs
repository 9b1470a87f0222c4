//! What an outbox in Redis owes when Redis is full, or would drop what it has acknowledged.

use std::sync::Arc;

use adapters::redis::{RedisOutbox, Server};
use application::ports::{Outbox, StoreError};
use domain::cursor::Position;
use tests::redis::{Redis, Settings};

use super::{cursor, done, head_places, leased, new_row, pending, person, plan, plan_for_each};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_evicts_is_refused_by_the_name_of_its_policy() {
    let settings = Settings::default().set("maxmemory-policy", "allkeys-lru");
    let redis = Redis::start(settings).unwrap();
    let server: Server = redis.url().parse().unwrap();
    let refused = RedisOutbox::open(&server).await.map(|_| ()).unwrap_err();
    assert!(
        refused.to_string().contains("maxmemory-policy is allkeys-lru"),
        "{refused}"
    );
    redis
        .command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
        .unwrap();
    RedisOutbox::open(&server).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_whole_stretches_and_is_still_read() {
    let redis = Redis::start(Settings::default().set("appendonly", "no")).unwrap();
    let server: Server = redis.url().parse().unwrap();
    let outbox: Arc<dyn Outbox> = Arc::new(RedisOutbox::open(&server).await.unwrap());
    plan_for_each(&outbox, &[pending(), done(), pending()]).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();

    let stretch = (4..30).map(|position| (Position(position), person("ana"), pending()));
    let refused = outbox.plan(Some(cursor(3)), cursor(30), stretch.collect()).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(outbox.planned().await, Ok(Some(cursor(3))));
    assert_eq!(head_places(&outbox).await, [1, 3], "nothing is half there");
    let leasing = outbox.update(vec![new_row(1, &person("u-1"), leased())]).await;
    assert!(
        matches!(leasing, Err(StoreError::Unavailable { .. })),
        "{leasing:?}"
    );
    let found = outbox.find(&[Position(1)]).await.unwrap().rows;
    assert_eq!(found, [new_row(1, &person("u-1"), pending())]);

    // What makes room is let through.
    assert_eq!(outbox.forget(Position(3), 10).await, Ok(1));
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    plan(&outbox, &[(4, person("u-1"), pending())]).await;
    assert_eq!(head_places(&outbox).await, [1, 3]);
    assert_eq!(outbox.backlog().await.unwrap().open, 3);
}
