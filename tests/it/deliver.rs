//! Delivering over a pushed transport: each event once and in its channel's order, whoever sends and whatever fails.

mod edges;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapters::memory::{MemoryOutbox, MemoryStore, MemoryStoreConfig};
use api::wire::WireEncoder;
use application::deliver::{Deliver, Pass, Planned};
use application::ports::{
    Acceptance, Backlog, DeliveryPage, DeliveryRow, Encoder, Format, Message, Outbox, Parcel, Rendered,
    Store, StoreError, TokenHolder, Transport,
};
use application::testing::{SeededEntropy, SimClock, Unobserved};
use async_trait::async_trait;
use bytes::Bytes;
use domain::breaker::BreakerState;
use domain::channel::Channel;
use domain::cohort::Share;
use domain::cursor::{Cursor, Epoch, Position};
use domain::delivery::{DeliveryPlan, Due};
use domain::event::{Change, Event};
use domain::ids::{NotificationId, UserId};
use domain::notification::{Content, Notification, NotificationType, Priority};
use domain::outbox::{DeadReason, Delivery, Outcome, Status};
use domain::policy::Health;
use domain::retry::GiveUp;
use domain::rollout::Rollout;
use domain::time::Timestamp;
use domain::transport::{Reason, Transport as Kind};
use uuid::Uuid;

const NO_WAIT: Duration = Duration::ZERO;
const TRANSIENT: Outcome = Outcome::Transient { retry_after: NO_WAIT };

/// A transport that does as it is told, channel by channel, and writes down what it was given.
#[derive(Default)]
struct Scripted {
    sent: Mutex<Vec<Parcel>>,
    /// What is answered for the next parcels of a channel; accepted where nothing is said.
    answers: Mutex<BTreeMap<String, VecDeque<Outcome>>>,
    /// Never answers.
    hangs: Mutex<bool>,
    breaker: Mutex<Option<BreakerState>>,
}

#[async_trait]
impl Transport for Scripted {
    fn kind(&self) -> Kind {
        Kind::Ably
    }

    fn breaker(&self) -> BreakerState {
        self.breaker.lock().unwrap().unwrap_or(BreakerState::Closed)
    }

    async fn deliver(&self, batch: &[Parcel]) -> Vec<Outcome> {
        let channels: std::collections::BTreeSet<_> =
            batch.iter().map(|parcel| parcel.channel.to_string()).collect();
        assert_eq!(channels.len(), batch.len(), "a channel twice in one batch");
        self.sent.lock().unwrap().extend(batch.iter().cloned());
        // Others run while it is on its way.
        tokio::task::yield_now().await;
        if *self.hangs.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        let mut answers = self.answers.lock().unwrap();
        let mut answer = |parcel: &Parcel| {
            let scripted = answers.get_mut(&parcel.channel.to_string())?;
            scripted.pop_front()
        };
        batch
            .iter()
            .map(|parcel| answer(parcel).unwrap_or(Outcome::Accepted))
            .collect()
    }
}

/// Writes everything but one notification.
struct Stumbling(NotificationId);

impl Encoder for Stumbling {
    fn encode(&self, format: Format, message: &Message<'_>) -> Bytes {
        WireEncoder.encode(format, message)
    }

    fn render(&self, epoch: Epoch, event: &Event) -> Option<Rendered> {
        let poison =
            matches!(&event.change, Change::Published { notification, .. } if notification.id == self.0);
        assert!(!poison, "planted");
        WireEncoder.render(epoch, event)
    }

    fn notification_bytes(&self, notification: &Notification) -> usize {
        WireEncoder.notification_bytes(notification)
    }
}

struct World {
    clock: Arc<SimClock>,
    store: Arc<MemoryStore>,
    outbox: Arc<MemoryOutbox>,
    transport: Arc<Scripted>,
    rollout: Arc<Mutex<Rollout>>,
    next: AtomicU64,
}

impl World {
    /// Everybody is on the transport, and the log has been planned up to its beginning.
    async fn everybody() -> Self {
        let clock = Arc::new(SimClock::new());
        let entropy = Arc::new(SeededEntropy::new(1));
        let mut rollout = Rollout::new("0123456789abcdef".parse().unwrap());
        rollout.share = Share::percent(100);
        let world = Self {
            store: Arc::new(MemoryStore::new(
                MemoryStoreConfig::default(),
                clock.clone(),
                entropy,
            )),
            outbox: Arc::new(MemoryOutbox::new(clock.clone())),
            transport: Arc::new(Scripted::default()),
            rollout: Arc::new(Mutex::new(rollout)),
            next: AtomicU64::new(1),
            clock,
        };
        assert_eq!(world.node(1).plan().await, Ok(Planned::All));
        world
    }

