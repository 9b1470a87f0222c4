//! What every store owes the use cases. The same cases run for each adapter.
//!
//! A case that moves time does so through its factory, by whole hours, and looks half an hour to either side of
//! a moment: a store whose clock runs on by itself is judged like one whose clock stands.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use adapters::memory::{MemoryStore, MemoryStoreConfig};
use application::ports::{Clock, Store};
use application::testing::{SeededEntropy, SimClock};
use async_trait::async_trait;
use domain::time::Timestamp;

mod bell;
mod bounds;
mod crowds;
mod durable;
mod expiry;
mod inbox;
mod log_lock;
mod marks;
mod model;
mod on_postgres;
mod on_redis;
mod order;
mod paging;
mod people;
mod plans;
mod property;
mod publishing;
mod redis_accidents;
mod redis_crowds;
mod retraction;
mod scene;
mod schedule;

/// Opens stores of one adapter and moves their time.
#[async_trait]
pub(crate) trait StoreFactory: Send + Sync {
    /// Opens an empty store within these bounds.
    async fn open(&self, bounds: Bounds) -> Arc<dyn Store>;

    /// Moves the clock of every store opened here on.
    async fn advance(&self, by: Duration);

    /// Reads that clock.
    async fn now(&self) -> Timestamp;
}

/// The bounds that cases draw tighter. Ages are everywhere what an operator gets by default: history 7 days,
/// inbox 90 days, archive 30 days, keys 24 hours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) history_max_events: usize,
    pub(crate) history_max_bytes: usize,
    pub(crate) inbox_max_items: usize,
    pub(crate) keys_max: usize,
    pub(crate) scheduled_max: usize,
    pub(crate) people_max: usize,
}

impl Default for Bounds {
    /// More than any case writes.
    fn default() -> Self {
        Self {
            history_max_events: 100_000,
            history_max_bytes: 256 << 20,
            inbox_max_items: 100_000,
            keys_max: 10_000,
            scheduled_max: 10_000,
            people_max: 10_000,
        }
    }
}

