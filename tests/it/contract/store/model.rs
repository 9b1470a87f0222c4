//! Random operations against a store and against a model that is too naive to be wrong: it holds every event and
//! every person's state of every notification, and counts by looking at each.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use application::ports::{InboxQuery, Reader, Retraction};
use domain::channel::Channel;
use domain::cursor::Position;
use domain::event::{Change, Event, MarkedWhat};
use domain::ids::NotificationId;
use domain::state::{Mark, StateFilter};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::StoreFactory;
use super::scene::{HOUR, Scene, reader, to, unit, user};

const HISTORY_HOURS: u32 = 7 * 24;
const INBOX_HOURS: u32 = 90 * 24;
const ARCHIVE_HOURS: u32 = 30 * 24;

const MARKS: [Mark; 5] = [
    Mark::Read,
    Mark::Unread,
    Mark::Archive,
    Mark::Unarchive,
    Mark::Acknowledge,
];

const FILTERS: [StateFilter; 5] = [
    StateFilter::Unarchived,
    StateFilter::All,
    StateFilter::Unread,
    StateFilter::Read,
    StateFilter::Archived,
];

/// Two people who share the system's channel and one unit, and have another unit each.
fn readers() -> [Reader; 2] {
    [
        reader("ana", &[unit("norte"), unit("sul")]),
        reader("bia", &[unit("norte"), unit("leste")]),
    ]
}