    fn node(&self, seed: u64) -> Deliver {
        let rollout = Arc::clone(&self.rollout);
        Deliver {
            store: self.store.clone(),
            outbox: self.outbox.clone(),
            transport: self.transport.clone(),
            encoder: Arc::new(WireEncoder),
            clock: self.clock.clone(),
            entropy: Arc::new(SeededEntropy::new(seed)),
            observer: Arc::new(Unobserved),
            rollout: Box::new(move || rollout.lock().unwrap().clone()),
            health: Box::new(|| Health::Up),
        }
    }

    async fn publish(&self, channel: &Channel) -> (NotificationId, Position) {
        self.publish_until(channel, None).await
    }

    async fn publish_until(
        &self,
        channel: &Channel,
        expires_at: Option<Timestamp>,
    ) -> (NotificationId, Position) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = NotificationId::new(Uuid::from_u128(number.into()));
        let notification = Notification {
            id,
            content: Content {
                kind: NotificationType::parse("t").unwrap(),
                priority: Priority::Normal,
                title: format!("{number}").into(),
                body: "".into(),
                link: None,
                data: "{}".into(),
                requires_ack: false,
                expires_at,
            },
            published_at: application::ports::Clock::now(&*self.clock),
        };
        let plan = DeliveryPlan {
            channels: vec![channel.clone()],
            due: Due::Now,
        };
        let written = self
            .store
            .accept(vec![Acceptance {
                notification,
                plan,
                idempotency: None,
                publisher: None,
            }])
            .await
            .unwrap();
        (id, written.events[0].position)
    }

    fn answers(&self, channel: &Channel, outcomes: impl IntoIterator<Item = Outcome>) {
        let mut answers = self.transport.answers.lock().unwrap();
        answers.entry(channel.to_string()).or_default().extend(outcomes);
    }

    /// The titles that were sent on a channel, repeats included, in order.
    fn sent(&self, channel: &Channel) -> Vec<String> {
        let sent = self.transport.sent.lock().unwrap();
        let of_it = sent.iter().filter(|parcel| parcel.channel == *channel);
        of_it.map(title).collect()
    }

    async fn status(&self, position: Position) -> Option<Status> {
        let page = self.outbox.find(&[position]).await.unwrap();
        page.rows.first().map(|row| row.delivery.status)
    }
}

fn title(parcel: &Parcel) -> String {
    let data: serde_json::Value = serde_json::from_str(&parcel.data).unwrap();
    let title = data["notification"]["title"].as_str();
    title.map_or_else(|| parcel.event.to_owned(), str::to_owned)
}

/// Plans and sends until nothing moves.
async fn run(node: &Deliver) -> Pass {
    let mut all = Pass::default();
    loop {
        while node.plan().await.unwrap() == Planned::Some {}
        let pass = node.send().await.unwrap();
        all.sent += pass.sent;
        all.ended += pass.ended;
        if !pass.moved() {
            return all;
        }
    }
}

fn unit(name: &str) -> Channel {
    Channel::Unit(name.parse().unwrap())
}

fn user(name: &str) -> Channel {
    Channel::User(name.parse().unwrap())
}

#[tokio::test]
async fn what_enters_the_log_is_sent_once_and_in_order() {
    let world = World::everybody().await;
    let node = world.node(1);
    for _ in 0..3 {
        world.publish(&unit("norte")).await;
        world.publish(&Channel::System).await;
    }
    assert_eq!(run(&node).await, Pass { sent: 6, ended: 6 });
    assert_eq!(world.sent(&unit("norte")), ["1", "3", "5"]);
    assert_eq!(world.sent(&Channel::System), ["2", "4", "6"]);
    let ids: Vec<String> = world
        .transport
        .sent
        .lock()
        .unwrap()
        .iter()
        .map(|parcel| parcel.id.clone())
        .collect();
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), 6, "{ids:?}");
    assert_eq!(run(&node).await, Pass::default());
}

#[tokio::test]
async fn what_was_in_the_log_before_the_first_time_is_left_to_the_streams() {
    let world = World::everybody().await;
    let fresh = Arc::new(MemoryOutbox::new(world.clock.clone()));
    let (_, old) = world.publish(&Channel::System).await;
    let node = Deliver {
        outbox: fresh.clone(),
        ..world.node(1)
    };
    run(&node).await;
    let (_, new) = world.publish(&Channel::System).await;
    run(&node).await;
    assert_eq!(world.sent(&Channel::System), ["2"]);
    let rows = fresh.find(&[old, new]).await.unwrap().rows;
    assert_eq!(
        rows.iter().map(|row| row.cursor.position).collect::<Vec<_>>(),
        [new]
    );
}

