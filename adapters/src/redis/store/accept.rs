//! Publishing: one batch as one script.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{
    Acceptance, Accepted, Durability, Idempotency, Recalled, Receipt, ReceiptStatus, Refusal, StoreError,
    Written,
};
use domain::cursor::{Cursor, Epoch, Position};
use domain::delivery::Due;
use domain::event::Event;
use domain::time::Timestamp;
use redis::ScriptInvocation;
use tokio::time::Instant;

use super::RedisStoreConfig;
use super::failure::{Failure, outcome_unknown, unavailable};
use super::reply::Reply;
use super::rows::{notification_bytes, payload, published, texts};
use super::session::Session;
use crate::record::Unreadable;

/// A request that was not stored within this time is told so.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between two attempts at a Redis that is away.
const PAUSE: Duration = Duration::from_millis(100);
/// A full store never asks for a retry sooner: it would only be asked again.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Nor later: an operator may have made room.
const RETRY_MAX: Duration = Duration::from_secs(3_600);

/// What became of a batch.
pub(super) type Outcomes = Written<Vec<Result<Accepted, Refusal>>>;

/// Writes the arguments of a batch.
pub(super) fn arguments(call: &mut ScriptInvocation<'_>, batch: &[Acceptance], config: &RedisStoreConfig) {
    call.arg(config.keys_max)
        .arg(millis(config.key_ttl))
        .arg(config.scheduled_max)
        .arg(config.scheduled_max_bytes);
    for item in batch {
        let content = &item.notification.content;
        let payload = payload(&item.notification);
        let moment = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.as_millis().to_string());
        let due = match item.plan.due {
            Due::Now => None,
            Due::At(at) => Some(at),
        };
        let key = item.idempotency.as_ref();
        call.arg(item.notification.id.to_string())
            .arg(&payload)
            .arg(content.kind.as_str())
            .arg(content.priority.as_str())
            .arg(moment(content.expires_at))
            .arg(moment(due))
            .arg(notification_bytes(&payload))
            .arg(texts(&item.plan.channels).join(" "))
            .arg(key.map_or_else(String::new, key_name))
            .arg(key.map_or_else(String::new, digest));
    }
}

