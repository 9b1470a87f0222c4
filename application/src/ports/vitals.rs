//! Vitals: how the process is.

use domain::degrade::Signals;

/// Measures the process.
///
/// An adapter MUST leave out what it cannot measure, rather than make a number up: a signal that is missing says
/// nothing. It may read files and is asked every few seconds, away from where requests are answered.
#[cfg_attr(feature = "testing", mockall::automock)]
pub trait Vitals: Send + Sync {
    /// Measures what there is since the last time.
    fn measure(&self) -> Signals;
}
