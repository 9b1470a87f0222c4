//! The readers of a soak: those who read at once and now and then come back, and those who read slowly.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::load::{People, Told};
use crate::clock;
use crate::fleet::{Fleet, Pace, Protocol};
use crate::report::progress;
use crate::scenario::pick;
use crate::subject::{OPENING, Server};

/// Who reads slowly looks this often.
const SLOW: Duration = Duration::from_secs(60);
/// Between two looks at everybody else.
const LOOK: Duration = Duration::from_millis(5);
/// Whoever lost the stream comes back after this.
const BACK: Duration = Duration::from_secs(1);

/// The readers of one node of one manner.
struct Group {
    fleet: Fleet,
    /// Their numbers.
    people: Range<usize>,
    slow: bool,
}

pub(super) struct Crowd {
    groups: Vec<Group>,
    /// Positions that each got over connections that are gone.
    seen: Vec<Vec<u64>>,
    back: VecDeque<(u64, usize, usize)>,
    /// Streams cut by the readers themselves, and by the other side.
    pub(super) churned: u64,
    pub(super) fell: u64,
}

impl Crowd {
    /// Everybody opens a stream.
    pub(super) fn open(nodes: &[Server], people: People) -> Result<Self> {
        let mut groups = Vec::new();
        let mut from = 0;
        for (manner, slow) in [(people.quick, false), (people.slow, true)] {
            let share = manner / nodes.len();
            for (n, node) in nodes.iter().enumerate() {
                let more = if n + 1 == nodes.len() {
                    manner % nodes.len()
                } else {
                    0
                };
                let range = from..from + share + more;
                from = range.end;
                let mut fleet = node.fleet_of(Protocol::EventStream, range.clone())?;
                fleet
                    .open(Pace::Steady, OPENING)
                    .inspect_err(|_| node.show_tail())?;
                groups.push(Group {
                    fleet,
                    people: range,
                    slow,
                });
            }
        }
        Ok(Self {
            groups,
            seen: vec![Vec::new(); people.all()],
            back: VecDeque::new(),
            churned: 0,
            fell: 0,
        })
    }

    /// Reads, and has `churn` readers a second drop their stream and come back, until `ended`.
    pub(super) fn live(&mut self, churn: u32, ended: impl Fn() -> bool, connected: &AtomicU64) -> Result<()> {
        let began = clock::now();
        let (mut churned, mut slow) = (0_u64, clock::after(SLOW));
        while !ended() {
            let look_slowly = clock::now() > slow;
            if look_slowly {
                slow = clock::after(SLOW);
            }
            self.look(look_slowly)?;
            let due = u64::try_from(clock::since(began).as_millis())? * u64::from(churn) / 1_000;
            while churned < due {
                churned += 1;
                self.churned += 1;
                self.drop_one(usize::try_from(self.churned)?);
            }
            let count: usize = self.groups.iter().map(|group| group.fleet.connected()).sum();
            connected.store(count as u64, Ordering::Relaxed);
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Reads until everybody has what was acknowledged, or nothing more comes. Returns whether they have.
    pub(super) fn catch_up(&mut self, told: &Told, patience: Duration) -> Result<bool> {
        let deadline = clock::after(patience);
        let owed: usize = (0..self.seen.len()).map(|person| told.due(person)).sum();
        while self.got() < owed {
            if clock::now() > deadline {
                return Ok(false);
            }
            self.look(true)?;
            thread::sleep(LOOK);
        }
        Ok(true)
    }

    /// Everybody goes, without a word. Returns what each was shown.
    pub(super) fn go(mut self) -> Vec<Vec<u64>> {
        for group in &mut self.groups {
            let now: Vec<Vec<u64>> = group.fleet.seen().map(|(_, seen)| seen.to_vec()).collect();
            for (person, now) in group.people.clone().zip(now) {
                self.seen[person].extend(now);
            }
        }
        self.seen
    }

    pub(super) fn latencies(&self) -> Vec<u64> {
        let quick = self.groups.iter().filter(|group| !group.slow);
        quick
            .flat_map(|group| group.fleet.tally().unicast_latencies.iter().copied())
            .collect()
    }

    pub(super) fn resets(&self) -> u64 {
        self.groups.iter().map(|group| group.fleet.tally().resets).sum()
    }

    /// What befell the first whose stream ended.
    pub(super) fn first_fall(&self) -> Option<&str> {
        self.groups
            .iter()
            .find_map(|group| group.fleet.tally().fault.as_deref())
    }

    fn got(&self) -> usize {
        let now = |group: &Group| group.fleet.seen().map(|(_, seen)| seen.len()).sum::<usize>();
        let before: usize = self.seen.iter().map(Vec::len).sum();
        before + self.groups.iter().map(now).sum::<usize>()
    }

    fn look(&mut self, slow_too: bool) -> Result<()> {
        let now = clock::now();
        while self.back.front().is_some_and(|(due, ..)| *due <= now) {
            if let Some((_, group, index)) = self.back.pop_front() {
                self.reconnect(group, index);
            }
        }
        for (number, group) in self.groups.iter_mut().enumerate() {
            if group.slow && !slow_too {
                continue;
            }
            for index in group.fleet.glance()? {
                self.fell += 1;
                self.back.push_back((clock::after(BACK), number, index));
            }
        }
        Ok(())
    }

    fn drop_one(&mut self, n: usize) {
        let quick: Vec<usize> = (0..self.groups.len()).filter(|n| !self.groups[*n].slow).collect();
        let group = quick[n % quick.len()];
        let index = pick(n, self.groups[group].fleet.len());
        // Somebody who is away already comes back at their own time.
        if self
            .back
            .iter()
            .any(|(_, one, other)| (*one, *other) == (group, index))
        {
            return;
        }
        self.reconnect(group, index);
    }

    fn reconnect(&mut self, group: usize, index: usize) {
        let Group { fleet, people, .. } = &mut self.groups[group];
        match fleet.reconnect(index) {
            Ok(seen) => self.seen[people.start + index].extend(seen),
            Err(error) => {
                progress(&format!("  a reader cannot come back yet: {error:#}"));
                self.back.push_back((clock::after(BACK), group, index));
            }
        }
    }
}
