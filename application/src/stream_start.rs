//! Where a stream or a replay can begin.

use std::time::Duration;

use domain::cursor::Cursor;
use domain::stream::{Jitter, ResetReason};

use crate::ports::Head;

/// Inboxes are loaded again over this window after a reset, so that a restart is not followed by a herd.
const RELOAD_WINDOW: Duration = Duration::from_secs(5);

/// Where a stream or a replay can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Right after the client's cursor.
    After,
    /// History between cannot be given.
    Reset(ResetReason),
}

/// Says whether history can be given after a cursor, from what is known of the log. Whether the events are still
/// held, only reading them tells.
pub fn place(after: Cursor, head: Head) -> Start {
    if after.epoch != head.cursor.epoch {
        return Start::Reset(ResetReason::EpochChanged);
    }
    if after.position > head.cursor.position {
        return Start::Reset(ResetReason::Unknown);
    }
    if after.position.next() < head.oldest {
        return Start::Reset(ResetReason::Expired);
    }
    Start::After
}

/// Spreads the reloading of inboxes.
pub fn reload_after(jitter: Jitter) -> Duration {
    jitter.of(RELOAD_WINDOW)
}

#[cfg(test)]
mod tests {
    use domain::cursor::{Epoch, Position};

    use super::*;

    #[test]
    fn history_is_given_only_between_oldest_and_head_of_the_same_epoch() {
        let cursor = |epoch, position| Cursor {
            epoch: Epoch(epoch),
            position: Position(position),
        };
        let head = Head {
            cursor: cursor(2, 9),
            oldest: Position(4),
        };
        let table = [
            (cursor(2, 9), Start::After),
            (cursor(2, 3), Start::After),
            (cursor(2, 2), Start::Reset(ResetReason::Expired)),
            (cursor(2, 10), Start::Reset(ResetReason::Unknown)),
            (cursor(1, 9), Start::Reset(ResetReason::EpochChanged)),
            (cursor(3, 1), Start::Reset(ResetReason::EpochChanged)),
        ];
        for (after, expected) in table {
            assert_eq!(place(after, head), expected, "{after}");
        }
    }
}
