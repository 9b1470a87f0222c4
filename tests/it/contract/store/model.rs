//! A model of a store that is too naive to be wrong: it holds every event and every person's state of every
//! notification, and counts by looking at each.

use std::cmp::Reverse;

use application::ports::Reader;
use domain::channel::Channel;
use domain::event::{Change, Event, MarkedWhat};
use domain::ids::NotificationId;
use domain::state::{Mark, StateFilter};

use super::scene::{reader, unit};

const HISTORY_HOURS: u32 = 7 * 24;
const INBOX_HOURS: u32 = 90 * 24;
const ARCHIVE_HOURS: u32 = 30 * 24;

/// Two people who share the system's channel and one unit, and have another unit each.
pub(super) fn readers() -> [Reader; 2] {
    [
        reader("ana", &[unit("norte"), unit("sul")]),
        reader("bia", &[unit("norte"), unit("leste")]),
    ]
}

/// What one person has done with one notification, in hours since the beginning.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done {
    read: Option<u32>,
    archived: Option<u32>,
    unarchived: Option<u32>,
    acknowledged: bool,
}

#[derive(Debug)]
pub(super) struct Note {
    pub(super) id: NotificationId,
    pub(super) channels: Vec<Channel>,
    first: u64,
    at: u32,
    expires: Option<u32>,
    gone: bool,
    /// By person.
    done: [Done; 2],
}

/// An event as the model tells events apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Published(Channel, NotificationId),
    Retracted(Channel, NotificationId),
    Marked(Channel, Option<NotificationId>, u64, u64),
    Erased,
}

pub(super) fn told(event: &Event) -> Told {
    match &event.change {
        Change::Published {
            channel,
            notification,
        } => Told::Published(channel.clone(), notification.id),
        Change::Retracted { channel, id } => Told::Retracted(channel.clone(), *id),
        Change::Marked { channel, marks } => {
            let id = match marks.what {
                MarkedWhat::One(id, _) => Some(id),
                MarkedWhat::ReadAll { .. } => None,
            };
            Told::Marked(channel.clone(), id, marks.unread, marks.unread_as_of.position.0)
        }
        Change::Erased => Told::Erased,
        Change::Control(_) => panic!("no step writes control"),
    }
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) now: u32,
    /// Each event and its hour; the first is at place 1.
    pub(super) events: Vec<(u32, Told)>,
    pub(super) notes: Vec<Note>,
    pub(super) scheduled: Vec<(u32, NotificationId, Vec<Channel>)>,
    pub(super) met: [bool; 2],
    read_up_to: [u64; 2],
}

impl Model {
    pub(super) fn head(&self) -> u64 {
        self.events.len() as u64
    }

    /// The first event that is not too old.
    pub(super) fn oldest(&self) -> u64 {
        let old = |(at, _): &&(u32, Told)| at + HISTORY_HOURS <= self.now;
        self.events.iter().take_while(old).count() as u64 + 1
    }

    pub(super) fn expired(&self, note: &Note) -> bool {
        note.expires.is_some_and(|at| at <= self.now)
    }

    pub(super) fn alive(&self, note: &Note) -> bool {
        !note.gone && !self.expired(note) && note.at + INBOX_HOURS > self.now
    }

    pub(super) fn place(note: &Note, reader: &Reader) -> Option<u64> {
        let on = note
            .channels
            .iter()
            .position(|channel| reader.channels.contains(channel));
        on.map(|index| note.first + index as u64)
    }

    fn archived(&self, done: &Done) -> bool {
        let by_itself = done.read.max(done.unarchived).map(|at| at + ARCHIVE_HOURS);
        done.archived.is_some() || (done.read.is_some() && by_itself.is_some_and(|at| at <= self.now))
    }

    fn shows(&self, filter: StateFilter, done: &Done) -> bool {
        let (read, archived) = (done.read.is_some(), self.archived(done));
        match filter {
            StateFilter::All => true,
            StateFilter::Unarchived => !archived,
            StateFilter::Unread => !archived && !read,
            StateFilter::Read => !archived && read,
            StateFilter::Archived => archived,
        }
    }

