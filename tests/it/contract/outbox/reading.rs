//! Looking at deliveries, and forgetting them.

use std::sync::Arc;

use application::ports::Backlog;
use domain::cursor::Position;
use domain::outbox::Delivery;
use tokio::task::JoinSet;

use super::{
    HOUR, NOON, OutboxFactory, cursor, dead, done, head_places, leased, pending, person, places, plan,
    plan_for_each, row, suppressed, turn, withdrawn,
};

pub(super) async fn rows_are_found_by_position_and_what_has_none_is_left_out(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    plan(
        &one,
        &[
            (2, person("ana"), pending()),
            (9, person("bia"), done()),
            (10, person("ana"), dead()),
            (100, person("ana"), leased()),
        ],
    )
    .await;
    let asked = [100, 3, 9, 0, 2, 10, 9, 101].map(Position);
    assert_eq!(places(&other.find(&asked).await.unwrap().rows), [2, 9, 10, 100]);
    assert!(other.find(&[]).await.unwrap().rows.is_empty());
    let everywhere: Vec<_> = (0..3_000).map(Position).collect();
    assert_eq!(
        places(&one.find(&everywhere).await.unwrap().rows),
        [2, 9, 10, 100]
    );
}

pub(super) async fn the_dead_are_listed_by_position_in_pages(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let stretch = [
        (0, dead()),
        (1, dead()),
        (2, done()),
        (9, dead()),
        (10, dead()),
        (11, pending()),
        (99, dead()),
        (100, dead()),
        (1_000, dead()),
    ];
    let stretch = stretch.map(|(position, delivery)| (position, person("ana"), delivery));
    plan(&one, &stretch).await;
    for limit in [1, 2, 3, 100] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = other.dead(after, limit).await.unwrap().rows;
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(last.cursor.position);
            listed.extend(places(&page));
        }
        assert_eq!(listed, [0, 1, 9, 10, 99, 100, 1_000], "{limit}");
    }
    assert!(one.dead(None, 0).await.unwrap().rows.is_empty());

    let revived = row(&one, 10).await.delivery.revive(NOON).unwrap();
    turn(&one, 10, revived).await;
    turn(&one, 11, dead()).await;
    let rows = other.dead(Some(Position(1)), 3).await.unwrap().rows;
    assert_eq!(places(&rows), [9, 11, 99]);
    assert_eq!(rows[1].delivery, dead());
}

pub(super) async fn the_backlog_counts_what_waits(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let due = |hours: u32| Delivery::pending(NOON.plus(HOUR * hours));
    plan(
        &one,
        &[
            (1, person("ana"), done()),
            (2, person("ana"), due(3)),
            (3, person("bia"), due(1)),
            (4, person("ana"), due(2)),
            (5, person("ana"), dead()),
            (6, person("ana"), suppressed()),
            (7, person("bia"), withdrawn()),
        ],
    )
    .await;
    let backlog = |open, oldest: Option<u32>, dead| Backlog {
        open,
        oldest: oldest.map(|hours| NOON.plus(HOUR * hours)),
        dead,
    };
    assert_eq!(other.backlog().await, Ok(backlog(3, Some(1), 1)));
    turn(&one, 3, dead()).await;
    assert_eq!(other.backlog().await, Ok(backlog(2, Some(2), 2)));
    let (being_sent, _) = due(2).lease(NOON.plus(HOUR * 5), HOUR).unwrap();
    turn(&one, 4, being_sent).await;
    assert_eq!(other.backlog().await, Ok(backlog(2, Some(2), 2)));
    turn(&one, 4, done()).await;
    turn(&one, 2, done()).await;
    assert_eq!(other.backlog().await, Ok(backlog(0, None, 2)));
    // A revived one counts from its second life on.
    let revived = row(&one, 3).await.delivery.revive(NOON.plus(HOUR * 9)).unwrap();
    turn(&one, 3, revived).await;
    assert_eq!(other.backlog().await, Ok(backlog(1, Some(9), 1)));
}

pub(super) async fn only_what_has_ended_before_a_position_is_forgotten(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let deliveries = [
        done(),
        pending(),
        suppressed(),
        dead(),
        leased(),
        withdrawn(),
        done(),
        dead(),
    ];
    plan_for_each(&one, &deliveries).await;
    assert_eq!(one.forget(Position(0), 100).await, Ok(0));
    assert_eq!(one.forget(Position(1), 100).await, Ok(0));
    assert_eq!(one.forget(Position(7), 100).await, Ok(4));
    assert_eq!(other.forget(Position(7), 100).await, Ok(0));
    let all: Vec<_> = (0..10).map(Position).collect();
    let left = other.find(&all).await.unwrap().rows;
    assert_eq!(places(&left), [2, 5, 7, 8]);
    assert_eq!(places(&other.dead(None, 10).await.unwrap().rows), [8]);
    assert_eq!(head_places(&other).await, [2, 5]);
    let backlog = Backlog {
        open: 2,
        oldest: Some(NOON),
        dead: 1,
    };
    assert_eq!(other.backlog().await, Ok(backlog));
    assert_eq!(other.planned().await, Ok(Some(cursor(8))));

    turn(&one, 2, done()).await;
    let revived = row(&one, 8).await.delivery.revive(NOON).unwrap();
    turn(&one, 8, revived).await;
    assert_eq!(other.forget(Position(100), 100).await, Ok(2));
    assert_eq!(places(&one.find(&all).await.unwrap().rows), [5, 8]);
}

pub(super) async fn no_more_is_forgotten_at_once_than_was_asked_for(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    plan_for_each(&one, &[done(); 12]).await;
    assert_eq!(one.forget(Position(100), 0).await, Ok(0));
    assert_eq!(one.forget(Position(100), 5).await, Ok(5));
    let all: Vec<_> = (0..20).map(Position).collect();
    let left = other.find(&all).await.unwrap().rows;
    assert_eq!(places(&left), [6, 7, 8, 9, 10, 11, 12], "the oldest go first");
    assert_eq!(other.forget(Position(100), 5).await, Ok(5));
    assert_eq!(one.forget(Position(100), 5).await, Ok(2));
}

pub(super) async fn of_many_who_forget_at_once_each_forgets_something_else(factory: &dyn OutboxFactory) {
    const ROWS: usize = 400;
    let nodes = factory.open().await;
    plan_for_each(&nodes[0], &vec![done(); ROWS]).await;
    let mut chores = JoinSet::new();
    for chore in 0..6_usize {
        let node = Arc::clone(&nodes[chore % 2]);
        chores.spawn(async move {
            let mut forgot = 0;
            for _ in 0..10 {
                forgot += node.forget(Position(u64::MAX >> 11), 20).await.unwrap();
            }
            forgot
        });
    }
    let mut forgot: usize = chores.join_all().await.into_iter().sum();
    loop {
        match nodes[0].forget(Position(u64::MAX >> 11), 100).await.unwrap() {
            0 => break,
            more => forgot += more,
        }
    }
    assert_eq!(forgot, ROWS);
}
