//! People who listen and back ends that publish, on one account.

use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tests::token::Issuer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ledger::{Audience, Ledger};
use super::publisher::{Pace, Publisher, Tally};
use super::reader::{Manners, Reader};
use super::{Dice, Person, Setup, http, people, until};

/// A stream that has said nothing for this long is given up: heartbeats come every second or two.
const SILENCE: Duration = Duration::from_secs(6);

/// Everybody who takes part.
pub(crate) struct Cast {
    pub(crate) readers: Vec<Arc<Reader>>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tally: Arc<Mutex<Tally>>,
    /// Publishers do not rest while this is set.
    pub(crate) hurry: Arc<AtomicBool>,
    people: Arc<Vec<Person>>,
    doors: Vec<String>,
    issuer: Issuer,
    client: reqwest::Client,
    pub(crate) seed: u64,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Who publishes now, and how they are told to stop.
    publishing: Mutex<(TaskTracker, CancellationToken)>,
}

impl Cast {
    /// That many people, who use any of the doors: the addresses of nodes, or of what stands before them.
    pub(crate) fn new(setup: &Setup, seed: u64, count: usize, doors: &[String], manners: Manners) -> Self {
        let client = http(SILENCE);
        let people = Arc::new(people(count));
        let reader = |person: &Person| {
            let units = [person.unit.clone()];
            let token = setup.issuer.token(&person.user, "TECNICO", &units).unwrap();
            Reader::new(person.clone(), token, doors.to_vec(), client.clone(), manners)
        };
        Self {
            readers: people.iter().map(reader).collect(),
            ledger: Arc::default(),
            tally: Arc::default(),
            hurry: Arc::default(),
            people,
            doors: doors.to_vec(),
            issuer: setup.issuer.clone(),
            client,
            seed,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            publishing: Mutex::default(),
        }
    }

    /// Opens everybody's stream, and waits until all are open.
    pub(crate) async fn listen(&self) {
        for (index, reader) in (0..).zip(&self.readers) {
            let dice = Dice::new(self.seed, index);
            self.tasks.spawn(Arc::clone(reader).run(dice, self.stop.clone()));
        }
        self.all_opened(1, Duration::from_secs(60)).await;
    }

    /// Waits until everybody's stream was opened that often.
    pub(crate) async fn all_opened(&self, times: usize, at_most: Duration) {
        until("everybody listens", at_most, || {
            let here = |reader: &&Arc<Reader>| reader.story().opened >= times;
            let count = self.readers.iter().filter(here).count();
            met(count, self.readers.len())
        })
        .await;
    }

    /// Waits until that many publishes were acknowledged.
    pub(crate) async fn published(&self, wanted: usize, at_most: Duration) {
        until("publishing goes on", at_most, || {
            let met = met(self.ledger.len(), wanted);
            met.map_err(|count| format!("{count} {:?}", self.tally.lock().unwrap()))
        })
        .await;
    }

    /// Lets that many publishers work until [`Self::hush`].
    pub(crate) fn publish(&self, count: u64, pace: Pace) {
        let publishing = self.publishing.lock().unwrap();
        for index in 0..count {
            let publisher = self.publisher(&format!("back-end-{index}"), pace);
            let dice = Dice::new(self.seed, 10_000 + index);
            publishing.0.spawn(publisher.run(dice, publishing.1.clone()));
        }
    }

    fn publisher(&self, name: &str, pace: Pace) -> Publisher {
        Publisher {
            name: name.to_owned(),
            token: self.issuer.token(name, "SERVICE", &[]).unwrap(),
            doors: self.doors.clone(),
            client: self.client.clone(),
            people: Arc::clone(&self.people),
            ledger: Arc::clone(&self.ledger),
            tally: Arc::clone(&self.tally),
            pace,
            hurry: Arc::clone(&self.hurry),
            door: 0,
        }
    }

    /// Publishes one notification, in the caller's own time.
    pub(crate) async fn tell(&self, audience: Audience) {
        let pace = Pace {
            rest: Duration::ZERO,
            batches: 0,
        };
        let mut dice = Dice::new(self.seed, 20_000);
        let mut announcer = self.publisher("announcer", pace);
        announcer.one(&mut dice, audience).await;
    }

    /// Has the publishers bring what they began to its acknowledgement, and stop.
    pub(crate) async fn hush(&self, at_most: Duration) {
        let (publishing, quiet) = std::mem::take(&mut *self.publishing.lock().unwrap());
        quiet.cancel();
        publishing.close();
        let done = tokio::time::timeout(at_most, publishing.wait()).await;
        assert!(done.is_ok(), "publishers were not answered within {at_most:?}");
    }

    /// Tells everybody one thing more, and waits until they have it and everything before it.
    pub(crate) async fn caught_up(&self, at_most: Duration) {
        self.nobody_complains();
        self.tell(Audience::Everyone).await;
        until("everybody has everything", at_most, || {
            let accounts = self.readers.iter();
            let open: Vec<String> = accounts.filter_map(|reader| self.owed(reader).err()).collect();
            if open.is_empty() {
                return Ok(());
            }
            Err(format!("{} accounts are open: {}", open.len(), open[0]))
        })
        .await;
    }

    /// Waits until everybody has everything, then ends the streams and settles all accounts.
    pub(crate) async fn settle(&self, at_most: Duration) {
        self.caught_up(at_most).await;
        self.end().await;
        self.ledger.places_are_taken_once().unwrap();
        for reader in &self.readers {
            self.owed(reader).unwrap();
        }
    }

    fn owed(&self, reader: &Reader) -> Result<(), String> {
        let owed = self.ledger.check(&reader.person, &reader.story().received);
        owed.map_err(|error| format!("{}: {error}", reader.person.user))
    }

    /// Ends the streams. Nobody may have seen anything that must not happen.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.nobody_complains();
    }

    fn nobody_complains(&self) {
        let mut complaints = self.tally.lock().unwrap().complaints.clone();
        for reader in &self.readers {
            let user = &reader.person.user;
            let said = reader.story().complaints.clone();
            complaints.extend(said.into_iter().map(|said| format!("{user}: {said}")));
        }
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

    /// What happened, in a few lines.
    pub(crate) fn summary(&self) -> String {
        let mut said = String::new();
        let tally = self.tally.lock().unwrap();
        let count =
            |of: &dyn Fn(&Reader) -> usize| -> usize { self.readers.iter().map(|reader| of(reader)).sum() };
        let _ = writeln!(said, "publishes acknowledged  {}", self.ledger.len());
        let _ = writeln!(said, "answers by status       {:?} (0: none)", tally.answers);
        let _ = writeln!(said, "publishes by attempts   {:?}", tally.attempts);
        let _ = writeln!(said, "repeats, same receipt   {}", tally.repeats);
        let _ = writeln!(said, "clients                 {}", self.readers.len());
        let _ = writeln!(
            said,
            "deliveries              {}",
            count(&|reader| reader.story().received.len())
        );
        let _ = writeln!(
            said,
            "streams opened          {}",
            count(&|reader| reader.story().opened)
        );
        let _ = writeln!(
            said,
            "attempts to open one    {}",
            count(&|reader| reader.story().knocks.len())
        );
        let mut closings = std::collections::BTreeMap::new();
        for reader in &self.readers {
            for (reason, count) in &reader.story().closings {
                *closings.entry(reason.clone()).or_insert(0) += count;
            }
        }
        let _ = writeln!(said, "streams closed, why     {closings:?}");
        said
    }
}

fn met(count: usize, wanted: usize) -> Result<(), String> {
    if count >= wanted {
        return Ok(());
    }
    Err(format!("{count} of {wanted}"))
}