    /// What a filter shows a person, newest first.
    pub(super) fn shown(&self, who: usize, filter: StateFilter) -> Vec<(u64, NotificationId, [bool; 3])> {
        let reader = &readers()[who];
        let mut shown: Vec<_> = self
            .notes
            .iter()
            .filter(|note| self.alive(note) && self.shows(filter, &note.done[who]))
            .filter_map(|note| {
                let done = &note.done[who];
                let state = [done.read.is_some(), self.archived(done), done.acknowledged];
                Some((Self::place(note, reader)?, note.id, state))
            })
            .collect();
        shown.sort_unstable_by_key(|(place, ..)| Reverse(*place));
        shown
    }

    pub(super) fn unread(&self, who: usize) -> u64 {
        self.shown(who, StateFilter::Unread).len() as u64
    }

    pub(super) fn publish(&mut self, id: NotificationId, channels: Vec<Channel>, expires: Option<u32>) {
        let first = self.head() + 1;
        for channel in &channels {
            self.events.push((self.now, Told::Published(channel.clone(), id)));
        }
        self.notes.push(Note {
            id,
            channels,
            first,
            at: self.now,
            expires,
            gone: false,
            done: [Done::default(); 2],
        });
    }

    pub(super) fn meet(&mut self, who: usize) {
        if std::mem::replace(&mut self.met[who], true) {
            return;
        }
        let own = &readers()[who].channels[0];
        for note in &mut self.notes {
            if !note.channels.contains(own) {
                note.done[who].read = Some(self.now);
            }
        }
    }

    pub(super) fn retract(&mut self, index: usize) {
        let note = &mut self.notes[index];
        note.gone = true;
        for (offset, channel) in note.channels.iter().enumerate() {
            let slot = usize::try_from(note.first).unwrap() - 1 + offset;
            self.events[slot].1 = Told::Erased;
            self.events
                .push((self.now, Told::Retracted(channel.clone(), note.id)));
        }
    }

    /// Marks a notification; tells whether that changed anything.
    pub(super) fn mark(&mut self, who: usize, index: usize, mark: Mark) -> bool {
        let now = Some(self.now);
        let archived = self.archived(&self.notes[index].done[who]);
        let done = &mut self.notes[index].done[who];
        let before = (done.read.is_some(), archived, done.acknowledged);
        if archived {
            done.archived = done.archived.or(now);
        }
        match mark {
            Mark::Read => done.read = done.read.or(now),
            Mark::Unread => done.read = None,
            Mark::Archive => done.archived = done.archived.or(now),
            Mark::Unarchive if archived => (done.archived, done.unarchived) = (None, now),
            Mark::Unarchive => {}
            Mark::Acknowledge => {
                done.read = done.read.or(now);
                done.acknowledged = true;
            }
        }
        let after = *done;
        let changed = before != (after.read.is_some(), self.archived(&after), after.acknowledged);
        if changed {
            self.tell(who, Some(self.notes[index].id));
        }
        changed
    }

    pub(super) fn read_all(&mut self, who: usize, up_to: u64) {
        let reader = &readers()[who];
        let mut changed = up_to > self.read_up_to[who];
        self.read_up_to[who] = self.read_up_to[who].max(up_to);
        for index in 0..self.notes.len() {
            let within = Self::place(&self.notes[index], reader).is_some_and(|place| place <= up_to);
            if within && self.notes[index].done[who].read.is_none() {
                changed |= self.alive(&self.notes[index]);
                self.notes[index].done[who].read = Some(self.now);
            }
        }
        if changed {
            self.tell(who, None);
        }
    }

    fn tell(&mut self, who: usize, id: Option<NotificationId>) {
        let channel = readers()[who].channels[0].clone();
        let (unread, as_of) = (self.unread(who), self.head() + 1);
        self.events
            .push((self.now, Told::Marked(channel, id, unread, as_of)));
    }
}
