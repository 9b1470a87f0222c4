//! What it costs to hand one event to many readers, without sockets: `cargo bench -p bench --bench dispatch`.
//!
//! From the store's answer to the last reader's frame: announce, tail, ring, wake, and each reader's look at its lane.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use adapters::hub::{Hub, HubConfig, HubParts};
use adapters::memory::{MemoryBus, MemoryRegistry, MemoryStore, MemoryStoreConfig};
use api::wire::WireEncoder;
use application::ports::{
    Acceptance, Bus, Doorbell, Format, OpenStream, Outgoing, Selection, Store, Streams, Subscription,
};
use application::revocations::RevocationsInForce;
use application::rights::Rights;
use application::testing::{CountingIds, SeededEntropy, SimClock, Unobserved};
use divan::{Bencher, black_box, counter::ItemsCount};
use domain::capability::{Matrix, Principal, Role};
use domain::delivery::DeliveryPlan;
use domain::heartbeat::PaceLimits;
use domain::ids::{ConnectionId, NodeId};
use domain::notification::{AudienceFields, Draft, DraftFields, Notification};
use domain::stream::{ReconnectSpread, Resume};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

fn main() {
    divan::main();
}

/// One event to everyone, to so many readers.
#[divan::bench(args = [1, 100, 10_000], sample_count = 50)]
fn broadcast(bencher: Bencher<'_, '_>, readers: usize) {
    let mut node = Node::with(readers);
    let everyone = AudienceFields {
        everyone: Some(true),
        ..AudienceFields::default()
    };
    bencher
        .counter(ItemsCount::new(readers))
        .bench_local(|| node.deliver(&everyone, readers));
}

/// One event to one person, among so many readers.
#[divan::bench(args = [1, 100, 10_000], sample_count = 50)]
fn unicast(bencher: Bencher<'_, '_>, readers: usize) {
    let mut node = Node::with(readers);
    let one = AudienceFields {
        users: Some(vec!["u-0".to_owned()]),
        ..AudienceFields::default()
    };
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| node.deliver(&one, 1));
}

/// A hub with its readers, on one thread.
struct Node {
    runtime: Runtime,
    store: Arc<MemoryStore>,
    bus: Arc<MemoryBus>,
    ids: CountingIds,
    readers: Vec<Box<dyn Subscription>>,
    cancel: CancellationToken,
}

impl Node {
    fn with(readers: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
        let clock = Arc::new(SimClock::new());
        let entropy = Arc::new(SeededEntropy::new(7));
        let store = Arc::new(MemoryStore::new(
            MemoryStoreConfig::default(),
            clock.clone(),
            entropy.clone(),
        ));
        let bus = Arc::new(MemoryBus::new());
        let cancel = CancellationToken::new();
        let parts = HubParts {
            store: store.clone(),
            bus: bus.clone(),
            registry: Arc::new(MemoryRegistry::new(clock.clone(), Arc::new(Unobserved))),
            rights: Arc::new(Rights::new(Matrix::default_roles())),
            revocations: Arc::new(RevocationsInForce::new(clock.clone())),
            encoder: Arc::new(WireEncoder),
            clock,
            entropy,
            observer: Arc::new(Unobserved),
            load: Arc::default(),
        };
        let config = HubConfig {
            ring_bytes_max: 16 << 20,
            connections_max: readers,
            pace: PaceLimits::default(),
            spread: ReconnectSpread::default(),
            session_warning: Duration::from_secs(60),
            store_replays: 4,
            shards: 2,
        };
        let readers = runtime.block_on(async {
            let hub = Hub::start(parts, config, &TaskTracker::new(), &cancel);
            // The tail begins with its first look at the log.
            while hub.report().cursor.is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut open = Vec::with_capacity(readers);
            for reader in 0..readers {
                open.push(open_stream(&hub, reader).await);
            }
            open
        });
        let mut node = Self {
            runtime,
            store,
            bus,
            ids: CountingIds::default(),
            readers,
            cancel,
        };
        node.drain();
        node
    }

    /// Takes what opening a stream says.
    fn drain(&mut self) {
        for reader in &mut self.readers {
            while let Poll::Ready(Some(_)) = reader.poll_next(&mut Context::from_waker(Waker::noop())) {}
        }
    }

    /// Publishes and takes the frames from whoever gets one.
    fn deliver(&mut self, audience: &AudienceFields, receivers: usize) {
        let fields = DraftFields {
            audience: audience.clone(),
            kind: "solicitacao.aprovada".to_owned(),
            title: "Solicitação aprovada".to_owned(),
            body: "Seu pedido <b>2024/17</b> foi aprovado.".to_owned(),
            ..DraftFields::default()
        };
        let draft = Draft::check(fields).unwrap_or_else(|errors| panic!("{errors:?}"));
        let Self {
            runtime,
            store,
            bus,
            ids,
            readers,
            ..
        } = self;
        runtime.block_on(async {
            let plan = DeliveryPlan::of(&draft, SimClock::START);
            let notification = Notification {
                id: application::ports::Ids::notification(ids),
                content: draft.content,
                published_at: SimClock::START,
            };
            let batch = vec![Acceptance {
                notification,
                plan,
                idempotency: None,
                publisher: None,
            }];
            let written = store
                .accept(batch)
                .await
                .unwrap_or_else(|error| panic!("{error}"));
            bus.announce(Doorbell {
                epoch: written.epoch,
                events: written.events.into(),
            })
            .await;
            for reader in readers.iter_mut().take(receivers) {
                black_box(Next(reader).await);
            }
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn open_stream(hub: &Arc<Hub>, reader: usize) -> Box<dyn Subscription> {
    let user = format!("u-{reader}").parse().unwrap_or_else(|_| unreachable!());
    let request = OpenStream {
        connection: ConnectionId {
            node: NodeId(1),
            serial: reader as u64,
        },
        principal: Arc::new(Principal::new(user, [Role::new("CIDADAO")])),
        selection: Selection::Default,
        resume: Resume::Live,
        format: Format::Sse,
        ticket: None,
    };
    hub.open(request).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Waits for a reader's next frame.
struct Next<'a>(&'a mut Box<dyn Subscription>);

impl Future for Next<'_> {
    type Output = Option<Outgoing>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_next(context)
    }
}
