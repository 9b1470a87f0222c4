//! Shards: who is to be woken for which channel.
//!
//! A connection belongs to one shard, whatever its channels, and each shard is told in position order of the events
//! that somebody of it listens to. Waking is all that happens here: what a connection is sent, it finds in the ring by
//! its own position.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::channel::Channel;
use domain::event::Event;

use super::beat::remove;
use super::connection::Connection;

/// The connections of one shard, by channel.
#[derive(Debug, Default)]
pub(super) struct Shard(Mutex<HashMap<Channel, Vec<Arc<Connection>>>>);

impl Shard {
    fn listeners(&self) -> MutexGuard<'_, HashMap<Channel, Vec<Arc<Connection>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join<'a>(&self, connection: &Arc<Connection>, channels: impl Iterator<Item = &'a Channel>) {
        let mut listeners = self.listeners();
        for channel in channels {
            match listeners.get_mut(channel) {
                Some(list) => list.push(Arc::clone(connection)),
                None => {
                    listeners.insert(channel.clone(), vec![Arc::clone(connection)]);
                }
            }
        }
    }

    pub(super) fn leave<'a>(
        &self,
        connection: &Arc<Connection>,
        channels: impl Iterator<Item = &'a Channel>,
    ) {
        let mut listeners = self.listeners();
        for channel in channels {
            let Some(list) = listeners.get_mut(channel) else {
                continue;
            };
            remove(list, connection);
            if list.is_empty() {
                listeners.remove(channel);
            }
        }
        // Give memory back after a herd has left.
        if listeners.capacity() > 1_024 && listeners.len() * 4 < listeners.capacity() {
            listeners.shrink_to_fit();
        }
    }

    /// Tells whether anybody may listen to a channel of these events. Who joins after them begins behind them. While the
    /// shard wakes a crowd it is not waited for: it can be told in vain.
    pub(super) fn listens(&self, events: &[Arc<Event>]) -> bool {
        let Ok(listeners) = self.0.try_lock() else {
            return true;
        };
        let mut channels = events.iter().filter_map(|event| event.channel());
        channels.any(|channel| listeners.contains_key(channel))
    }

    /// Wakes whoever listens to the channels of these events.
    pub(super) fn wake(&self, events: &[Arc<Event>]) {
        let listeners = self.listeners();
        for channel in events.iter().filter_map(|event| event.channel()) {
            for connection in listeners.get(channel).into_iter().flatten() {
                connection.wake();
            }
        }
    }
}
