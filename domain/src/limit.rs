//! Rate limits: how much of something a window of time lets through.
//!
//! The algorithm is the **sliding window log** whose hits of one second are kept as one run, which is also known as
//! sliding window counters over sub-windows (N. Mahdi, "An alternative approach to rate limiting", Figma, 2017). Why
//! this one:
//!
//! - A fixed window lets twice its limit through around its edge.
//! - The generic cell rate algorithm (ITU-T I.371) keeps one number, but lets a window take its burst *and* a window's
//!   worth of rate.
//! - Two counters that are interpolated (Cloudflare, 2017) estimate, and an estimate cannot be exact.
//! - A log of every hit is exact, and costs memory by the limit: half a megabyte for a back end that publishes.
//!
//! So the window is exact: none of its length, wherever it begins, holds more than is allowed. The price is paid by the
//! caller in time: hits that share a second leave together when the last of them does, up to a second late. A key costs
//! at most [`RUNS_MAX`] runs, whatever its limit. What is refused is not recorded, so nobody is kept out for trying.

mod table;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

pub use self::table::{Action, Addresses, Budgets, InvalidTable, PROFILE_MAX_CHARS, Profile, Table};

/// The window of every limit.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Hits of one step are kept together: the headers of answers say whole seconds.
pub const STEP: Duration = Duration::from_secs(1);

/// A window touches one step more than fit into it.
pub const RUNS_MAX: usize = 61;

/// Far beyond what one node serves in a window, and a sum of two stays within 32 bits.
pub const ALLOWANCE_MAX: u32 = 1_000_000_000;

/// How much a window lets through: a limit, and a burst on top of it. Using the burst costs nothing afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    limit: NonZeroU32,
    burst: u32,
}

/// A limit or a burst that is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidAllowance;

impl std::fmt::Display for InvalidAllowance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "a limit is 1 to {ALLOWANCE_MAX}, and a burst on top of it 0 to {ALLOWANCE_MAX}"
        )
    }
}

impl std::error::Error for InvalidAllowance {}

impl Allowance {
    /// Takes a limit of at least one and a burst.
    pub const fn try_new(limit: u32, burst: u32) -> Result<Self, InvalidAllowance> {
        match NonZeroU32::new(limit) {
            Some(whole) if limit <= ALLOWANCE_MAX && burst <= ALLOWANCE_MAX => {
                Ok(Self { limit: whole, burst })
            }
            _ => Err(InvalidAllowance),
        }
    }

    /// Returns the limit.
    pub const fn limit(self) -> u32 {
        self.limit.get()
    }

    /// Returns what is allowed on top.
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// Returns what a window lets through: the limit and the burst.
    pub const fn whole(self) -> u32 {
        self.limit.get() + self.burst
    }

    /// Returns the share of one of `nodes` that cannot ask each other, rounded up: nobody is shut out by rounding.
    #[must_use]
    pub const fn share(self, nodes: NonZeroU32) -> Self {
        let limit = self.limit.get().div_ceil(nodes.get());
        Self {
            limit: match NonZeroU32::new(limit) {
                Some(limit) => limit,
                None => NonZeroU32::MIN,
            },
            burst: self.burst.div_ceil(nodes.get()),
        }
    }
}

/// How a budget stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Which of the budgets that were asked for; the first is 0.
    pub budget: usize,
    /// What a window lets through.
    pub limit: u32,
    /// What is left of it.
    pub remaining: u32,
    /// When more is left than now; where nothing is left, when one is.
    pub reset: Duration,
}

/// What became of a request for a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A turn was taken of every budget; this one has the least left.
    Taken(Standing),
    /// Nothing was taken of any budget; this one keeps the caller waiting longest, until its reset.
    Refused(Standing),
}

impl Verdict {
    /// Returns how the budget stands that decides.
    pub const fn standing(&self) -> &Standing {
        match self {
            Self::Taken(standing) | Self::Refused(standing) => standing,
        }
    }
}

/// Hits of one step, which leave together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// When the last of them came, in milliseconds.
    last: u64,
    hits: u32,
}

/// What was let through in the last window: at most [`RUNS_MAX`] runs, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    runs: VecDeque<Run>,
}

impl Log {
    /// Returns how many runs are held.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Returns the moment to go by: a clock that was set back does not stop the log.
    fn moment(&self, now: u64) -> u64 {
        self.runs.back().map_or(now, |newest| newest.last.max(now))
    }

    /// The runs that are in the window, oldest first.
    fn held(&self, now: u64) -> impl Iterator<Item = &Run> {
        self.runs.iter().skip_while(move |run| left_in(run, now) == 0)
    }

    fn used(&self, now: u64) -> u64 {
        self.held(now).map(|run| u64::from(run.hits)).sum()
    }

    /// Says how many milliseconds it takes until there is room for one more hit; 0 when there is.
    fn wait(&self, now: u64, whole: u32) -> u64 {
        let mut used = self.used(now);
        let mut wait = 0;
        for run in self.held(now) {
            if used < u64::from(whole) {
                break;
            }
            used -= u64::from(run.hits);
            wait = left_in(run, now);
        }
        wait
    }

    fn forget(&mut self, now: u64) {
        while self.runs.front().is_some_and(|run| left_in(run, now) == 0) {
            self.runs.pop_front();
        }
    }

    fn record(&mut self, now: u64) {
        match self.runs.back_mut() {
            Some(newest) if newest.last / millis(STEP) == now / millis(STEP) => {
                newest.last = now;
                newest.hits = newest.hits.saturating_add(1);
            }
            _ => self.runs.push_back(Run { last: now, hits: 1 }),
        }
    }
}

/// Takes a turn of every budget, or of none. `now` is the time since any fixed moment. There is at least one budget, and
/// no log is given twice.
pub fn take(budgets: &mut [(&mut Log, Allowance)], now: Duration) -> Verdict {
    let now = millis(now);
    let mut refused: Option<Standing> = None;
    for (budget, (log, allowance)) in budgets.iter().enumerate() {
        let wait = log.wait(log.moment(now), allowance.whole());
        let standing = Standing {
            budget,
            limit: allowance.whole(),
            remaining: 0,
            reset: Duration::from_millis(wait),
        };
        let longest = refused.is_none_or(|known| known.reset < standing.reset);
        if wait > 0 && longest {
            refused = Some(standing);
        }
    }
    if let Some(standing) = refused {
        return Verdict::Refused(standing);
    }
    let mut least: Option<Standing> = None;
    for (budget, (log, allowance)) in budgets.iter_mut().enumerate() {
        let now = log.moment(now);
        log.forget(now);
        log.record(now);
        let standing = log.standing(budget, *allowance, now);
        if least.is_none_or(|known| known.remaining > standing.remaining) {
            least = Some(standing);
        }
    }
    Verdict::Taken(least.unwrap_or(Standing {
        budget: 0,
        limit: u32::MAX,
        remaining: u32::MAX,
        reset: Duration::ZERO,
    }))
}

impl Log {
    /// Says how things stand after a hit at `now`.
    fn standing(&self, budget: usize, allowance: Allowance, now: u64) -> Standing {
        let used = u32::try_from(self.used(now)).unwrap_or(u32::MAX);
        let reset = self.runs.front().map_or(0, |oldest| left_in(oldest, now));
        Standing {
            budget,
            limit: allowance.whole(),
            remaining: allowance.whole().saturating_sub(used),
            reset: Duration::from_millis(reset),
        }
    }
}

/// How long a run stays in the window, in milliseconds.
fn left_in(run: &Run, now: u64) -> u64 {
    (run.last + millis(WINDOW)).saturating_sub(now)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests;
