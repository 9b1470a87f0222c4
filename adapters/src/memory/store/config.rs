//! The bounds of the memory store.

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const GIB: usize = 1 << 30;

/// A client that was away for a week resumes without reloading its inbox.
const HISTORY_TTL: Duration = DAY.saturating_mul(7);
/// A week at ten times the 10,000 notifications a day that were seen, with room for their marks.
const HISTORY_MAX_EVENTS: usize = 1_000_000;
/// That week at a kilobyte an event; what is larger leaves earlier.
const HISTORY_MAX_BYTES: usize = GIB;
/// A citizen who looks in once a quarter still finds what was decided.
const INBOX_TTL: Duration = DAY.saturating_mul(90);
/// What was read a month ago only hides what is new.
const ARCHIVE_READ_AFTER: Duration = DAY.saturating_mul(30);
/// Ninety days at the 10,000 notifications a day that were seen, twice over.
const INBOX_MAX_ITEMS: usize = 2_000_000;
/// The items above at 500 bytes each, marks included.
const INBOX_MAX_BYTES: usize = GIB;
/// A publisher that retries does so within a day.
const KEY_TTL: Duration = DAY;
/// Eleven keyed publishes a second, all day; about 400 MB when full.
const KEYS_MAX: usize = 1_000_000;
/// Ten days' publishes; whoever plans further ahead than that has a scheduler.
const SCHEDULED_MAX: usize = 100_000;
/// The schedule above at 2.5 KiB each: what is scheduled is in no other bound yet.
const SCHEDULED_MAX_BYTES: usize = 256 << 20;
/// Four hundred times the people seen; about 60 MB when full.
const PEOPLE_MAX: usize = 200_000;

/// A full store never asks for a retry sooner: it would only be asked again.
pub(super) const RETRY_MIN: Duration = Duration::from_secs(1);
/// Nor later: an operator may have made room.
pub(super) const RETRY_MAX: Duration = HOUR;

/// The bounds of the memory store. Everything in it is bounded by one of these.
///
/// Counts and bytes hold at every moment: a write that passes them pushes the oldest out. Ages are looked at by
/// [`prune`](application::ports::Store::prune). Bytes are estimates of what is held, not of what is on the wire;
/// a payload that the history and the inbox share is counted in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryStoreConfig {
    /// Events leave the history at this age.
    pub history_ttl: Duration,
    /// The history holds at most this many events.
    pub history_max_events: usize,
    /// The history holds at most this many bytes.
    pub history_max_bytes: usize,
    /// Notifications leave the inbox at this age.
    pub inbox_ttl: Duration,
    /// What was read this long ago counts as archived.
    pub archive_read_after: Duration,
    /// The inbox holds at most this many items: one for each channel that carries a notification.
    pub inbox_max_items: usize,
    /// The inbox, and what people did with it, holds at most this many bytes.
    pub inbox_max_bytes: usize,
    /// Idempotency keys are remembered for this long.
    pub key_ttl: Duration,
    /// At most this many idempotency keys are remembered; then keyed publishes are refused.
    pub keys_max: usize,
    /// At most this many notifications are scheduled; then more are refused.
    pub scheduled_max: usize,
    /// Scheduled notifications hold at most this many bytes; then more are refused.
    pub scheduled_max_bytes: usize,
    /// Beyond this many people, those who have not been seen lately are forgotten. Only people without items on
    /// their own channel and without marks are: they come back as if for the first time, and nothing that they
    /// have read becomes unread. The others are bounded by the inbox.
    pub people_max: usize,
}

impl Default for MemoryStoreConfig {
    fn default() -> Self {
        Self {
            history_ttl: HISTORY_TTL,
            history_max_events: HISTORY_MAX_EVENTS,
            history_max_bytes: HISTORY_MAX_BYTES,
            inbox_ttl: INBOX_TTL,
            archive_read_after: ARCHIVE_READ_AFTER,
            inbox_max_items: INBOX_MAX_ITEMS,
            inbox_max_bytes: INBOX_MAX_BYTES,
            key_ttl: KEY_TTL,
            keys_max: KEYS_MAX,
            scheduled_max: SCHEDULED_MAX,
            scheduled_max_bytes: SCHEDULED_MAX_BYTES,
            people_max: PEOPLE_MAX,
        }
    }
}
