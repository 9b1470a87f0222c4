//! What people read and do: pages, single items, counts, marks.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{InboxItem, InboxPage, InboxQuery, Marking, Reader, StoreError, Unread, Written};
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::event::{Change, Event, Marked, MarkedWhat};
use domain::ids::NotificationId;
use domain::notification::NotificationType;
use domain::standing::{Outlook, OwnMark};
use domain::state::Mark;
use domain::time::Timestamp;
use tokio::time::Instant;

use super::failure::Kind;
use super::failure::{Failure, unavailable};
use super::page::Page;
use super::reply::Reply;
use super::rows::{self, Known, PLACE_MAX, mark_text, own_mark, reads, texts};
use super::said;
use super::scripts::Scripts;
use super::session::{Answer, Session};
use crate::record::{MarksRecord, Unreadable, to_text};

/// Whoever finds each time that somebody else was faster is told to come back.
const DEADLINE: Duration = Duration::from_secs(5);
/// What one look at an inbox walks through at most, over all its lists; a channel adds no less than [`LIST_MIN`].
const WALK: usize = 4_000;
const LIST_MIN: usize = 16;

/// One person at the store.
///
/// What depends on how they stand is decided by the domain, from what a first script says; a second one does it only if
/// they still stand so, and says how they stand if not. So each answer is of one moment, and each change is whole.
pub(super) struct Desk<'a> {
    pub(super) session: &'a Session,
    pub(super) scripts: &'a Scripts,
    pub(super) reader: &'a Reader,
    /// Each of the reader's channels once.
    channels: Vec<Channel>,
    archive_read_after: Duration,
    deadline: Instant,
}

/// One notification as a person has it.
struct Held {
    item: InboxItem,
    own: Option<OwnMark>,
    mark: String,
}

impl<'a> Desk<'a> {
    pub(super) fn new(
        (session, scripts): (&'a Session, &'a Scripts),
        reader: &'a Reader,
        archive_read_after: Duration,
    ) -> Self {
        Self {
            session,
            scripts,
            reader,
            channels: rows::distinct(&reader.channels),
            archive_read_after,
            deadline: Instant::now() + DEADLINE,
        }
    }

    pub(super) async fn unread(&self) -> Result<Unread, StoreError> {
        let mut call = self.session.call(&self.scripts.unread);
        call.arg(self.reader.user.as_str()).arg(texts(&self.channels));
        let asked = self.ask(&call, Kind::Reads).await?;
        read(asked.only().and_then(|mut reply| {
            let as_of = rows::cursor(&mut reply)?;
            let unread = reply.number()?;
            Ok(Unread { unread, as_of })
        }))
    }

    pub(super) async fn item(&self, id: NotificationId) -> Result<Option<InboxItem>, StoreError> {
        let (_, _, held) = self.look(id).await?;
        Ok(held.map(|held| held.item))
    }

    pub(super) async fn page(&self, query: &InboxQuery) -> Result<InboxPage, StoreError> {
        let mut known: Option<Known> = None;
        let mut page = Page::from(query);
        while self.in_time() {
            let Some(person) = &known else {
                let mut call = self.session.call(&self.scripts.page);
                call.arg(self.reader.user.as_str()).arg("");
                known = Some(self.stands(self.ask(&call, Kind::Reads).await?)?);
                continue;
            };
            let call = self.page_call(person, query, &page);
            match self.ask(&call, Kind::Reads).await? {
                Answer::Ok(reply) => {
                    read(self.add(&mut page, reply, person, query))?;
                    if page.is_over(query.limit) {
                        return Ok(page.finish(query.limit));
                    }
                }
                again @ Answer::Again(_) => {
                    known = Some(self.stands(again)?);
                    page = Page::from(query);
                }
            }
        }
        Err(unavailable())
    }

