//! Writing a row at the version that was read: what keeps two nodes from sending one event at once.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{DeliveryRow, Outbox};
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::outbox::{DeadReason, Delivery, Status, Withdrawal};
use domain::retry::GiveUp;
use domain::time::Timestamp;
use domain::transport::Reason;
use tokio::task::JoinSet;

use super::{
    HOUR, LATER, NOON, OutboxFactory, cursor, done, leased, new_row, pending, person, plan, plan_for_each,
    row, with,
};

/// A lease that nobody else has.
fn lease_of(serial: usize) -> Delivery {
    let until = NOON.plus(Duration::from_secs(serial as u64 + 1));
    Delivery {
        attempts: 1,
        leases: 1,
        ..with(Status::Leased { until })
    }
}

pub(super) async fn a_row_is_written_as_the_next_version(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let ana = person("ana");
    plan(
        &one,
        &[(1, ana.clone(), pending()), (2, Channel::System, pending())],
    )
    .await;
    for version in 0..12 {
        let node = [&one, &other][version as usize % 2];
        let written = DeliveryRow {
            version,
            ..new_row(1, &ana, lease_of(version as usize))
        };
        assert_eq!(node.update(vec![written.clone()]).await, Ok(vec![true]));
        let next = DeliveryRow {
            version: version + 1,
            ..written
        };
        for node in [&one, &other] {
            assert_eq!(row(node, 1).await, next);
        }
    }
    assert_eq!(row(&one, 2).await, new_row(2, &Channel::System, pending()));
    assert_eq!(one.update(Vec::new()).await, Ok(Vec::new()));
}

pub(super) async fn of_two_who_update_one_version_exactly_one_is_told_so(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    plan_for_each(&one, &[pending(), pending()]).await;
    let read = one.heads(None, 10).await.unwrap().rows;
    let claim = |serial| -> Vec<_> {
        let delivery = lease_of(serial);
        read.iter()
            .map(|row| DeliveryRow {
                delivery,
                ..row.clone()
            })
            .collect()
    };
    assert_eq!(one.update(claim(1)[..1].to_vec()).await, Ok(vec![true]));
    assert_eq!(other.update(claim(2)).await, Ok(vec![false, true]));
    assert_eq!(one.update(claim(3)).await, Ok(vec![false, false]));
    assert_eq!(row(&other, 1).await.delivery, lease_of(1));
    assert_eq!(row(&one, 2).await.delivery, lease_of(2));
}

pub(super) async fn of_many_who_lease_one_delivery_at_once_exactly_one_does(factory: &dyn OutboxFactory) {
    let nodes = factory.open().await;
    plan(&nodes[0], &[(1, person("ana"), pending())]).await;
    for round in 0..25 {
        let read = row(&nodes[0], 1).await;
        let mut senders = JoinSet::new();
        for sender in 0..8 {
            let node = Arc::clone(&nodes[sender % 2]);
            let claimed = DeliveryRow {
                delivery: lease_of(sender),
                ..read.clone()
            };
            senders.spawn(async move { (sender, node.update(vec![claimed]).await.unwrap()) });
        }
        let told = senders.join_all().await;
        let told: Vec<_> = told.into_iter().filter(|(_, told)| told == &[true]).collect();
        assert_eq!(told.len(), 1, "round {round}: {told:?}");
        let written = row(&nodes[1], 1).await;
        assert_eq!(written.delivery, lease_of(told[0].0), "round {round}");
        assert_eq!(written.version, read.version + 1, "round {round}");
    }
}

pub(super) async fn of_a_row_that_is_named_twice_one_is_written(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    plan_for_each(&one, &[pending(), pending()]).await;
    let claims = [0, 1, 2].map(|serial| DeliveryRow {
        delivery: lease_of(serial),
        ..new_row(1, &person("u-1"), pending())
    });
    let told = one.update(claims.to_vec()).await.unwrap();
    let winners: Vec<_> = (0..3).filter(|serial| told[*serial]).collect();
    assert_eq!(winners.len(), 1, "{told:?}");
    assert_eq!(row(&other, 1).await.delivery, lease_of(winners[0]));

    let old_and_present = [(2, 0), (2, 1)].map(|(position, version)| DeliveryRow {
        version,
        delivery: lease_of(7),
        ..new_row(position, &person("u-2"), pending())
    });
    let told = one.update(old_and_present.iter().rev().cloned().collect()).await;
    assert_eq!(told, Ok(vec![false, true]), "the first was written too early");
}

pub(super) async fn crowds_who_update_the_same_rows_in_any_order_are_all_answered(
    factory: &dyn OutboxFactory,
) {
    let nodes = factory.open().await;
    plan_for_each(&nodes[0], &[pending(); 200]).await;
    let places: Vec<_> = (1..=200).map(Position).collect();
    crowd(&nodes, &places).await;
}

/// Has both nodes update the same rows, from the first to the last and the other way round.
pub(super) async fn crowd(nodes: &[Arc<dyn Outbox>; 2], places: &[Position]) {
    for round in 0..10 {
        let read = nodes[0].find(places).await.unwrap().rows;
        let mut crowd = JoinSet::new();
        for sender in 0..4_usize {
            let (node, mut rows) = (Arc::clone(&nodes[sender % 2]), read.clone());
            if sender >= 2 {
                rows.reverse();
            }
            crowd.spawn(async move {
                for row in &mut rows {
                    row.delivery = lease_of(sender);
                }
                node.update(rows).await.unwrap()
            });
        }
        let told = crowd.join_all().await;
        let written = told.iter().flatten().filter(|written| **written).count();
        assert_eq!(written, places.len(), "round {round}");
        let found = nodes[1].find(places).await.unwrap().rows;
        assert!(found.iter().all(|row| row.version == round + 1), "round {round}");
    }
}

