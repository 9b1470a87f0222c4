//! A client, an Ably and a log that are left to chance.

use std::collections::VecDeque;

use proptest::prelude::*;
use proptest::sample::Index;

use super::tests::{at, channel, client};
use super::*;

/// Two are enough for one to overtake the other.
const CHANNELS: usize = 2;

/// What became of an event in the world below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pending,
    Accepted,
    Dead,
    Revived,
    Suppressed,
    Withdrawn,
}

/// A log, an Ably that keeps the order of each channel, and one client, with requests under way between them.
struct World {
    log: Vec<(usize, Fate)>,
    wires: [VecDeque<Cursor>; CHANNELS],
    attached: bool,
    client: Safe,
    shown: Vec<Cursor>,
    questions: Vec<Cursor>,
    answers: Vec<Answer>,
    replays: Vec<Replay>,
    pages: Vec<(Replay, Vec<Cursor>, Cursor, End)>,
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Publish(usize, bool),
    Accept(usize, bool),
    Die(usize, bool),
    Revive(Index),
    Withdraw(usize),
    Receive(usize),
    Cut,
    Attach,
    Ask,
    Answer(Index),
    TakeAnswer(Index),
    AskReplay,
    Replay(Index, usize),
    TakePage(Index),
    /// Publishes, accepts and receives at once.
    Flow(usize),
    /// Publishes what dies at once.
    Doom(usize),
    /// Accepts what is pending and receives what is on its way.
    Settle,
    /// Asks and is answered at once.
    Exchange,
    /// Asks for a whole replay and gets it at once.
    CatchUp,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let on = 0..CHANNELS;
    let op = prop_oneof![
        3 => (on.clone(), prop::bool::weighted(0.1)).prop_map(|(on, suppressed)| Op::Publish(on, suppressed)),
        4 => (on.clone(), prop::bool::weighted(0.1)).prop_map(|(on, twice)| Op::Accept(on, twice)),
        1 => (on.clone(), any::<bool>()).prop_map(|(on, lands)| Op::Die(on, lands)),
        2 => any::<Index>().prop_map(Op::Revive),
        1 => on.clone().prop_map(Op::Withdraw),
        4 => on.clone().prop_map(Op::Receive),
        2 => Just(Op::Cut),
        4 => Just(Op::Attach),
        1 => Just(Op::Ask),
        1 => any::<Index>().prop_map(Op::Answer),
        1 => any::<Index>().prop_map(Op::TakeAnswer),
        2 => Just(Op::AskReplay),
        2 => (any::<Index>(), 1_usize..5).prop_map(|(index, limit)| Op::Replay(index, limit)),
        2 => any::<Index>().prop_map(Op::TakePage),
        8 => on.clone().prop_map(Op::Flow),
        1 => on.prop_map(Op::Doom),
        3 => Just(Op::Settle),
        8 => Just(Op::Exchange),
        2 => Just(Op::CatchUp),
    ];
    prop::collection::vec(op, 1..150)
}

fn take<T>(list: &mut Vec<T>, index: Index) -> Option<T> {
    (!list.is_empty()).then(|| list.remove(index.index(list.len())))
}

impl World {
    fn new() -> Self {
        Self {
            log: Vec::new(),
            wires: Default::default(),
            attached: false,
            client: Safe::start(at(0)),
            shown: Vec::new(),
            questions: Vec::new(),
            answers: Vec::new(),
            replays: Vec::new(),
            pages: Vec::new(),
        }
    }

    fn head(&self) -> Cursor {
        at(self.log.len() as u64)
    }

    fn events(&self) -> impl Iterator<Item = (Cursor, usize, Fate)> {
        (1..)
            .zip(&self.log)
            .map(|(position, (on, fate))| (at(position), *on, *fate))
    }

