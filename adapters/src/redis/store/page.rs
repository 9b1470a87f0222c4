//! A page of an inbox, put together from parts: one look walks through so much of an inbox and no more.

use application::ports::{InboxItem, InboxPage, InboxQuery};
use domain::cursor::{Cursor, Epoch, Position};

use super::rows::PLACE_MAX;

/// A page that is being read, part by part.
pub(super) struct Page {
    pub(super) items: Vec<InboxItem>,
    /// Where the next part begins.
    pub(super) top: Position,
    pub(super) exhausted: bool,
    pub(super) as_of: Option<Cursor>,
}

impl Page {
    pub(super) fn from(query: &InboxQuery) -> Self {
        let top = query
            .before
            .map_or(PLACE_MAX, |before| before.prior().0.min(PLACE_MAX));
        Self {
            items: Vec::new(),
            top: Position(top),
            exhausted: false,
            as_of: None,
        }
    }

    pub(super) fn is_over(&self, limit: usize) -> bool {
        self.exhausted || self.items.len() > limit
    }

    pub(super) fn finish(mut self, limit: usize) -> InboxPage {
        let has_more = self.items.len() > limit;
        self.items.truncate(limit);
        InboxPage {
            items: self.items,
            has_more,
            as_of: self.as_of.unwrap_or(Cursor {
                epoch: Epoch(0),
                position: Position(0),
            }),
        }
    }
}
