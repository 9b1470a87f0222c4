//! Random operations against a store and against a naive model, which must answer the same to every question
//! after each.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use application::ports::{InboxQuery, Reader, Retraction};
use domain::channel::Channel;
use domain::cursor::Position;
use domain::ids::NotificationId;
use domain::state::{Mark, StateFilter};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::StoreFactory;
use super::model::{Model, Told, readers, told};
use super::scene::{HOUR, Scene, to, unit, user};

/// How much a store is asked: a case is some thousands of questions where they are asked after each step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    rounds: u32,
    compares_each: bool,
}

impl Effort {
    pub(crate) const AFTER_EACH_STEP: Self = Self {
        rounds: 192,
        compares_each: true,
    };
    /// Each question crosses a socket.
    pub(crate) const OVER_A_SOCKET: Self = Self {
        rounds: 64,
        compares_each: false,
    };
    /// Each round makes a database of its own, and each question crosses a socket.
    pub(crate) const AT_THE_END: Self = Self {
        rounds: 16,
        compares_each: false,
    };
}

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

pub(crate) fn a_naive_model_answers_the_same_after_any_operations<F, Fut>(begin: F, effort: Effort)
where
    F: Fn() -> Fut,
    Fut: Future<Output: StoreFactory>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases: effort.rounds,
        max_shrink_time: u32::try_from(Duration::from_secs(60).as_millis()).unwrap(),
        ..Config::default()
    };
    let checked = TestRunner::new(config).run(&(steps(), 1..6_usize), |(steps, limit)| {
        runtime.block_on(async {
            let factory = begin().await;
            let scene = Scene::open(&factory).await;
            let mut model = Model::default();
            let last = steps.len() - 1;
            for (n, step) in steps.into_iter().enumerate() {
                take(&scene, &mut model, step).await;
                if effort.compares_each || n == last {
                    compare(&scene, &model, limit).await;
                }
            }
        });
        Ok(())
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
}