    /// Settles the oldest pending event of a channel, as one in flight a channel demands.
    fn settle(&mut self, on: usize, fate: Fate) -> Option<Cursor> {
        let (cursor, ..) = self
            .events()
            .find(|(_, its, now)| *its == on && *now == Fate::Pending)?;
        self.log[usize::try_from(cursor.position.0).unwrap() - 1].1 = fate;
        Some(cursor)
    }

    fn send(&mut self, on: usize, cursor: Option<Cursor>) {
        if self.attached {
            self.wires[on].extend(cursor);
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Flow(_) | Op::Doom(_) | Op::Settle | Op::Exchange | Op::CatchUp => self.several(op),
            Op::Publish(on, true) => self.log.push((on, Fate::Suppressed)),
            Op::Publish(on, false) => self.log.push((on, Fate::Pending)),
            Op::Accept(on, twice) => {
                let cursor = self.settle(on, Fate::Accepted);
                self.send(on, cursor);
                if twice {
                    self.send(on, cursor);
                }
            }
            Op::Die(on, lands) => {
                let cursor = self.settle(on, Fate::Dead);
                // It was given up, and arrives all the same.
                self.send(on, cursor.filter(|_| lands));
            }
            Op::Revive(index) => {
                let mut dead: Vec<_> = self.events().filter(|(.., fate)| *fate == Fate::Dead).collect();
                if let Some((cursor, on, _)) = take(&mut dead, index) {
                    self.log[usize::try_from(cursor.position.0).unwrap() - 1].1 = Fate::Revived;
                    self.send(on, Some(cursor));
                }
            }
            Op::Withdraw(on) => {
                self.settle(on, Fate::Withdrawn);
            }
            Op::Cut => {
                self.attached = false;
                self.wires = Default::default();
            }
            Op::Attach if !self.attached => {
                self.attached = true;
                self.client = self.client.clone().joined();
            }
            Op::Attach => {}
            Op::Ask => self.questions.push(self.client.cursor()),
            Op::AskReplay => self.replays.push(self.client.replay()),
            Op::Answer(index) => {
                let after = take(&mut self.questions, index);
                self.answers.extend(after.map(|after| self.answer(after)));
            }
            Op::Replay(index, limit) => {
                let replay = take(&mut self.replays, index);
                self.pages.extend(replay.map(|replay| self.page(replay, limit)));
            }
            Op::Receive(on) => {
                if let Some(cursor) = self.wires[on].pop_front() {
                    let (client, received) = self.client.clone().received(cursor);
                    self.client = client;
                    self.shown.extend((received == Received::New).then_some(cursor));
                }
            }
            Op::TakeAnswer(index) => {
                if let Some(answer) = take(&mut self.answers, index) {
                    let (client, verdict) = self.client.clone().answered(&answer);
                    self.client = client;
                    if let Verdict::Replay(replay) = verdict {
                        self.replays.push(replay);
                    }
                }
            }
            Op::TakePage(index) => {
                if let Some((replay, events, cursor, end)) = take(&mut self.pages, index) {
                    let page = Page {
                        events: &events,
                        cursor,
                        end,
                    };
                    let (client, fresh) = self.client.clone().replayed(replay, &page);
                    self.client = client;
                    self.shown.extend(fresh);
                    if end == End::More {
                        self.replays.push(replay.next(cursor));
                    }
                }
            }
        }
    }

    fn several(&mut self, op: Op) {
        match op {
            Op::Flow(on) => {
                for op in [Op::Publish(on, false), Op::Accept(on, false), Op::Receive(on)] {
                    self.apply(op);
                }
            }
            Op::Doom(on) => {
                self.apply(Op::Publish(on, false));
                self.apply(Op::Die(on, false));
            }
            Op::Settle => {
                for on in 0..CHANNELS {
                    while let Some(cursor) = self.settle(on, Fate::Accepted) {
                        self.send(on, Some(cursor));
                    }
                    while !self.wires[on].is_empty() {
                        self.apply(Op::Receive(on));
                    }
                }
            }
            Op::Exchange => {
                let answer = self.answer(self.client.cursor());
                self.client = self.client.clone().answered(&answer).0;
            }
            Op::CatchUp => {
                let mut replay = self.client.replay();
                loop {
                    let (_, events, cursor, end) = self.page(replay, 3);
                    let events = &events[..];
                    let (client, fresh) = self
                        .client
                        .clone()
                        .replayed(replay, &Page { events, cursor, end });
                    self.client = client;
                    self.shown.extend(fresh);
                    replay = replay.next(cursor);
                    if end == End::Reached {
                        break;
                    }
                }
            }
            single => self.apply(single),
        }
    }

