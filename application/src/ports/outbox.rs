//! Deliveries over transports that are pushed to: what became of each event of the log there.

use async_trait::async_trait;
use domain::capability::Role;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::ids::{UnitId, UserId};
use domain::outbox::Delivery;
use domain::time::Timestamp;

use super::StoreError;

/// One event's delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// The event, by the history it was planned in.
    pub cursor: Cursor,
    /// Where it goes.
    pub channel: Channel,
    /// Where it stands.
    pub delivery: Delivery,
    /// How often the row was written. A write shows the version that it follows.
    pub version: u32,
}

/// Rows, and the present by the store's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPage {
    /// The rows.
    pub rows: Vec<DeliveryRow>,
    /// The present.
    pub now: Timestamp,
}

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Deliveries that have not ended.
    pub open: u64,
    /// Since when the oldest of them is due.
    pub oldest: Option<Timestamp>,
    /// Deliveries that are dead.
    pub dead: u64,
}

/// Somebody who asked for a token of a pushed transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHolder {
    /// Who.
    pub user: UserId,
    /// Units they belonged to.
    pub units: Vec<UnitId>,
    /// Their roles.
    pub roles: Vec<Role>,
    /// Until when the token counts.
    pub until: Timestamp,
}

/// The deliveries of all nodes.
///
/// The log itself is the outbox: its events are turned into deliveries in order, a stretch at a time, and a mark says
/// up to where. A stretch and the mark MUST be written in one atomic step that fails where the mark is elsewhere, so
/// that every event is planned exactly once whoever plans. A row MUST be written only at the version that was read, so
/// that two nodes never send one event at once. Contract suite: `tests/it/contract/outbox.rs`.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Says up to where the log is planned; `None` before the first time.
    async fn planned(&self) -> Result<Option<Cursor>, StoreError>;

    /// Adds the deliveries of the events after `from` and up to `to`, as new rows of version 0, and moves the mark from
    /// `from` to `to`. `false`, and nothing is written, where the mark was elsewhere.
    async fn plan(
        &self,
        from: Option<Cursor>,
        to: Cursor,
        deliveries: Vec<(Position, Channel, Delivery)>,
    ) -> Result<bool, StoreError>;

    /// Reads the oldest delivery that has not ended of each channel, by the channels' names as their bytes sort,
    /// beginning after one.
    async fn heads(&self, after: Option<Channel>, limit: usize) -> Result<DeliveryPage, StoreError>;

    /// Writes rows that were read, each only where its version still is the one given, and then as the next version.
    /// Says for each whether it was written.
    async fn update(&self, rows: Vec<DeliveryRow>) -> Result<Vec<bool>, StoreError>;

    /// Reads the rows of some events, by position; events without one are left out.
    async fn find(&self, positions: &[Position]) -> Result<DeliveryPage, StoreError>;

    /// Lists dead deliveries by position, beginning after one.
    async fn dead(&self, after: Option<Position>, limit: usize) -> Result<DeliveryPage, StoreError>;

    /// Says what waits.
    async fn backlog(&self) -> Result<Backlog, StoreError>;

    /// Forgets up to `limit` ended deliveries of events before a position, and says how many it forgot.
    async fn forget(&self, before: Position, limit: usize) -> Result<usize, StoreError>;

    /// Remembers who holds a token, until it ends; a later end replaces an earlier one.
    async fn hold(&self, holder: TokenHolder) -> Result<(), StoreError>;

    /// Finds those of some people who hold a token that counts.
    async fn holders(&self, users: &[UserId]) -> Result<Vec<TokenHolder>, StoreError>;
}
