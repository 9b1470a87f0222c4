//! The inbox: what a person has, and what they have done with it.

use std::sync::Arc;

use domain::capability::Principal;
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch};
use domain::ids::NotificationId;
use domain::notification::{NotificationType, Priority};
use domain::state::{ItemState, Mark, StateFilter};

use crate::announce::announce;
use crate::error::Error;
use crate::ports::{Bus, InboxItem, InboxPage, InboxQuery, Store, Unread};
use crate::rights::Rights;

/// A page holds at most this many items.
pub const PAGE_MAX: usize = 1_000;

/// Which page a person asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageRequest {
    /// Items older than this cursor, from an earlier page's `next`.
    pub before: Option<Cursor>,
    /// 1 to [`PAGE_MAX`].
    pub limit: usize,
    /// By what they have done with them.
    pub filter: StateFilter,
    /// Of this type alone.
    pub kind: Option<NotificationType>,
    /// Of this priority alone.
    pub priority: Option<Priority>,
    /// Of this channel alone.
    pub channel: Option<Channel>,
}

/// Reads and marks a person's own notifications.
pub struct Inbox {
    /// Where they are stored.
    pub store: Arc<dyn Store>,
    /// Where nodes hear of marks.
    pub bus: Arc<dyn Bus>,
    /// Who has which channels.
    pub rights: Arc<Rights>,
}

impl Inbox {
    /// Reads a page, newest first.
    pub async fn page(&self, person: &Principal, request: PageRequest) -> Result<InboxPage, Error> {
        let reader = self.rights.reader(person)?;
        if request
            .channel
            .as_ref()
            .is_some_and(|channel| !reader.channels.contains(channel))
        {
            return Err(Error::Forbidden(
                "the channel is not among those of your inbox".to_owned(),
            ));
        }
        let query = InboxQuery {
            before: request.before.map(|cursor| cursor.position),
            limit: request.limit.clamp(1, PAGE_MAX),
            filter: request.filter,
            kind: request.kind,
            priority: request.priority,
            channel: request.channel,
        };
        let page = self.store.inbox(&reader, &query).await?;
        check_epoch("before", request.before, page.as_of.epoch)?;
        Ok(page)
    }

    /// Counts what is unread.
    pub async fn unread(&self, person: &Principal) -> Result<Unread, Error> {
        let reader = self.rights.reader(person)?;
        Ok(self.store.unread(&reader).await?)
    }

    /// Reads one notification.
    pub async fn item(&self, person: &Principal, id: NotificationId) -> Result<(InboxItem, Epoch), Error> {
        let reader = self.rights.reader(person)?;
        let item = self
            .store
            .item(&reader, id)
            .await?
            .ok_or(Error::NotFound("notification"))?;
        let epoch = self.store.head().await?.cursor.epoch;
        Ok((item, epoch))
    }

    /// Marks one notification and returns its new state.
    pub async fn mark(&self, person: &Principal, id: NotificationId, mark: Mark) -> Result<ItemState, Error> {
        let reader = self.rights.reader(person)?;
        let written = self
            .store
            .mark(&reader, id, mark)
            .await?
            .ok_or(Error::NotFound("notification"))?;
        Ok(announce(&*self.bus, written).await.state)
    }

    /// Marks everything up to a cursor as read; everything there is when none is given.
    pub async fn read_all(&self, person: &Principal, up_to: Option<Cursor>) -> Result<Unread, Error> {
        let reader = self.rights.reader(person)?;
        if up_to.is_some() {
            check_epoch("up_to", up_to, self.store.head().await?.cursor.epoch)?;
        }
        let written = self
            .store
            .read_all(&reader, up_to.map(|cursor| cursor.position))
            .await?;
        Ok(announce(&*self.bus, written).await)
    }
}

/// A position means nothing in another history.
fn check_epoch(field: &str, cursor: Option<Cursor>, epoch: Epoch) -> Result<(), Error> {
    match cursor {
        Some(cursor) if cursor.epoch != epoch => Err(Error::invalid(
            field,
            "belongs to an earlier history; begin again without it",
        )),
        _ => Ok(()),
    }
}
