//! How hard a node is pressed, and what it leaves out for it.
//!
//! A level says how much of what is pleasant a node does without, so that what is promised goes on. No level leaves a
//! check out: who may see what is decided elsewhere, and nothing here is asked about it.

use std::fmt;
use std::time::Duration;

use crate::time::Timestamp;

/// How hard a node is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Level {
    /// Not at all.
    #[default]
    Normal,
    /// Heartbeats are slower.
    Light,
    /// Pages of history are smaller, and neither they nor new streams are compressed.
    Moderate,
    /// Fewer streams are opened at a time.
    Severe,
    /// Only clients that come back with a cursor are let in.
    Critical,
}

impl Level {
    /// Every level, from the best.
    pub const ALL: [Self; 5] = [
        Self::Normal,
        Self::Light,
        Self::Moderate,
        Self::Severe,
        Self::Critical,
    ];

    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Light => "light",
            Self::Moderate => "moderate",
            Self::Severe => "severe",
            Self::Critical => "critical",
        }
    }

    /// Returns its place in [`Self::ALL`].
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the level of that number; the last for what is beyond.
    pub fn of_number(number: u8) -> Self {
        let last = Self::ALL.len() - 1;
        Self::ALL[usize::from(number).min(last)]
    }

    fn below(self) -> Self {
        Self::of_number(self.number().saturating_sub(1))
    }

    /// Slows a heartbeat down, up to the longest that is allowed.
    pub fn heartbeat(self, interval: Duration, max: Duration) -> Duration {
        let halves = match self {
            Self::Normal => return interval,
            Self::Light => 3,
            Self::Moderate => 4,
            Self::Severe => 6,
            Self::Critical => 8,
        };
        (interval * halves / 2).min(max.max(interval))
    }

    /// Bounds a page of history that somebody asked for.
    pub fn page(self, limit: usize) -> usize {
        match self {
            Self::Normal | Self::Light => limit,
            Self::Moderate => limit.min(200),
            Self::Severe => limit.min(100),
            Self::Critical => limit.min(50),
        }
    }

    /// Tells whether a new stream, or a page of history, may be compressed: that takes processor.
    pub fn compresses(self) -> bool {
        self < Self::Moderate
    }

    /// Bounds how many streams are opened at a time.
    pub fn at_once(self, limit: usize) -> usize {
        let share = match self {
            Self::Normal | Self::Light | Self::Moderate => limit,
            Self::Severe => limit / 2,
            Self::Critical => limit / 4,
        };
        share.max(1)
    }

    /// Tells whether somebody who wants to open a stream is let in.
    pub fn lets_in(self, coming: Coming) -> bool {
        match coming {
            Coming::Back => true,
            Coming::New => self < Self::Critical,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who wants to open a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coming {
    /// Somebody who was here and has missed something since. They go first.
    Back,
    /// Somebody new, who has missed nothing yet and has an inbox.
    New,
}

/// Something that tells how hard a node is pressed. More is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// The share of requests that failed in the service itself, 0 to 1. A refusal with `Retry-After` is an answer.
    Errors,
    /// Within how many seconds 95 of 100 requests are answered.
    Latency,
    /// How many seconds later than asked a timer fires, on average.
    LoopDelay,
    /// The share of the memory that the process may take, 0 to 1.
    Memory,
    /// The share of the descriptors that it may have open, 0 to 1.
    Descriptors,
    /// The share of the processors that it takes, 0 to 1.
    Cpu,
    /// For how many seconds this node has not had everything that was in the log.
    TailLag,
    /// The share of the parts behind it that do not serve, 0 to 1.
    Dependencies,
}

/// What a signal has to reach for each level, from light to critical.
type Thresholds = [Option<f64>; 4];

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 8] = [
        Self::Errors,
        Self::Latency,
        Self::LoopDelay,
        Self::Memory,
        Self::Descriptors,
        Self::Cpu,
        Self::TailLag,
        Self::Dependencies,
    ];

    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::LoopDelay => "loop_delay",
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
            Self::Cpu => "cpu",
            Self::TailLag => "tail_lag",
            Self::Dependencies => "dependencies",
        }
    }

    /// Returns what it has to reach for each level, from light to critical.
    ///
    /// Only what turning people away helps against is ever critical: a node that runs out of memory or descriptors, or
    /// fails half of what it does. A busy processor, a slow database or one that is gone is no reason to refuse streams
    /// that the ring can serve.
    pub const fn thresholds(self) -> Thresholds {
        match self {
            Self::Errors => [Some(0.05), Some(0.10), Some(0.20), Some(0.50)],
            Self::Memory => [Some(0.70), Some(0.80), Some(0.90), Some(0.95)],
            // A node that is full of streams has 94 in 100 open, and is well.
            Self::Descriptors => [Some(0.85), Some(0.95), Some(0.97), Some(0.99)],
            Self::Cpu => [Some(0.70), Some(0.80), Some(0.90), None],
            Self::Latency => [Some(0.5), Some(1.0), Some(2.5), None],
            Self::LoopDelay => [Some(0.1), Some(0.25), Some(0.5), None],
            Self::TailLag => [Some(1.0), Some(5.0), Some(15.0), None],
            Self::Dependencies => [Some(0.01), Some(0.5), Some(0.99), None],
        }
    }

    /// Says which level a value calls for, where each is reached at `eased` of its threshold.
    fn level(self, value: f64, eased: f64) -> Level {
        let reached = self
            .thresholds()
            .into_iter()
            .zip(&Level::ALL[1..])
            .filter(|(threshold, _)| threshold.is_some_and(|threshold| value >= threshold * eased));
        reached.map(|(_, level)| *level).max().unwrap_or_default()
    }
}

