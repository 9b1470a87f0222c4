//! What one person has done with one notification.

use crate::time::Timestamp;

/// Something a person does with a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// They have read it.
    Read,
    /// They want it counted as unread again.
    Unread,
    /// They put it away.
    Archive,
    /// They took it back out.
    Unarchive,
    /// They confirm that they know. Whoever confirms has read.
    Acknowledge,
}

/// What one person has done with one notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ItemState {
    /// When they read it.
    pub read_at: Option<Timestamp>,
    /// When they put it away.
    pub archived_at: Option<Timestamp>,
    /// When they confirmed it.
    pub acknowledged_at: Option<Timestamp>,
}

impl ItemState {
    /// Returns the state after a mark. Repeating a mark keeps the first moment.
    #[must_use]
    pub fn after(self, mark: Mark, now: Timestamp) -> Self {
        let first = |moment: Option<Timestamp>| moment.or(Some(now));
        match mark {
            Mark::Read => Self {
                read_at: first(self.read_at),
                ..self
            },
            Mark::Unread => Self {
                read_at: None,
                ..self
            },
            Mark::Archive => Self {
                archived_at: first(self.archived_at),
                ..self
            },
            Mark::Unarchive => Self {
                archived_at: None,
                ..self
            },
            Mark::Acknowledge => Self {
                read_at: first(self.read_at),
                acknowledged_at: first(self.acknowledged_at),
                ..self
            },
        }
    }

    /// Tells whether it counts as unread. What is archived counts as read.
    pub const fn unread(&self) -> bool {
        self.read_at.is_none() && self.archived_at.is_none()
    }
}

/// Which part of an inbox a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StateFilter {
    /// All but what is archived.
    #[default]
    Unarchived,
    /// All, archived too.
    All,
    /// What counts as unread.
    Unread,
    /// What was read and is not archived.
    Read,
    /// What is archived.
    Archived,
}

impl StateFilter {
    /// Tells whether the filter shows an item in this state.
    pub const fn shows(self, state: &ItemState) -> bool {
        match self {
            Self::All => true,
            Self::Unarchived => state.archived_at.is_none(),
            Self::Unread => state.unread(),
            Self::Read => state.read_at.is_some() && state.archived_at.is_none(),
            Self::Archived => state.archived_at.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: Timestamp = Timestamp::from_millis(1);
    const LATE: Timestamp = Timestamp::from_millis(2);

    #[test]
    fn repeating_a_mark_changes_nothing() {
        for mark in [
            Mark::Read,
            Mark::Unread,
            Mark::Archive,
            Mark::Unarchive,
            Mark::Acknowledge,
        ] {
            let once = ItemState::default().after(mark, EARLY);
            assert_eq!(once.after(mark, LATE), once, "{mark:?}");
        }
    }

    #[test]
    fn each_mark_is_taken_back_by_its_opposite() {
        let fresh = ItemState::default();
        assert_eq!(fresh.after(Mark::Read, EARLY).after(Mark::Unread, LATE), fresh);
        assert_eq!(
            fresh.after(Mark::Archive, EARLY).after(Mark::Unarchive, LATE),
            fresh
        );
    }

    #[test]
    fn whoever_acknowledges_has_read_and_stays_on_record() {
        let known = ItemState::default().after(Mark::Acknowledge, EARLY);
        assert_eq!(known.read_at, Some(EARLY));
        let unread = known.after(Mark::Unread, LATE);
        assert_eq!(unread.acknowledged_at, Some(EARLY));
        assert!(unread.unread());
    }

    #[test]
    fn archived_counts_as_read_and_comes_back_unread() {
        let archived = ItemState::default().after(Mark::Archive, EARLY);
        assert!(!archived.unread());
        assert!(archived.after(Mark::Unarchive, LATE).unread());
    }

    #[test]
    fn each_filter_shows_its_part() {
        let fresh = ItemState::default();
        let read = fresh.after(Mark::Read, EARLY);
        let archived = read.after(Mark::Archive, LATE);
        let shown = |filter: StateFilter| [fresh, read, archived].map(|state| filter.shows(&state));
        assert_eq!(shown(StateFilter::Unarchived), [true, true, false]);
        assert_eq!(shown(StateFilter::All), [true, true, true]);
        assert_eq!(shown(StateFilter::Unread), [true, false, false]);
        assert_eq!(shown(StateFilter::Read), [false, true, false]);
        assert_eq!(shown(StateFilter::Archived), [false, false, true]);
    }
}
