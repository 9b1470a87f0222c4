//! Moments, as the database has them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::time::Timestamp;

/// Writes a moment. Far outside of what the database can keep it fails when it is sent.
pub(super) fn moment(at: Timestamp) -> SystemTime {
    let millis = at.as_millis();
    let span = Duration::from_millis(millis.unsigned_abs());
    if millis < 0 {
        UNIX_EPOCH - span
    } else {
        UNIX_EPOCH + span
    }
}

/// Reads a moment, to the millisecond.
pub(super) fn timestamp(at: SystemTime) -> Timestamp {
    let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(match at.duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    })
}