fn audiences() -> [Vec<Channel>; 8] {
    [
        vec![user("ana")],
        vec![user("bia")],
        vec![user("caio"), user("bia"), user("ana")],
        vec![Channel::System],
        vec![unit("norte")],
        vec![unit("sul")],
        vec![unit("leste")],
        vec![unit("oeste")],
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Publish {
        audience: usize,
        expires_in: Option<u32>,
    },
    Schedule {
        audience: usize,
        due_in: u32,
    },
    Promote {
        limit: usize,
    },
    Retract {
        which: prop::sample::Index,
    },
    Meet {
        who: usize,
    },
    Mark {
        who: usize,
        which: prop::sample::Index,
        mark: usize,
    },
    ReadAll {
        who: usize,
        up_to: Option<prop::sample::Index>,
    },
    Advance {
        hours: u32,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<prop::sample::Index>;
    let step = prop_oneof![
        8 => (0..8_usize, prop::option::weighted(0.3, 1..400_u32))
            .prop_map(|(audience, expires_in)| Step::Publish { audience, expires_in }),
        2 => (0..8_usize, 1..200_u32).prop_map(|(audience, due_in)| Step::Schedule { audience, due_in }),
        2 => (1..4_usize).prop_map(|limit| Step::Promote { limit }),
        2 => which().prop_map(|which| Step::Retract { which }),
        1 => (0..2_usize).prop_map(|who| Step::Meet { who }),
        8 => (0..2_usize, which(), 0..MARKS.len())
            .prop_map(|(who, which, mark)| Step::Mark { who, which, mark }),
        2 => (0..2_usize, prop::option::of(which())).prop_map(|(who, up_to)| Step::ReadAll { who, up_to }),
        3 => prop_oneof![4 => 1..48_u32, 2 => 100..800_u32, 1 => 1_000..2_000_u32]
            .prop_map(|hours| Step::Advance { hours }),
    ];
    prop::collection::vec(step, 1..60)
}

/// What one person has done with one notification, in hours since the beginning.
#[derive(Debug, Clone, Copy, Default)]
struct Done {
    read: Option<u32>,
    archived: Option<u32>,
    unarchived: Option<u32>,
    acknowledged: bool,
}

#[derive(Debug)]
struct Note {
    id: NotificationId,
    channels: Vec<Channel>,
    first: u64,
    at: u32,
    expires: Option<u32>,
    gone: bool,
    /// By person; `None` before they were met.
    done: [Done; 2],
}

/// An event as the model tells events apart.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Published(Channel, NotificationId),
    Retracted(Channel, NotificationId),
    Marked(Channel, Option<NotificationId>, u64, u64),
    Erased,
}

fn told(event: &Event) -> Told {
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
struct Model {
    now: u32,
    /// Each event and its hour; the first is at place 1.
    events: Vec<(u32, Told)>,
    notes: Vec<Note>,
    scheduled: Vec<(u32, NotificationId, Vec<Channel>)>,
    met: [bool; 2],
    read_up_to: [u64; 2],
}

impl Model {
    fn head(&self) -> u64 {
        self.events.len() as u64
    }

    /// The first event that is not too old.
    fn oldest(&self) -> u64 {
        let old = |(at, _): &&(u32, Told)| at + HISTORY_HOURS <= self.now;
        self.events.iter().take_while(old).count() as u64 + 1
    }

    fn expired(&self, note: &Note) -> bool {
        note.expires.is_some_and(|at| at <= self.now)
    }

    fn alive(&self, note: &Note) -> bool {
        !note.gone && !self.expired(note) && note.at + INBOX_HOURS > self.now
    }

    fn place(note: &Note, reader: &Reader) -> Option<u64> {
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
    fn shown(&self, who: usize, filter: StateFilter) -> Vec<(u64, NotificationId, [bool; 3])> {
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

    fn unread(&self, who: usize) -> u64 {
        self.shown(who, StateFilter::Unread).len() as u64
    }

    fn publish(&mut self, id: NotificationId, channels: Vec<Channel>, expires: Option<u32>) {
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

    fn meet(&mut self, who: usize) {
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

    fn retract(&mut self, index: usize) {
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
    fn mark(&mut self, who: usize, index: usize, mark: Mark) -> bool {
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

    fn read_all(&mut self, who: usize, up_to: u64) {
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

async fn take(scene: &Scene<'_>, model: &mut Model, step: Step) {
    let readers = readers();
    match step {
        Step::Publish { audience, expires_in } => {
            let channels = audiences()[audience].clone();
            let mut item = to(&channels);
            if let Some(hours) = expires_in {
                item = item.expires_in(HOUR * hours);
            }
            let (id, place) = scene.place(item).await;
            model.publish(id, channels, expires_in.map(|hours| model.now + hours));
            assert_eq!(place.0, model.head());
        }
        Step::Schedule { audience, due_in } => {
            let channels = audiences()[audience].clone();
            let id = scene.publish(to(&channels).due_in(HOUR * due_in)).await.id;
            model.scheduled.push((model.now + due_in, id, channels));
        }
        Step::Promote { limit } => {
            let promoted = scene.store.promote(limit).await.unwrap().value;
            model.scheduled.sort_unstable_by_key(|(due, id, _)| (*due, *id));
            let due = model.scheduled.iter().filter(|(due, ..)| *due <= model.now);
            let due = due.count().min(limit);
            assert_eq!(promoted.published, due);
            for (_, id, channels) in model.scheduled.drain(..due).collect::<Vec<_>>() {
                model.publish(id, channels, None);
            }
        }
        Step::Retract { which } => {
            let alive = (0..model.notes.len()).filter(|index| model.alive(&model.notes[*index]));
            let alive: Vec<_> = alive.collect();
            if !alive.is_empty() {
                let index = alive[which.index(alive.len())];
                let retracted = scene.store.retract(model.notes[index].id).await.unwrap();
                assert_eq!(retracted.value, Retraction::Retracted);
                model.retract(index);
            }
        }
        Step::Meet { who } => {
            scene.store.meet(&readers[who].user).await.unwrap();
            model.meet(who);
        }
        Step::Mark { who, which, mark } => {
            model.meet(who);
            if model.notes.is_empty() {
                scene.store.meet(&readers[who].user).await.unwrap();
                return;
            }
            let index = which.index(model.notes.len());
            let note = &model.notes[index];
            let theirs = model.alive(note) && Model::place(note, &readers[who]).is_some();
            let written = scene
                .store
                .mark(&readers[who], note.id, MARKS[mark])
                .await
                .unwrap();
            assert_eq!(written.is_some(), theirs);
            if let Some(written) = written {
                let changed = model.mark(who, index, MARKS[mark]);
                assert_eq!(written.events.len(), usize::from(changed));
                assert_eq!(written.value.unread.unread, model.unread(who));
            }
        }
        Step::ReadAll { who, up_to } => {
            model.meet(who);
            let head = model.head();
            let up_to = up_to.map(|place| place.index(usize::try_from(head).unwrap() + 1) as u64);
            let read = scene
                .store
                .read_all(&readers[who], up_to.map(Position))
                .await
                .unwrap();
            model.read_all(who, up_to.unwrap_or(head));
            assert_eq!(read.value.unread, model.unread(who));
        }
        Step::Advance { hours } => {
            scene.advance(HOUR * hours).await;
            model.now += hours;
            scene.prune().await;
        }
    }
}

/// Compares everything that can be asked. Pages are walked by `limit` at a time.
async fn compare(scene: &Scene<'_>, model: &Model, limit: usize) {
    let head = scene.store.head().await.unwrap();
    assert_eq!(
        (head.cursor.position.0, head.oldest.0),
        (model.head(), model.oldest())
    );
    let from = usize::try_from(model.oldest()).unwrap() - 1;
    let log: Vec<_> = scene.log().await.iter().map(|event| told(event)).collect();
    let expected: Vec<_> = model.events[from..]
        .iter()
        .map(|(_, told)| told.clone())
        .collect();
    assert_eq!(log, expected);
    for (who, reader) in readers().iter().enumerate().filter(|(who, _)| model.met[*who]) {
        assert_eq!(scene.unread(reader).await, model.unread(who));
        for filter in FILTERS {
            assert_eq!(
                walk(scene, reader, filter, limit).await,
                model.shown(who, filter),
                "{filter:?}"
            );
        }
        compare_events(scene, model, reader, limit).await;
    }
}

async fn compare_events(scene: &Scene<'_>, model: &Model, reader: &Reader, limit: usize) {
    let expired: BTreeSet<_> = model
        .notes
        .iter()
        .filter(|note| model.expired(note))
        .map(|note| note.id)
        .collect();
    let from = model.oldest();
    let expected: Vec<_> = (from..)
        .zip(&model.events[usize::try_from(from).unwrap() - 1..])
        .filter(|(_, (_, told))| match told {
            Told::Published(channel, id) => reader.channels.contains(channel) && !expired.contains(id),
            Told::Retracted(channel, _) | Told::Marked(channel, ..) => reader.channels.contains(channel),
            Told::Erased => false,
        })
        .map(|(place, (_, told))| (place, told.clone()))
        .collect();
    let mut read = Vec::new();
    let mut after = Position(from - 1);
    while after.0 < model.head() {
        let page = scene.read_channels(&reader.channels, after, limit).await.unwrap();
        assert!(page.events.len() <= limit && page.scanned_to > after);
        after = page.scanned_to;
        read.extend(page.events.iter().map(|event| (event.position.0, told(event))));
    }
    assert_eq!(read, expected);
}

async fn walk(
    scene: &Scene<'_>,
    reader: &Reader,
    filter: StateFilter,
    limit: usize,
) -> Vec<(u64, NotificationId, [bool; 3])> {
    let (mut walked, mut before) = (Vec::new(), None);
    loop {
        let query = InboxQuery {
            before,
            limit,
            filter,
            ..InboxQuery::default()
        };
        let page = scene.page(reader, query).await;
        before = page.items.last().map(|item| item.position);
        walked.extend(page.items.iter().map(|item| {
            let state = item.state;
            let flags = [state.read_at, state.archived_at, state.acknowledged_at];
            (
                item.position.0,
                item.notification.id,
                flags.map(|moment| moment.is_some()),
            )
        }));
        if !page.has_more {
            return walked;
        }
    }
}

pub(crate) fn a_naive_model_answers_the_same_after_any_operations<F, Fut>(begin: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output: StoreFactory>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases: 192,
        max_shrink_time: u32::try_from(Duration::from_secs(60).as_millis()).unwrap(),
        ..Config::default()
    };
    let checked = TestRunner::new(config).run(&(steps(), 1..6_usize), |(steps, limit)| {
        runtime.block_on(async {
            let factory = begin().await;
            let scene = Scene::open(&factory).await;
            let mut model = Model::default();
            for step in steps {
                take(&scene, &mut model, step).await;
                compare(&scene, &model, limit).await;
            }
        });
        Ok(())
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
}
