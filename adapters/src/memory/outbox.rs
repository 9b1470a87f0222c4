//! Deliveries in this process: gone when it ends, like the log that they belong to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use application::ports::{Backlog, Clock, DeliveryPage, DeliveryRow, Outbox, StoreError, TokenHolder};
use async_trait::async_trait;
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::ids::UserId;
use domain::outbox::{Delivery, Status};

/// Those whose token has ended are forgotten when there are this many.
const HOLDERS_SWEPT_AT: usize = 1_024;

/// What became of each event over a pushed transport.
pub struct MemoryOutbox {
    clock: Arc<dyn Clock>,
    /// Never held across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    planned: Option<Cursor>,
    rows: BTreeMap<Position, DeliveryRow>,
    /// What has not ended, by the channel's name.
    open: BTreeMap<String, BTreeSet<Position>>,
    dead: BTreeSet<Position>,
    holders: HashMap<UserId, TokenHolder>,
    holders_swept_to: usize,
}

impl MemoryOutbox {
    /// Begins empty.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Rows are replaced one by one, each in one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self, rows: Vec<DeliveryRow>) -> DeliveryPage {
        let now = self.clock.now();
        DeliveryPage { rows, now }
    }
}

impl State {
    fn put(&mut self, row: DeliveryRow) {
        let position = row.cursor.position;
        self.take(position);
        match row.delivery.status {
            status if !status.is_final() => {
                let name = row.channel.to_string();
                self.open.entry(name).or_default().insert(position);
            }
            Status::Dead(_) => {
                self.dead.insert(position);
            }
            _ => {}
        }
        self.rows.insert(position, row);
    }

    /// Takes a row out. The one that comes in its place may be of another channel.
    fn take(&mut self, position: Position) {
        let Some(row) = self.rows.remove(&position) else {
            return;
        };
        self.dead.remove(&position);
        let name = row.channel.to_string();
        if let Some(open) = self.open.get_mut(&name) {
            open.remove(&position);
            if open.is_empty() {
                self.open.remove(&name);
            }
        }
    }
}

#[async_trait]
impl Outbox for MemoryOutbox {
    async fn planned(&self) -> Result<Option<Cursor>, StoreError> {
        Ok(self.state().planned)
    }

    async fn plan(
        &self,
        from: Option<Cursor>,
        to: Cursor,
        deliveries: Vec<(Position, Channel, Delivery)>,
    ) -> Result<bool, StoreError> {
        let mut state = self.state();
        if state.planned != from {
            return Ok(false);
        }
        for (position, channel, delivery) in deliveries {
            state.put(DeliveryRow {
                cursor: Cursor { position, ..to },
                channel,
                delivery,
                version: 0,
            });
        }
        state.planned = Some(to);
        Ok(true)
    }

    async fn heads(&self, after: Option<Channel>, limit: usize) -> Result<DeliveryPage, StoreError> {
        let state = self.state();
        let after = after.map(|channel| channel.to_string());
        let channels = state.open.iter().filter(|(name, _)| Some(*name) > after.as_ref());
        let heads = channels.filter_map(|(_, open)| state.rows.get(open.first()?));
        Ok(self.page(heads.take(limit).cloned().collect()))
    }

    async fn update(&self, rows: Vec<DeliveryRow>) -> Result<Vec<bool>, StoreError> {
        let mut state = self.state();
        let mut update = |row: DeliveryRow| {
            let known = state.rows.get(&row.cursor.position);
            let current =
                known.is_some_and(|known| known.version == row.version && known.cursor == row.cursor);
            if current {
                let version = row.version + 1;
                state.put(DeliveryRow { version, ..row });
            }
            current
        };
        Ok(rows.into_iter().map(&mut update).collect())
    }

    async fn find(&self, positions: &[Position]) -> Result<DeliveryPage, StoreError> {
        let state = self.state();
        let wanted: BTreeSet<_> = positions.iter().collect();
        let rows = wanted.into_iter().filter_map(|position| state.rows.get(position));
        Ok(self.page(rows.cloned().collect()))
    }

    async fn dead(&self, after: Option<Position>, limit: usize) -> Result<DeliveryPage, StoreError> {
        let state = self.state();
        let from = after.map_or(Position(0), Position::next);
        let rows = state
            .dead
            .range(from..)
            .filter_map(|position| state.rows.get(position));
        Ok(self.page(rows.take(limit).cloned().collect()))
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let state = self.state();
        let open = state
            .open
            .values()
            .flatten()
            .filter_map(|position| state.rows.get(position));
        let since: Vec<_> = open.map(|row| row.delivery.since).collect();
        Ok(Backlog {
            open: since.len() as u64,
            oldest: since.into_iter().min(),
            dead: state.dead.len() as u64,
        })
    }

    async fn forget(&self, before: Position, limit: usize) -> Result<usize, StoreError> {
        let mut state = self.state();
        let ended = state
            .rows
            .range(..before)
            .filter(|(_, row)| row.delivery.status.is_final());
        let ended: Vec<_> = ended.map(|(position, _)| *position).take(limit).collect();
        for position in &ended {
            state.take(*position);
        }
        Ok(ended.len())
    }

    async fn hold(&self, holder: TokenHolder) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        if state.holders.len() >= state.holders_swept_to.max(HOLDERS_SWEPT_AT) {
            state.holders.retain(|_, holder| holder.until > now);
            state.holders_swept_to = state.holders.len() * 2;
        }
        let newer = |known: &TokenHolder| known.until <= holder.until;
        if state.holders.get(&holder.user).is_none_or(newer) {
            state.holders.insert(holder.user.clone(), holder);
        }
        Ok(())
    }

    async fn holders(&self, users: &[UserId]) -> Result<Vec<TokenHolder>, StoreError> {
        let now = self.clock.now();
        let state = self.state();
        let wanted: BTreeSet<_> = users.iter().collect();
        let found = wanted.into_iter().filter_map(|user| state.holders.get(user));
        Ok(found.filter(|holder| holder.until > now).cloned().collect())
    }
}
