//! A person's own notifications.

use std::sync::Arc;

use application::inbox::{PAGE_MAX, PageRequest};
use application::ports::{InboxItem, InboxPage, Unread};
use domain::capability::Principal;
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch};
use domain::ids::NotificationId;
use domain::notification::{NotificationType, Priority};
use domain::state::{Mark, StateFilter};
use poem::Request;
use poem::web::Data;
use poem_openapi::registry::MetaSchema;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::coding::Page;
use super::notification::{ItemDocument, PageDocument, StateBody};
use super::problem::{CALLER, JSON_BODY, Kind, Outcome, Problem, STORE, causes};
use super::request::{Asked, Caller, Faults, FromTexts, JsonBody, Named, RequestBody, once};
use super::schema::{ChannelText, CursorText};
use super::{Group, Services, schema};
use crate::wire::NotificationShape;

/// A screenful and a half.
const PAGE_DEFAULT: usize = 50;

causes! {
    Paging = [
        CALLER,
        STORE,
        &[Kind::InvalidRequest, Kind::Forbidden, Kind::CursorOfAnotherHistory],
    ];
    Counting = [CALLER, STORE, &[Kind::Forbidden]];
    Looking = [CALLER, STORE, &[Kind::Forbidden, Kind::NotFound]];
    ReadingAll = [
        CALLER,
        STORE,
        JSON_BODY,
        &[Kind::Forbidden, Kind::CursorOfAnotherHistory],
    ];
}

/// A person's own notifications.
pub(crate) struct InboxApi;

#[OpenApi(tag = "Group::Inbox")]
impl InboxApi {
    /// Read a page of your inbox
    ///
    /// Newest first: what was published on your own channel, to everyone, and to the units and benefit types of your
    /// token, as far as your roles give them. `cursor` says at which place in the log the page is exact; open the
    /// stream with it and nothing is missed or repeated.
    #[oai(path = "/v1/notifications", method = "get", operation_id = "inbox")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the address")]
    async fn page(
        &self,
        services: Data<&Arc<Services>>,
        request: &Request,
        caller: Caller,
        /// How many items at most.
        limit: Asked<PageLimit>,
        /// Items older than this, from an earlier page's `next`.
        before: Asked<Cursor>,
        /// What you have done with them. `all` but archived ones when absent.
        state: Asked<StateFilter>,
        /// Of this type alone.
        #[oai(name = "type")]
        kind: Asked<NotificationType>,
        /// Of this priority alone.
        priority: Asked<Priority>,
        /// Of this channel alone; one of those of your inbox.
        channel: Asked<Channel>,
    ) -> Outcome<Page<PageDocument>, Paging> {
        let mut faults = Faults::default();
        let wanted = PageRequest {
            limit: faults.take(limit).map_or(PAGE_DEFAULT, |PageLimit(limit)| limit),
            before: faults.take(before),
            filter: faults.take(state).unwrap_or_default(),
            kind: faults.take(kind),
            priority: faults.take(priority),
            channel: faults.take(channel),
        };
        faults.check()?;
        let page = services.inbox.page(&caller.0, wanted).await?;
        let answer = Answer::new(&PageShape::of(&page));
        Ok(Page::of(answer, &services, request.headers()))
    }

