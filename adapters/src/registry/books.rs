//! The books: which streams this node holds, and what is still to be written about them.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::{Observation, Observer, Presence, RegistryError};
use domain::ids::{ConnectionId, UserId};
use tokio::sync::{Notify, oneshot};

use super::{Arrival, Batch, Entry, Mark, Standing};

/// Streams that wait to be entered: what a node takes in while one batch is written is far less.
const ENTERING_MAX: usize = 4_096;
/// Streams that wait to be taken out: when a node loses its clients at once, they are many.
const LEAVING_MAX: usize = 16_384;
/// Marks wait out an outage, because nobody else knows them.
const MARKS_MAX: usize = 16_384;
/// Streams beyond a limit that wait to be closed; those that find no room are found again after the next outage.
const SURPLUS_MAX: usize = 16_384;
/// Written at once, of each kind.
pub(super) const AT_ONCE: usize = 500;

/// The answer to whoever enters a stream.
type Answer = oneshot::Sender<Vec<ConnectionId>>;

/// How these books are bounded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Nobody waits longer for a stream to be entered.
    pub(crate) patience: Duration,
    /// The name of what waits to be written, among the metrics.
    pub(crate) full: &'static str,
}

/// Which streams this node holds, and what is still to be written.
///
/// The node has a bound on its streams, which bounds the books. What waits to be written has bounds of its own.
pub(crate) struct Books {
    bounds: Bounds,
    observer: Arc<dyn Observer>,
    work: Notify,
    surplus: Notify,
    /// Never held across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Each with its person's limit.
    streams: BTreeMap<ConnectionId, (Presence, usize)>,
    entering: VecDeque<Entering>,
    leaving: VecDeque<Entry>,
    marks: VecDeque<Mark>,
    flushing: Vec<oneshot::Sender<()>>,
    /// Streams beyond a limit that nobody has been told of.
    surplus: BTreeSet<ConnectionId>,
    /// The ledger does not answer: nobody waits for it.
    away: bool,
    /// The ledger may say something else than the books.
    drifted: bool,
}

struct Entering {
    arrival: Arrival,
    answer: Option<Answer>,
}

/// What the keeper writes, and whom it answers.
pub(super) struct Work {
    pub(super) batch: Batch,
    answers: Vec<Option<Answer>>,
}

impl Work {
    /// Tells those who wait what goes beyond their limits. Returns what nobody waited for any more.
    pub(super) fn answer(self, beyond: Vec<Vec<ConnectionId>>) -> Vec<ConnectionId> {
        let answers = self.answers.into_iter().zip(beyond);
        let unheard = answers.filter_map(|(answer, beyond)| answer?.send(beyond).err());
        unheard.flatten().collect()
    }
}

