//! Turning a stretch of the log into deliveries.

use std::sync::Arc;

use application::ports::Backlog;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use tokio::task::JoinSet;

use super::{
    EPOCH, LATER, NOON, OutboxFactory, Stretch, cursor, dead, done, head_places, new_row, pending, person,
    places, plan, row, suppressed, turn, withdrawn,
};

pub(super) async fn nothing_is_there_before_the_first_time(factory: &dyn OutboxFactory) {
    for outbox in &factory.open().await {
        assert_eq!(outbox.planned().await, Ok(None));
        assert!(outbox.heads(None, 10).await.unwrap().rows.is_empty());
        assert!(outbox.dead(None, 10).await.unwrap().rows.is_empty());
        assert!(outbox.find(&[Position(1)]).await.unwrap().rows.is_empty());
        assert_eq!(outbox.backlog().await, Ok(Backlog::default()));
        assert_eq!(outbox.forget(Position(100), 10).await, Ok(0));
    }
}

pub(super) async fn rows_of_a_stretch_come_with_the_mark(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    plan(
        &one,
        &[
            (1, person("u-1"), pending()),
            (3, Channel::System, suppressed()),
            (4, person("u-1"), pending()),
        ],
    )
    .await;
    plan(&other, &[(5, person("u-2"), pending())]).await;
    for node in [&one, &other] {
        assert_eq!(node.planned().await, Ok(Some(cursor(5))));
        let found = node.find(&[1, 2, 3, 4, 5].map(Position)).await.unwrap();
        let rows = [
            new_row(1, &person("u-1"), pending()),
            new_row(3, &Channel::System, suppressed()),
            new_row(4, &person("u-1"), pending()),
            new_row(5, &person("u-2"), pending()),
        ];
        assert_eq!(found.rows, rows);
    }
}

pub(super) async fn nobody_sees_the_mark_without_its_rows(factory: &dyn OutboxFactory) {
    const STRETCHES: u64 = 60;
    const LENGTH: u64 = 20;
    let [one, other] = factory.open().await;
    let mut looking = JoinSet::new();
    looking.spawn(async move {
        loop {
            let planned = other.planned().await.unwrap().map_or(0, |mark| mark.position.0);
            let places: Vec<_> = (1..=planned).map(Position).collect();
            let found = other.find(&places).await.unwrap();
            assert_eq!(found.rows.len() as u64, planned);
            if planned == STRETCHES * LENGTH {
                return;
            }
        }
    });
    for stretch in 0..STRETCHES {
        let first = stretch * LENGTH + 1;
        let rows: Vec<_> = (first..first + LENGTH)
            .map(|position| (position, person("u-1"), pending()))
            .collect();
        plan(&one, &rows).await;
    }
    looking.join_all().await;
}

pub(super) async fn a_stretch_that_nobody_is_pushed_moves_the_mark(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    assert_eq!(one.plan(None, cursor(0), Vec::new()).await, Ok(true));
    assert_eq!(other.planned().await, Ok(Some(cursor(0))));
    assert_eq!(other.plan(Some(cursor(0)), cursor(7), Vec::new()).await, Ok(true));
    assert_eq!(one.planned().await, Ok(Some(cursor(7))));
    assert_eq!(one.backlog().await, Ok(Backlog::default()));
}

pub(super) async fn a_mark_elsewhere_writes_nothing(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let from_nowhere = one.plan(Some(cursor(0)), cursor(1), stretch(1, "u-9"));
    assert_eq!(from_nowhere.await, Ok(false));
    assert_eq!(one.planned().await, Ok(None));

    plan(&one, &[(5, person("u-1"), pending())]).await;
    let another_history = Cursor {
        epoch: LATER,
        ..cursor(5)
    };
    for from in [
        None,
        Some(cursor(0)),
        Some(cursor(4)),
        Some(cursor(6)),
        Some(another_history),
    ] {
        for node in [&one, &other] {
            let mut rows = stretch(5, "u-9");
            rows.extend(stretch(6, "u-9"));
            assert_eq!(node.plan(from, cursor(6), rows).await, Ok(false), "{from:?}");
            assert_eq!(node.planned().await, Ok(Some(cursor(5))));
            let found = node.find(&[5, 6].map(Position)).await.unwrap();
            assert_eq!(found.rows, [new_row(5, &person("u-1"), pending())]);
        }
    }
    assert_eq!(head_places(&one).await, [5]);
}

