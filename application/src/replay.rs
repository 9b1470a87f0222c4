//! Replay: what a person missed, by request instead of by stream.

use std::sync::Arc;

use domain::capability::Principal;
use domain::cursor::Cursor;
use domain::event::Event;
use domain::stream::{Jitter, Reset, ResetReason};

use crate::error::Error;
use crate::load::Load;
use crate::ports::{ChannelsQuery, Entropy, Head, ReadError, Store};
use crate::rights::Rights;
use crate::stream_start::{Start, place};

/// A page holds at most this many events.
pub const REPLAY_MAX: usize = 1_000;

/// A page of what a person missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayPage {
    /// The events, in position order.
    pub events: Vec<Arc<Event>>,
    /// Where to continue, also when the page is empty.
    pub cursor: Cursor,
    /// Whether there is more to ask for.
    pub has_more: bool,
    /// Says that history between cannot be given.
    pub reset: Option<Reset>,
}

/// Reads what a person missed.
pub struct Replay {
    /// The log.
    pub store: Arc<dyn Store>,
    /// Who has which channels.
    pub rights: Arc<Rights>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// How hard this node is pressed.
    pub load: Arc<Load>,
}

impl Replay {
    /// Reads the events after a cursor on the person's channels.
    pub async fn run(&self, person: &Principal, after: Cursor, limit: usize) -> Result<ReplayPage, Error> {
        let reader = self.rights.reader(person)?;
        let head = self.store.head().await?;
        if let Start::Reset(reason) = place(after, head) {
            return Ok(self.reset(reason, after, head));
        }
        let query = ChannelsQuery {
            channels: reader.channels,
            after,
            up_to: head.cursor.position,
            limit: self.load.level().page(limit.clamp(1, REPLAY_MAX)),
        };
        match self.store.read_channels(&query).await {
            Ok(page) => Ok(ReplayPage {
                events: page.events,
                cursor: Cursor {
                    epoch: head.cursor.epoch,
                    position: page.scanned_to.max(after.position),
                },
                has_more: page.scanned_to < head.cursor.position,
                reset: None,
            }),
            Err(ReadError::Expired { head }) => Ok(self.reset(ResetReason::Expired, after, head)),
            Err(ReadError::EpochChanged { head }) => Ok(self.reset(ResetReason::EpochChanged, after, head)),
            Err(ReadError::Store(error)) => Err(error.into()),
        }
    }

    fn reset(&self, reason: ResetReason, from: Cursor, head: Head) -> ReplayPage {
        let reload_after = crate::stream_start::reload_after(Jitter::from_bits(self.entropy.bits()));
        let reset = Reset {
            reason,
            from: Some(from),
            to: head.cursor,
            reload_after,
        };
        ReplayPage {
            events: Vec::new(),
            cursor: head.cursor,
            has_more: false,
            reset: Some(reset),
        }
    }
}
