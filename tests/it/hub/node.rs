//! A node without its edge: hub, store, bus and use cases, under simulated time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adapters::hub::{Hub, HubConfig, HubParts};
use adapters::memory::{MemoryBus, MemoryRegistry, MemoryStore, MemoryStoreConfig};
use application::admission::{Admission, AdmissionBounds};
use application::inbox::Inbox;
use application::ports::{Encoder, Format, Message, Observation, Observer, Rendered};
use application::publish::{Publish, Submission};
use application::replay::Replay;
use application::retract::Retract;
use application::revocations::RevocationsInForce;
use application::rights::Rights;
use application::room::Room;
use application::subscribe::{Renew, Subscribe};
use application::testing::{CountingIds, SeededEntropy, SimClock, Unobserved};
use bytes::Bytes;
use domain::capability::{Matrix, Principal, Role};
use domain::cursor::Epoch;
use domain::event::{Change, Event};
use domain::heartbeat::PaceLimits;
use domain::ids::{NodeId, NotificationId};
use domain::notification::{Draft, DraftFields, Notification};
use domain::stream::ReconnectSpread;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::faults::{Fault, FaultyStore, LossyBus};

/// How large a node is.
pub(super) struct Size {
    pub(super) ring_bytes: usize,
    pub(super) history_events: usize,
    pub(super) connections: usize,
    pub(super) streams_per_user: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            ring_bytes: 1 << 20,
            history_events: 10_000,
            connections: 1_000,
            streams_per_user: 100,
        }
    }
}

pub(super) struct Node {
    pub(super) clock: Arc<SimClock>,
    pub(super) store: Arc<FaultyStore>,
    pub(super) bus: Arc<LossyBus>,
    pub(super) registry: Arc<MemoryRegistry>,
    pub(super) rights: Arc<Rights>,
    pub(super) revocations: Arc<RevocationsInForce>,
    pub(super) hub: Arc<Hub>,
    pub(super) publish: Publish,
    pub(super) retract: Retract,
    pub(super) inbox: Inbox,
    pub(super) replay: Replay,
    pub(super) subscribe: Subscribe,
    pub(super) renew: Renew,
    tasks: TaskTracker,
    cancel: CancellationToken,
    panics: Arc<Panics>,
}

impl Node {
    #[expect(clippy::too_many_lines, reason = "everything that a node is made of")]
    pub(super) async fn start(size: &Size, fault: Fault) -> Self {
        let clock = Arc::new(SimClock::new());
        let entropy = Arc::new(SeededEntropy::new(7));
        let config = MemoryStoreConfig {
            history_max_events: size.history_events,
            ..MemoryStoreConfig::default()
        };
        let inner = Arc::new(MemoryStore::new(config, clock.clone(), entropy.clone()));
        let store = Arc::new(FaultyStore::new(inner, fault));
        let bus = Arc::new(LossyBus::new(Arc::new(MemoryBus::new())));
        let registry = Arc::new(MemoryRegistry::new(clock.clone(), Arc::new(Unobserved)));
        let rights = Arc::new(Rights::new(Matrix::default_roles()));
        let revocations = Arc::new(RevocationsInForce::new(clock.clone()));
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let panics = Arc::new(Panics::default());
        let parts = HubParts {
            store: store.clone(),
            bus: bus.clone(),
            registry: registry.clone(),
            rights: rights.clone(),
            revocations: revocations.clone(),
            encoder: Arc::new(PlainEncoder),
            clock: clock.clone(),
            entropy: entropy.clone(),
            observer: panics.clone(),
            load: Arc::default(),
        };
        let config = HubConfig {
            ring_bytes_max: size.ring_bytes,
            connections_max: size.connections,
            pace: PaceLimits::default(),
            spread: ReconnectSpread::default(),
            session_warning: Duration::from_secs(60),
            store_replays: 2,
            shards: 3,
        };
        let hub = Hub::start(parts, config, &tasks, &cancel);
        let publish = Publish {
            store: store.clone(),
            bus: bus.clone(),
            rights: rights.clone(),
            sanitizer: Arc::new(PlainSanitizer),
            encoder: Arc::new(PlainEncoder),
            clock: clock.clone(),
            ids: Arc::new(CountingIds::default()),
            observer: Arc::new(Unobserved),
            notification_bytes_max: 32_768,
        };
        let subscribe = Subscribe {
            streams: hub.clone(),
            store: store.clone(),
            room: Arc::new(Room {
                registry: registry.clone(),
                store: store.clone(),
                bus: bus.clone(),
                observer: Arc::new(Unobserved),
                streams_per_user_max: size.streams_per_user,
            }),
            admission: Arc::new(Admission::new(
                Arc::default(),
                (clock.clone(), entropy.clone()),
                Arc::new(Unobserved),
                AdmissionBounds {
                    at_once: 64,
                    waiting: 1_000,
                    spread: ReconnectSpread::default(),
                },
            )),
            rights: rights.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            node: NodeId(1),
        };
        let node = Self {
            revocations,
            retract: Retract {
                store: store.clone(),
                bus: bus.clone(),
                rights: rights.clone(),
            },
            inbox: Inbox {
                store: store.clone(),
                bus: bus.clone(),
                rights: rights.clone(),
            },
            replay: Replay {
                load: Arc::default(),
                store: store.clone(),
                rights: rights.clone(),
                entropy,
            },
            renew: Renew {
                streams: hub.clone(),
                registry: registry.clone(),
                store: store.clone(),
                bus: bus.clone(),
            },
            clock,
            store,
            bus,
            registry,
            rights,
            hub,
            publish,
            subscribe,
            tasks,
            cancel,
            panics,
        };
        node.settle().await;
        node
    }

