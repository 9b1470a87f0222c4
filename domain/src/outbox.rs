//! The life of one delivery: an event on its way over a transport that is pushed to.

use std::time::Duration;

use crate::retry::{GiveUp, Retry, RetryPolicy};
use crate::stream::Jitter;
use crate::time::Timestamp;
use crate::transport::Reason;

/// A refused credential is renewed this often; the next refusal is the operator's to look at.
const RENEWALS_MAX: u8 = 1;

/// One event on its way over a pushed transport. Its message id is the event's own and stays the same over
/// every attempt, so that the transport drops a repeat.
///
/// ```text
/// pending ──► leased ──► done
///    │ ▲        │ │ ├──► suppressed (held back until the deadline, never sent)
///    │ │        │ │ └──► dead
///    │ │        │ └────► retry_at ──► leased …
///    │ │        └──────► withdrawn     retry_at ──► withdrawn
///    │ └── revive ── dead
///    └───► withdrawn
/// ```
/// `done`, `suppressed`, `dead` and `withdrawn` are final: every delivery ends in exactly one of them,
/// whatever outcomes arrive late. Only a hand revives a dead one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// When it became due for the first time; the deadline counts from here.
    pub since: Timestamp,
    /// How often it was sent, or was to be.
    pub attempts: u32,
    /// How often it was leased. Each lease has its number, which its outcome must show.
    pub leases: u32,
    /// How often a refused credential was renewed for it.
    pub renewals: u8,
    /// Whether a hand revived it: it may then arrive behind later events of its channel.
    pub revived: bool,
    /// Where it stands.
    pub status: Status,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It waits for its first lease.
    Pending,
    /// Somebody is sending it.
    Leased {
        /// Whoever sends it has until then to say how it went.
        until: Timestamp,
    },
    /// It failed and waits for another attempt.
    RetryAt(Timestamp),
    /// The transport accepted it.
    Done,
    /// It was not to be sent; the streams carry it.
    Suppressed(Reason),
    /// It could not be sent.
    Dead(DeadReason),
    /// There is nothing to send any more.
    Withdrawn {
        /// Why.
        why: Withdrawal,
        /// It was being sent when it was withdrawn: its channel stays taken until then, or a later event,
        /// such as the one that says it was retracted, could overtake it.
        in_flight_until: Option<Timestamp>,
    },
}

impl Status {
    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Leased { .. } => "leased",
            Self::RetryAt(_) => "retry_at",
            Self::Done => "done",
            Self::Suppressed(_) => "suppressed",
            Self::Dead(_) => "dead",
            Self::Withdrawn { .. } => "withdrawn",
        }
    }

    /// Tells whether no outcome moves it any more.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Leased { .. } | Self::RetryAt(_) => false,
            Self::Done | Self::Suppressed(_) | Self::Dead(_) | Self::Withdrawn { .. } => true,
        }
    }
}

/// Why a delivery is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// The transport refused it for good.
    Refused {
        /// The transport's own code, such as Ably's 40160; zero where it gave none.
        code: u32,
    },
    /// The credential was refused again after it had been renewed.
    Unauthorized,
    /// It failed as often as the policy allows, or until its deadline.
    GivenUp(GiveUp),
}

impl DeadReason {
    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Unauthorized => "unauthorized",
            Self::GivenUp(why) => why.as_str(),
        }
    }
}

/// Why there is nothing to send any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Withdrawal {
    /// Its notification was retracted.
    Retracted,
    /// Its notification expired.
    Expired,
}

impl Withdrawal {
    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retracted => "retracted",
            Self::Expired => "expired",
        }
    }
}

