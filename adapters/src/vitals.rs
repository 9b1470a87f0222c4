//! How the process is: what Linux says of it, how late its timers fire, and how its requests fare.
//!
//! What cannot be read is left out. An earlier service took a missing number for a bad one, and refused everybody.

mod proc;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use application::ports::{Clock, Observation, Observer, Vitals};
use domain::degrade::{Signal, Signals};
pub(crate) use proc::{open as open_descriptors, resident as resident_bytes};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The timer that shows how late timers fire.
const TICK: Duration = Duration::from_millis(100);
/// Requests are judged over so many measurements.
const MEASUREMENTS: usize = 15;
/// A share of fewer requests says nothing.
const REQUESTS_MIN: u64 = 20;
/// Upper ends of the classes of answer times, in milliseconds; one more class holds what took longer.
const ANSWER_MS: [u64; 10] = [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];
const CLASSES: usize = ANSWER_MS.len() + 1;
/// How much of the processor's latest share is taken at once: what lasts counts, not what flickers.
const CPU_WEIGHT: f64 = 0.2;

/// An observer that takes note of how requests fare on their way to another.
pub struct Traffic {
    inner: Arc<dyn Observer>,
    failed: AtomicU64,
    classes: [AtomicU64; CLASSES],
}

impl Traffic {
    /// Stands in front of an observer.
    pub fn new(inner: Arc<dyn Observer>) -> Self {
        Self {
            inner,
            failed: AtomicU64::new(0),
            classes: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn counts(&self) -> Counts {
        let mut classes = [0; CLASSES];
        for (count, class) in classes.iter_mut().zip(&self.classes) {
            *count = class.load(Ordering::Relaxed);
        }
        Counts {
            failed: self.failed.load(Ordering::Relaxed),
            classes,
        }
    }
}

impl Observer for Traffic {
    fn saw(&self, observation: &Observation) {
        if let Observation::Request { status, duration } = observation {
            let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let class = ANSWER_MS.partition_point(|end| *end < millis);
            self.classes[class].fetch_add(1, Ordering::Relaxed);
            // 503 is an answer: a bound that was kept, or a part that is away, which has signals of its own.
            if *status >= 500 && *status != 503 {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.inner.saw(observation);
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    failed: u64,
    classes: [u64; CLASSES],
}

impl Counts {
    fn since(self, earlier: Self) -> Self {
        let mut since = self;
        since.failed = self.failed.saturating_sub(earlier.failed);
        for (count, before) in since.classes.iter_mut().zip(earlier.classes) {
            *count = count.saturating_sub(before);
        }
        since
    }

    fn signals(self, signals: Signals) -> Signals {
        let all: u64 = self.classes.iter().sum();
        if all < REQUESTS_MIN {
            return signals;
        }
        let mut counted = 0;
        let slow = self.classes.iter().position(|count| {
            counted += count;
            counted * 100 >= all * 95
        });
        let slow = slow.and_then(|class| ANSWER_MS.get(class)).copied();
        let seconds = Duration::from_millis(slow.unwrap_or(ANSWER_MS[CLASSES - 2] * 2)).as_secs_f64();
        signals
            .with(Signal::Errors, share(self.failed, all))
            .with(Signal::Latency, seconds)
    }
}

/// How late a timer fires, summed since the last measurement.
#[derive(Debug, Default)]
struct Lateness {
    micros: AtomicU64,
    times: AtomicU64,
}

impl Lateness {
    async fn watch(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let mut due = Instant::now() + TICK;
        loop {
            tick.tick().await;
            let late = Instant::now().saturating_duration_since(due);
            let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
            self.micros.fetch_add(micros, Ordering::Relaxed);
            self.times.fetch_add(1, Ordering::Relaxed);
            due = Instant::now() + TICK;
        }
    }

    fn take(&self) -> Option<f64> {
        let times = self.times.swap(0, Ordering::Relaxed);
        let micros = self.micros.swap(0, Ordering::Relaxed);
        (times > 0).then(|| Duration::from_micros(micros / times).as_secs_f64())
    }
}

/// How this process is.
pub struct ProcessVitals {
    traffic: Arc<Traffic>,
    late: Arc<Lateness>,
    clock: Arc<dyn Clock>,
    /// Never held across an await.
    past: Mutex<Past>,
}

#[derive(Default)]
struct Past {
    /// The uptime, and the processor time that had been taken by then.
    cpu: Option<(Duration, Duration)>,
    cpu_share: Option<f64>,
    requests: VecDeque<Counts>,
}

impl ProcessVitals {
    /// Begins to watch timers until `cancel`.
    pub fn start(
        traffic: Arc<Traffic>,
        clock: Arc<dyn Clock>,
        (tasks, cancel): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let late = Arc::new(Lateness::default());
        let watching = Arc::clone(&late).watch();
        tasks.spawn(cancel.clone().run_until_cancelled_owned(watching));
        Self {
            traffic,
            late,
            clock,
            past: Mutex::default(),
        }
    }
}

impl Vitals for ProcessVitals {
    fn measure(&self) -> Signals {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = self.traffic.counts();
        let earlier = past.requests.front().copied().unwrap_or_default();
        past.requests.push_back(counts);
        if past.requests.len() > MEASUREMENTS {
            past.requests.pop_front();
        }
        let measured = [
            (Signal::LoopDelay, self.late.take()),
            (Signal::Memory, proc::memory()),
            (Signal::Descriptors, proc::descriptors()),
            (Signal::Cpu, past.cpu(self.clock.uptime())),
        ];
        let there = measured
            .into_iter()
            .filter_map(|(signal, value)| Some((signal, value?)));
        let signals = there.fold(Signals::default(), |signals, (signal, value)| {
            signals.with(signal, value)
        });
        counts.since(earlier).signals(signals)
    }
}

impl Past {
    /// Returns the share of the processors that the process took of late.
    fn cpu(&mut self, uptime: Duration) -> Option<f64> {
        let taken = proc::processor_time()?;
        let (since, before) = self.cpu.replace((uptime, taken))?;
        let span = uptime.checked_sub(since).filter(|span| !span.is_zero())?;
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let cores = u32::try_from(cores).unwrap_or(u32::MAX);
        let now = taken.saturating_sub(before).as_secs_f64() / span.as_secs_f64() / f64::from(cores);
        let share = self
            .cpu_share
            .map_or(now, |share| share + (now - share) * CPU_WEIGHT);
        self.cpu_share = Some(share);
        Some(share)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
fn share(part: u64, all: u64) -> f64 {
    part as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use application::testing::{SimClock, Unobserved};

    use super::*;

    fn traffic() -> Arc<Traffic> {
        Arc::new(Traffic::new(Arc::new(Unobserved)))
    }

    fn answered(traffic: &Traffic, status: u16, millis: u64, times: usize) {
        let duration = Duration::from_millis(millis);
        for _ in 0..times {
            traffic.saw(&Observation::Request { status, duration });
        }
    }

    fn signals(traffic: &Traffic) -> Signals {
        traffic.counts().signals(Signals::default())
    }

    #[test]
    fn a_few_requests_say_nothing_and_a_refusal_is_an_answer() {
        let traffic = traffic();
        answered(&traffic, 500, 1, 19);
        assert_eq!(signals(&traffic), Signals::default());
        answered(&traffic, 503, 1, 81);
        assert_eq!(signals(&traffic).of(Signal::Errors), Some(0.19));
        assert_eq!(signals(&traffic).of(Signal::Latency), Some(0.01));
    }

    #[test]
    fn latency_is_within_which_ninety_five_of_a_hundred_are_answered() {
        let traffic = traffic();
        answered(&traffic, 200, 1, 95);
        answered(&traffic, 200, 60_000, 5);
        assert_eq!(signals(&traffic).of(Signal::Latency), Some(0.01));
        answered(&traffic, 200, 60_000, 1);
        assert_eq!(signals(&traffic).of(Signal::Latency), Some(20.0));
    }

    #[tokio::test]
    async fn what_a_process_can_be_asked_is_measured_and_lies_within_its_bounds() {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let clock = Arc::new(SimClock::new());
        let vitals = ProcessVitals::start(traffic(), clock.clone(), (&tasks, &cancel));
        let first = vitals.measure();
        assert_eq!(
            first.of(Signal::Cpu),
            None,
            "there is nothing to compare with yet"
        );
        clock.advance(Duration::from_secs(1));
        let second = vitals.measure();
        for signal in [Signal::Memory, Signal::Descriptors, Signal::Cpu] {
            let value = second.of(signal).unwrap();
            assert!((0.0..=1.5).contains(&value), "{signal:?} {value}");
        }
        assert!(second.of(Signal::Descriptors) > Some(0.0));
        assert_eq!(second.of(Signal::Errors), None);
        cancel.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn a_runtime_that_was_held_up_shows_it() {
        let late = Arc::new(Lateness::default());
        assert_eq!(late.take(), None);
        let watching = TaskTracker::new().spawn(Arc::clone(&late).watch());
        tokio::time::sleep(TICK * 5 + TICK / 2).await;
        assert!(late.take().unwrap() < 0.01);
        // The runtime wakes up two seconds after the timer was due.
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::time::sleep(TICK).await;
        assert!(late.take().unwrap() > 0.5);
        watching.abort();
    }
}