    /// Lets every task run until nothing moves, and the head poll come round.
    pub(super) async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(600)).await;
    }

    /// Moves both clocks second by second, so that whatever is due comes when it is due.
    pub(super) async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Publishes as a back end that may publish anywhere.
    pub(super) async fn publish(&self, fields: DraftFields) -> NotificationId {
        let fields = DraftFields {
            kind: "t".into(),
            title: "t".into(),
            ..fields
        };
        self.publish_titled(fields).await
    }

    /// The same with a title of its own.
    pub(super) async fn publish_titled(&self, fields: DraftFields) -> NotificationId {
        let fields = DraftFields {
            kind: "t".into(),
            ..fields
        };
        let submission = Submission::try_new(Draft::check(fields).unwrap(), None).unwrap();
        self.publish.one(&service(), submission).await.unwrap().receipt.id
    }

    /// How often something panicked within its boundary.
    pub(super) fn panics(&self) -> usize {
        self.panics.0.load(Ordering::SeqCst)
    }

    pub(super) async fn stop(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

pub(super) fn service() -> Principal {
    Principal::new("back-end".parse().unwrap(), [Role::new("SERVICE")])
}

/// The title of a notification that cannot be written.
pub(super) const POISON: &str = "poison";

fn is_poison(event: &Event) -> bool {
    matches!(&event.change, Change::Published { notification, .. } if *notification.content.title == *POISON)
}

/// Counts what panicked.
#[derive(Default)]
struct Panics(AtomicUsize);

impl Observer for Panics {
    fn saw(&self, observation: &Observation) {
        if let Observation::Panicked(_) = observation {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Writes messages so that a test reads them back; what they look like on the wire is another test's business.
struct PlainEncoder;

impl Encoder for PlainEncoder {
    fn encode(&self, _: Format, message: &Message<'_>) -> Bytes {
        match message {
            Message::Retry(after) => format!("retry {}", after.as_millis()),
            Message::Session { expires_at, .. } => format!("session {}", expires_at.as_millis()),
            Message::Ready(ready) => {
                format!(
                    "ready {} {} {}",
                    ready.cursor,
                    ready.resumed,
                    ready.channels.len()
                )
            }
            Message::Event(_, event) if is_poison(event) => panic!("planted"),
            Message::Event(epoch, event) => format!("event {epoch}-{}", event.position),
            Message::Heartbeat { cursor, sequence, .. } => format!("beat {cursor} {sequence}"),
            Message::Reset(reset) => {
                let from = reset
                    .from
                    .map_or_else(|| "none".to_owned(), |from| from.to_string());
                format!("reset {} {from} {}", reset.reason.as_str(), reset.to)
            }
            Message::Closing { reason, .. } => format!("closing {}", reason.as_str()),
        }
        .into()
    }

    fn render(&self, _: Epoch, _: &Event) -> Option<Rendered> {
        None
    }

    fn notification_bytes(&self, notification: &Notification) -> usize {
        notification.content.body.len()
    }
}

struct PlainSanitizer;

impl application::ports::Sanitizer for PlainSanitizer {
    fn clean(&self, html: &str) -> String {
        html.to_owned()
    }
}
