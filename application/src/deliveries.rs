//! Deliveries as administrators see them: what is dead, and sending it once more.

use std::sync::Arc;

use domain::cursor::{Cursor, Position};

use crate::ports::{DeliveryRow, Outbox, StoreError};

/// A page holds at most this many.
pub const DEAD_PAGE_MAX: usize = 200;

/// Each attempt is lost to somebody else's write of the same row. A dead one is written by people alone.
const ATTEMPTS: usize = 3;

/// A page of dead deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadPage {
    /// The deliveries, by position.
    pub rows: Vec<DeliveryRow>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// Why a delivery was not begun anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReviveError {
    /// Nothing is known of such a delivery.
    #[error("there is no such delivery")]
    Unknown,
    /// It is not dead, or not any more.
    #[error("the delivery is {0}, and only a dead one is sent again by hand")]
    NotDead(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Lists dead deliveries and begins them anew. Whether the caller administers the service is known before.
pub struct AdministerDeliveries {
    /// The deliveries.
    pub outbox: Arc<dyn Outbox>,
}

impl AdministerDeliveries {
    /// Lists dead deliveries, beginning after one. Positions outlive epochs, so any cursor will do.
    pub async fn dead(&self, after: Option<Cursor>, limit: usize) -> Result<DeadPage, StoreError> {
        let limit = limit.clamp(1, DEAD_PAGE_MAX);
        // One more than is shown says whether there is another page.
        let after = after.map(|after| after.position);
        let mut rows = self.outbox.dead(after, limit + 1).await?.rows;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.cursor);
        Ok(DeadPage { rows, next })
    }

    /// Begins a dead delivery anew, and returns it as it stands then. It may arrive behind later events of its channel,
    /// so clients keep being sent to the replay for it. Of two who do it at once, one is told that it is not dead.
    pub async fn revive(&self, id: Cursor) -> Result<DeliveryRow, ReviveError> {
        let mut standing = "being written";
        for _ in 0..ATTEMPTS {
            let (row, now) = self.find(id).await?;
            standing = row.delivery.status.as_str();
            let Some(delivery) = row.delivery.revive(now) else {
                return Err(ReviveError::NotDead(standing));
            };
            let revived = DeliveryRow { delivery, ..row };
            if self.outbox.update(vec![revived.clone()]).await?.first() == Some(&true) {
                return Ok(revived);
            }
        }
        Err(ReviveError::NotDead(standing))
    }

    async fn find(&self, id: Cursor) -> Result<(DeliveryRow, domain::time::Timestamp), ReviveError> {
        let positions: [Position; 1] = [id.position];
        let page = self.outbox.find(&positions).await?;
        let row = page.rows.into_iter().find(|row| row.cursor == id);
        Ok((row.ok_or(ReviveError::Unknown)?, page.now))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use domain::channel::Channel;
    use domain::cursor::Epoch;
    use domain::outbox::{DeadReason, Delivery, Status};

    use super::*;
    use crate::ports::{DeliveryPage, MockOutbox};
    use crate::testing::SimClock;

    fn at(position: u64) -> Cursor {
        Cursor {
            epoch: Epoch(7),
            position: Position(position),
        }
    }

    fn row(position: u64, status: Status) -> DeliveryRow {
        DeliveryRow {
            cursor: at(position),
            channel: Channel::System,
            delivery: Delivery {
                status,
                leases: 4,
                ..Delivery::pending(SimClock::START)
            },
            version: 9,
        }
    }

    const DEAD: Status = Status::Dead(DeadReason::Unauthorized);

    fn administer(outbox: MockOutbox) -> AdministerDeliveries {
        AdministerDeliveries {
            outbox: Arc::new(outbox),
        }
    }

    fn finds(outbox: &mut MockOutbox, found: Vec<DeliveryRow>) {
        outbox.expect_find().returning(move |_| {
            Ok(DeliveryPage {
                rows: found.clone(),
                now: SimClock::START.plus(Duration::from_secs(60)),
            })
        });
    }

    #[tokio::test]
    async fn a_page_names_the_next_one_while_there_is_one() {
        for (dead, next) in [(2, None), (3, Some(at(2)))] {
            let mut outbox = MockOutbox::new();
            outbox.expect_dead().returning(move |after, limit| {
                assert_eq!((after, limit), (Some(Position(0)), 3));
                Ok(DeliveryPage {
                    rows: (1..=dead).map(|position| row(position, DEAD)).collect(),
                    now: SimClock::START,
                })
            });
            let page = administer(outbox).dead(Some(at(0)), 2).await.unwrap();
            assert_eq!((page.rows.len(), page.next), (2, next));
        }
    }

    #[tokio::test]
    async fn a_dead_delivery_begins_anew_at_the_version_that_was_read() {
        let mut outbox = MockOutbox::new();
        finds(&mut outbox, vec![row(3, DEAD)]);
        let written = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&written);
        outbox.expect_update().returning(move |rows| {
            noted.lock().unwrap().extend(rows);
            Ok(vec![true])
        });
        let revived = administer(outbox).revive(at(3)).await.unwrap();
        let delivery = revived.delivery;
        assert_eq!(
            (delivery.status, delivery.revived, delivery.leases),
            (Status::Pending, true, 4)
        );
        assert_eq!(delivery.since, SimClock::START.plus(Duration::from_secs(60)));
        assert_eq!(
            (revived.version, written.lock().unwrap().as_slice()),
            (9, [revived.clone()].as_slice())
        );
    }

    #[tokio::test]
    async fn what_is_not_dead_is_left_alone() {
        for status in [Status::Pending, Status::Done, Status::RetryAt(SimClock::START)] {
            let mut outbox = MockOutbox::new();
            finds(&mut outbox, vec![row(3, status)]);
            let refused = administer(outbox).revive(at(3)).await;
            assert_eq!(refused, Err(ReviveError::NotDead(status.as_str())));
        }
    }

    #[tokio::test]
    async fn what_is_unknown_or_of_another_history_is_not_found() {
        let other = DeliveryRow {
            cursor: Cursor {
                epoch: Epoch(6),
                ..at(3)
            },
            ..row(3, DEAD)
        };
        for found in [Vec::new(), vec![other]] {
            let mut outbox = MockOutbox::new();
            finds(&mut outbox, found);
            assert_eq!(administer(outbox).revive(at(3)).await, Err(ReviveError::Unknown));
        }
    }

    #[tokio::test]
    async fn somebody_who_was_faster_has_revived_it() {
        let mut outbox = MockOutbox::new();
        let faster = Mutex::new(vec![row(3, Status::Pending), row(3, DEAD)]);
        outbox.expect_find().returning(move |_| {
            Ok(DeliveryPage {
                rows: faster.lock().unwrap().pop().into_iter().collect(),
                now: SimClock::START,
            })
        });
        outbox.expect_update().times(1).returning(|_| Ok(vec![false]));
        let refused = administer(outbox).revive(at(3)).await;
        assert_eq!(refused, Err(ReviveError::NotDead("pending")));
    }
}