impl Books {
    pub(crate) fn new(bounds: Bounds, observer: Arc<dyn Observer>) -> Self {
        Self {
            bounds,
            observer,
            work: Notify::new(),
            surplus: Notify::new(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic leaves undone is put right by the next reconciliation.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a stream and waits for what goes beyond the limit. Whatever the answer, the stream is in the books and
    /// is entered as soon as that is possible.
    pub(crate) async fn enter(
        &self,
        presence: Presence,
        limit: usize,
    ) -> Result<Vec<ConnectionId>, RegistryError> {
        let (answer, answered) = oneshot::channel();
        self.push(presence, limit, Some(answer))?;
        match tokio::time::timeout(self.bounds.patience, answered).await {
            Ok(Ok(beyond)) => Ok(beyond),
            Ok(Err(_)) | Err(_) => Err(RegistryError::Unavailable),
        }
    }

    /// Enters a stream without waiting, and without looking for what goes beyond its limit: somebody else has.
    pub(crate) fn note(&self, presence: Presence, limit: usize) {
        // When that cannot be written now, it is after the outage.
        let _ = self.push(presence, limit, None);
    }

    fn push(&self, presence: Presence, limit: usize, answer: Option<Answer>) -> Result<(), RegistryError> {
        let mut state = self.state();
        let held = (presence.clone(), limit);
        state.streams.insert(presence.connection, held);
        if state.away {
            return Err(RegistryError::Unavailable);
        }
        if state.entering.len() >= ENTERING_MAX {
            state.drifted = true;
            drop(state);
            self.observer.saw(&Observation::Full(self.bounds.full));
            return Err(RegistryError::Unavailable);
        }
        let arrival = Arrival {
            presence,
            limit: if answer.is_some() { limit } else { usize::MAX },
            standing: Standing::Newest,
        };
        state.entering.push_back(Entering { arrival, answer });
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Takes a stream out without waiting.
    pub(crate) fn leave(&self, user: &UserId, connection: ConnectionId) {
        let mut state = self.state();
        let theirs = |(held, _): &(Presence, usize)| held.user == *user;
        if state.streams.get(&connection).is_some_and(theirs) {
            state.streams.remove(&connection);
        }
        if state.away {
            return;
        }
        let full = state.leaving.len() >= LEAVING_MAX;
        if full {
            state.drifted = true;
        } else {
            let user = user.clone();
            state.leaving.push_back(Entry { user, connection });
        }
        drop(state);
        if full {
            self.observer.saw(&Observation::Full(self.bounds.full));
        }
        self.work.notify_one();
    }

    /// Notes what happened to a ticket without waiting.
    pub(crate) fn mark(&self, mark: Mark) {
        let mut state = self.state();
        let full = state.marks.len() >= MARKS_MAX;
        if !full {
            state.marks.push_back(mark);
        }
        drop(state);
        if full {
            self.observer.saw(&Observation::Full(self.bounds.full));
        }
        self.work.notify_one();
    }

    /// Waits for streams beyond their person's limit that were found when the ledger was put right, and takes them.
    pub(crate) async fn surplus(&self) -> Vec<ConnectionId> {
        loop {
            let found = std::mem::take(&mut self.state().surplus);
            if !found.is_empty() {
                return found.into_iter().collect();
            }
            self.surplus.notified().await;
        }
    }

    /// Waits until everything has been written, or cannot be.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        {
            let mut state = self.state();
            if state.away {
                return;
            }
            state.flushing.push(done);
        }
        self.work.notify_one();
        let _ = flushed.await;
    }
}

/// The keeper's side.
impl Books {
    /// Waits until there is something to write.
    pub(super) async fn work(&self) {
        while self.idle() {
            self.work.notified().await;
        }
    }

    /// Whether nothing is to be written and nobody waits.
    pub(super) fn idle(&self) -> bool {
        let state = self.state();
        state.nothing_to_write() && state.flushing.is_empty()
    }

    /// Takes what is to be written next. Marks stay until they are [`Books::written`].
    pub(super) fn take(&self) -> Work {
        let mut state = self.state();
        let state = &mut *state;
        let leaving = state.leaving.drain(..state.leaving.len().min(AT_ONCE)).collect();
        let entering = state.entering.drain(..state.entering.len().min(AT_ONCE));
        let mut work = Work {
            batch: Batch {
                leaving,
                entering: Vec::new(),
                marks: state.marks.iter().take(AT_ONCE).cloned().collect(),
            },
            answers: Vec::new(),
        };
        for stream in entering {
            // It may have left before it was entered: then it must not come back.
            if state.streams.contains_key(&stream.arrival.presence.connection) {
                work.batch.entering.push(stream.arrival);
                work.answers.push(stream.answer);
            } else if let Some(answer) = stream.answer {
                let _ = answer.send(Vec::new());
            }
        }
        work
    }

    /// Forgets marks that were written, and tells those who wait for everything to be.
    pub(super) fn written(&self, marks: usize) {
        let mut state = self.state();
        state.marks.drain(..marks);
        if state.nothing_to_write() {
            for done in state.flushing.drain(..) {
                let _ = done.send(());
            }
        }
    }

    /// The ledger does not answer: whoever waits is told, and says whether that is news.
    pub(super) fn away(&self) -> bool {
        let mut state = self.state();
        state.entering.clear();
        state.leaving.clear();
        state.flushing.clear();
        state.drifted = true;
        !std::mem::replace(&mut state.away, true)
    }

    /// The ledger answers, and says whether that is news.
    pub(super) fn back(&self) -> bool {
        std::mem::replace(&mut self.state().away, false)
    }

    /// Whether the ledger has to be put right; from here on it counts as that.
    pub(super) fn take_drift(&self) -> bool {
        std::mem::replace(&mut self.state().drifted, false)
    }

    /// Whether this node holds a stream.
    pub(super) fn holds(&self, connection: ConnectionId) -> bool {
        self.state().streams.contains_key(&connection)
    }

    /// Returns streams of this node by connection, beginning after one, as they are entered when it puts the ledger
    /// right. Those that wait to be entered are left to that: they are the newest, and not yet asked for.
    pub(super) fn page(&self, after: Option<ConnectionId>) -> Vec<Arrival> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state();
        let waiting: HashSet<_> = state
            .entering
            .iter()
            .map(|s| s.arrival.presence.connection)
            .collect();
        let streams = state.streams.range((from, Bound::Unbounded));
        streams
            .filter(|(connection, _)| !waiting.contains(connection))
            .take(AT_ONCE)
            .map(|(_, (presence, limit))| Arrival {
                presence: presence.clone(),
                limit: *limit,
                standing: Standing::Known,
            })
            .collect()
    }

    /// Keeps what an outage let go beyond the limits until somebody [takes it](Self::surplus).
    pub(super) fn found(&self, surplus: impl IntoIterator<Item = ConnectionId>) {
        let mut state = self.state();
        let before = state.surplus.len();
        let mut full = false;
        for connection in surplus {
            full |= state.surplus.len() >= SURPLUS_MAX;
            if !full {
                state.surplus.insert(connection);
            }
        }
        let news = state.surplus.len() > before;
        drop(state);
        if full {
            self.observer.saw(&Observation::Full(self.bounds.full));
        }
        if news {
            self.surplus.notify_one();
        }
    }
}

impl State {
    fn nothing_to_write(&self) -> bool {
        self.entering.is_empty() && self.leaving.is_empty() && self.marks.is_empty()
    }
}