    fn page_call(&self, person: &Known, query: &InboxQuery, page: &Page) -> redis::ScriptInvocation<'_> {
        let asked_for = |channel: &&Channel| query.channel.as_ref().is_none_or(|only| only == *channel);
        let channels: Vec<_> = self.channels.iter().filter(asked_for).collect();
        // One more tells whether others follow.
        let limit = query.limit.saturating_add(1).saturating_sub(page.items.len());
        let each = (WALK / channels.len().max(1))
            .max(LIST_MIN)
            .min(limit.max(LIST_MIN));
        let mut call = self.session.call(&self.scripts.page);
        call.arg(self.reader.user.as_str())
            .arg(&person.version)
            .arg(page.top.0)
            .arg(limit.min(WALK))
            .arg(each)
            .arg(query.kind.as_ref().map_or("", NotificationType::as_str))
            .arg(query.priority.map_or("", |priority| priority.as_str()));
        for channel in channels {
            let (low, high) = self.outlook(person, channel).stretch(query.filter);
            call.arg(channel.to_string())
                .arg(low.0.min(PLACE_MAX))
                .arg(high.0.min(PLACE_MAX));
        }
        call
    }

    /// Adds what a filter shows of one part.
    fn add(
        &self,
        page: &mut Page,
        mut reply: Reply,
        person: &Known,
        query: &InboxQuery,
    ) -> Result<(), Failure> {
        let head = rows::cursor(&mut reply)?;
        page.as_of.get_or_insert(head);
        page.top = reply.position()?;
        page.exhausted = page.top == Position(0);
        for item in reply.list()?.lists() {
            let Held { item, .. } = self.held(item?, person)?;
            if query.filter.shows(&item.state) {
                page.items.push(item);
            }
        }
        Ok(())
    }

    pub(super) async fn mark(
        &self,
        id: NotificationId,
        mark: Mark,
    ) -> Result<Option<Written<Marking>>, StoreError> {
        while self.in_time() {
            let (person, unread, held) = self.look(id).await?;
            let Some(held) = held else {
                return Ok(None);
            };
            let state = held.item.state.after(mark, person.now);
            if state == held.item.state {
                let as_of = person.head;
                return Ok(Some(Written {
                    value: Marking {
                        state,
                        unread: Unread { unread, as_of },
                    },
                    epoch: as_of.epoch,
                    events: Vec::new(),
                }));
            }
            let own = OwnMark::after(held.own, state, mark, person.now);
            let marks = untold(MarkedWhat::One(id, mark.into()), person.head);
            let mut call = self.session.call(&self.scripts.mark);
            call.arg(self.reader.user.as_str())
                .arg(&person.version)
                .arg(person.head.epoch.to_string())
                .arg(id.to_string())
                .arg(held.item.channel.to_string())
                .arg(&held.mark)
                .arg(mark_text(&own))
                .arg(u8::from(own.state.unread()))
                .arg(to_text(&MarksRecord::from(&marks)))
                .arg(texts(&self.channels));
            if let Answer::Ok(reply) = self.ask(&call, Kind::Writes).await? {
                let told = read(self.told(reply, marks, person.head.position))?;
                let unread = told.value;
                return Ok(Some(Written {
                    value: Marking { state, unread },
                    epoch: told.epoch,
                    events: told.events,
                }));
            }
        }
        Err(unavailable())
    }

    pub(super) async fn read_all(&self, up_to: Option<Position>) -> Result<Written<Unread>, StoreError> {
        let mut known: Option<Known> = None;
        while self.in_time() {
            let Some(mut person) = known.take() else {
                let mut call = self.session.call(&self.scripts.read_all);
                call.arg(self.reader.user.as_str()).arg("");
                known = Some(self.stands(self.ask(&call, Kind::Reads).await?)?);
                continue;
            };
            let head = person.head;
            let up_to = up_to.map_or(head.position, |up_to| up_to.min(head.position));
            let moved = person.standing.read_through(up_to, person.now);
            let written = if moved {
                reads(&person.standing)
            } else {
                String::new()
            };
            let through = person
                .standing
                .read_throughs
                .last()
                .map_or(0, |last| last.position.0);
            let up_to = Cursor {
                position: up_to,
                ..head
            };
            let marks = untold(MarkedWhat::ReadAll { up_to }, head);
            let mut call = self.session.call(&self.scripts.read_all);
            call.arg(self.reader.user.as_str())
                .arg(&person.version)
                .arg(head.epoch.to_string())
                .arg(up_to.position.0)
                .arg(person.now.as_millis())
                .arg(written)
                .arg(through)
                .arg(to_text(&MarksRecord::from(&marks)))
                .arg(texts(&self.channels));
            match self.ask(&call, Kind::Writes).await? {
                Answer::Ok(reply) => return read(self.told(reply, marks, head.position)),
                again @ Answer::Again(_) => known = Some(self.stands(again)?),
            }
        }
        Err(unavailable())
    }

    /// Reads one notification, the count, and how the person stands.
    async fn look(&self, id: NotificationId) -> Result<(Known, u64, Option<Held>), StoreError> {
        let mut call = self.session.call(&self.scripts.item);
        call.arg(self.reader.user.as_str())
            .arg(id.to_string())
            .arg(texts(&self.channels));
        let asked = self.ask(&call, Kind::Reads).await?;
        read(asked.only().and_then(|mut reply| {
            let (person, unread) = (rows::known(&mut reply)?, reply.number()?);
            let item = reply.maybe_list()?;
            let held = item.map(|item| self.held(item, &person)).transpose()?;
            Ok((person, unread, held))
        }))
    }

    /// Reads an item as the person sees it.
    fn held(&self, mut item: Reply, person: &Known) -> Result<Held, Unreadable> {
        let position = item.position()?;
        let channel: Channel = item.parsed("channel")?;
        let (payload, published) = (item.text()?, item.maybe_text()?);
        let mark = item.maybe_text()?;
        let own = mark.as_deref().map(own_mark).transpose()?;
        let outlook = self.outlook(person, &channel);
        let state = own
            .as_ref()
            .map_or_else(|| outlook.by_place(position), |own| outlook.by_mark(own));
        let notification = rows::notification(&payload, published.as_deref())?;
        Ok(Held {
            item: InboxItem {
                position,
                channel,
                notification,
                state,
            },
            own,
            mark: mark.unwrap_or_default(),
        })
    }

    fn outlook<'p>(&self, person: &'p Known, channel: &Channel) -> Outlook<'p> {
        let own = matches!(channel, Channel::User(owner) if *owner == self.reader.user);
        Outlook {
            first_seen: (!own).then_some(person.standing.first_seen),
            read_throughs: &person.standing.read_throughs,
            archive_read_after: self.archive_read_after,
            now: person.now,
        }
    }

    /// Reads what was told: epoch, moment, place, count. Where nothing changed the place is 0 and the head follows.
    fn told(&self, mut reply: Reply, marks: Marked, head: Position) -> Result<Written<Unread>, Failure> {
        let epoch = reply.parsed("epoch")?;
        let at: Timestamp = reply.moment()?;
        let (position, unread) = (reply.position()?, reply.number()?);
        if position == Position(0) {
            let position = reply.position().unwrap_or(head);
            let as_of = Cursor { epoch, position };
            return Ok(Written {
                value: Unread { unread, as_of },
                epoch,
                events: Vec::new(),
            });
        }
        let event = Event {
            position,
            at,
            change: Change::Marked {
                channel: Channel::User(self.reader.user.clone()),
                marks: rows::counted(marks, unread, position),
            },
        };
        let as_of = Cursor { epoch, position };
        Ok(Written {
            value: Unread { unread, as_of },
            epoch,
            events: vec![Arc::new(event)],
        })
    }

    async fn ask(&self, call: &redis::ScriptInvocation<'_>, kind: Kind) -> Result<Answer, StoreError> {
        self.session
            .ask_plainly(call, Some(&self.reader.user), kind)
            .await
    }

    /// Reads how the person stands, from whoever was asked without knowing.
    #[expect(clippy::unused_self, reason = "it is what this desk's scripts say")]
    fn stands(&self, answer: Answer) -> Result<Known, StoreError> {
        read(match answer {
            Answer::Again(mut reply) => rows::known(&mut reply).map_err(Failure::from),
            Answer::Ok(_) => Err(Unreadable::new("an answer").into()),
        })
    }

    fn in_time(&self) -> bool {
        Instant::now() < self.deadline
    }
}

/// What is to be told, but for the count and its place, which the script fills in.
const fn untold(what: MarkedWhat, head: Cursor) -> Marked {
    Marked {
        what,
        unread: 0,
        unread_as_of: head,
    }
}

/// Says once in the log what could not be read.
fn read<T>(outcome: Result<T, Failure>) -> Result<T, StoreError> {
    outcome.map_err(|failure| said(&failure))
}
