//! Rows as columns, for statements that write many at once.

use std::time::SystemTime;

use application::ports::TokenHolder;
use domain::capability::Role;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::ids::UnitId;
use domain::outbox::{Delivery, Status};

use super::super::moment::moment;
use crate::record::{DeliveryRecord, to_text};

const OPEN: i16 = 1;
const ENDED: i16 = 2;
const DEAD: i16 = 3;

/// Who holds a token, as columns. Units and roles are arrays of JSON: there are no arrays of arrays of different lengths.
#[derive(Default)]
pub(super) struct Holders {
    pub(super) users: Vec<String>,
    pub(super) units: Vec<String>,
    pub(super) roles: Vec<String>,
    pub(super) until: Vec<SystemTime>,
}

impl Holders {
    pub(super) fn of(holders: &[TokenHolder]) -> Self {
        let mut columns = Self::default();
        for holder in holders {
            let units: Vec<&str> = holder.units.iter().map(UnitId::as_str).collect();
            let roles = holder.roles.iter().map(Role::as_str);
            // A token may name any role. One that no text of the database can hold is in nobody's rule.
            let roles: Vec<&str> = roles.filter(|role| !role.contains('\0')).collect();
            columns.users.push(holder.user.to_string());
            columns.units.push(to_text(&units));
            columns.roles.push(to_text(&roles));
            columns.until.push(moment(holder.until));
        }
        columns
    }
}

/// Rows as columns.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) positions: Vec<i64>,
    pub(super) epochs: Vec<i64>,
    pub(super) channels: Vec<String>,
    pub(super) standings: Vec<i16>,
    pub(super) since: Vec<SystemTime>,
    pub(super) records: Vec<String>,
    pub(super) versions: Vec<i32>,
}

impl Columns {
    pub(super) fn push(&mut self, cursor: Cursor, channel: &Channel, delivery: &Delivery, version: u32) {
        self.positions.push(cursor.position.0.cast_signed());
        self.epochs.push(cursor.epoch.0.cast_signed());
        self.channels.push(channel.to_string());
        self.standings.push(standing(delivery));
        self.since.push(moment(delivery.since));
        self.records.push(to_text(&DeliveryRecord::from(delivery)));
        self.versions.push(i32::try_from(version).unwrap_or(i32::MAX));
    }
}

const fn standing(delivery: &Delivery) -> i16 {
    match delivery.status {
        Status::Pending | Status::Leased { .. } | Status::RetryAt(_) => OPEN,
        Status::Done | Status::Suppressed(_) | Status::Withdrawn { .. } => ENDED,
        Status::Dead(_) => DEAD,
    }
}

pub(super) fn place(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}
