//! From deliveries to the transport: the oldest of each channel, many channels at once.

use std::sync::Arc;
use std::time::Duration;

use domain::cursor::{Cursor, Epoch};
use domain::event::{Change, Event};
use domain::outbox::{Delivery, Lease, Next, NotLeasable, Outcome, Withdrawal};
use domain::retry::RetryPolicy;
use domain::stream::Jitter;
use domain::time::Timestamp;
use domain::transport::Reason;
use futures_util::future::join_all;

use super::Deliver;
use crate::boundary::bounded;
use crate::ports::{DeliveryRow, Observation, Parcel, ReadError, StoreError};

/// Channels that are looked at in one step.
const HEADS_AT_ONCE: usize = 200;
/// What the transport takes in one batch.
const BATCH_MAX: usize = 100;
/// Whoever sends says within this time how it went: a batch is two requests at most, each of 15 s at most.
const TERM: Duration = Duration::from_secs(60);
const RETRY: RetryPolicy = RetryPolicy::ABLY;
/// The code of a dead delivery that was never sent: its event cannot be written. No code of Ably's is that low.
const POISON: u32 = 1;

/// What one pass over all channels came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pass {
    /// Deliveries that were sent, however that went.
    pub sent: usize,
    /// Deliveries that ended.
    pub ended: usize,
}

impl Pass {
    /// Whether anything moved, so that another pass may find something to do at once.
    pub const fn moved(&self) -> bool {
        self.sent > 0 || self.ended > 0
    }
}

/// What is to be sent of a delivery.
enum Content {
    Parcel(Parcel),
    Gone(Withdrawal),
    /// It cannot be written: trying again would fail again, and hold its channel up for ever.
    Poison,
}

/// A delivery that this node has leased.
struct Leased {
    row: DeliveryRow,
    lease: Lease,
    parcel: Parcel,
}

impl Deliver {
    /// Sends what is due: of every channel the oldest delivery that has not ended.
    pub async fn send(&self) -> Result<Pass, StoreError> {
        let mut pass = Pass::default();
        let mut after = None;
        loop {
            let page = self.outbox.heads(after, HEADS_AT_ONCE).await?;
            // A page may be short of rows that cannot be read, so only an empty one is the last.
            let Some(last) = page.rows.last() else {
                return Ok(pass);
            };
            after = Some(last.channel.clone());
            self.step(page.rows, page.now, &mut pass).await?;
        }
    }

    async fn step(&self, rows: Vec<DeliveryRow>, now: Timestamp, pass: &mut Pass) -> Result<(), StoreError> {
        let epoch = self.store.head().await?.cursor.epoch;
        let mut settled = Vec::new();
        let mut leasing = Vec::new();
        for row in rows {
            match row.delivery.lease(now, TERM) {
                Ok((leased, lease)) if row.delivery.overdue(&RETRY, now) => {
                    let held = Outcome::Held {
                        retry_after: Duration::ZERO,
                        by: Reason::Unhealthy,
                    };
                    settled.extend(self.settle(&with(&row, leased), lease, &held, now));
                }
                Ok((leased, lease)) => match self.content_or_poison(&row, epoch, now).await? {
                    Content::Poison => {
                        let refused = Outcome::Refused { code: POISON };
                        settled.extend(self.settle(&with(&row, leased), lease, &refused, now));
                    }
                    Content::Parcel(parcel) => leasing.push(Leased {
                        row: with(&row, leased),
                        lease,
                        parcel,
                    }),
                    Content::Gone(why) => settled.push(with(&row, row.delivery.withdraw(why))),
                },
                Err(NotLeasable::LeaseRanOut(lease)) => {
                    settled.extend(self.settle(&row, lease, &Outcome::Lost, now));
                }
                Err(NotLeasable::NotDue(_) | NotLeasable::Leased(_) | NotLeasable::Final) => {}
            }
        }
        self.write(settled, pass).await?;
        let ours = self.lease(leasing).await?;
        let batches = ours.chunks(BATCH_MAX).map(|batch| self.deliver(batch));
        let outcomes = join_all(batches).await.into_iter().flatten();
        // The store's clock went on by as much as ours while the transport was asked.
        let done: Vec<_> = ours
            .iter()
            .zip(outcomes)
            .filter_map(|(leased, (outcome, took))| {
                self.settle(&leased.row, leased.lease, &outcome, now.plus(took))
            })
            .collect();
        pass.sent += ours.len();
        self.write(done, pass).await
    }

