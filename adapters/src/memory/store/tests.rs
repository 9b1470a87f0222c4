//! What the memory store promises beyond its port: bounds that hold at every moment, and nothing left behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use application::ports::{
    Acceptance, Idempotency, InboxQuery, Pruned, Reader, Receipt, Refusal, Store, StoreError,
};
use application::testing::{CountingIds, SeededEntropy, SimClock};
use domain::channel::Channel;
use domain::cursor::Epoch;
use domain::delivery::{DeliveryPlan, Due};
use domain::notification::{Content, Notification, NotificationType, Priority};
use domain::state::{Mark, StateFilter};

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Scene {
    store: MemoryStore,
    clock: Arc<SimClock>,
    ids: CountingIds,
}

fn open(config: MemoryStoreConfig) -> Scene {
    let clock = Arc::new(SimClock::new());
    let store = MemoryStore::new(config, Arc::clone(&clock) as _, Arc::new(SeededEntropy::new(1)));
    let ids = CountingIds::default();
    Scene { store, clock, ids }
}

fn user(id: &str) -> Channel {
    Channel::User(id.parse().unwrap())
}

fn reader(id: &str) -> Reader {
    Reader {
        user: id.parse().unwrap(),
        channels: vec![user(id), Channel::System],
    }
}

impl Scene {
    fn item(&self, channels: &[Channel], body: usize) -> Acceptance {
        use application::ports::Ids;
        let content = Content {
            kind: NotificationType::parse("t").unwrap(),
            priority: Priority::Normal,
            title: "t".into(),
            body: "x".repeat(body).into(),
            link: None,
            data: "{}".into(),
            requires_ack: false,
            expires_at: None,
        };
        Acceptance {
            notification: Notification {
                id: self.ids.notification(),
                content,
                published_at: self.clock.now(),
            },
            plan: DeliveryPlan {
                channels: channels.to_vec(),
                due: Due::Now,
            },
            idempotency: None,
            publisher: None,
        }
    }

    async fn accept(&self, item: Acceptance) -> Result<Receipt, Refusal> {
        let written = self.store.accept(vec![item]).await.unwrap();
        let accepted = written.value.into_iter().next().unwrap();
        accepted.map(|accepted| accepted.receipt)
    }

    async fn publish(&self, channels: &[Channel]) -> NotificationId {
        self.accept(self.item(channels, 10)).await.unwrap().id
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.store.state.lock().unwrap())
    }
}

#[tokio::test]
async fn nothing_is_left_of_what_is_gone() {
    let scene = open(MemoryStoreConfig::default());
    let (ana, bia) = (reader("ana"), reader("bia"));
    for reader in [&ana, &bia] {
        scene.store.meet(&reader.user).await.unwrap();
    }
    let empty = scene.look(State::held);
    for n in 0..40 {
        let mut item = scene.item(&[user("ana"), Channel::System, user("caio")], 100);
        if n % 4 == 0 {
            item.notification.content.expires_at = Some(scene.clock.now().plus(HOUR * (n % 5)));
        }
        if n % 4 == 1 {
            item.plan.due = Due::At(scene.clock.now().plus(HOUR));
        }
        item.idempotency = Some(Idempotency {
            publisher: "svc".parse().unwrap(),
            key: n.to_string(),
            digest: [0; 32],
        });
        let id = scene.accept(item).await.unwrap().id;
        for reader in [&ana, &bia] {
            let mark = [Mark::Read, Mark::Archive, Mark::Unread][n as usize % 3];
            scene.store.mark(reader, id, mark).await.unwrap();
        }
        if n % 4 == 2 || n % 8 == 1 {
            scene.store.retract(id).await.unwrap();
        }
    }
    scene.clock.advance(HOUR * 2);
    scene.store.promote(100).await.unwrap();
    scene.store.read_all(&ana, None).await.unwrap();
    assert_ne!(scene.look(State::held), empty);
    scene.clock.advance(DAY * 91);
    while scene.store.prune().await.unwrap() != Pruned::default() {}
    assert_eq!(scene.look(State::held), empty);
}

#[tokio::test]
async fn counts_and_bytes_hold_at_every_moment_and_what_fell_out_is_reported() {
    let config = MemoryStoreConfig {
        history_max_events: 50,
        history_max_bytes: 200 << 10,
        inbox_max_items: 40,
        inbox_max_bytes: 150 << 10,
        ..MemoryStoreConfig::default()
    };
    let scene = open(config.clone());
    let channels = [user("ana"), Channel::System];
    for n in 0..300 {
        let body = if n % 50 < 25 { 10 } else { 20 << 10 };
        scene.accept(scene.item(&channels, body)).await.unwrap();
        scene.look(|state| {
            assert!(state.log.len() <= config.history_max_events);
            assert!(state.log.bytes() <= config.history_max_bytes);
            assert!(state.inbox.items() <= config.inbox_max_items);
            assert!(state.inbox.bytes() <= config.inbox_max_bytes);
        });
    }
    let left = scene.look(|state| (state.log.len(), state.inbox.items() / 2));
    let pruned = scene.store.prune().await.unwrap();
    assert_eq!((pruned.events + left.0, pruned.items + left.1), (600, 300));
    assert_eq!(scene.store.prune().await.unwrap(), Pruned::default());
}

#[tokio::test]
async fn marks_count_towards_the_bytes_of_the_inbox() {
    let scene = open(MemoryStoreConfig {
        inbox_max_bytes: 64 << 10,
        ..MemoryStoreConfig::default()
    });
    let first = scene.publish(&[Channel::System]).await;
    let last = scene.publish(&[Channel::System]).await;
    for n in 0..2_000 {
        let person = reader(&format!("u{n}"));
        scene.store.mark(&person, last, Mark::Unread).await.unwrap();
        scene.look(|state| assert!(state.inbox.bytes() + state.people.row_bytes() <= 64 << 10));
    }
    let page = scene.store.inbox(&reader("ana"), &all()).await.unwrap();
    assert!(page.items.iter().all(|item| item.notification.id != first));
}