pub(super) async fn what_is_not_the_row_that_was_read_writes_nothing(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    plan_for_each(&one, &[pending(); 6]).await;
    assert_eq!(
        one.update(vec![new_row(2, &person("u-2"), leased())]).await,
        Ok(vec![true])
    );
    let of_another_history = |position| DeliveryRow {
        cursor: Cursor {
            epoch: LATER,
            ..cursor(position)
        },
        ..new_row(position, &person("u-3"), done())
    };
    let ahead = DeliveryRow {
        version: 1,
        ..new_row(5, &person("u-5"), done())
    };
    let claims = vec![
        new_row(7, &person("u-7"), done()),
        new_row(2, &person("u-2"), done()),
        of_another_history(3),
        new_row(4, &person("u-4"), done()),
        ahead,
    ];
    let before = other.find(&[1, 2, 3, 5, 6].map(Position)).await.unwrap().rows;
    assert_eq!(
        one.update(claims).await,
        Ok(vec![false, false, false, true, false])
    );
    let after = other.find(&[1, 2, 3, 5, 6, 7].map(Position)).await.unwrap().rows;
    assert_eq!(after, before, "only what was to be written is");
    assert_eq!(row(&other, 4).await.delivery, done());
}

fn every_status() -> Vec<Status> {
    let later = NOON.plus(HOUR);
    let withdrawn = |why, in_flight_until| Status::Withdrawn { why, in_flight_until };
    let mut statuses = vec![
        Status::Pending,
        Status::Leased { until: later },
        Status::Leased {
            until: Timestamp::MAX,
        },
        Status::RetryAt(later),
        Status::Done,
        Status::Dead(DeadReason::Refused { code: 0 }),
        Status::Dead(DeadReason::Refused { code: u32::MAX }),
        Status::Dead(DeadReason::Unauthorized),
        Status::Dead(DeadReason::GivenUp(GiveUp::Attempts)),
        Status::Dead(DeadReason::GivenUp(GiveUp::Deadline)),
        withdrawn(Withdrawal::Retracted, None),
        withdrawn(Withdrawal::Retracted, Some(later)),
        withdrawn(Withdrawal::Expired, None),
        withdrawn(Withdrawal::Expired, Some(later)),
    ];
    statuses.extend(Reason::ALL.map(Status::Suppressed));
    statuses
}

pub(super) async fn every_status_reads_back_as_written(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let worn = |status| Delivery {
        since: NOON.plus(Duration::from_millis(1)),
        attempts: 19,
        leases: u32::MAX,
        renewals: 1,
        revived: true,
        status,
    };
    let deliveries: Vec<_> = every_status().into_iter().map(with).collect();
    plan_for_each(&one, &deliveries).await;
    let places: Vec<_> = (1..=deliveries.len() as u64).map(Position).collect();
    let read = other.find(&places).await.unwrap().rows;
    let read_back: Vec<_> = read.iter().map(|row| row.delivery).collect();
    assert_eq!(read_back, deliveries, "as planned");

    // Each goes to the next one's status, so that it changes where it stands.
    let mut turned: Vec<_> = every_status().into_iter().map(worn).collect();
    turned.rotate_left(1);
    let rows = read.into_iter().zip(&turned).map(|(row, delivery)| DeliveryRow {
        delivery: *delivery,
        ..row
    });
    let written = other.update(rows.collect()).await.unwrap();
    assert!(written.iter().all(|written| *written));
    let read = one.find(&places).await.unwrap().rows;
    let read_back: Vec<_> = read.iter().map(|row| row.delivery).collect();
    assert_eq!(read_back, turned, "as updated");
    assert!(read.iter().all(|row| row.version == 1));
}

pub(super) async fn the_longest_names_read_back_as_written(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let longest = "Zz-_09aA".repeat(8);
    let channels = [
        Channel::Benefit(longest.parse().unwrap()),
        Channel::Unit(longest.parse().unwrap()),
        Channel::User(longest.parse().unwrap()),
        Channel::System,
    ];
    let last = (1_u64 << 53) - 10;
    let stretch: Vec<_> = (last..).zip(channels.clone()).collect();
    let stretch: Vec<_> = stretch
        .into_iter()
        .map(|(position, channel)| (position, channel, pending()))
        .collect();
    plan(&one, &stretch).await;
    assert_eq!(other.planned().await, Ok(Some(cursor(last + 3))));
    let heads = other.heads(None, 10).await.unwrap().rows;
    let expected: Vec<_> = stretch
        .iter()
        .map(|(position, channel, delivery)| new_row(*position, channel, *delivery))
        .collect();
    assert_eq!(heads, expected);
    let after: Arc<dyn Outbox> = one;
    let behind = after.heads(Some(channels[2].clone()), 10).await.unwrap().rows;
    assert_eq!(behind, expected[3..]);
    assert_eq!(after.update(heads).await, Ok(vec![true; 4]));
}
