//! Realtime connections: who is there, and who may come back under the same id.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::ErrorInfo;
use crate::port::random;

/// How long a connection that was lost can be resumed (Ably, `connectionStateTtl`).
pub(super) const RESUMABLE_MS: i64 = 2 * 60 * 1_000;
/// More than a laptop holds sockets for.
const CONNECTIONS_MAX: usize = 20_000;
/// What waits for one connection; it looks many times a second.
const ORDERS_MAX: usize = 100;

/// Something that a connection is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Ask the client for another token.
    Authenticate,
    /// Tell the client why, and end.
    Disconnect(ErrorInfo),
}

/// A connection as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its id, the same after it was resumed.
    pub id: String,
    /// Whom it counts as.
    pub client_id: Option<String>,
    /// What it is attached to.
    pub channels: BTreeSet<String>,
}

#[derive(Debug)]
struct Record {
    key: String,
    client_id: Option<String>,
    channels: BTreeSet<String>,
    orders: VecDeque<Order>,
    /// Which socket it is on: one that comes back takes it from an older one.
    turn: u64,
    left_at_ms: Option<i64>,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    by_id: HashMap<String, Record>,
    turns: u64,
}

/// A socket's hold on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) id: String,
    pub(super) key: String,
    turn: u64,
    pub(super) resumed: bool,
}

impl Connections {
    /// Gives a new connection, or the one that `resume` was the key of.
    pub(super) fn open(
        &mut self,
        resume: Option<&str>,
        client_id: Option<&str>,
        now_ms: i64,
    ) -> Result<Hold, ErrorInfo> {
        let over = |left: Option<i64>| left.is_some_and(|left| left <= now_ms - RESUMABLE_MS);
        self.by_id.retain(|_, record| !over(record.left_at_ms));
        self.turns += 1;
        let turn = self.turns;
        let known = resume.and_then(|key| {
            let mut records = self.by_id.iter();
            let mine = |record: &Record| record.key == key && record.client_id.as_deref() == client_id;
            records.find(|(_, record)| mine(record)).map(|(id, _)| id.clone())
        });
        if known.is_none() && self.by_id.len() >= CONNECTIONS_MAX {
            return Err(ErrorInfo::new(40111, 403, "too many connections"));
        }
        let resumed = known.is_some();
        let id = known.unwrap_or_else(|| format!("{:016x}", random()));
        let key = format!("{id}!{:016x}", random());
        let record = Record {
            key: key.clone(),
            client_id: client_id.map(str::to_owned),
            channels: BTreeSet::new(),
            orders: VecDeque::new(),
            turn,
            left_at_ms: None,
        };
        self.by_id.insert(id.clone(), record);
        Ok(Hold {
            id,
            key,
            turn,
            resumed,
        })
    }

    /// Tells whether the connection is still on this socket.
    pub(super) fn is_held(&self, hold: &Hold) -> bool {
        self.by_id
            .get(&hold.id)
            .is_some_and(|record| record.turn == hold.turn)
    }

    /// Takes the next order.
    pub(super) fn order(&mut self, hold: &Hold) -> Option<Order> {
        self.held(hold)?.orders.pop_front()
    }

    /// Notes what the connection is attached to.
    pub(super) fn attached(&mut self, hold: &Hold, channels: BTreeSet<String>) {
        if let Some(record) = self.held(hold) {
            record.channels = channels;
        }
    }

    /// The socket is gone; the connection may come back.
    pub(super) fn left(&mut self, hold: &Hold, now_ms: i64) {
        if let Some(record) = self.held(hold) {
            record.left_at_ms = Some(now_ms);
        }
    }

    /// The client is done with it.
    pub(super) fn closed(&mut self, hold: &Hold) {
        if self.is_held(hold) {
            self.by_id.remove(&hold.id);
        }
    }

    /// Tells everybody who is there to do something.
    pub(super) fn tell_all(&mut self, order: &Order) {
        for record in self.by_id.values_mut() {
            if record.left_at_ms.is_none() && record.orders.len() < ORDERS_MAX {
                record.orders.push_back(order.clone());
            }
        }
    }

    /// Lists who is there.
    pub(super) fn present(&self) -> Vec<Connection> {
        let there = self
            .by_id
            .iter()
            .filter(|(_, record)| record.left_at_ms.is_none());
        let shown = there.map(|(id, record)| Connection {
            id: id.clone(),
            client_id: record.client_id.clone(),
            channels: record.channels.clone(),
        });
        shown.collect()
    }

    fn held(&mut self, hold: &Hold) -> Option<&mut Record> {
        self.by_id
            .get_mut(&hold.id)
            .filter(|record| record.turn == hold.turn)
    }
}