fn all() -> InboxQuery {
    InboxQuery {
        limit: usize::MAX,
        filter: StateFilter::All,
        ..InboxQuery::default()
    }
}

#[tokio::test]
async fn one_call_prunes_a_bounded_part() {
    let scene = open(MemoryStoreConfig::default());
    let batch = (0..10_000).map(|_| scene.item(&[user("ana")], 1)).collect();
    scene.store.accept(batch).await.unwrap();
    scene.clock.advance(DAY * 91);
    let (mut calls, mut pruned) = (0, 0);
    loop {
        let part = scene.store.prune().await.unwrap();
        if part == Pruned::default() {
            break;
        }
        assert!(part.events <= 2_048 && part.items <= 2_048);
        calls += 1;
        pruned += part.events;
    }
    assert_eq!((calls, pruned), (5, 10_000));
}

#[tokio::test]
async fn strangers_are_forgotten_and_people_with_items_are_not() {
    let scene = open(MemoryStoreConfig {
        people_max: 20,
        ..MemoryStoreConfig::default()
    });
    scene.publish(&[user("u3")]).await;
    for n in 0..1_000 {
        let person = reader(&format!("u{n}"));
        scene.store.unread(&person).await.unwrap();
        assert!(scene.look(|state| state.people.len()) <= 21);
    }
    let known = |id: &str| scene.look(|state| state.people.knows(&id.parse().unwrap()));
    assert!(known("u3") && known("u999") && !known("u4"));
}

#[tokio::test]
async fn whoever_comes_by_often_is_remembered() {
    let scene = open(MemoryStoreConfig {
        people_max: 20,
        ..MemoryStoreConfig::default()
    });
    for n in 0..1_000 {
        scene.store.unread(&reader("ana")).await.unwrap();
        scene.store.unread(&reader(&format!("u{n}"))).await.unwrap();
    }
    scene.publish(&[Channel::System]).await;
    assert_eq!(scene.store.unread(&reader("ana")).await.unwrap().unread, 1);
}

#[tokio::test]
async fn scheduled_notifications_are_refused_beyond_their_bytes() {
    let scene = open(MemoryStoreConfig {
        scheduled_max_bytes: 64 << 10,
        ..MemoryStoreConfig::default()
    });
    let later = || {
        let mut item = scene.item(&[user("ana")], 20 << 10);
        item.plan.due = Due::At(scene.clock.now().plus(HOUR));
        item
    };
    let first = scene.accept(later()).await.unwrap().id;
    scene.accept(later()).await.unwrap();
    scene.accept(later()).await.unwrap();
    let refused = scene.accept(later()).await;
    assert!(matches!(refused, Err(Refusal::Full { retry_after, .. }) if retry_after == HOUR));
    scene.store.retract(first).await.unwrap();
    scene.accept(later()).await.unwrap();
}

#[tokio::test]
async fn an_id_that_is_shown_again_is_answered_with_what_is_stored() {
    let scene = open(MemoryStoreConfig::default());
    let mut later = scene.item(&[user("ana")], 1);
    later.plan.due = Due::At(scene.clock.now().plus(HOUR));
    for item in [scene.item(&[user("ana"), user("bia")], 1), later] {
        let first = scene.accept(item.clone()).await.unwrap();
        scene.clock.advance(Duration::from_secs(1));
        let again = scene.store.accept(vec![item]).await.unwrap();
        let again_item = again.value[0].clone().unwrap();
        assert!(again_item.replayed && again.events.is_empty());
        assert_eq!(again_item.receipt, first);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_turns_nothing_unread() {
    let scene = open(MemoryStoreConfig::default());
    let ana = reader("ana");
    scene.publish(&[user("ana")]).await;
    scene.clock.advance(HOUR);
    scene.store.read_all(&ana, None).await.unwrap();
    scene.publish(&[user("ana")]).await;
    let set_back = Arc::new(SimClock::new());
    let store = MemoryStore {
        state: scene.store.state,
        clock: set_back,
    };
    let second = store.read_all(&ana, None).await.unwrap();
    assert_eq!(second.value.unread, 0);
    let page = store.inbox(&ana, &all()).await.unwrap();
    let moments = page.items.iter().map(|item| item.state.read_at);
    // Later places are never read earlier: that is what makes a stretch of places one state.
    assert!(moments.eq([Some(SimClock::START.plus(HOUR)); 2]));
}

#[test]
fn an_epoch_is_later_than_those_of_earlier_milliseconds() {
    let (early, late) = (SimClock::START, SimClock::START.plus(Duration::from_millis(1)));
    assert!(epoch(early, u64::MAX) < epoch(late, 0));
    assert_ne!(epoch(early, 0), epoch(early, u64::MAX));
    assert_eq!(epoch(Timestamp::MIN, 0), Epoch(0));
    assert!(epoch(Timestamp::MAX, 0) > epoch(late, 0));
}

#[tokio::test]
async fn a_store_that_a_panic_tore_says_nothing_any_more() {
    let scene = open(MemoryStoreConfig::default());
    let torn = catch_unwind(AssertUnwindSafe(|| {
        scene.store.step(|_, _| panic!("in the middle of a step"))
    }));
    assert!(torn.is_err());
    assert!(matches!(
        scene.store.head().await,
        Err(StoreError::Unavailable { .. })
    ));
}
