//! Going through the trail again.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use domain::audit::ChainId;

use super::{genesis, link};
use crate::ports::{Audit, AuditError, AuditQuery, Hash, Kept, Link, Trail};

/// Records that are read at once.
const AT_ONCE: usize = 1_000;
/// The beginning of a trail moves while it is read: then it is read again.
const ATTEMPTS: usize = 3;

/// The first thing in the trail that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// There is no record where one was.
    Missing {
        /// Its place.
        place: u64,
    },
    /// The record is not the next one of its chain.
    OutOfOrder {
        /// Its place.
        place: u64,
        /// Its chain.
        chain: ChainId,
        /// The number that it has.
        sequence: u64,
        /// The number that it would have to have.
        expected: u64,
    },
    /// The record is not what was sealed.
    Changed {
        /// Its place.
        place: u64,
        /// Its chain.
        chain: ChainId,
        /// Its number there.
        sequence: u64,
    },
    /// A chain ends elsewhere than it did when its last record was written.
    CutOff {
        /// The chain.
        chain: ChainId,
        /// The number of the last record that is there.
        sequence: u64,
        /// The number of the last record that was written.
        expected: u64,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { place } => write!(f, "the record at place {place} is missing"),
            Self::OutOfOrder {
                place,
                chain,
                sequence,
                expected,
            } => write!(
                f,
                "the record at place {place} is number {sequence} of chain {chain} and should be number {expected}"
            ),
            Self::Changed {
                place,
                chain,
                sequence,
            } => write!(
                f,
                "the record at place {place}, number {sequence} of chain {chain}, is not what was written"
            ),
            Self::CutOff {
                chain,
                sequence,
                expected,
            } => write!(
                f,
                "chain {chain} ends at number {sequence} and was written up to number {expected}"
            ),
        }
    }
}

impl std::error::Error for Broken {}

/// What was found to be as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many records.
    pub records: u64,
    /// The last place that was forgotten before.
    pub forgotten: u64,
    /// The last place.
    pub head: u64,
    /// Where each chain that has records ends.
    pub ends: Vec<Link>,
}

/// Goes through records by place.
#[derive(Debug)]
pub struct Verifier {
    place: u64,
    first: u64,
    chains: HashMap<ChainId, (u64, Hash)>,
}

impl Verifier {
    /// Begins where the trail does.
    pub fn new(trail: &Trail) -> Self {
        let begins = trail.begins.iter();
        Self {
            place: trail.forgotten,
            first: trail.forgotten,
            chains: begins
                .map(|link| (link.chain, (link.sequence, link.hash)))
                .collect(),
        }
    }

    /// Takes the next record.
    pub fn take(&mut self, kept: &Kept) -> Result<(), Broken> {
        let place = self.place + 1;
        if kept.place != place {
            return Err(Broken::Missing { place });
        }
        let record = &kept.sealed.record;
        let (chain, sequence) = (record.chain, record.sequence);
        let known = self.chains.get(&chain).copied();
        let (before, hash) = known.unwrap_or_else(|| (0, genesis(chain)));
        if sequence != before + 1 {
            return Err(Broken::OutOfOrder {
                place,
                chain,
                sequence,
                expected: before + 1,
            });
        }
        let sealed = link(&hash, record);
        if sealed != kept.sealed.hash {
            return Err(Broken::Changed {
                place,
                chain,
                sequence,
            });
        }
        self.chains.insert(chain, (sequence, sealed));
        self.place = place;
        Ok(())
    }

    /// Holds what was there against where the trail ends.
    pub fn finish(self, trail: &Trail) -> Result<Verified, Broken> {
        if self.place < trail.head {
            return Err(Broken::Missing {
                place: self.place + 1,
            });
        }
        for end in &trail.ends {
            let known = self.chains.get(&end.chain).copied();
            let (sequence, hash) = known.unwrap_or_else(|| (0, genesis(end.chain)));
            if (sequence, hash) != (end.sequence, end.hash) {
                return Err(Broken::CutOff {
                    chain: end.chain,
                    sequence,
                    expected: end.sequence,
                });
            }
        }
        // A chain whose end nobody kept: its last record could have been anything.
        for (chain, (sequence, _)) in &self.chains {
            if !trail.ends.iter().any(|end| end.chain == *chain) {
                return Err(Broken::CutOff {
                    chain: *chain,
                    sequence: *sequence,
                    expected: 0,
                });
            }
        }
        Ok(Verified {
            records: self.place - self.first,
            forgotten: self.first,
            head: trail.head,
            ends: trail.ends.clone(),
        })
    }
}

/// Why the trail could not be verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is not as it was written.
    #[error("the audit trail is broken: {0}")]
    Broken(Broken),
    /// It could not be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// Verifies the whole trail, while others write it.
pub struct VerifyAudit {
    /// The trail.
    pub audit: Arc<dyn Audit>,
}

impl VerifyAudit {
    /// Goes through everything that was written when it began.
    pub async fn run(&self) -> Result<Verified, VerifyError> {
        let mut found = self.once().await;
        for _ in 1..ATTEMPTS {
            let Err((VerifyError::Broken(_), forgotten)) = found else {
                break;
            };
            if self.audit.trail().await?.forgotten == forgotten {
                break;
            }
            found = self.once().await;
        }
        found.map_err(|(error, _)| error)
    }

    async fn once(&self) -> Result<Verified, (VerifyError, u64)> {
        let trail = self.audit.trail().await.map_err(|error| (error.into(), 0))?;
        let broken = |broken| (VerifyError::Broken(broken), trail.forgotten);
        let mut verifier = Verifier::new(&trail);
        while verifier.place < trail.head {
            let query = AuditQuery {
                after: verifier.place,
                limit: AT_ONCE,
                ..AuditQuery::default()
            };
            let page = self.audit.read(&query).await.map_err(|error| (error.into(), 0))?;
            if page.records.is_empty() {
                break;
            }
            for kept in page.records.iter().take_while(|kept| kept.place <= trail.head) {
                verifier.take(kept).map_err(broken)?;
            }
            // What lies behind the end as it was read is another look's business.
            if page.records.last().is_some_and(|kept| kept.place > trail.head) {
                break;
            }
        }
        verifier.finish(&trail).map_err(broken)
    }
}
