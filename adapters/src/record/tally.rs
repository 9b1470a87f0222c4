//! Publishes as numbers: accepted, failed, and how many within each bound of time.

use domain::guard::{BOUNDS_MS, Publishes};

const COUNTS: usize = 2 + BOUNDS_MS.len();

/// Writes publishes as numbers.
pub(crate) fn counts(publishes: &Publishes) -> [u32; COUNTS] {
    let mut counts = [0; COUNTS];
    counts[0] = publishes.accepted;
    counts[1] = publishes.failed;
    counts[2..].copy_from_slice(&publishes.by_time);
    counts
}

/// Adds numbers up. Those of a version of the service with other bounds are left out: nothing can be said of their
/// times.
pub(crate) fn sum(all: impl IntoIterator<Item = Vec<u32>>) -> Publishes {
    let mut sum = Publishes::default();
    for counts in all {
        let Ok::<[u32; COUNTS], _>([accepted, failed, by_time @ ..]) = counts.try_into() else {
            tracing::debug!("publishes that another version of the service counted are left out");
            continue;
        };
        sum += Publishes {
            accepted,
            failed,
            by_time,
        };
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::guard::Published;

    use super::*;

    #[test]
    fn numbers_read_back_and_those_of_another_version_are_left_out() {
        let mut publishes = Publishes::one(Published::Accepted, Duration::from_millis(30));
        publishes += Publishes::one(Published::Failed, Duration::from_secs(60));
        let kept = counts(&publishes).to_vec();
        let mut twice = publishes;
        twice += publishes;
        assert_eq!(sum([kept.clone(), vec![1, 2, 3], kept]), twice);
    }
}
