//! The steps of one person: their inbox, their counts, their marks.

use std::cmp::Reverse;

use application::ports::{InboxItem, InboxPage, InboxQuery, Marking, Reader, Unread, Written};
use domain::channel::Channel;
use domain::cursor::Position;
use domain::event::{Change, Marked, MarkedWhat};
use domain::ids::{NotificationId, UserId};
use domain::standing::Watermark;
use domain::state::Mark;
use domain::time::Timestamp;

use super::log::distinct;
use super::merge::merge;
use super::posted::kind_mark;
use super::state::State;
use super::view::Seen;

impl State {
    pub(super) fn meet(&mut self, user: &UserId, now: Timestamp) {
        let here = Watermark {
            position: self.log.head().cursor.position,
            moment: now,
        };
        let inbox = &self.inbox;
        let owns = |user: &UserId| inbox.channel(&Channel::User(user.clone())).is_some();
        self.people.meet(user, here, owns);
    }

    pub(super) fn inbox(&mut self, reader: &Reader, query: &InboxQuery, now: Timestamp) -> InboxPage {
        self.meet(&reader.user, now);
        let kind = query.kind.as_ref().map(|kind| (kind_mark(kind), kind));
        let asked_for = |seen: &Seen<'_>| {
            let entry = seen.entry;
            let kind_fits = kind.is_none_or(|(mark, kind)| {
                mark == entry.kind && *kind == entry.posted.notification.content.kind
            });
            kind_fits && query.priority.is_none_or(|priority| priority == entry.priority)
        };
        let lists = distinct(&reader.channels)
            .filter(|channel| query.channel.as_ref().is_none_or(|only| only == *channel))
            .filter_map(|channel| self.inbox.channel(channel).map(|entries| (channel, entries)))
            .map(|(channel, entries)| {
                let view = self.people.view(&reader.user, channel, now);
                let shown = view.shown(entries, query.before, query.filter);
                shown.filter(asked_for).map(move |seen| (channel, seen))
            })
            .collect();
        let mut found = merge(lists, |(_, seen)| Reverse(seen.entry.position));
        let items = found
            .by_ref()
            .take(query.limit)
            .map(|(channel, seen)| item(channel, &seen))
            .collect();
        InboxPage {
            items,
            has_more: found.next().is_some(),
            as_of: self.log.head().cursor,
        }
    }

    pub(super) fn item(&mut self, reader: &Reader, id: NotificationId, now: Timestamp) -> Option<InboxItem> {
        self.meet(&reader.user, now);
        let (channel, entry) = self.inbox.find(id, &reader.channels)?;
        let view = self.people.view(&reader.user, channel, now);
        let state = view.state(entry.position);
        Some(item(channel, &Seen { entry, state }))
    }

    pub(super) fn unread(&mut self, reader: &Reader, now: Timestamp) -> Unread {
        self.meet(&reader.user, now);
        self.count_unread(reader, now)
    }

    fn count_unread(&self, reader: &Reader, now: Timestamp) -> Unread {
        let unread: usize = distinct(&reader.channels)
            .filter_map(|channel| self.inbox.channel(channel).map(|entries| (channel, entries)))
            .map(|(channel, entries)| self.people.view(&reader.user, channel, now).unread(entries))
            .sum();
        Unread {
            unread: unread as u64,
            as_of: self.log.head().cursor,
        }
    }

    pub(super) fn mark(
        &mut self,
        reader: &Reader,
        id: NotificationId,
        mark: Mark,
        now: Timestamp,
    ) -> Option<Written<Marking>> {
        self.meet(&reader.user, now);
        let user = &reader.user;
        let (channel, entry) = self.inbox.find(id, &reader.channels)?;
        let position = entry.position;
        let before = self.people.view(user, channel, now).state(position);
        let state = before.after(mark, now);
        if state == before {
            let unread = self.count_unread(reader, now);
            return Some(self.log.written(Marking { state, unread }, Vec::new()));
        }
        self.people.mark(user, channel, position, (state, mark), now);
        let marked = self.tell(reader, MarkedWhat::One(id, mark.into()), now);
        Some(Written {
            value: Marking {
                state,
                unread: marked.value,
            },
            epoch: marked.epoch,
            events: marked.events,
        })
    }

    pub(super) fn read_all(
        &mut self,
        reader: &Reader,
        up_to: Option<Position>,
        now: Timestamp,
    ) -> Written<Unread> {
        self.meet(&reader.user, now);
        let head = self.log.head().cursor.position;
        let up_to = up_to.map_or(head, |up_to| up_to.min(head));
        if self.people.read_all(&reader.user, &reader.channels, up_to, now) {
            let up_to = self.log.cursor(up_to);
            self.tell(reader, MarkedWhat::ReadAll { up_to }, now)
        } else {
            let unread = self.count_unread(reader, now);
            self.log.written(unread, Vec::new())
        }
    }

    /// Appends what a person did to their own channel, with the count that it left.
    fn tell(&mut self, reader: &Reader, what: MarkedWhat, now: Timestamp) -> Written<Unread> {
        let unread = Unread {
            as_of: self.log.cursor(self.log.next()),
            ..self.count_unread(reader, now)
        };
        let marks = Marked {
            what,
            unread: unread.unread,
            unread_as_of: unread.as_of,
        };
        let channel = Channel::User(reader.user.clone());
        let event = self.log.append(Change::Marked { channel, marks }, now);
        self.written(unread, vec![event])
    }
}

fn item(channel: &Channel, seen: &Seen<'_>) -> InboxItem {
    InboxItem {
        position: seen.entry.position,
        channel: channel.clone(),
        notification: seen.entry.posted.notification.clone(),
        state: seen.state,
    }
}
