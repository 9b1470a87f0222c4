//! One clock for every process of a run: `CLOCK_MONOTONIC`, in nanoseconds.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

const NANOS: u64 = 1_000_000_000;

/// Now, on the clock that publishers stamp and readers compare with.
pub(crate) fn now() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// Seconds since 1970, for the dates inside tokens.
pub(crate) fn unix_seconds() -> u64 {
    nanos(clock_gettime(ClockId::Realtime)) / NANOS
}

/// The moment `wait` from now.
pub(crate) fn after(wait: Duration) -> u64 {
    now().saturating_add(in_nanos(wait))
}

pub(crate) fn in_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Time from `earlier` to now.
pub(crate) fn since(earlier: u64) -> Duration {
    Duration::from_nanos(now().saturating_sub(earlier))
}

/// Time from now to `moment`, zero when it is past.
pub(crate) fn until(moment: u64) -> Duration {
    Duration::from_nanos(moment.saturating_sub(now()))
}

/// Sleeps until `moment`; at once when it is past.
pub(crate) fn sleep_until(moment: u64) {
    let request = Timespec {
        tv_sec: i64::try_from(moment / NANOS).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(moment % NANOS).unwrap_or_default(),
    };
    while rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &request).is_err() && now() < moment {}
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * NANOS + u64::try_from(time.tv_nsec).unwrap_or_default()
}
