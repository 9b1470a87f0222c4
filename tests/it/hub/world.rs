//! A node with its clients, driven step by step under simulated time.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use adapters::hub::{Hub, HubConfig, HubParts};
use adapters::memory::{MemoryBus, MemoryRegistry, MemoryStore, MemoryStoreConfig};
use application::inbox::Inbox;
use application::ports::{
    Clock as _, Encoder, Format, Message, Outgoing, Selection, Store, StreamsReport, Streams as _, Subscription,
};
use application::publish::{Publish, Submission};
use application::replay::Replay;
use application::retract::Retract;
use application::rights::Rights;
use application::subscribe::{StreamRequest, Subscribe};
use application::testing::{CountingIds, SeededEntropy, SimClock, Unobserved};
use bytes::Bytes;
use domain::capability::{Matrix, Principal, Role};
use domain::channel::Channel;
use domain::cursor::Cursor;
use domain::event::Change;
use domain::heartbeat::PaceLimits;
use domain::ids::{NodeId, NotificationId};
use domain::notification::{AudienceFields, Draft, DraftFields, Notification};
use domain::state::Mark;
use domain::stream::{ReconnectSpread, Resume};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::checker::{Received, Truth};
use super::faults::{Fault, FaultyStore, LossyBus};

pub(super) const USERS: usize = 4;
pub(super) const UNITS: usize = 2;

/// Who a notification is for.
#[derive(Debug, Clone)]
pub(super) enum To {
    Users(Vec<usize>),
    Unit(usize),
    Everyone,
}

/// Something that happens.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Publish { to: To, expires_in: Option<u64> },
    Retract { nth: usize },
    Mark { user: usize, nth: usize },
    ReadAll { user: usize },
    Connect { client: usize },
    Poll { client: usize, frames: usize },
    Cut { client: usize, lost: usize },
    Advance { seconds: u64 },
    Prune,
    Replay { client: usize, limit: usize },
    Settle,
}

/// Writes messages so that a test reads them back; what they look like on the wire is another test's business.
struct PlainEncoder;