/// Runs every case against an adapter, in a module of its name. `$make` returns a future of its factory; `$effort` is
/// how often a naive model is asked beside it.
macro_rules! store_suite {
    ($adapter:ident, $make:path, $effort:expr) => {
        mod $adapter {
            store_suite! { @cases $make;
                order {
                    an_empty_log_stands_before_its_first_event
                    positions_begin_at_one_and_have_no_gaps
                    one_acceptance_gets_contiguous_places_in_the_order_of_its_channels
                    a_batch_is_in_the_log_in_its_own_order
                    what_a_write_returns_is_what_the_log_holds
                    concurrent_acceptances_are_whole_and_leave_no_gap
                    no_place_ever_appears_behind_a_tail
                    no_event_ever_appears_behind_a_person
                    a_page_is_cut_at_its_limit_and_goes_on
                    a_cursor_ahead_of_the_head_gets_an_empty_page
                    a_cursor_of_another_history_is_told_so
                    control_reaches_tails_and_nobody_else
                }
                publishing {
                    a_receipt_says_what_was_stored
                    a_repeat_gets_the_first_receipt_and_writes_nothing
                    a_key_that_stands_for_another_draft_is_refused
                    keys_of_two_publishers_never_meet
                    two_items_of_a_batch_with_one_key_follow_one_another
                    a_refused_item_changes_nothing_for_the_others
                    a_key_is_forgotten_after_its_day
                    concurrent_repeats_publish_once
                    looking_a_key_up_writes_nothing
                    a_repeat_after_retraction_gets_the_first_receipt
                    a_repeat_of_what_was_scheduled_gets_the_first_receipt
                }
                paging {
                    a_person_gets_the_events_of_their_channels_alone
                    pages_join_without_gap_or_repeat
                    an_empty_page_says_where_to_go_on
                    a_page_ends_at_its_bound
                    a_channel_named_twice_is_read_once
                    pages_join_while_notifications_are_retracted_between_them
                    a_page_that_pruning_has_overtaken_is_expired
                }
                retraction {
                    a_retracted_notification_leaves_an_empty_place
                    each_channel_that_carried_it_is_told_once_in_order
                    a_retracted_notification_is_in_nobodys_inbox
                    a_retracted_notification_takes_its_marks_along
                    a_scheduled_notification_is_cancelled_without_a_word
                    what_is_unknown_or_gone_is_retracted_without_effect
                    what_has_left_the_history_is_retracted_from_inboxes
                    the_channels_of_a_notification_are_known_until_it_is_gone
                }
                expiry {
                    an_expired_notification_leaves_inbox_count_and_pages
                    an_expired_notification_takes_its_marks_along
                    a_crowd_that_expires_at_once_is_gone_at_once
                }
                schedule {
                    nothing_is_visible_before_its_moment
                    what_is_due_is_published_oldest_first
                    a_promotion_is_cut_at_its_limit_and_says_what_is_next
                    what_expired_before_its_moment_is_dropped_and_counted
                    a_promoted_notification_was_published_when_it_was_promoted
                }
                bounds {
                    an_empty_store_prunes_nothing
                    events_leave_at_their_age
                    events_leave_beyond_their_number
                    events_leave_beyond_their_bytes
                    history_that_is_gone_is_expired_never_a_shorter_page
                    positions_go_on_after_everything_was_pruned
                    a_notification_outlives_its_events_in_the_inbox
                    notifications_leave_the_inbox_at_their_age
                    notifications_leave_the_inbox_beyond_their_number
                    keys_are_refused_beyond_their_number_until_their_day_is_over
                    schedules_are_refused_beyond_their_number_until_there_is_room
                    more_people_than_may_be_known_lose_nothing_they_did
                }
                inbox {
                    the_newest_comes_first
                    pages_follow_one_another_to_the_end
                    more_is_promised_only_where_it_follows
                    each_filter_shows_its_part
                    type_priority_and_channel_narrow_the_page
                    a_channel_that_is_not_the_readers_shows_nothing
                    nobody_reaches_what_is_on_anothers_channel
                    what_was_read_a_month_ago_is_archived
                    what_is_taken_out_of_the_archive_stays_out
                }
                people {
                    groups_begin_to_count_at_the_first_request
                    ones_own_notifications_count_from_the_beginning
                    every_question_of_a_reader_is_a_first_request
                    reading_all_reads_up_to_a_place
                    reading_all_tells_the_persons_devices
                    reading_all_reaches_the_head_at_most
                    reading_all_again_keeps_the_first_moment
                    reading_all_includes_what_was_marked_by_itself
                    reading_all_leaves_other_people_alone
                    a_hundred_readings_are_all_remembered
                }
                marks {
                    each_mark_is_told_to_the_persons_devices_with_the_count
                    a_mark_that_changes_nothing_writes_nothing
                    what_is_marked_unread_after_reading_all_is_unread
                    an_acknowledged_notification_is_read_and_stays_acknowledged
                    an_archived_notification_counts_as_read
                    a_mark_keeps_its_first_moment
                    one_persons_marks_are_not_anothers
                    marks_from_many_devices_at_once_end_in_one_exact_count
                    a_count_is_exact_at_its_place_while_others_publish_and_retract
                }
            }

            #[test]
            fn a_naive_model_answers_the_same_after_any_operations() {
                super::property::a_naive_model_answers_the_same_after_any_operations($make, $effort);
            }
        }
    };
    (@cases $make:path; $($subject:ident { $($case:ident)+ })+) => {
        $(mod $subject {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    crate::contract::store::$subject::$case(&$make().await).await;
                }
            )+
        })+
    };
}

store_suite!(
    memory,
    crate::contract::store::MemoryStores::begin,
    crate::contract::store::property::Effort::AFTER_EACH_STEP
);
store_suite!(
    postgres,
    crate::contract::store::on_postgres::PgStores::begin,
    crate::contract::store::property::Effort::AT_THE_END
);
store_suite!(
    redis,
    crate::contract::store::on_redis::RedisStores::begin,
    crate::contract::store::property::Effort::OVER_A_SOCKET
);

/// Stores in memory whose time stands until it is moved.
struct MemoryStores {
    clock: Arc<SimClock>,
}

impl MemoryStores {
    fn begin() -> Ready<Self> {
        ready(Self {
            clock: Arc::new(SimClock::new()),
        })
    }
}

#[async_trait]
impl StoreFactory for MemoryStores {
    async fn open(&self, bounds: Bounds) -> Arc<dyn Store> {
        let config = MemoryStoreConfig {
            history_max_events: bounds.history_max_events,
            history_max_bytes: bounds.history_max_bytes,
            inbox_max_items: bounds.inbox_max_items,
            keys_max: bounds.keys_max,
            scheduled_max: bounds.scheduled_max,
            people_max: bounds.people_max,
            ..MemoryStoreConfig::default()
        };
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Arc::new(MemoryStore::new(config, clock, Arc::new(SeededEntropy::new(7))))
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
