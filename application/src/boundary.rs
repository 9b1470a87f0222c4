//! Boundaries: what panics within one ends there, is counted, and takes nothing else with it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt as _;

use crate::ports::{Observation, Observer};

/// Something within a boundary panicked. The panic hook has logged where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} panicked")]
pub struct Panicked(pub &'static str);

/// Waits for work whose panic is to go no further. `what` names it among the metrics.
///
/// It holds the work once: a connection has such a boundary all its life.
pub fn bounded<T>(
    observer: &dyn Observer,
    what: &'static str,
    work: impl Future<Output = T>,
) -> impl Future<Output = Result<T, Panicked>> {
    // Whoever goes on after a panic begins with a look at what there is, as after a restart.
    let done = AssertUnwindSafe(work).catch_unwind();
    done.map(move |done| done.map_err(|_| told(observer, what)))
}

/// Does work whose panic is to go no further. `what` names it among the metrics.
pub fn bounded_now<T>(
    observer: &dyn Observer,
    what: &'static str,
    work: impl FnOnce() -> T,
) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| told(observer, what))
}

fn told(observer: &dyn Observer, what: &'static str) -> Panicked {
    observer.saw(&Observation::Panicked(what));
    tracing::error!(what, "a panic was caught; everything else goes on");
    Panicked(what)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Counting(Mutex<Vec<&'static str>>);

    impl Observer for Counting {
        fn saw(&self, observation: &Observation) {
            if let Observation::Panicked(what) = observation {
                self.0.lock().unwrap().push(what);
            }
        }
    }

    #[tokio::test]
    async fn a_panic_ends_at_its_boundary_and_is_counted() {
        let counting = Counting::default();
        assert_eq!(bounded(&counting, "a", async { 1 }).await, Ok(1));
        assert_eq!(bounded_now(&counting, "a", || 2), Ok(2));
        let ended: Result<(), _> = bounded(&counting, "b", async { panic!("planted") }).await;
        assert_eq!(ended, Err(Panicked("b")));
        let ended: Result<(), _> = bounded_now(&counting, "c", || panic!("planted"));
        assert_eq!(ended, Err(Panicked("c")));
        assert_eq!(*counting.0.lock().unwrap(), ["b", "c"]);
    }
}
