//! Channels that were in use lately, by class, within bounds.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::channel::Channel;
use crate::time::Timestamp;

/// What a channel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelClass {
    /// One person's.
    User,
    /// A unit's.
    Unit,
    /// A benefit type's.
    Benefit,
    /// Everybody's.
    System,
}

impl ChannelClass {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::User, Self::Unit, Self::Benefit, Self::System];

    /// Returns the class of a channel.
    pub const fn of(channel: &Channel) -> Self {
        match channel {
            Channel::User(_) => Self::User,
            Channel::Unit(_) => Self::Unit,
            Channel::Benefit(_) => Self::Benefit,
            Channel::System => Self::System,
        }
    }

    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Unit => "unit",
            Self::Benefit => "benefit",
            Self::System => "system",
        }
    }

    const fn place(self) -> usize {
        match self {
            Self::User => 0,
            Self::Unit => 1,
            Self::Benefit => 2,
            Self::System => 3,
        }
    }
}

/// Whether there was room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There was.
    Enough,
    /// There was none: the channel that had rested longest was forgotten, though it counted.
    Full,
}

/// When a channel was last in use, and a number that tells those of one moment apart.
type Moment = (Timestamp, u64);

/// Channels that were in use within the last `window`, at most `capacity` of them: of more, those that rested longest
/// are forgotten. What is held is counted exactly.
#[derive(Debug, Clone)]
pub struct ActiveChannels {
    window: Duration,
    capacity: usize,
    last: HashMap<Channel, Moment>,
    /// The same channels, longest rested first.
    by_last: BTreeMap<Moment, Channel>,
    counts: [usize; 4],
    next: u64,
}

impl ActiveChannels {
    /// Starts with none.
    pub fn new(window: Duration, capacity: usize) -> Self {
        Self {
            window,
            capacity,
            last: HashMap::new(),
            by_last: BTreeMap::new(),
            counts: [0; 4],
            next: 0,
        }
    }

    /// Takes note that a channel is in use.
    pub fn touch(&mut self, channel: &Channel, now: Timestamp) -> Room {
        self.sweep(now);
        let moment = (now, self.next);
        self.next += 1;
        if let Some(before) = self.last.insert(channel.clone(), moment) {
            self.by_last.remove(&before);
        } else {
            self.counts[ChannelClass::of(channel).place()] += 1;
        }
        self.by_last.insert(moment, channel.clone());
        if self.last.len() > self.capacity {
            self.forget_first();
            return Room::Full;
        }
        Room::Enough
    }

    /// Returns how many of a class are in use.
    pub fn count(&mut self, class: ChannelClass, now: Timestamp) -> usize {
        self.sweep(now);
        self.counts[class.place()]
    }

    /// Returns how many are in use.
    pub fn all(&mut self, now: Timestamp) -> usize {
        self.sweep(now);
        self.last.len()
    }

    fn sweep(&mut self, now: Timestamp) {
        while let Some((moment, _)) = self.by_last.first_key_value() {
            if now.since(moment.0) < self.window {
                return;
            }
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, channel)) = self.by_last.pop_first() {
            self.last.remove(&channel);
            self.counts[ChannelClass::of(&channel).place()] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const START: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn user(number: usize) -> Channel {
        Channel::User(format!("u-{number}").parse().unwrap())
    }

    #[test]
    fn a_million_people_take_no_more_room_than_was_given() {
        const CAPACITY: usize = 10_000;
        let mut active = ActiveChannels::new(MINUTE * 5, CAPACITY);
        let mut full = 0;
        for number in 0..1_000_000 {
            // Three hundred a second: more than fit within the window.
            let now = START.plus(Duration::from_millis(number as u64 * 10 / 3));
            if active.touch(&user(number), now) == Room::Full {
                full += 1;
            }
            assert!(active.last.len() <= CAPACITY && active.by_last.len() == active.last.len());
        }
        assert_eq!(full, 1_000_000 - CAPACITY);
        let end = START.plus(Duration::from_millis(3_333_333));
        assert_eq!(active.count(ChannelClass::User, end), CAPACITY);
        // The latest are held, and what rests falls out.
        assert!(active.last.contains_key(&user(999_999)) && !active.last.contains_key(&user(0)));
        assert_eq!(active.all(end.plus(MINUTE * 5)), 0);
        assert!(active.last.is_empty() && active.by_last.is_empty());
    }

    fn any_channel() -> impl Strategy<Value = Channel> {
        prop_oneof![
            (0_usize..12).prop_map(user),
            (0_u8..4).prop_map(|n| Channel::Unit(format!("n-{n}").parse().unwrap())),
            (0_u8..3).prop_map(|n| Channel::Benefit(format!("b-{n}").parse().unwrap())),
            Just(Channel::System),
        ]
    }

    proptest! {
        #[test]
        fn what_is_held_is_counted_exactly(
            uses in prop::collection::vec((any_channel(), 0_u64..90), 1..200), capacity in 1_usize..24,
        ) {
            let mut active = ActiveChannels::new(MINUTE, capacity);
            // Latest last; what a list would hold.
            let mut list: Vec<(Channel, Timestamp)> = Vec::new();
            let mut now = START;
            for (channel, pause) in uses {
                now = now.plus(Duration::from_secs(pause / 10));
                list.retain(|(held, at)| *held != channel && now.since(*at) < MINUTE);
                list.push((channel.clone(), now));
                let room = active.touch(&channel, now);
                prop_assert_eq!(room == Room::Full, list.len() > capacity);
                if list.len() > capacity {
                    list.remove(0);
                }
                for class in ChannelClass::ALL {
                    let expected = list.iter().filter(|(held, _)| ChannelClass::of(held) == class).count();
                    prop_assert_eq!(active.count(class, now), expected);
                }
                prop_assert_eq!(active.all(now), list.len());
            }
        }
    }
}