    /// Count what is unread
    ///
    /// Archived counts as read. Notifications to groups count from your first request on.
    #[oai(
        path = "/v1/notifications/unread-count",
        method = "get",
        operation_id = "unreadCount"
    )]
    async fn unread_count(
        &self,
        services: Data<&Arc<Services>>,
        caller: Caller,
    ) -> Outcome<Answer<UnreadBody>, Counting> {
        let unread = services.inbox.unread(&caller.0).await?;
        Ok(Answer::new(&UnreadBody::from(unread)))
    }

    /// Read one notification
    ///
    /// One that is not yours is as unknown as one that never was.
    #[oai(path = "/v1/notifications/:id", method = "get", operation_id = "notification")]
    async fn item(
        &self,
        services: Data<&Arc<Services>>,
        caller: Caller,
        /// The notification's id.
        id: Named<NotificationId>,
    ) -> Outcome<Answer<ItemDocument>, Looking> {
        let (item, epoch) = services.inbox.item(&caller.0, id.known("notification")?).await?;
        Ok(Answer::new(&ItemShape::of(&item, epoch)))
    }

    /// Mark as read
    ///
    /// Repeating it changes nothing. All your devices get a `state` event.
    #[oai(
        path = "/v1/notifications/:id/read",
        method = "post",
        operation_id = "markRead"
    )]
    async fn read(
        &self,
        services: Data<&Arc<Services>>,
        caller: Caller,
        /// The notification's id.
        id: Named<NotificationId>,
    ) -> Outcome<Answer<StateBody>, Looking> {
        Ok(mark(&services, &caller.0, id, Mark::Read).await?)
    }

    /// Mark as unread
    ///
    /// Repeating it changes nothing. All your devices get a `state` event.
    #[oai(
        path = "/v1/notifications/:id/unread",
        method = "post",
        operation_id = "markUnread"
    )]
    async fn unread(
        &self,
        services: Data<&Arc<Services>>,
        caller: Caller,
        /// The notification's id.
        id: Named<NotificationId>,
    ) -> Outcome<Answer<StateBody>, Looking> {
        Ok(mark(&services, &caller.0, id, Mark::Unread).await?)
    }

    /// Put away
    ///
    /// Archived notifications count as read. Repeating it changes nothing. All your devices get a `state` event.
    #[oai(
        path = "/v1/notifications/:id/archive",
        method = "post",
        operation_id = "archive"
    )]
    async fn archive(
        &self,
        services: Data<&Arc<Services>>,
        caller: Caller,
        /// The notification's id.
        id: Named<NotificationId>,
    ) -> Outcome<Answer<StateBody>, Looking> {
        Ok(mark(&services, &caller.0, id, Mark::Archive).await?)
    }

    /// Take back out
    ///
    /// Repeating it changes nothing. All your devices get a `state` event.
    #[oai(
        path = "/v1/notifications/:id/unarchive",
        method = "post",
        operation_id = "unarchive"
    )]
    async fn unarchive(
        &self,
        services: Data<&Arc<Services>>,
        caller: Caller,
        /// The notification's id.
        id: Named<NotificationId>,
    ) -> Outcome<Answer<StateBody>, Looking> {
        Ok(mark(&services, &caller.0, id, Mark::Unarchive).await?)
    }

    /// Acknowledge
    ///
    /// Confirms that you know; it counts as read, and cannot be taken back. All your devices get a `state` event.
    #[oai(
        path = "/v1/notifications/:id/ack",
        method = "post",
        operation_id = "acknowledge"
    )]
    async fn ack(
        &self,
        services: Data<&Arc<Services>>,
        caller: Caller,
        /// The notification's id.
        id: Named<NotificationId>,
    ) -> Outcome<Answer<StateBody>, Looking> {
        Ok(mark(&services, &caller.0, id, Mark::Acknowledge).await?)
    }

    /// Mark everything as read
    ///
    /// With `up_to` only what stood in the log up to there, so that nothing is marked that was not yet seen. All
    /// your devices get one `state` event.
    #[oai(
        path = "/v1/notifications/read-all",
        method = "post",
        operation_id = "readAll"
    )]
    async fn read_all(
        &self,
        services: Data<&Arc<Services>>,
        caller: Caller,
        body: JsonBody<ReadAllBody>,
    ) -> Outcome<Answer<UnreadBody>, ReadingAll> {
        let up_to = body.0.up_to.map(|CursorText(text)| text.parse()).transpose();
        let up_to = up_to
            .map_err(|error: domain::cursor::InvalidCursor| Problem::field("up_to", error.to_string()))?;
        let unread = services.inbox.read_all(&caller.0, up_to).await?;
        Ok(Answer::new(&UnreadBody::from(unread)))
    }
}

