//! Availability: of each minute, whether the service was there, kept for 90 days.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::availability::{DAYS_KEPT, Day, DayRecord, MINUTES, Minute};
use domain::time::Timestamp;

use crate::ports::{Clock, Settings, SettingsError};

/// While they cannot be written, so many minutes are remembered: a day.
const PENDING_MAX: usize = MINUTES;
/// Nodes write the same day once a minute: one that was faster is gone after a few attempts.
const ATTEMPTS: usize = 8;

/// Keeps a record of each day in the settings, where a day takes the place of the one 90 days before.
pub struct Availability {
    settings: Arc<dyn Settings>,
    clock: Arc<dyn Clock>,
    /// Never held across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The minute that is being sampled, with how many samples were ready, of how many.
    sampled: Option<((Day, usize), u32, u32)>,
    /// Minutes that are over and not written yet.
    pending: BTreeMap<(Day, usize), Minute>,
}

impl Availability {
    /// Begins with nothing sampled.
    pub fn new(settings: Arc<dyn Settings>, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            clock,
            state: Mutex::default(),
        }
    }

    /// Takes a sample of whether this node is ready.
    pub fn sample(&self, ready: bool) {
        let minute = Day::of(self.clock.now());
        let mut state = self.state();
        let (mut ready_ones, mut all) = (0, 0);
        match state.sampled {
            Some((known, counted, of)) if known == minute => (ready_ones, all) = (counted, of),
            Some((over, counted, of)) => state.remember(over, Minute::of_samples(counted, of)),
            None => {}
        }
        ready_ones += u32::from(ready);
        all += 1;
        state.sampled = Some((minute, ready_ones, all));
    }

    /// Writes the minutes that are over. What cannot be written is kept for the next time.
    pub async fn write(&self) -> Result<(), SettingsError> {
        loop {
            let (day, minutes) = {
                let state = self.state();
                let Some((day, _)) = state.pending.keys().next().copied() else {
                    return Ok(());
                };
                let of_day = state.pending.range((day, 0)..=(day, MINUTES));
                let minutes: Vec<(usize, Minute)> =
                    of_day.map(|((_, minute), seen)| (*minute, *seen)).collect();
                (day, minutes)
            };
            self.merge(day, &minutes).await?;
            let mut state = self.state();
            for (minute, _) in minutes {
                state.pending.remove(&(day, minute));
            }
        }
    }

    /// Reads the last `days` days, the latest first. Days of which nothing is known are left out.
    pub async fn read(&self, days: u32) -> Result<Vec<DayRecord>, SettingsError> {
        let (today, _) = Day::of(self.clock.now());
        let mut records = Vec::new();
        for back in 0..days.min(DAYS_KEPT) {
            let Some(day) = today.0.checked_sub(back).map(Day) else {
                break;
            };
            records.extend(self.record(day).await?.1);
        }
        Ok(records)
    }

    /// Returns the present, by which a day that is not over is counted.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Reads a day with the version of its document. One that stands in its place but is another day is none.
    async fn record(&self, day: Day) -> Result<(u64, Option<DayRecord>), SettingsError> {
        let Some(document) = self.settings.get(&name(day)).await? else {
            return Ok((0, None));
        };
        let record = document.text.parse::<DayRecord>().ok();
        Ok((document.version, record.filter(|record| record.day == day)))
    }

    async fn merge(&self, day: Day, minutes: &[(usize, Minute)]) -> Result<(), SettingsError> {
        let mut conflict = SettingsError::Unavailable;
        for _ in 0..ATTEMPTS {
            let (version, known) = self.record(day).await?;
            let before = known.clone();
            let mut record = known.unwrap_or_else(|| DayRecord::new(day));
            for (minute, seen) in minutes {
                record.note(*minute, *seen);
            }
            if before.as_ref() == Some(&record) {
                return Ok(());
            }
            match self.settings.put(&name(day), version, record.to_string()).await {
                Ok(_) => return Ok(()),
                Err(error @ SettingsError::Conflict { .. }) => conflict = error,
                Err(error) => return Err(error),
            }
        }
        Err(conflict)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts and a map, each right on its own.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remember(&mut self, minute: (Day, usize), seen: Minute) {
        self.pending.insert(minute, seen);
        while self.pending.len() > PENDING_MAX {
            self.pending.pop_first();
        }
    }
}

fn name(day: Day) -> String {
    format!("availability-{}", day.place())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{Drawer, SimClock};

    const EVERY: Duration = Duration::from_secs(5);

    fn node(settings: &Arc<Drawer>, clock: &Arc<SimClock>) -> Availability {
        Availability::new(settings.clone(), clock.clone())
    }

    fn minutes(node: &Availability, clock: &SimClock, ready: impl Fn(usize) -> bool, count: usize) {
        for n in 0..count * 12 {
            node.sample(ready(n));
            clock.advance(EVERY);
        }
        node.sample(true);
    }

    async fn today(node: &Availability) -> DayRecord {
        node.read(1).await.unwrap().remove(0)
    }

    #[tokio::test]
    async fn each_minute_is_kept_by_the_majority_of_its_samples() {
        let (settings, clock) = (Arc::new(Drawer::default()), Arc::new(SimClock::new()));
        let node = node(&settings, &clock);
        // The second minute is away for seven of its twelve samples.
        minutes(&node, &clock, |n| !(12..19).contains(&n), 3);
        node.write().await.unwrap();
        let record = today(&node).await;
        let seen: Vec<Minute> = (0..4).map(|minute| record.minute(minute)).collect();
        assert_eq!(
            seen,
            [Minute::There, Minute::Away, Minute::There, Minute::Unknown]
        );
    }

    #[tokio::test]
    async fn the_service_is_there_where_one_of_two_nodes_is() {
        let (settings, clock) = (Arc::new(Drawer::default()), Arc::new(SimClock::new()));
        let (well, ill) = (node(&settings, &clock), node(&settings, &clock));
        for _ in 0..13 {
            well.sample(true);
            ill.sample(false);
            clock.advance(EVERY);
        }
        ill.write().await.unwrap();
        assert_eq!(today(&well).await.minute(0), Minute::Away);
        well.write().await.unwrap();
        ill.write().await.unwrap();
        assert_eq!(today(&well).await.minute(0), Minute::There);
    }

    #[tokio::test]
    async fn a_day_takes_the_place_of_the_one_ninety_days_before() {
        let (settings, clock) = (Arc::new(Drawer::default()), Arc::new(SimClock::new()));
        let node = node(&settings, &clock);
        minutes(&node, &clock, |_| true, 2);
        node.write().await.unwrap();
        clock.advance(Duration::from_secs(90 * 86_400));
        minutes(&node, &clock, |_| false, 2);
        node.write().await.unwrap();
        let records = node.read(200).await.unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].day, Day::of(clock.now()).0);
    }
}
