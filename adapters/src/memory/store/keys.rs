//! Idempotency keys.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use application::ports::{Digest, Idempotency, Recalled, Receipt, Refusal};
use domain::ids::UserId;
use domain::time::Timestamp;

use super::config::{RETRY_MAX, RETRY_MIN};

/// How many keys whose time is over are dropped to make room for one more.
const ROOM_STEP: usize = 64;

/// Whose key, and the key.
type Name = (UserId, String);

#[derive(Debug)]
struct Remembered {
    digest: Digest,
    receipt: Receipt,
    until: Timestamp,
}

/// The keys of the last day, by publisher.
#[derive(Debug)]
pub(super) struct Keys {
    ttl: Duration,
    max: usize,
    by_name: HashMap<Arc<Name>, Remembered>,
    /// In the order in which they were remembered, with the end of their time.
    by_age: VecDeque<(Timestamp, Arc<Name>)>,
}

impl Keys {
    pub(super) fn new(ttl: Duration, max: usize) -> Self {
        Self {
            ttl,
            max,
            by_name: HashMap::new(),
            by_age: VecDeque::new(),
        }
    }

    pub(super) fn recall(&self, key: &Idempotency, now: Timestamp) -> Option<Recalled> {
        let remembered = self.by_name.get(&(key.publisher.clone(), key.key.clone()))?;
        if remembered.until <= now {
            return None;
        }
        Some(if remembered.digest == key.digest {
            Recalled::Same(remembered.receipt.clone())
        } else {
            Recalled::Other
        })
    }

    /// Makes sure that one more key can be remembered.
    pub(super) fn make_room(&mut self, now: Timestamp) -> Result<(), Refusal> {
        if self.by_age.len() < self.max {
            return Ok(());
        }
        self.drop_over(now, ROOM_STEP);
        if self.by_age.len() < self.max {
            return Ok(());
        }
        let next = self.by_age.front().map_or(now, |(until, _)| *until);
        Err(Refusal::Full {
            what: "idempotency keys",
            retry_after: next.since(now).clamp(RETRY_MIN, RETRY_MAX),
        })
    }

    pub(super) fn remember(&mut self, key: Idempotency, receipt: Receipt, now: Timestamp) {
        let name = Arc::new((key.publisher, key.key));
        let until = now.plus(self.ttl);
        let remembered = Remembered {
            digest: key.digest,
            receipt,
            until,
        };
        self.by_age.push_back((until, Arc::clone(&name)));
        // A key that is used anew after its day keeps its old name in the map: the value is what counts.
        self.by_name.insert(name, remembered);
    }

    /// Counts what is held in each place.
    #[cfg(test)]
    pub(super) fn held(&self) -> [usize; 2] {
        [self.by_name.len(), self.by_age.len()]
    }

    /// Drops up to `limit` keys whose time is over; returns how many.
    pub(super) fn drop_over(&mut self, now: Timestamp, limit: usize) -> usize {
        let mut dropped = 0;
        while dropped < limit
            && let Some((until, name)) = self.by_age.pop_front_if(|(until, _)| *until <= now)
        {
            dropped += 1;
            // It may have been used anew since.
            if self.by_name.get(&name).is_some_and(|key| key.until == until) {
                self.by_name.remove(&name);
            }
        }
        dropped
    }
}