/// How an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The transport answered 2xx for it. Nothing else counts as accepted.
    Accepted,
    /// Network, timeout, or 500 to 504: worth trying again with the same id.
    Transient {
        /// What the answer asked for; zero where it asked for nothing.
        retry_after: Duration,
    },
    /// The credential is out of date (Ably's 40140 to 40149): renew it and send again.
    Renew,
    /// 400, 401 for any other cause, 403, 404, 413 or 422: sending it again changes nothing.
    Refused {
        /// The transport's own code; zero where it gave none.
        code: u32,
    },
    /// It was held back by a breaker or a rate limit, ours before it was sent or the transport's own (429): either way
    /// nobody took it, and the transport is there.
    Held {
        /// When it is worth asking again.
        retry_after: Duration,
        /// What held it back.
        by: Reason,
    },
    /// The lease ran out and nobody said how it went. It may have been sent.
    Lost,
}

impl Outcome {
    /// Returns the stable label.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Transient { .. } => "transient",
            Self::Renew => "renew",
            Self::Refused { .. } => "refused",
            Self::Held { .. } => "held",
            Self::Lost => "lost",
        }
    }
}

/// Proof of a lease; an outcome counts for the lease that it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease(u32);

impl Lease {
    /// Takes the number of a lease as it was stored.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Returns the number: a store writes an outcome only where it still is the delivery's last.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// Why a delivery cannot be leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotLeasable {
    /// It is due later.
    NotDue(Timestamp),
    /// Somebody is sending it until then.
    Leased(Timestamp),
    /// Its lease ran out: it takes [`Outcome::Lost`] first, so that a delivery which brings down whoever
    /// sends it comes to an end.
    LeaseRanOut(Lease),
    /// It has ended.
    Final,
}

/// What an outcome comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// It has ended.
    Ended(Delivery),
    /// It is due again at its [`Status::RetryAt`].
    Again(Delivery),
    /// The outcome is of an earlier lease, or came after the end: nothing changes.
    Stale,
}

impl Delivery {
    /// Begins a delivery that is to be sent.
    pub const fn pending(now: Timestamp) -> Self {
        Self::starting(Status::Pending, now)
    }

    /// Begins, and ends, a delivery that is not to be sent.
    pub const fn suppressed(reason: Reason, now: Timestamp) -> Self {
        Self::starting(Status::Suppressed(reason), now)
    }

    const fn starting(status: Status, since: Timestamp) -> Self {
        Self {
            since,
            attempts: 0,
            leases: 0,
            renewals: 0,
            revived: false,
            status,
        }
    }

    /// Leases it to whoever sends it, for `term`.
    ///
    /// Events of one channel are sent in their order: a delivery is leased only when every earlier one of its
    /// channel has ended and none of them is [in flight](Self::in_flight). One that was sent before and whose
    /// deadline has passed while it waited is not sent again ([`overdue`](Self::overdue)).
    pub fn lease(self, now: Timestamp, term: Duration) -> Result<(Self, Lease), NotLeasable> {
        match self.status {
            Status::Pending => {}
            Status::RetryAt(at) if at <= now => {}
            Status::RetryAt(at) => return Err(NotLeasable::NotDue(at)),
            Status::Leased { until } if until > now => return Err(NotLeasable::Leased(until)),
            Status::Leased { .. } => return Err(NotLeasable::LeaseRanOut(Lease(self.leases))),
            Status::Done | Status::Suppressed(_) | Status::Dead(_) | Status::Withdrawn { .. } => {
                return Err(NotLeasable::Final);
            }
        }
        let lease = Lease(self.leases + 1);
        let leased = Self {
            attempts: self.attempts + 1,
            leases: lease.0,
            status: Status::Leased {
                until: now.plus(term),
            },
            ..self
        };
        Ok((leased, lease))
    }

    /// Tells whether it was sent before and is past its deadline, so that the transport may have forgotten its id
    /// and would deliver it twice. It takes [`Outcome::Held`], which ends it.
    pub fn overdue(&self, policy: &RetryPolicy, now: Timestamp) -> bool {
        // A lease counts as an attempt.
        let sent_before = match self.status {
            Status::Leased { .. } => self.attempts > 1,
            _ => self.attempts > 0,
        };
        sent_before && now.since(self.since) >= policy.deadline()
    }