pub(super) async fn of_many_who_plan_one_stretch_exactly_one_does(factory: &dyn OutboxFactory) {
    const EACH: u64 = 10;
    let nodes = factory.open().await;
    for round in 0..10 {
        let first = round * EACH + 1;
        let from = nodes[0].planned().await.unwrap();
        let mut planners = JoinSet::new();
        for planner in 0..8_usize {
            let node = Arc::clone(&nodes[planner % 2]);
            planners.spawn(async move {
                let name = format!("planner-{planner}");
                let rows = (first..first + EACH).flat_map(|position| stretch(position, &name));
                let to = cursor(first + EACH - 1);
                (name.clone(), node.plan(from, to, rows.collect()).await.unwrap())
            });
        }
        let outcomes = planners.join_all().await;
        let planned: Vec<_> = outcomes.iter().filter(|(_, planned)| *planned).collect();
        assert_eq!(planned.len(), 1, "round {round}: {outcomes:?}");
        let places: Vec<_> = (first..first + EACH).map(Position).collect();
        let rows = nodes[1].find(&places).await.unwrap().rows;
        assert_eq!(rows.len() as u64, EACH);
        let winner = person(&planned[0].0);
        assert!(rows.iter().all(|row| row.channel == winner), "round {round}");
        assert_eq!(nodes[1].planned().await, Ok(Some(cursor(first + EACH - 1))));
    }
    assert_eq!(nodes[0].backlog().await.unwrap().open, 10 * EACH);
}

pub(super) async fn what_another_history_left_gives_way(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    plan(
        &one,
        &[
            (1, person("u-1"), pending()),
            (2, person("u-2"), dead()),
            (3, person("u-3"), done()),
            (4, person("u-4"), pending()),
            (5, person("u-5"), withdrawn()),
        ],
    )
    .await;
    turn(&one, 4, pending()).await;
    let left = row(&one, 4).await;
    assert_eq!(left.version, 1);

    // The later history is shorter, and its places belong to other channels.
    let to = Cursor {
        epoch: LATER,
        position: Position(4),
    };
    let again = vec![
        (Position(1), person("u-9"), pending()),
        (Position(2), person("u-2"), pending()),
        (Position(3), person("u-3"), dead()),
        (Position(4), person("u-8"), done()),
    ];
    assert_eq!(other.plan(Some(cursor(5)), to, again).await, Ok(true));
    assert_eq!(one.planned().await, Ok(Some(to)));

    let heads = one.heads(None, 10).await.unwrap().rows;
    assert_eq!(places(&heads), [2, 1]);
    assert_eq!(heads[0].channel, person("u-2"));
    assert_eq!(heads[1].channel, person("u-9"));
    assert!(
        heads
            .iter()
            .all(|row| row.cursor.epoch == LATER && row.version == 0)
    );
    assert_eq!(places(&one.dead(None, 10).await.unwrap().rows), [3]);
    let backlog = Backlog {
        open: 2,
        oldest: Some(NOON),
        dead: 1,
    };
    assert_eq!(one.backlog().await, Ok(backlog));

    assert_eq!(one.update(vec![left]).await, Ok(vec![false]), "it is gone");
    let now = row(&one, 4).await;
    assert_eq!((now.cursor, now.version), (to, 0));
    assert_eq!(
        row(&one, 5).await.cursor.epoch,
        EPOCH,
        "nothing came in its place"
    );
    assert_eq!(one.forget(Position(100), 10).await, Ok(3));
    assert_eq!(head_places(&other).await, [2, 1]);
}

fn stretch(position: u64, name: &str) -> Stretch {
    vec![(Position(position), person(name), pending())]
}
