//! Counting attempts, and what follows from too many.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::abuse::{ATTEMPTS_MAX, Block, LASTS, Noted, Suspect, Suspects, Suspicion};
use domain::audit::{Entry, Kind, Note};
use domain::ids::UserId;
use domain::rollout::Why;
use tokio::sync::mpsc;

use super::AdministerBlocks;
use crate::audit::Recorder;
use crate::limits::{Limits, place};
use crate::ports::{Clock, Observation, Observer};

/// Blocks that wait to be written. Whoever is not blocked for want of room is with the next ten attempts.
const WAITING_MAX: usize = 256;
/// Blocks that come within this time are written together, so that a crowd of attackers costs a write each quarter of a
/// second.
const GATHER: Duration = Duration::from_millis(250);
/// Administrators are told at most this often by one node; what comes meanwhile is told together.
const ALARM_EVERY: Duration = Duration::from_secs(60);

/// Sees attempts. Never waits.
pub struct Watch {
    limits: Arc<Limits>,
    /// Held for a count; never over an await.
    suspects: Mutex<Suspects>,
    blocked: mpsc::Sender<(Suspect, Suspicion)>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

/// Tells administrators.
#[async_trait]
pub trait Alarm: Send + Sync {
    /// Tells them of blocks; never none.
    async fn raise(&self, blocks: &[Block]);
}

/// Blocks whom [`Watch`] has seen too often.
pub struct Detector {
    blocked: mpsc::Receiver<(Suspect, Suspicion)>,
    /// Writes the blocks.
    blocks: Arc<AdministerBlocks>,
    recorder: Recorder,
    alarm: Arc<dyn Alarm>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

/// Opens the watch and what follows from it.
pub fn detector(
    limits: Arc<Limits>,
    blocks: Arc<AdministerBlocks>,
    recorder: Recorder,
    alarm: Arc<dyn Alarm>,
) -> (Watch, Detector) {
    let (sender, blocked) = mpsc::channel(WAITING_MAX);
    let (clock, observer) = (Arc::clone(&blocks.clock), Arc::clone(&blocks.observer));
    let watch = Watch {
        limits,
        suspects: Mutex::default(),
        blocked: sender,
        clock: Arc::clone(&clock),
        observer: Arc::clone(&observer),
    };
    let detector = Detector {
        blocked,
        blocks,
        recorder,
        alarm,
        clock,
        observer,
    };
    (watch, detector)
}

impl Watch {
    /// Sees credentials that do not count, from an address.
    pub fn failed(&self, client: Option<IpAddr>) {
        // Who cannot be told apart from everybody else cannot be blocked.
        let Some(address) = client else { return };
        let suspect = Suspect::Address(place(Some(address)).into());
        self.saw(client, suspect, Suspicion::FailedAuthentication);
    }

    /// Sees what a person tried.
    pub fn tried(&self, client: Option<IpAddr>, person: &UserId, suspicion: Suspicion) {
        self.saw(client, Suspect::User(person.clone()), suspicion);
    }

    fn saw(&self, client: Option<IpAddr>, suspect: Suspect, suspicion: Suspicion) {
        if !self.limits.holds_for(client) {
            return;
        }
        self.observer.saw(&Observation::Suspicious(suspicion.as_str()));
        let at = self.clock.uptime();
        let noted = {
            let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
            suspects.note(&suspect, at)
        };
        match noted {
            Noted::Counted => {}
            Noted::Crowded => self.observer.saw(&Observation::Full("suspects")),
            Noted::TooMany => {
                if self.blocked.try_send((suspect, suspicion)).is_err() {
                    self.observer.saw(&Observation::Full("blocks"));
                }
            }
        }
    }
}

impl Detector {
    /// Blocks until nobody watches any more.
    pub async fn run(mut self) {
        let mut told_at: Option<Duration> = None;
        let mut untold: Vec<Block> = Vec::new();
        loop {
            let wait = told_at.map_or(Duration::ZERO, |at| {
                (at + ALARM_EVERY).saturating_sub(self.clock.uptime())
            });
            tokio::select! {
                next = self.blocked.recv() => {
                    let Some(first) = next else { return };
                    untold.extend(self.block(first).await);
                    untold.truncate(WAITING_MAX);
                }
                () = tokio::time::sleep(wait), if !untold.is_empty() => {
                    self.alarm.raise(&untold).await;
                    untold.clear();
                    told_at = Some(self.clock.uptime());
                }
            }
        }
    }

    /// Writes what has gathered; returns what is in force then.
    async fn block(&mut self, first: (Suspect, Suspicion)) -> Vec<Block> {
        tokio::time::sleep(GATHER).await;
        let mut seen = vec![first];
        while let Ok(next) = self.blocked.try_recv() {
            seen.push(next);
        }
        let at = self.clock.now();
        let blocks: Vec<Block> = seen
            .iter()
            .filter_map(|(suspect, suspicion)| {
                let why = format!(
                    "more than {ATTEMPTS_MAX} attempts in five minutes: {}",
                    suspicion.as_str()
                );
                Some(Block {
                    suspect: suspect.clone(),
                    why: Why::try_new(&why).ok()?,
                    by: None,
                    at,
                    ends_at: at.plus(LASTS),
                })
            })
            .collect();
        let written = self.blocks.add(&blocks).await;
        let outcome = if written.is_ok() { "blocked" } else { "not-blocked" };
        for ((suspect, suspicion), block) in seen.iter().zip(&blocks) {
            self.observer.saw(&Observation::Blocked(outcome));
            self.recorder.record(Entry {
                at,
                kind: Kind::Block,
                who: match suspect {
                    Suspect::User(user) => Some(user.clone()),
                    Suspect::Address(_) => None,
                },
                target: Note::new(&format!("{suspect} {}", suspicion.as_str())),
                outcome: Note::new(outcome),
                request: Note::new(&format!("until {}", block.ends_at.as_millis())),
            });
        }
        match written {
            Ok(()) => blocks,
            Err(error) => {
                tracing::warn!(%error, "whoever was to be blocked is not");
                Vec::new()
            }
        }
    }
}