/// What was measured. What is missing says nothing: it is neither good nor bad.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Signals([Option<f64>; Signal::ALL.len()]);

impl Signals {
    /// Adds a signal. What is no finite number from 0 on was not measured.
    #[must_use]
    pub fn with(mut self, signal: Signal, value: f64) -> Self {
        self.0[signal as usize] = Some(value).filter(|value| value.is_finite() && *value >= 0.0);
        self
    }

    /// Returns a signal, where it was measured.
    pub const fn of(&self, signal: Signal) -> Option<f64> {
        self.0[signal as usize]
    }

    /// Says which level they call for together, and which signal calls for it.
    fn level(&self, eased: f64) -> (Level, Option<Signal>) {
        let called = Signal::ALL
            .into_iter()
            .filter_map(|signal| Some((signal.level(self.of(signal)?, eased), signal)));
        let worst = called.filter(|(level, _)| *level > Level::Normal).fold(
            None,
            |worst: Option<(Level, Signal)>, called| match worst {
                Some(worst) if worst.0 >= called.0 => Some(worst),
                _ => Some(called),
            },
        );
        worst.map_or((Level::Normal, None), |(level, signal)| (level, Some(signal)))
    }
}

/// A level is left only when every signal is below this share of what it takes to reach it.
const EASED: f64 = 0.85;
/// So many measurements in a row have to call for a higher level before it is entered.
const CONFIRMED: u8 = 2;
/// How long it has to be better before a node goes down by one level.
const CALM: Duration = Duration::from_secs(15);

/// The level of a node over time: up when two measurements in a row call for it, down by one level for each stretch of
/// calm, so that a signal that swings about a threshold moves it once.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Degradation {
    level: Level,
    cause: Option<Signal>,
    /// The lowest level that every measurement of a row called for, and how many those were.
    rising: Option<(Level, u8)>,
    calm_since: Option<Timestamp>,
}

impl Degradation {
    /// Returns the level.
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Returns the signal that called for it; `None` on the normal level.
    pub const fn cause(&self) -> Option<Signal> {
        self.cause
    }

    /// Takes a measurement.
    #[must_use]
    pub fn after(mut self, signals: &Signals, now: Timestamp) -> Self {
        let (wanted, cause) = signals.level(1.0);
        if wanted > self.level {
            self.calm_since = None;
            let (lowest, times) = self.rising.unwrap_or((wanted, 0));
            let (lowest, times) = (lowest.min(wanted), times + 1);
            if times < CONFIRMED {
                self.rising = Some((lowest, times));
                return self;
            }
            return Self {
                level: lowest,
                cause,
                ..Self::default()
            };
        }
        self.rising = None;
        let (held, holder) = signals.level(EASED);
        if held >= self.level {
            self.calm_since = None;
            self.cause = holder.filter(|_| self.level > Level::Normal);
            return self;
        }
        // A clock that was set back begins the calm anew.
        let since = self.calm_since.map_or(now, |since| since.min(now));
        self.calm_since = Some(since);
        if now.since(since) >= CALM {
            self.level = self.level.below();
            self.calm_since = Some(now);
            self.cause = self.cause.filter(|_| self.level > Level::Normal);
        }
        self
    }
}

#[cfg(test)]
mod tests;