/// Stores a batch. While Redis does not answer, the same batch is sent again: its ids find what the first one stored.
pub(super) async fn accept(
    session: &Session,
    call: &ScriptInvocation<'_>,
    batch: &[Acceptance],
) -> Result<Outcomes, StoreError> {
    let deadline = Instant::now() + DEADLINE;
    // Whether an earlier attempt may have stored it although nobody has said so.
    let mut open = false;
    loop {
        let mut sent = false;
        let asked = tokio::time::timeout_at(deadline, session.ask(call, None, &mut sent)).await;
        let answer = asked
            .unwrap_or(Err(Failure::Late))
            .and_then(super::session::Answer::only);
        let failure = match answer {
            Ok(reply) => match outcomes(reply, batch, open) {
                Ok(outcomes) => return Ok(outcomes),
                Err(unreadable) => unreadable.into(),
            },
            Err(failure) => failure,
        };
        open |= sent && !failure.is_refusal();
        if !failure.passes() || Instant::now() + PAUSE >= deadline {
            failure.log();
            return Err(if open { outcome_unknown() } else { unavailable() });
        }
        tracing::debug!(%failure, store = "redis", "a batch is sent again");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads what became of each item. `again` says that the batch was sent before and its answer was lost: what is found
/// under an item's own id was then stored by that.
fn outcomes(mut reply: Reply, batch: &[Acceptance], again: bool) -> Result<Outcomes, Unreadable> {
    let epoch: Epoch = reply.parsed("epoch")?;
    let now = reply.moment()?;
    let mut events = Vec::new();
    let outcomes = reply.list()?.lists().zip(batch);
    let value = outcomes
        .map(|(outcome, item)| outcome_of(outcome?, item, again, (epoch, now), &mut events))
        .collect::<Result<_, _>>()?;
    Ok(Written { value, epoch, events })
}

fn outcome_of(
    mut outcome: Reply,
    item: &Acceptance,
    again: bool,
    (epoch, now): (Epoch, Timestamp),
    events: &mut Vec<Arc<Event>>,
) -> Result<Result<Accepted, Refusal>, Unreadable> {
    let full = |what, outcome: &mut Reply| -> Result<_, Unreadable> {
        let retry_after = outcome.moment()?.since(now).clamp(RETRY_MIN, RETRY_MAX);
        Ok(Err(Refusal::Full { what, retry_after }))
    };
    Ok(match outcome.text()?.as_str() {
        "fresh" => {
            let first: u64 = outcome.number()?;
            Ok(Accepted {
                receipt: fresh(item, first, (epoch, now), events),
                replayed: false,
            })
        }
        "repeat" => {
            let receipt = receipt(&outcome.text()?)?;
            let replayed = !(again && receipt.id == item.notification.id);
            Ok(Accepted { receipt, replayed })
        }
        "other" => Err(Refusal::KeyReused),
        "keys_full" => full("idempotency keys", &mut outcome)?,
        "schedule_full" => full("scheduled notifications", &mut outcome)?,
        other => return Err(Unreadable::new(format!("the outcome {other}"))),
    })
}

fn fresh(
    item: &Acceptance,
    first: u64,
    (epoch, now): (Epoch, Timestamp),
    events: &mut Vec<Arc<Event>>,
) -> Receipt {
    let before = events.len();
    if first > 0 {
        let notification = Arc::new(item.notification.clone());
        events.extend(published(
            &notification,
            &item.plan.channels,
            Position(first),
            now,
        ));
    }
    let mine = &events[before..];
    Receipt {
        id: item.notification.id,
        status: match item.plan.due {
            Due::Now => ReceiptStatus::Published,
            Due::At(_) => ReceiptStatus::Scheduled,
        },
        events: u32::try_from(mine.len()).unwrap_or(u32::MAX),
        cursor: mine.last().map(|last| Cursor {
            epoch,
            position: last.position,
        }),
        durability: Durability::Redis,
        accepted_at: now,
    }
}

/// Reads the id, how many events, the last cursor, and when it was accepted.
fn receipt(text: &str) -> Result<Receipt, Unreadable> {
    let read = || -> Option<Receipt> {
        let mut parts = text.split(' ');
        let (id, events) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let cursor: Option<Cursor> = match parts.next()? {
            "-" => None,
            cursor => Some(cursor.parse().ok()?),
        };
        Some(Receipt {
            id,
            status: if cursor.is_some() {
                ReceiptStatus::Published
            } else {
                ReceiptStatus::Scheduled
            },
            events,
            cursor,
            durability: Durability::Redis,
            accepted_at: Timestamp::from_millis(parts.next()?.parse().ok()?),
        })
    };
    read().ok_or_else(|| Unreadable::new("a receipt"))
}

/// Reads what is known under a key: "till digest receipt", and the present.
pub(super) fn recalled(
    known: &str,
    key: &Idempotency,
    now: Timestamp,
) -> Result<Option<Recalled>, Unreadable> {
    let unreadable = || Unreadable::new("an idempotency key");
    let (till, rest) = known.split_once(' ').ok_or_else(unreadable)?;
    let (known, rest) = rest.split_once(' ').ok_or_else(unreadable)?;
    let till = till
        .parse()
        .map(Timestamp::from_millis)
        .map_err(|_| unreadable())?;
    if till <= now {
        return Ok(None);
    }
    if known != digest(key) {
        return Ok(Some(Recalled::Other));
    }
    receipt(rest).map(|receipt| Some(Recalled::Same(receipt)))
}

/// Ids of people hold no colon, so that keys of two publishers never meet.
pub(super) fn key_name(key: &Idempotency) -> String {
    format!("{}:{}", key.publisher, key.key)
}

fn digest(key: &Idempotency) -> String {
    use std::fmt::Write as _;
    key.digest
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Whole milliseconds.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
