//! What tickets have been through. A row whose time is over counts as none until it is taken out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use application::ports::{Spent, TicketId};
use deadpool_postgres::ClientWrapper;
use domain::capability::Principal;
use domain::time::Timestamp;
use uuid::Uuid;

use super::super::connect::Failure;
use super::super::moment::moment;
use crate::record::{PrincipalRecord, from_text, to_text};
use crate::registry::{Mark, TICKET_KEPT_MAX};

/// The row is locked from the look to the write, so that of all who spend a ticket exactly one is the first.
const SPEND: &str = "
INSERT INTO registry_tickets AS known (ticket, uses, ended, until)
VALUES ($1, 1, false, store_now() + $2::bigint * interval '1 millisecond')
ON CONFLICT (ticket) DO UPDATE
SET uses = CASE WHEN known.until > store_now() THEN known.uses ELSE 0 END + 1,
    ended = known.ended AND known.until > store_now(),
    renewed = CASE WHEN known.until > store_now() THEN known.renewed END,
    until = greatest(known.until, excluded.until)
RETURNING uses, ended";

/// In the order of the tickets, so that two nodes never wait for each other.
const END: &str = "
INSERT INTO registry_tickets AS known (ticket, uses, ended, until)
SELECT ticket, 0, true, store_now() + keep * interval '1 millisecond'
FROM unnest($1::uuid[], $2::bigint[]) AS mark (ticket, keep)
ORDER BY ticket
ON CONFLICT (ticket) DO UPDATE
SET uses = CASE WHEN known.until > store_now() THEN known.uses ELSE 0 END,
    ended = true,
    renewed = CASE WHEN known.until > store_now() THEN known.renewed END,
    until = greatest(known.until, excluded.until)";

const RENEW: &str = "
INSERT INTO registry_tickets AS known (ticket, uses, ended, renewed, until)
SELECT ticket, 0, false, person, least(until, store_now() + $4::bigint * interval '1 millisecond')
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS mark (ticket, person, until)
ORDER BY ticket
ON CONFLICT (ticket) DO UPDATE
SET uses = CASE WHEN known.until > store_now() THEN known.uses ELSE 0 END,
    ended = known.ended AND known.until > store_now(),
    renewed = excluded.renewed,
    until = greatest(known.until, excluded.until)";

const RENEWED: &str = "
SELECT renewed
FROM registry_tickets
WHERE ticket = $1 AND until > store_now()";

/// The last moment that every part can write: the year 9999.
const LAST: Timestamp = Timestamp::from_millis(253_402_300_799_000);

pub(super) async fn spend(
    client: &ClientWrapper,
    ticket: TicketId,
    keep: Duration,
) -> Result<Spent, Failure> {
    let spend = client.prepare_cached(SPEND).await?;
    let row = client
        .query_one(&spend, &[&Uuid::from_u128(ticket), &millis(keep)])
        .await?;
    let (uses, ended): (i64, bool) = (row.try_get(0)?, row.try_get(1)?);
    Ok(match (ended, uses) {
        (true, _) => Spent::Ended,
        (false, 1) => Spent::First,
        (false, _) => Spent::Again,
    })
}

pub(super) async fn renewed(
    client: &ClientWrapper,
    ticket: TicketId,
) -> Result<Option<Arc<Principal>>, Failure> {
    let renewed = client.prepare_cached(RENEWED).await?;
    let row = client.query_opt(&renewed, &[&Uuid::from_u128(ticket)]).await?;
    let record: Option<String> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    let Some(record) = record else {
        return Ok(None);
    };
    let principal: Principal = from_text::<PrincipalRecord>(&record)?.try_into()?;
    Ok(Some(Arc::new(principal)))
}

/// Writes what happened to tickets; of several renewals of one the last counts, of several ends the longest.
pub(super) async fn write(client: &ClientWrapper, marks: &[Mark]) -> Result<(), Failure> {
    let mut ended: BTreeMap<TicketId, i64> = BTreeMap::new();
    let mut renewed: BTreeMap<TicketId, &Principal> = BTreeMap::new();
    for mark in marks {
        match mark {
            Mark::Ended { ticket, keep } => {
                let longest = ended.entry(*ticket).or_default();
                *longest = millis(*keep).max(*longest);
            }
            Mark::Renewed { ticket, principal } => {
                renewed.insert(*ticket, principal);
            }
        }
    }
    let uuids = |tickets: Vec<TicketId>| tickets.into_iter().map(Uuid::from_u128).collect::<Vec<_>>();
    if !ended.is_empty() {
        let (tickets, keep): (Vec<_>, Vec<_>) = ended.into_iter().unzip();
        let end = client.prepare_cached(END).await?;
        client.execute(&end, &[&uuids(tickets), &keep]).await?;
    }
    if !renewed.is_empty() {
        let (tickets, people): (Vec<_>, Vec<_>) = renewed.into_iter().unzip();
        let records: Vec<_> = people
            .iter()
            .map(|person| to_text(&PrincipalRecord::from(*person)))
            .collect();
        let until: Vec<_> = people
            .iter()
            .map(|person| moment(person.expires_at.min(LAST)))
            .collect();
        let renew = client.prepare_cached(RENEW).await?;
        client
            .execute(
                &renew,
                &[&uuids(tickets), &records, &until, &millis(TICKET_KEPT_MAX)],
            )
            .await?;
    }
    Ok(())
}

/// Whole milliseconds.
pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
