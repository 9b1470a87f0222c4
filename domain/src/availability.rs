//! Availability: of each minute of a day, whether the service was there.

use std::fmt;
use std::str::FromStr;

use crate::time::Timestamp;

/// The minutes of a day.
pub const MINUTES: usize = 1_440;
/// So many days are kept.
pub const DAYS_KEPT: u32 = 90;
const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;

/// A day in UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

impl Day {
    /// Returns the day of a moment, and the minute of that day.
    pub fn of(at: Timestamp) -> (Self, usize) {
        let millis = at.as_millis().max(0);
        let day = u32::try_from(millis / DAY_MS).unwrap_or(u32::MAX);
        let minute = usize::try_from(millis % DAY_MS / MINUTE_MS).unwrap_or_default();
        (Self(day), minute)
    }

    /// Returns its first moment.
    pub fn start(self) -> Timestamp {
        Timestamp::from_millis(i64::from(self.0) * DAY_MS)
    }

    /// Returns its place among the days that are kept: a day takes the place of the one 90 days before.
    pub const fn place(self) -> u32 {
        self.0 % DAYS_KEPT
    }
}

/// What is known of one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Minute {
    /// No node has said anything: none ran, or the word was lost with it.
    #[default]
    Unknown,
    /// Every node that spoke was not ready for half of it or more.
    Away,
    /// A node was ready for most of it.
    There,
}

impl Minute {
    /// Takes what one node saw in a minute: it was there where it was ready in more than half of its samples.
    pub const fn of_samples(ready: u32, all: u32) -> Self {
        match all {
            0 => Self::Unknown,
            _ if ready * 2 > all => Self::There,
            _ => Self::Away,
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Unknown => '.',
            Self::Away => '-',
            Self::There => '+',
        }
    }

    const fn of_letter(letter: u8) -> Option<Self> {
        match letter {
            b'.' => Some(Self::Unknown),
            b'-' => Some(Self::Away),
            b'+' => Some(Self::There),
            _ => None,
        }
    }
}

/// One day, minute by minute, as all nodes saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayRecord {
    /// Which day.
    pub day: Day,
    minutes: Vec<Minute>,
}

/// A text that is no record of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableDay;

impl fmt::Display for UnreadableDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no record of a day's availability")
    }
}

impl std::error::Error for UnreadableDay {}

impl DayRecord {
    /// Begins a day of which nothing is known.
    pub fn new(day: Day) -> Self {
        Self {
            day,
            minutes: vec![Minute::Unknown; MINUTES],
        }
    }

    /// Takes what a node saw in a minute. The service was there where any node was.
    pub fn note(&mut self, minute: usize, seen: Minute) {
        if let Some(known) = self.minutes.get_mut(minute) {
            *known = (*known).max(seen);
        }
    }

    /// Returns what is known of a minute.
    pub fn minute(&self, minute: usize) -> Minute {
        self.minutes.get(minute).copied().unwrap_or_default()
    }

    /// Counts the minutes before one in which the service was there, was away, and of which nothing is known.
    pub fn count(&self, before: usize) -> Count {
        let mut count = Count::default();
        for minute in self.minutes.iter().take(before) {
            match minute {
                Minute::There => count.there += 1,
                Minute::Away => count.away += 1,
                Minute::Unknown => count.unknown += 1,
            }
        }
        count
    }
}

/// How many minutes were what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// The service was there.
    pub there: u32,
    /// It was not.
    pub away: u32,
    /// Nobody said.
    pub unknown: u32,
}

impl Count {
    /// Returns the share of minutes in which it was there, 0 to 1, among those that somebody spoke of; `None` where
    /// nobody did.
    pub fn share(self) -> Option<f64> {
        let known = self.there + self.away;
        (known > 0).then(|| f64::from(self.there) / f64::from(known))
    }
}

/// The day's number, a blank, and a letter for each minute.
impl fmt::Display for DayRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters: String = self.minutes.iter().map(|minute| minute.letter()).collect();
        write!(f, "{} {letters}", self.day.0)
    }
}

impl FromStr for DayRecord {
    type Err = UnreadableDay;

    fn from_str(text: &str) -> Result<Self, UnreadableDay> {
        let (day, letters) = text.split_once(' ').ok_or(UnreadableDay)?;
        let day = Day(day.parse().map_err(|_| UnreadableDay)?);
        let minutes: Option<Vec<Minute>> = letters.bytes().map(Minute::of_letter).collect();
        let minutes = minutes
            .filter(|minutes| minutes.len() == MINUTES)
            .ok_or(UnreadableDay)?;
        Ok(Self { day, minutes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64, minute: i64) -> Timestamp {
        Timestamp::from_millis(day * DAY_MS + minute * MINUTE_MS + 59_999)
    }

    #[test]
    fn a_minute_counts_where_a_majority_of_samples_was_ready() {
        let table = [
            (0, 0, Minute::Unknown),
            (0, 12, Minute::Away),
            (6, 12, Minute::Away),
            (7, 12, Minute::There),
            (1, 1, Minute::There),
        ];
        for (ready, all, minute) in table {
            assert_eq!(Minute::of_samples(ready, all), minute, "{ready} of {all}");
        }
    }

    #[test]
    fn the_service_was_there_where_any_node_was_whoever_speaks_first() {
        for order in [[Minute::Away, Minute::There], [Minute::There, Minute::Away]] {
            let mut record = DayRecord::new(Day(1));
            for seen in order {
                record.note(5, seen);
            }
            record.note(MINUTES, Minute::There);
            assert_eq!(record.minute(5), Minute::There);
            assert_eq!(record.minute(6), Minute::Unknown);
        }
    }

    #[test]
    fn days_and_minutes_are_those_of_utc() {
        assert_eq!(Day::of(at(20_000, 0)), (Day(20_000), 0));
        assert_eq!(Day::of(at(20_000, 1_439)), (Day(20_000), 1_439));
        assert_eq!(Day::of(Day(20_001).start()), (Day(20_001), 0));
        assert_eq!(Day(20_001).place(), Day(20_091).place());
        assert_ne!(Day(20_001).place(), Day(20_090).place());
    }

    #[test]
    fn a_day_is_written_and_read_back_and_nothing_else_is_a_day() {
        let mut record = DayRecord::new(Day(20_000));
        record.note(0, Minute::There);
        record.note(1_439, Minute::Away);
        assert_eq!(record.to_string().parse(), Ok(record.clone()));
        let short = record.to_string();
        for bad in [
            "",
            "20000",
            "x +",
            &short[..short.len() - 1],
            &short.replace('-', "x"),
        ] {
            assert_eq!(bad.parse::<DayRecord>(), Err(UnreadableDay));
        }
    }

    #[test]
    fn a_share_is_of_what_is_known() {
        let mut record = DayRecord::new(Day(1));
        assert_eq!(record.count(MINUTES).share(), None);
        for minute in 0..3 {
            record.note(minute, Minute::There);
        }
        record.note(3, Minute::Away);
        let count = record.count(10);
        assert_eq!((count.there, count.away, count.unknown), (3, 1, 6));
        assert!(count.share().is_some_and(|share| (share - 0.75).abs() < 1e-9));
    }
}