async fn mark(
    services: &Services,
    person: &Principal,
    id: Named<NotificationId>,
    mark: Mark,
) -> Result<Answer<StateBody>, Problem> {
    let state = services
        .inbox
        .mark(person, id.known("notification")?, mark)
        .await?;
    Ok(Answer::new(&StateBody::from(&state)))
}

/// How many items a page holds at most.
pub(crate) struct PageLimit(usize);

impl FromTexts for PageLimit {
    fn schema() -> MetaSchema {
        schema::whole_number(1, PAGE_MAX, PAGE_DEFAULT)
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        bounded_number(texts, PAGE_MAX).map(Self)
    }
}

/// Reads a whole number from 1 to `maximum`.
pub(super) fn bounded_number(texts: &[String], maximum: usize) -> Result<usize, String> {
    once(texts, |text| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let number = text
            .parse()
            .ok()
            .filter(|number| digits && (1..=maximum).contains(number));
        number.ok_or_else(|| format!("must be a whole number from 1 to {maximum}"))
    })
}

const STATES: [(&str, StateFilter); 4] = [
    ("all", StateFilter::All),
    ("unread", StateFilter::Unread),
    ("read", StateFilter::Read),
    ("archived", StateFilter::Archived),
];

impl FromTexts for StateFilter {
    fn schema() -> MetaSchema {
        schema::one_of_texts(STATES.map(|(name, _)| name))
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, |text| {
            let found = STATES.iter().find(|(name, _)| *name == text);
            found
                .map(|(_, filter)| *filter)
                .ok_or("must be all, unread, read or archived")
        })
    }
}

/// What to mark as read.
#[derive(Debug, Default, Deserialize, Object)]
#[serde(deny_unknown_fields, default)]
#[oai(rename = "ReadAll", example)]
pub(crate) struct ReadAllBody {
    /// The last place that counts as read; the end of the log when absent or null.
    #[oai(nullable)]
    up_to: Option<CursorText>,
}

impl RequestBody for ReadAllBody {
    const REQUIRED: bool = false;
}

impl Example for ReadAllBody {
    fn example() -> Self {
        Self {
            up_to: Some(CursorText("8f3a-1042".to_owned())),
        }
    }
}

/// How many are unread.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "UnreadCount", example)]
pub(crate) struct UnreadBody {
    /// The number.
    unread: u64,
    /// The place in the log at which it is exact.
    cursor: CursorText,
}

impl From<Unread> for UnreadBody {
    fn from(unread: Unread) -> Self {
        Self {
            unread: unread.unread,
            cursor: unread.as_of.into(),
        }
    }
}

impl Example for UnreadBody {
    fn example() -> Self {
        Self {
            unread: 3,
            cursor: CursorText("8f3a-1044".to_owned()),
        }
    }
}

/// An item as it is written; described as `ItemDocument`.
#[derive(Serialize)]
pub(super) struct ItemShape<'a> {
    cursor: CursorText,
    channel: ChannelText,
    notification: NotificationShape<'a>,
    state: StateBody,
}

impl<'a> ItemShape<'a> {
    pub(super) fn of(item: &'a InboxItem, epoch: Epoch) -> Self {
        let position = item.position;
        Self {
            cursor: Cursor { epoch, position }.into(),
            channel: (&item.channel).into(),
            notification: NotificationShape::from(&*item.notification),
            state: (&item.state).into(),
        }
    }
}

/// A page as it is written; described as `PageDocument`.
#[derive(Serialize)]
pub(super) struct PageShape<'a> {
    items: Vec<ItemShape<'a>>,
    next: Option<CursorText>,
    cursor: CursorText,
}

impl<'a> PageShape<'a> {
    pub(super) fn of(page: &'a InboxPage) -> Self {
        let epoch = page.as_of.epoch;
        let items: Vec<_> = page.items.iter().map(|item| ItemShape::of(item, epoch)).collect();
        let last = items.last().filter(|_| page.has_more);
        Self {
            next: last.map(|item| item.cursor.clone()),
            items,
            cursor: page.as_of.into(),
        }
    }
}