    /// Takes the outcome of the attempt that `lease` was for.
    ///
    /// An acceptance counts as long as the delivery has not ended, even when its lease has run out: it is
    /// evidence, and the transport drops the repeat that somebody else may be sending.
    pub fn after(
        self,
        lease: Lease,
        outcome: &Outcome,
        policy: &RetryPolicy,
        now: Timestamp,
        jitter: Jitter,
    ) -> Next {
        if self.status.is_final() {
            return Next::Stale;
        }
        if *outcome == Outcome::Accepted {
            return self.ended(Status::Done);
        }
        if lease.0 != self.leases || !matches!(self.status, Status::Leased { .. }) {
            return Next::Stale;
        }
        let elapsed = now.since(self.since);
        match *outcome {
            Outcome::Accepted => self.ended(Status::Done),
            Outcome::Transient { retry_after } => {
                let retry = policy.next_after(self.attempts, elapsed, jitter, retry_after);
                self.again(retry, now)
            }
            Outcome::Lost => self.again(policy.next(self.attempts, elapsed, jitter), now),
            Outcome::Renew if self.renewals >= RENEWALS_MAX => self.dead(DeadReason::Unauthorized),
            Outcome::Renew => {
                let renewed = Self {
                    attempts: self.attempts.saturating_sub(1),
                    renewals: self.renewals + 1,
                    ..self
                };
                // At once, but not after the deadline: an earlier attempt may have been accepted unseen.
                renewed.again(policy.held(elapsed, Jitter::NONE, Duration::ZERO), now)
            }
            Outcome::Refused { code } => self.dead(DeadReason::Refused { code }),
            Outcome::Held { retry_after, by } => {
                let unsent = Self {
                    attempts: self.attempts.saturating_sub(1),
                    ..self
                };
                match policy.held(elapsed, jitter, retry_after) {
                    // Nothing of it ever left: that is no failure of the delivery, the streams carry it.
                    Retry::GiveUp(_) if unsent.attempts == 0 => unsent.ended(Status::Suppressed(by)),
                    retry => unsent.again(retry, now),
                }
            }
        }
    }

    /// Takes it back. One that has ended stays as it is: what was accepted cannot be called back.
    #[must_use]
    pub fn withdraw(self, why: Withdrawal) -> Self {
        let in_flight_until = match self.status {
            Status::Leased { until } => Some(until),
            _ => None,
        };
        if self.status.is_final() {
            return self;
        }
        Self {
            status: Status::Withdrawn { why, in_flight_until },
            ..self
        }
    }

    /// Begins a dead delivery anew by hand; `None` where it is not dead.
    pub fn revive(self, now: Timestamp) -> Option<Self> {
        let Status::Dead(_) = self.status else {
            return None;
        };
        Some(Self {
            // Numbers of leases go on, so that an outcome of its first life stays stale.
            leases: self.leases,
            revived: true,
            ..Self::pending(now)
        })
    }

    /// Tells whether something of it may be on the wire, so that no later event of its channel is to be sent.
    pub fn in_flight(&self, now: Timestamp) -> bool {
        match self.status {
            Status::Leased { .. } => true,
            Status::Withdrawn { in_flight_until, .. } => in_flight_until.is_some_and(|until| now < until),
            _ => false,
        }
    }

    fn again(self, retry: Retry, now: Timestamp) -> Next {
        match retry {
            Retry::After(wait) => Next::Again(Self {
                status: Status::RetryAt(now.plus(wait)),
                ..self
            }),
            Retry::GiveUp(why) => self.dead(DeadReason::GivenUp(why)),
        }
    }

    fn dead(self, reason: DeadReason) -> Next {
        self.ended(Status::Dead(reason))
    }

    fn ended(self, status: Status) -> Next {
        Next::Ended(Self { status, ..self })
    }
}

#[cfg(test)]
mod tests;
