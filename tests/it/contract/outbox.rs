//! What a store of deliveries owes its callers. The same cases run for each adapter, through two nodes over one store.

mod heads;
mod holders;
mod planning;
mod plans;
mod reading;
mod redis_accidents;
mod updates;

use std::sync::Arc;
use std::time::Duration;

use adapters::memory::MemoryOutbox;
use application::ports::{Clock, DeliveryRow, Outbox};
use application::testing::SimClock;
use async_trait::async_trait;
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch, Position};
use domain::outbox::{DeadReason, Delivery, Status, Withdrawal};
use domain::time::Timestamp;
use domain::transport::Reason;

/// Opens outboxes of one adapter and moves their time.
#[async_trait]
pub(crate) trait OutboxFactory: Send + Sync {
    /// Opens an empty outbox as two nodes see it.
    async fn open(&self) -> [Arc<dyn Outbox>; 2];

    /// Moves the outbox's clock on.
    async fn advance(&self, by: Duration);

    /// Reads that clock.
    async fn now(&self) -> Timestamp;
}

/// Runs every case against an adapter, in a module of its name. `$make` returns a future of its factory.
macro_rules! outbox_suite {
    ($adapter:ident, $make:path) => {
        mod $adapter {
            outbox_suite! { @cases $make;
                planning::nothing_is_there_before_the_first_time
                planning::rows_of_a_stretch_come_with_the_mark
                planning::nobody_sees_the_mark_without_its_rows
                planning::a_stretch_that_nobody_is_pushed_moves_the_mark
                planning::a_mark_elsewhere_writes_nothing
                planning::of_many_who_plan_one_stretch_exactly_one_does
                planning::what_another_history_left_gives_way
                heads::the_oldest_open_delivery_of_each_channel_is_its_head
                heads::channels_come_as_the_bytes_of_their_names_sort
                heads::every_channel_is_on_exactly_one_page
                heads::a_channel_moves_on_when_its_oldest_ends
                heads::a_revived_delivery_is_its_channels_head_again
                heads::pages_tell_the_present
                updates::a_row_is_written_as_the_next_version
                updates::of_two_who_update_one_version_exactly_one_is_told_so
                updates::of_many_who_lease_one_delivery_at_once_exactly_one_does
                updates::of_a_row_that_is_named_twice_one_is_written
                updates::crowds_who_update_the_same_rows_in_any_order_are_all_answered
                updates::what_is_not_the_row_that_was_read_writes_nothing
                updates::every_status_reads_back_as_written
                updates::the_longest_names_read_back_as_written
                reading::rows_are_found_by_position_and_what_has_none_is_left_out
                reading::the_dead_are_listed_by_position_in_pages
                reading::the_backlog_counts_what_waits
                reading::only_what_has_ended_before_a_position_is_forgotten
                reading::no_more_is_forgotten_at_once_than_was_asked_for
                reading::of_many_who_forget_at_once_each_forgets_something_else
                holders::whoever_holds_a_token_is_found_until_it_ends
                holders::an_earlier_end_never_replaces_a_later_one
                holders::of_many_who_ask_at_once_the_latest_end_stays
                holders::units_and_roles_come_back
                holders::whoever_never_asked_is_not_found
                holders::of_many_people_those_who_hold_a_token_are_found
                holders::a_crowd_that_comes_at_once_is_all_served
            }
        }
    };
    (@cases $make:path; $($group:ident :: $case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$group::$case(&$make().await).await;
            }
        )*
    };
}

outbox_suite!(memory, super::in_memory);
outbox_suite!(postgres, crate::contract::over_postgres::over_postgres);
outbox_suite!(redis, crate::contract::over_redis::over_redis);

struct InMemory {
    clock: Arc<SimClock>,
}

async fn in_memory() -> InMemory {
    let clock = Arc::new(SimClock::new());
    InMemory { clock }
}

#[async_trait]
impl OutboxFactory for InMemory {
    async fn open(&self) -> [Arc<dyn Outbox>; 2] {
        let outbox = Arc::new(MemoryOutbox::new(self.clock.clone()));
        [outbox.clone(), outbox]
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
/// As large as epochs are: more than a double can tell apart.
const EPOCH: Epoch = Epoch(1_852_000_000_000_000_001);
const LATER: Epoch = Epoch(EPOCH.0 + 1);
/// 2026-01-01T12:00:00.007Z
const NOON: Timestamp = Timestamp::from_millis(1_767_268_800_007);

fn cursor(position: u64) -> Cursor {
    Cursor {
        epoch: EPOCH,
        position: Position(position),
    }
}

fn person(name: &str) -> Channel {
    Channel::User(name.parse().unwrap())
}

fn pending() -> Delivery {
    Delivery::pending(NOON)
}

fn with(status: Status) -> Delivery {
    Delivery { status, ..pending() }
}

fn leased() -> Delivery {
    let (leased, _) = pending().lease(NOON, HOUR).unwrap();
    leased
}

fn done() -> Delivery {
    with(Status::Done)
}

fn dead() -> Delivery {
    with(Status::Dead(DeadReason::Refused { code: 40_160 }))
}

fn suppressed() -> Delivery {
    Delivery::suppressed(Reason::NoToken, NOON)
}

fn withdrawn() -> Delivery {
    leased().withdraw(Withdrawal::Retracted)
}

type Stretch = Vec<(Position, Channel, Delivery)>;

/// Plans what follows the mark, up to the last of these.
async fn plan(outbox: &Arc<dyn Outbox>, deliveries: &[(u64, Channel, Delivery)]) {
    let last = deliveries.iter().map(|(position, ..)| *position).max();
    let stretch: Stretch = deliveries
        .iter()
        .map(|(position, channel, delivery)| (Position(*position), channel.clone(), *delivery))
        .collect();
    let from = outbox.planned().await.unwrap();
    let planned = outbox.plan(from, cursor(last.unwrap()), stretch).await;
    assert_eq!(planned, Ok(true));
}

/// Plans deliveries of one person each, from the first position on.
async fn plan_for_each(outbox: &Arc<dyn Outbox>, deliveries: &[Delivery]) {
    let stretch: Vec<_> = (1..)
        .zip(deliveries)
        .map(|(position, delivery)| (position, person(&format!("u-{position}")), *delivery))
        .collect();
    plan(outbox, &stretch).await;
}

fn new_row(position: u64, channel: &Channel, delivery: Delivery) -> DeliveryRow {
    DeliveryRow {
        cursor: cursor(position),
        channel: channel.clone(),
        delivery,
        version: 0,
    }
}

async fn row(outbox: &Arc<dyn Outbox>, position: u64) -> DeliveryRow {
    let mut found = outbox.find(&[Position(position)]).await.unwrap().rows;
    assert_eq!(found.len(), 1, "{position}");
    found.remove(0)
}

/// Reads a row and writes it with another delivery.
async fn turn(outbox: &Arc<dyn Outbox>, position: u64, delivery: Delivery) {
    let row = row(outbox, position).await;
    let written = outbox.update(vec![DeliveryRow { delivery, ..row }]).await;
    assert_eq!(written, Ok(vec![true]));
}

fn places(rows: &[DeliveryRow]) -> Vec<u64> {
    rows.iter().map(|row| row.cursor.position.0).collect()
}

async fn head_places(outbox: &Arc<dyn Outbox>) -> Vec<u64> {
    places(&outbox.heads(None, 100).await.unwrap().rows)
}
