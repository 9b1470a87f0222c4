//! Room: nobody has more streams than the limit, and the newest are served.

use std::sync::Arc;
use std::time::Duration;

use domain::event::Control;
use domain::ids::ConnectionId;
use domain::stream::CloseReason;

use crate::announce::announce;
use crate::ports::{Bus, Observation, Observer, Presence, Registry, Store, StoreError};

/// A store that cannot be told of a surplus stream is told again after this long.
const AGAIN: Duration = Duration::from_secs(1);

/// Closes the oldest streams of people who have too many.
pub struct Room {
    /// Who is connected in the cluster.
    pub registry: Arc<dyn Registry>,
    /// The log that carries evictions.
    pub store: Arc<dyn Store>,
    /// Where nodes hear of them.
    pub bus: Arc<dyn Bus>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
    /// Streams a person may have in the cluster.
    pub streams_per_user_max: usize,
}

impl Room {
    /// Enters a stream and closes what is beyond the limit as `replaced`. The limit is a protection, not a promise:
    /// when the registry or the store is away, the stream is served, and [`Room::keep`] makes up for it.
    pub async fn make(&self, presence: Presence) {
        let surplus = match self.registry.enter(presence, self.streams_per_user_max).await {
            Ok(surplus) => surplus,
            Err(error) => {
                self.observer.saw(&Observation::Full("registry"));
                tracing::warn!(error = %error, "a stream was not registered");
                return;
            }
        };
        for connection in surplus {
            if let Err(error) = self.close(connection).await {
                tracing::warn!(error = %error, "a surplus stream was not closed");
            }
        }
    }

    /// Closes for ever what an outage let go beyond the limit, as soon as the registry finds it.
    pub async fn keep(&self) {
        loop {
            for connection in self.registry.surplus().await {
                while let Err(error) = self.close(connection).await {
                    tracing::debug!(error = %error, "a surplus stream is closed later");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn close(&self, connection: ConnectionId) -> Result<(), StoreError> {
        let control = Control::Closed {
            connection,
            reason: CloseReason::Replaced,
        };
        announce(&*self.bus, self.store.control(control).await?).await;
        Ok(())
    }
}