    fn answer(&self, after: Cursor) -> Answer {
        let names: Vec<Channel> = (0..CHANNELS).map(channel).collect();
        let events: Vec<_> = self.events().collect();
        let logged = events.iter().map(|(cursor, on, fate)| Logged {
            cursor: *cursor,
            channel: &names[*on],
            carried: match fate {
                Fate::Accepted => Carried::Accepted,
                Fate::Pending | Fate::Dead | Fate::Revived | Fate::Suppressed => Carried::Missed,
                Fate::Withdrawn => Carried::Gone,
            },
        });
        Answer::from_log(after, self.head(), logged)
    }

    fn page(&self, replay: Replay, limit: usize) -> (Replay, Vec<Cursor>, Cursor, End) {
        let given = self
            .events()
            .filter(|(cursor, _, fate)| *cursor > replay.after && *fate != Fate::Withdrawn);
        let mut events: Vec<Cursor> = given.map(|(cursor, ..)| cursor).collect();
        if events.len() > limit {
            events.truncate(limit);
            let last = events[limit - 1];
            return (replay, events, last, End::More);
        }
        (replay, events, self.head(), End::Reached)
    }

    /// Nothing was shown twice, and nothing up to `safe` is missing.
    fn check(&self) -> Result<(), TestCaseError> {
        let shown: BTreeSet<Cursor> = self.shown.iter().copied().collect();
        prop_assert_eq!(shown.len(), self.shown.len(), "shown twice: {:?}", self.shown);
        let due = self.events().filter(|(.., fate)| *fate != Fate::Withdrawn);
        for (cursor, _, fate) in due.filter(|(cursor, ..)| *cursor <= self.client.cursor()) {
            prop_assert!(
                shown.contains(&cursor),
                "{cursor} is missing ({fate:?}), safe {}",
                self.client.cursor()
            );
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn a_client_that_follows_the_rule_misses_nothing_and_repeats_nothing(ops in ops()) {
        let mut world = World::new();
        world.apply(Op::Attach);
        for op in ops {
            world.apply(op);
            // Only these move `safe`.
            if let Op::TakeAnswer(_) | Op::TakePage(_) | Op::Exchange | Op::CatchUp = op {
                world.check()?;
            }
        }
        // Whatever is still under way, one whole replay brings it to the head.
        world.apply(Op::CatchUp);
        world.check()?;
        prop_assert_eq!(world.client.cursor(), world.head());
        let (_, verdict) = world.client.clone().answered(&world.answer(world.client.cursor()));
        prop_assert_eq!(verdict, Verdict::Safe);
    }

    /// Where Ably accepts everything and nothing is cut, questions alone move `safe`: the replay stays
    /// unused.
    #[test]
    fn a_client_on_a_healthy_ably_needs_no_replay(events in prop::collection::vec(0..CHANNELS, 1..100)) {
        let mut world = World { attached: true, client: client(0, &[]), ..World::new() };
        for on in events {
            world.apply(Op::Publish(on, false));
            world.apply(Op::Accept(on, false));
            world.apply(Op::Receive(on));
            let (next, verdict) = world.client.clone().answered(&world.answer(world.client.cursor()));
            world.client = next;
            prop_assert_eq!(verdict, Verdict::Safe);
            prop_assert_eq!(world.client.cursor(), world.head());
        }
        world.check()?;
    }
}