#[tokio::test]
async fn a_person_gets_what_they_can_hear_there() {
    let world = World::everybody().await;
    let node = world.node(1);
    let hold = async |name: &str, seconds| {
        let holder = TokenHolder {
            user: name.parse().unwrap(),
            units: Vec::new(),
            roles: Vec::new(),
            until: application::ports::Clock::now(&*world.clock).plus(Duration::from_secs(seconds)),
        };
        world.outbox.hold(holder).await.unwrap();
    };
    hold("ana", 60).await;
    hold("bia", 10).await;
    world.clock.advance(Duration::from_secs(20));
    let mut positions = Vec::new();
    for name in ["ana", "bia", "eva"] {
        positions.push(world.publish(&user(name)).await.1);
    }
    run(&node).await;
    assert_eq!(world.sent(&user("ana")).len(), 1);
    assert_eq!(world.status(positions[0]).await, Some(Status::Done));
    for position in &positions[1..] {
        assert_eq!(
            world.status(*position).await,
            Some(Status::Suppressed(Reason::NoToken))
        );
    }
    world.rollout.lock().unwrap().share = Share::percent(0);
    let (_, nobody) = world.publish(&user("ana")).await;
    run(&node).await;
    assert_eq!(
        world.status(nobody).await,
        None,
        "nobody is on it: nothing is kept"
    );
    assert_eq!(world.sent(&user("ana")).len(), 1);
}

