//! What the scripts keep, as domain values, and back.

use application::ports::{DeliveryPage, DeliveryRow, TokenHolder};
use domain::cursor::{Cursor, Position};
use domain::outbox::{Delivery, Status};
use domain::time::Timestamp;
use redis::ScriptInvocation;

use crate::record::{DeliveryRecord, HolderRecord, Unreadable, from_text, to_text};

const OPEN: u8 = 1;
const ENDED: u8 = 2;
const DEAD: u8 = 3;

/// Position, epoch, channel, version and record of a delivery.
type RowFields = (u64, String, String, u32, String);
/// The present, and rows.
pub(super) type PageFields = (i64, Vec<RowFields>);
/// User, end and record of a holder.
pub(super) type HolderFields = (String, i64, String);

/// Adds what is written of a delivery: standing, since when it is due, record.
pub(super) fn delivery(call: &mut ScriptInvocation<'_>, delivery: &Delivery) {
    let standing = match delivery.status {
        Status::Pending | Status::Leased { .. } | Status::RetryAt(_) => OPEN,
        Status::Done | Status::Suppressed(_) | Status::Withdrawn { .. } => ENDED,
        Status::Dead(_) => DEAD,
    };
    call.arg(standing)
        .arg(delivery.since.as_millis())
        .arg(to_text(&DeliveryRecord::from(delivery)));
}

/// Reads a page. A row that cannot be read is left out: it holds nobody else up.
pub(super) fn page((now, rows): PageFields) -> DeliveryPage {
    let read = |fields: &RowFields| {
        let read = row(fields);
        read.inspect_err(|error| tracing::error!(%error, "a delivery cannot be read"))
            .ok()
    };
    DeliveryPage {
        rows: rows.iter().filter_map(read).collect(),
        now: Timestamp::from_millis(now),
    }
}

fn row((position, epoch, channel, version, record): &RowFields) -> Result<DeliveryRow, Unreadable> {
    Ok(DeliveryRow {
        cursor: Cursor {
            epoch: epoch.parse().map_err(|_| Unreadable::new("epoch"))?,
            position: Position(*position),
        },
        channel: channel.parse().map_err(|_| Unreadable::new("channel"))?,
        delivery: from_text::<DeliveryRecord>(record).and_then(Delivery::try_from)?,
        version: *version,
    })
}

/// Reads a holder. One who cannot be read counts as one who never asked.
pub(super) fn holder((user, until, record): HolderFields) -> Option<TokenHolder> {
    let read = || -> Result<TokenHolder, Unreadable> {
        let (units, roles) = from_text::<HolderRecord>(&record)?.read()?;
        Ok(TokenHolder {
            user: user.parse().map_err(|_| Unreadable::new("user"))?,
            units,
            roles,
            until: Timestamp::from_millis(until),
        })
    };
    read()
        .inspect_err(|error| tracing::error!(%error, "who holds a token cannot be read"))
        .ok()
}
