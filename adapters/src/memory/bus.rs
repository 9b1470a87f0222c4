//! The bus of a single node.

use std::sync::Arc;

use application::ports::{Bus, Doorbell, Listener, Reply, Rung};
use async_trait::async_trait;
use domain::event::{Change, Event};
use domain::notification::Notification;
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

/// With doorbells of [`DOORBELL_MAX_BYTES`] a listener that stands still holds 64 MiB; one that is further behind
/// reads the log faster than it would be told.
const DOORBELLS_MAX: usize = 64;

/// As much as a store takes in one commit. What is larger rings without copies.
const DOORBELL_MAX_BYTES: usize = 1024 * 1024;

/// Rings within this process. Listeners share the copies.
#[derive(Debug)]
pub struct MemoryBus {
    ringing: Sender<Rung>,
}

impl MemoryBus {
    /// Hangs up the bell.
    pub fn new() -> Self {
        Self {
            ringing: Sender::new(DOORBELLS_MAX),
        }
    }
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn announce(&self, doorbell: Doorbell) {
        let rung = if bytes_of(&doorbell.events) > DOORBELL_MAX_BYTES {
            Rung::Missed
        } else {
            Rung::Doorbell(doorbell)
        };
        // Nobody listens: nobody is owed anything.
        let _ = self.ringing.send(rung);
    }

    fn forward(&self, reply: Reply) {
        let _ = self.ringing.send(Rung::Replies([reply].into()));
    }

    fn listen(&self) -> Box<dyn Listener> {
        Box::new(MemoryListener(self.ringing.subscribe()))
    }
}

/// Counts what the events hold. Those of one notification stand side by side and share it.
fn bytes_of(events: &[Arc<Event>]) -> usize {
    let mut bytes = size_of_val(events) + size_of::<Event>() * events.len();
    let mut counted: Option<&Arc<Notification>> = None;
    for event in events {
        let Change::Published { notification, .. } = &event.change else {
            continue;
        };
        if !counted.is_some_and(|last| Arc::ptr_eq(last, notification)) {
            let content = &notification.content;
            bytes += content.title.len() + content.body.len() + content.data.len();
            counted = Some(notification);
        }
    }
    bytes
}

#[derive(Debug)]
struct MemoryListener(Receiver<Rung>);

#[async_trait]
impl Listener for MemoryListener {
    async fn next(&mut self) -> Rung {
        match self.0.recv().await {
            Ok(rung) => rung,
            Err(RecvError::Lagged(_)) => Rung::Missed,
            // The bus is gone and nothing will ever ring.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::channel::Channel;
    use domain::cursor::{Epoch, Position};
    use domain::ids::NotificationId;
    use domain::notification::{Content, NotificationType, Priority};
    use domain::time::Timestamp;
    use uuid::Uuid;

    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn notification(body_bytes: usize) -> Arc<Notification> {
        let content = Content {
            kind: NotificationType::parse("sistema.comunicado").unwrap(),
            priority: Priority::Normal,
            title: "Aviso".into(),
            body: "x".repeat(body_bytes).into(),
            link: None,
            data: "{}".into(),
            requires_ack: false,
            expires_at: None,
        };
        Arc::new(Notification {
            id: NotificationId::new(Uuid::nil()),
            content,
            published_at: AT,
        })
    }

    fn doorbell(notifications: impl IntoIterator<Item = Arc<Notification>>) -> Doorbell {
        let event = |(position, notification)| {
            Arc::new(Event {
                position: Position(position),
                at: AT,
                change: Change::Published {
                    channel: Channel::System,
                    notification,
                },
            })
        };
        Doorbell {
            epoch: Epoch(1),
            events: (1..).zip(notifications).map(event).collect(),
        }
    }

    #[tokio::test]
    async fn a_doorbell_beyond_its_bound_rings_without_copies() {
        let bus = MemoryBus::new();
        let mut listener = bus.listen();
        bus.announce(doorbell((0..300).map(|_| notification(4_096))))
            .await;
        assert_eq!(listener.next().await, Rung::Missed);
    }

    #[tokio::test]
    async fn one_notification_to_a_thousand_people_is_counted_once() {
        let bus = MemoryBus::new();
        let mut listener = bus.listen();
        let rung = doorbell(vec![notification(32_768); 1_000]);
        bus.announce(rung.clone()).await;
        assert_eq!(listener.next().await, Rung::Doorbell(rung));
    }

    #[tokio::test]
    async fn a_listener_outlives_its_bus_in_silence() {
        let bus = MemoryBus::new();
        let mut listener = bus.listen();
        bus.announce(doorbell([])).await;
        drop(bus);
        assert!(matches!(listener.next().await, Rung::Doorbell(_)));
        let silence = std::pin::pin!(listener.next());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(silence.poll(&mut context).is_pending());
    }
}
