//! The limiter: how much of something was let through in the last window.

use std::num::NonZeroU32;

use async_trait::async_trait;
use domain::limit::{Allowance, Verdict};

/// A turn is taken of at most this many budgets: the caller's address, and the person for what they do.
pub const BUDGETS_MAX: usize = 4;

/// Something of which a window lets so much through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// What is counted: of printable ASCII without blanks, at most 128 characters.
    pub key: String,
    /// How much of it a window lets through. It may change from one call to the next, and holds for what was let
    /// through before.
    pub allowance: Allowance,
}

/// The limiter cannot say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the limiter is unavailable")]
pub struct LimiterUnavailable;

/// For how much of the cluster a limiter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// For all nodes that it is there for.
    Whole,
    /// For this node alone, which keeps to its share, because the nodes cannot ask each other.
    Share {
        /// How many nodes there were when they last could.
        nodes: NonZeroU32,
    },
}

/// Counts what is let through, over a sliding window of [`domain::limit::WINDOW`].
///
/// An adapter MUST take a turn of every budget or of none, atomically for all nodes that share it: of any number of
/// callers at once exactly as many take a turn as the window allows. It MUST NOT count what it refuses. It goes by one
/// clock, which is the store's where there is one. It MUST be bounded; where it has no room for a key that it does not
/// know it lets that budget pass uncounted, which the observer sees as `Full`. Contract suite:
/// `tests/it/contract/limiter.rs`.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Limiter: Send + Sync {
    /// Takes a turn of each of one to [`BUDGETS_MAX`] budgets with different keys, or of none.
    async fn take(&self, budgets: &[Budget]) -> Result<Verdict, LimiterUnavailable>;

    /// Says for how much of the cluster it counts now.
    fn reach(&self) -> Reach;
}