#[tokio::test]
async fn a_failure_holds_up_its_channel_alone_and_is_repeated_under_the_same_id() {
    let world = World::everybody().await;
    let node = world.node(1);
    world.answers(&unit("norte"), [TRANSIENT]);
    world.publish(&unit("norte")).await;
    world.publish(&unit("norte")).await;
    world.publish(&unit("sul")).await;
    run(&node).await;
    assert_eq!(
        world.sent(&unit("norte")),
        ["1"],
        "the second waits for the first"
    );
    assert_eq!(world.sent(&unit("sul")), ["3"]);
    world.clock.advance(Duration::from_secs(2));
    run(&node).await;
    assert_eq!(world.sent(&unit("norte")), ["1", "1", "2"]);
    let sent = world.transport.sent.lock().unwrap();
    let ids: Vec<_> = sent
        .iter()
        .filter(|parcel| title(parcel) == "1")
        .map(|parcel| &parcel.id)
        .collect();
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn what_fails_four_times_or_is_refused_is_dead_and_frees_its_channel() {
    let world = World::everybody().await;
    let node = world.node(1);
    world.answers(&unit("norte"), [TRANSIENT; 4]);
    world.answers(&unit("sul"), [Outcome::Refused { code: 40_009 }]);
    let (_, first) = world.publish(&unit("norte")).await;
    let (_, second) = world.publish(&unit("norte")).await;
    let (_, third) = world.publish(&unit("sul")).await;
    for _ in 0..60 {
        run(&node).await;
        world.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(world.sent(&unit("norte")), ["1", "1", "1", "1", "2"]);
    let given_up = DeadReason::GivenUp(GiveUp::Attempts);
    assert_eq!(world.status(first).await, Some(Status::Dead(given_up)));
    assert_eq!(world.status(second).await, Some(Status::Done));
    let refused = DeadReason::Refused { code: 40_009 };
    assert_eq!(world.status(third).await, Some(Status::Dead(refused)));
}

#[tokio::test]
async fn what_is_retracted_before_it_was_sent_is_not_sent() {
    let world = World::everybody().await;
    let node = world.node(1);
    let (id, position) = world.publish(&unit("norte")).await;
    assert_eq!(node.plan().await, Ok(Planned::All));
    world.store.retract(id).await.unwrap();
    run(&node).await;
    assert_eq!(world.sent(&unit("norte")), ["retracted"]);
    assert!(matches!(
        world.status(position).await,
        Some(Status::Withdrawn { .. })
    ));
}

#[tokio::test]
async fn an_open_breaker_sends_people_to_the_streams() {
    let world = World::everybody().await;
    let retry_after = Duration::from_secs(60);
    *world.transport.breaker.lock().unwrap() = Some(BreakerState::Open { retry_after });
    let (_, position) = world.publish(&unit("norte")).await;
    assert_eq!(run(&world.node(1)).await, Pass::default());
    let suppressed = Status::Suppressed(Reason::BreakerOpen);
    assert_eq!(world.status(position).await, Some(suppressed));
}

#[tokio::test]
async fn many_nodes_send_each_event_once_and_in_order() {
    let world = World::everybody().await;
    let nodes: Vec<Deliver> = (1..=4).map(|seed| world.node(seed)).collect();
    let channels: Vec<Channel> = (0..5).map(|n| unit(&format!("u{n}"))).collect();
    for n in 0..60 {
        world.publish(&channels[n % 5]).await;
        if n % 7 == 0 {
            futures_util::future::join_all(nodes.iter().map(run)).await;
        }
    }
    for _ in 0..3 {
        futures_util::future::join_all(nodes.iter().map(run)).await;
    }
    for (n, channel) in channels.iter().enumerate() {
        let expected: Vec<String> = (0..12).map(|m| (m * 5 + n + 1).to_string()).collect();
        assert_eq!(world.sent(channel), expected);
    }
}

#[tokio::test]
async fn what_a_dead_node_was_sending_is_sent_again_by_another_when_its_lease_is_over() {
    let world = World::everybody().await;
    let (dying, other) = (world.node(1), world.node(2));
    world.publish(&unit("norte")).await;
    world.publish(&unit("norte")).await;
    assert_eq!(dying.plan().await, Ok(Planned::All));
    *world.transport.hangs.lock().unwrap() = true;
    tokio::select! {
        biased;
        sent = dying.send() => panic!("{sent:?}"),
        () = async { for _ in 0..100 { tokio::task::yield_now().await } } => {}
    }
    *world.transport.hangs.lock().unwrap() = false;
    assert_eq!(run(&other).await, Pass::default(), "it may still be on its way");
    for _ in 0..70 {
        world.clock.advance(Duration::from_secs(1));
        run(&other).await;
    }
    assert_eq!(world.sent(&unit("norte")), ["1", "1", "2"]);
}

/// An outbox between others: its pages are shorter by a factor, as they are where a row cannot be read, and what it says of a
/// write is what is made of it.
struct Odd {
    inner: Arc<MemoryOutbox>,
    shorter: usize,
    written: fn(bool) -> bool,
}

#[async_trait]
impl Outbox for Odd {
    async fn heads(&self, after: Option<Channel>, limit: usize) -> Result<DeliveryPage, StoreError> {
        self.inner.heads(after, limit / self.shorter).await
    }

    async fn planned(&self) -> Result<Option<Cursor>, StoreError> {
        self.inner.planned().await
    }

    async fn plan(
        &self,
        from: Option<Cursor>,
        to: Cursor,
        deliveries: Vec<(Position, Channel, Delivery)>,
    ) -> Result<bool, StoreError> {
        self.inner.plan(from, to, deliveries).await
    }

    async fn update(&self, rows: Vec<DeliveryRow>) -> Result<Vec<bool>, StoreError> {
        let written = self.inner.update(rows).await?;
        Ok(written.into_iter().map(self.written).collect())
    }

    async fn find(&self, positions: &[Position]) -> Result<DeliveryPage, StoreError> {
        self.inner.find(positions).await
    }

    async fn dead(&self, after: Option<Position>, limit: usize) -> Result<DeliveryPage, StoreError> {
        self.inner.dead(after, limit).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.inner.backlog().await
    }

    async fn forget(&self, before: Position, limit: usize) -> Result<usize, StoreError> {
        self.inner.forget(before, limit).await
    }

    async fn hold(&self, holder: TokenHolder) -> Result<(), StoreError> {
        self.inner.hold(holder).await
    }

    async fn holders(&self, users: &[UserId]) -> Result<Vec<TokenHolder>, StoreError> {
        self.inner.holders(users).await
    }
}

#[tokio::test]
async fn a_short_page_does_not_hide_the_channels_behind_it() {
    let world = World::everybody().await;
    let channels: Vec<Channel> = (0..30)
        .map(|n| Channel::Unit(format!("u{n:02}").parse().unwrap()))
        .collect();
    for channel in &channels {
        world.publish(channel).await;
    }
    let node = Deliver {
        outbox: Arc::new(Odd {
            inner: world.outbox.clone(),
            shorter: 50,
            written: |written| written,
        }),
        ..world.node(1)
    };
    assert_eq!(node.plan().await, Ok(Planned::All));
    let pass = node.send().await.unwrap();
    assert_eq!((pass.sent, pass.ended), (channels.len(), channels.len()));
}

#[tokio::test]
async fn an_event_that_cannot_be_written_is_a_dead_delivery_and_holds_nobody_up() {
    let world = World::everybody().await;
    let channel = Channel::System;
    let (poison, first) = world.publish(&channel).await;
    let (_, second) = world.publish(&channel).await;
    let node = Deliver {
        encoder: Arc::new(Stumbling(poison)),
        ..world.node(1)
    };
    while node.plan().await.unwrap() == Planned::Some {}
    while node.send().await.unwrap().moved() {}
    let dead = Status::Dead(DeadReason::Refused { code: 1 });
    assert_eq!(world.status(first).await, Some(dead));
    assert_eq!(world.status(second).await, Some(Status::Done));
    assert_eq!(world.sent(&channel), ["2"]);
}