    /// Leases deliveries; those that somebody else was faster with are left out.
    async fn lease(&self, leasing: Vec<Leased>) -> Result<Vec<Leased>, StoreError> {
        if leasing.is_empty() {
            return Ok(leasing);
        }
        let rows = leasing.iter().map(|leased| leased.row.clone()).collect();
        let written = self.outbox.update(rows).await?;
        let ours = leasing.into_iter().zip(written).filter(|(_, written)| *written);
        Ok(ours
            .map(|(mut leased, _)| {
                leased.row.version += 1;
                leased
            })
            .collect())
    }

    async fn deliver(&self, batch: &[Leased]) -> Vec<(Outcome, Duration)> {
        let parcels: Vec<Parcel> = batch.iter().map(|leased| leased.parcel.clone()).collect();
        let started = self.clock.uptime();
        let outcomes = self.transport.deliver(&parcels).await;
        let took = self.clock.uptime().saturating_sub(started);
        for outcome in &outcomes {
            self.observer.saw(&Observation::Pushed {
                outcome: outcome.as_str(),
                took,
            });
        }
        outcomes.into_iter().map(|outcome| (outcome, took)).collect()
    }

    /// Takes an outcome; `None` where it changes nothing.
    fn settle(
        &self,
        row: &DeliveryRow,
        lease: Lease,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Option<DeliveryRow> {
        let jitter = Jitter::from_bits(self.entropy.bits());
        match row.delivery.after(lease, outcome, &RETRY, now, jitter) {
            Next::Ended(delivery) | Next::Again(delivery) => Some(with(row, delivery)),
            Next::Stale => None,
        }
    }

    async fn write(&self, rows: Vec<DeliveryRow>, pass: &mut Pass) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let ended: Vec<_> = rows
            .iter()
            .map(|row| {
                row.delivery
                    .status
                    .is_final()
                    .then(|| row.delivery.status.as_str())
            })
            .collect();
        let written = self.outbox.update(rows).await?;
        for status in ended
            .into_iter()
            .zip(written)
            .filter_map(|(ended, written)| ended.filter(|_| written))
        {
            pass.ended += 1;
            self.observer.saw(&Observation::DeliveryEnded(status));
        }
        Ok(())
    }

    async fn content_or_poison(
        &self,
        row: &DeliveryRow,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Content, StoreError> {
        let content = bounded(&*self.observer, "delivery", self.content(row, epoch, now)).await;
        if let Ok(content) = content {
            content
        } else {
            tracing::error!(cursor = %row.cursor, "a delivery is dead: its event cannot be written");
            Ok(Content::Poison)
        }
    }

    /// Reads what is to be sent, at the last moment: what was retracted or has expired is not.
    async fn content(&self, row: &DeliveryRow, epoch: Epoch, now: Timestamp) -> Result<Content, StoreError> {
        let position = row.cursor.position;
        let before = Cursor {
            epoch,
            position: position.prior(),
        };
        let event = match self.store.read(before, 1).await {
            Ok(page) => page.events.into_iter().find(|event| event.position == position),
            Err(ReadError::Expired { .. } | ReadError::EpochChanged { .. }) => None,
            Err(ReadError::Store(error)) => return Err(error),
        };
        let Some(event) = event else {
            return Ok(Content::Gone(Withdrawal::Expired));
        };
        if expired(&event, now) {
            return Ok(Content::Gone(Withdrawal::Expired));
        }
        Ok(match self.encoder.render(epoch, &event) {
            Some(rendered) => Content::Parcel(Parcel {
                id: row.cursor.to_string(),
                channel: row.channel.clone(),
                event: rendered.event,
                data: Arc::from(rendered.data),
            }),
            None => Content::Gone(Withdrawal::Retracted),
        })
    }
}

fn with(row: &DeliveryRow, delivery: Delivery) -> DeliveryRow {
    DeliveryRow {
        delivery,
        ..row.clone()
    }
}

fn expired(event: &Event, now: Timestamp) -> bool {
    matches!(&event.change, Change::Published { notification, .. } if notification.expired(now))
}