impl Encoder for PlainEncoder {
    fn encode(&self, _: Format, message: &Message<'_>) -> Bytes {
        match message {
            Message::Retry(_) | Message::Session { .. } => "quiet".into(),
            Message::Ready(ready) => format!("ready {}", ready.cursor),
            Message::Event(epoch, event) => format!("event {epoch}-{}", event.position),
            Message::Heartbeat { cursor, .. } => format!("beat {cursor}"),
            Message::Reset(reset) => {
                let from = reset.from.map_or_else(|| "none".to_owned(), |from| from.to_string());
                format!("reset {} {from} {}", reset.reason.as_str(), reset.to)
            }
            Message::Closing { reason, .. } => format!("closing {}", reason.as_str()),
        }
        .into()
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

/// A browser: it has what it processed, and what is still on its way to it.
#[derive(Default)]
struct Client {
    stream: Option<Box<dyn Subscription>>,
    on_its_way: Vec<Received>,
    processed: Vec<Received>,
    cursor: Option<Cursor>,
}

impl Client {
    fn process(&mut self) {
        for item in self.on_its_way.drain(..) {
            match &item {
                Received::Ready { cursor } | Received::Beat { cursor } => self.cursor = Some(*cursor),
                Received::Event { position, .. } => {
                    self.cursor = self.cursor.map(|cursor| Cursor { position: *position, ..cursor });
                }
                Received::Reset { to, .. } => self.cursor = Some(*to),
            }
            self.processed.push(item);
        }
    }
}

pub(super) struct World {
    clock: Arc<SimClock>,
    store: Arc<FaultyStore>,
    bus: Arc<LossyBus>,
    hub: Arc<Hub>,
    publish: Publish,
    retract: Retract,
    inbox: Inbox,
    replay: Replay,
    subscribe: Subscribe,
    clients: Vec<Client>,
    published: Vec<NotificationId>,
    truth: Truth,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl World {
    pub(super) async fn new(clients: usize, ring_bytes: usize, history_events: usize, fault: Fault) -> Self {
        let clock = Arc::new(SimClock::new());
        let entropy = Arc::new(SeededEntropy::new(7));
        let config = MemoryStoreConfig { history_max_events: history_events, ..MemoryStoreConfig::default() };
        let inner = Arc::new(MemoryStore::new(config, clock.clone(), entropy.clone()));
        let store = Arc::new(FaultyStore { inner, fault, reads: 0.into() });
        let bus = Arc::new(LossyBus::new(Arc::new(MemoryBus::default())));
        let registry = Arc::new(MemoryRegistry::new(clock.clone()));
        let rights = Arc::new(Rights::new(Matrix::default_roles()));
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let parts = HubParts {
            store: store.clone(),
            bus: bus.clone(),
            registry: registry.clone(),
            rights: rights.clone(),
            encoder: Arc::new(PlainEncoder),
            clock: clock.clone(),
            entropy: entropy.clone(),
            observer: Arc::new(Unobserved),
        };
        let config = HubConfig {
            ring_bytes_max: ring_bytes,
            connections_max: 1_000,
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
            bus: bus.clone(),
            registry,
            rights: rights.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            observer: Arc::new(Unobserved),
            node: NodeId(1),
            streams_per_user_max: 100,
        };
        let world = Self {
            retract: Retract { store: store.clone(), bus: bus.clone(), rights: rights.clone() },
            inbox: Inbox { store: store.clone(), bus: bus.clone(), rights: rights.clone() },
            replay: Replay { store: store.clone(), rights: rights.clone(), entropy },
            clients: (0..clients).map(|_| Client::default()).collect(),
            published: Vec::new(),
            truth: Truth::default(),
            clock,
            store,
            bus,
            hub,
            publish,
            subscribe,
            tasks,
            cancel,
        };
        world.settle().await;
        world
    }

    /// Clients take turns at being the users; odd ones also belong to a unit.
    fn principal(client: usize) -> Principal {
        let units = if client % 2 == 1 { vec![format!("unit-{}", client % UNITS).parse().unwrap()] } else { vec![] };
        Principal::new(format!("u-{}", client % USERS).parse().unwrap(), [Role::new("TECNICO")])
            .with_memberships(units, vec![])
            .unwrap()
    }

    fn channels(client: usize) -> Vec<Channel> {
        Matrix::default_roles().default_channels(&Self::principal(client))
    }

    /// Lets every task run until nothing moves, and the head poll come round.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(600)).await;
    }

    pub(super) async fn act(&mut self, act: &Act) -> Result<(), String> {
        match act {
            Act::Publish { to, expires_in } => self.publish(to, *expires_in).await,
            Act::Retract { nth } => {
                if let Some(id) = pick(&self.published, *nth) {
                    let _ = self.retract.run(&service(), id).await;
                }
            }
            Act::Mark { user, nth } => {
                if let Some(id) = pick(&self.published, *nth) {
                    let mark = if nth % 2 == 0 { Mark::Read } else { Mark::Unread };
                    let _ = self.inbox.mark(&Self::principal(*user), id, mark).await;
                }
            }
            Act::ReadAll { user } => {
                self.inbox.read_all(&Self::principal(*user), None).await.map_err(|e| e.to_string())?;
            }
            Act::Connect { client } => self.connect(client % self.clients.len()).await?,
            Act::Poll { client, frames } => self.poll(client % self.clients.len(), *frames).await?,
            Act::Cut { client, lost } => self.cut(client % self.clients.len(), *lost),
            Act::Advance { seconds } => {
                self.clock.advance(Duration::from_secs(*seconds));
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
            }
            Act::Prune => while self.store.prune().await.map_err(|e| e.to_string())? != Default::default() {},
            Act::Replay { client, limit } => self.replay(client % self.clients.len(), *limit).await?,
            Act::Settle => self.settle().await,
        }
        self.note();
        Ok(())
    }

    fn note(&mut self) {
        for event in self.bus.noted.lock().unwrap().drain(..) {
            self.truth.note(&event);
        }
    }

    async fn publish(&mut self, to: &To, expires_in: Option<u64>) {
        let mut audience = AudienceFields::default();
        match to {
            To::Users(users) => audience.users = Some(users.iter().map(|u| format!("u-{}", u % USERS)).collect()),
            To::Unit(unit) => audience.unit = Some(format!("unit-{}", unit % UNITS)),
            To::Everyone => audience.everyone = Some(true),
        }
        let expires_at = expires_in.map(|seconds| self.clock.now().plus(Duration::from_secs(seconds + 1)));
        let fields =
            DraftFields { audience, kind: "t".into(), title: "t".into(), expires_at, ..DraftFields::default() };
        let submission = Submission::try_new(Draft::check(fields).unwrap(), None).unwrap();
        let accepted = self.publish.one(&service(), submission).await.unwrap();
        self.published.push(accepted.receipt.id);
    }

    async fn connect(&mut self, at: usize) -> Result<(), String> {
        if self.clients[at].stream.is_some() {
            return Ok(());
        }
        let request = StreamRequest {
            selection: Selection::Default,
            resume: self.clients[at].cursor.map_or(Resume::Live, Resume::After),
            format: Format::Sse,
            ticket: None,
        };
        let stream = self.subscribe.run(Arc::new(Self::principal(at)), request).await;
        self.clients[at].stream = Some(stream.map_err(|error| error.to_string())?);
        Ok(())
    }

    async fn poll(&mut self, at: usize, frames: usize) -> Result<usize, String> {
        let mut taken = 0;
        while taken < frames {
            let Some(stream) = &mut self.clients[at].stream else { break };
            let outgoing = match stream.poll_next(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(outgoing)) => outgoing,
                Poll::Ready(None) => {
                    self.clients[at].stream = None;
                    break;
                }
                Poll::Pending => break,
            };
            taken += 1;
            let Outgoing::Frame(frame) = outgoing else { continue };
            let oldest = self.store.head().await.map_err(|error| error.to_string())?.oldest;
            let text = String::from_utf8(frame.to_vec()).map_err(|error| error.to_string())?;
            self.clients[at].on_its_way.extend(read(&text, self.clock.now(), oldest));
        }
        Ok(taken)
    }

    /// The socket dies: what was on its way is lost from some frame on.
    fn cut(&mut self, at: usize, lost: usize) {
        let client = &mut self.clients[at];
        if client.stream.take().is_some() {
            let kept = client.on_its_way.len().saturating_sub(lost);
            client.on_its_way.truncate(kept);
            client.process();
        }
    }

    /// What was missed can also be asked for; it is the same, and nobody else's.
    async fn replay(&mut self, at: usize, limit: usize) -> Result<(), String> {
        if self.clients[at].stream.is_some() {
            return Ok(());
        }
        let Some(cursor) = self.clients[at].cursor else { return Ok(()) };
        let person = Self::principal(at);
        let page = self.replay.run(&person, cursor, limit.max(1)).await.map_err(|error| error.to_string())?;
        let oldest = self.store.head().await.map_err(|error| error.to_string())?.oldest;
        let now = self.clock.now();
        let client = &mut self.clients[at];
        if let Some(reset) = page.reset {
            let reason = reset.reason.as_str().to_owned();
            client.on_its_way.push(Received::Reset { from: reset.from, to: reset.to, reason, oldest });
        }
        let events = page.events.iter().filter(|event| !matches!(event.change, Change::Erased));
        client.on_its_way.extend(events.map(|event| Received::Event { position: event.position, at: now }));
        client.on_its_way.push(Received::Beat { cursor: page.cursor });
        client.process();
        Ok(())
    }

    /// Brings every client up to date and checks what each has received.
    pub(super) async fn judge(mut self) -> Result<(), String> {
        for at in 0..self.clients.len() {
            self.connect(at).await?;
        }
        let mut quiet = 0;
        while quiet < 2 {
            self.settle().await;
            let mut taken = 0;
            for at in 0..self.clients.len() {
                taken += self.poll(at, usize::MAX).await?;
            }
            quiet = if taken == 0 { quiet + 1 } else { 0 };
        }
        self.note();
        let end = self.clock.now();
        for (at, client) in self.clients.iter_mut().enumerate() {
            client.process();
            let verdict = self.truth.check(&Self::channels(at), &client.processed, end);
            verdict.map_err(|error| format!("client {at}: {error}\n{:#?}", client.processed))?;
        }
        let head = self.store.head().await.map_err(|error| error.to_string())?.cursor.position.0;
        if usize::try_from(head).ok() != Some(self.truth.len()) {
            return Err(format!("the log has {head} events, {} were announced", self.truth.len()));
        }
        self.clients.clear();
        let report: StreamsReport = self.hub.report();
        if report.connections != 0 {
            return Err(format!("{} connections stayed behind", report.connections));
        }
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        Ok(())
    }

    pub(super) fn store_reads(&self) -> usize {
        self.store.reads.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn service() -> Principal {
    Principal::new("back-end".parse().unwrap(), [Role::new("SERVICE")])
}

fn pick<T: Copy>(items: &[T], nth: usize) -> Option<T> {
    (!items.is_empty()).then(|| items[nth % items.len()])
}

fn read(text: &str, now: domain::time::Timestamp, oldest: domain::cursor::Position) -> Option<Received> {
    let mut words = text.split(' ');
    let kind = words.next()?;
    let words: Vec<&str> = words.collect();
    let cursor = |at: usize| words[at].parse::<Cursor>().expect("a cursor");
    match kind {
        "ready" => Some(Received::Ready { cursor: cursor(0) }),
        "event" => Some(Received::Event { position: cursor(0).position, at: now }),
        "beat" => Some(Received::Beat { cursor: cursor(0) }),
        "reset" => Some(Received::Reset {
            from: words[1].parse().ok(),
            to: cursor(2),
            reason: words[0].to_owned(),
            oldest,
        }),
        _ => None,
    }
}
