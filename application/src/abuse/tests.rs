use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::abuse::{Block, Blocks, LASTS, Suspect, Suspicion};
use domain::audit::ChainId;
use domain::capability::{Principal, Role};
use domain::cursor::Epoch;
use domain::limit::{Action, Standing, Verdict};
use domain::rollout::Why;

use super::*;
use crate::audit::recorder;
use crate::limits::{Asking, Limits, Of};
use crate::ports::{BlocksFormat, MockAudit, MockBus, MockLimiter, MockStore, UnreadableBlocks, Written};
use crate::settings::ChangeSettings;
use crate::testing::{Drawer, SimClock, Unobserved};

/// Blocks whose text is the place where they stand.
#[derive(Default)]
struct Ledger(Mutex<Vec<Blocks>>);

impl BlocksFormat for Ledger {
    fn read(&self, text: &str) -> Result<Blocks, UnreadableBlocks> {
        let place: Option<usize> = text.parse().ok();
        let found = place.and_then(|place| self.0.lock().unwrap().get(place).cloned());
        found.ok_or_else(|| UnreadableBlocks {
            what: "no place".to_owned(),
        })
    }

    fn write(&self, blocks: &Blocks) -> String {
        let mut all = self.0.lock().unwrap();
        all.push(blocks.clone());
        (all.len() - 1).to_string()
    }
}

/// Administrators who count what they are told.
#[derive(Default)]
struct Told(Mutex<Vec<usize>>);

#[async_trait]
impl Alarm for Told {
    async fn raise(&self, blocks: &[Block]) {
        self.0.lock().unwrap().push(blocks.len());
    }
}

struct Desk {
    clock: Arc<SimClock>,
    limits: Arc<Limits>,
    follow: FollowBlocks,
    blocks: Arc<AdministerBlocks>,
    watch: Watch,
    told: Arc<Told>,
    _tasks: tokio::task::JoinSet<()>,
}

fn desk() -> Desk {
    let (clock, drawer) = (Arc::new(SimClock::new()), Arc::new(Drawer::default()));
    let format: Arc<dyn BlocksFormat> = Arc::new(Ledger::default());
    let in_force = Arc::new(BlocksInForce::new(clock.clone()));
    let (mut store, mut bus, mut limiter) = (MockStore::new(), MockBus::new(), MockLimiter::new());
    store.expect_control().returning(|_| {
        Ok(Written {
            value: (),
            epoch: Epoch(1),
            events: Vec::new(),
        })
    });
    bus.expect_announce().returning(|_| ());
    limiter.expect_take().returning(|_| {
        Ok(Verdict::Taken(Standing {
            budget: 0,
            limit: 10,
            remaining: 9,
            reset: Duration::from_secs(1),
        }))
    });
    let limits = Limits::new(Some(Arc::new(limiter)), Arc::new(Unobserved)).and_blocks(Arc::clone(&in_force));
    let limits = Arc::new(limits);
    let blocks = Arc::new(AdministerBlocks {
        change: ChangeSettings {
            settings: drawer.clone(),
            store: Arc::new(store),
            bus: Arc::new(bus),
        },
        format: Arc::clone(&format),
        in_force: Arc::clone(&in_force),
        clock: clock.clone(),
        observer: Arc::new(Unobserved),
    });
    let audit = Arc::new(MockAudit::new());
    let (recorder, _) = recorder(ChainId(1), audit, clock.clone(), Arc::new(Unobserved));
    let told = Arc::new(Told::default());
    let (watch, detector) = detector(Arc::clone(&limits), Arc::clone(&blocks), recorder, told.clone());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(detector.run());
    Desk {
        follow: FollowBlocks::new(drawer, format, in_force),
        clock,
        limits,
        blocks,
        watch,
        told,
        _tasks: tasks,
    }
}

const STRANGER: &str = "203.0.113.9";

fn from(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn person(user: &str) -> Principal {
    Principal::new(user.parse().unwrap(), [Role::new("CIDADAO")])
}

impl Desk {
    /// Lets what was seen be written, and takes it into force.
    async fn settle(&mut self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.follow.look().await.unwrap();
    }

    /// Says of whom the budget is that keeps somebody out, and for how long.
    async fn kept_out(&self, address: &str, who: Option<&str>) -> Option<(Of, Duration)> {
        let person = who.map(person);
        let asking = Asking {
            client: Some(from(address)),
            person: person.as_ref(),
            action: Action::Api,
        };
        self.limits
            .admit(asking)
            .await
            .err()
            .map(|limited| (limited.0.of, limited.0.reset))
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_fails_too_often_is_blocked_and_people_behind_it_are_served() {
    let mut desk = desk();
    for _ in 0..10 {
        desk.watch.failed(Some(from(STRANGER)));
    }
    desk.settle().await;
    assert_eq!(desk.kept_out(STRANGER, None).await, None);
    desk.watch.failed(Some(from(STRANGER)));
    desk.settle().await;
    assert_eq!(desk.kept_out(STRANGER, None).await, Some((Of::Block, LASTS)));
    assert_eq!(desk.kept_out(STRANGER, Some("ana")).await, None);
    assert_eq!(desk.kept_out("203.0.113.10", None).await, None);
    desk.clock.advance(LASTS);
    assert_eq!(desk.kept_out(STRANGER, None).await, None, "it ends by itself");
}

#[tokio::test(start_paused = true)]
async fn a_person_who_reaches_for_what_is_foreign_is_blocked_wherever_they_come_from() {
    let mut desk = desk();
    let ana = "ana".parse().unwrap();
    for n in 0..11 {
        let suspicion = if n % 2 == 0 {
            Suspicion::ForeignChannel
        } else {
            Suspicion::ForeignConnection
        };
        desk.watch.tried(Some(from(STRANGER)), &ana, suspicion);
    }
    desk.settle().await;
    assert_eq!(
        desk.kept_out("203.0.113.77", Some("ana")).await,
        Some((Of::Block, LASTS))
    );
    assert_eq!(desk.kept_out(STRANGER, Some("bia")).await, None);
    assert_eq!(desk.kept_out(STRANGER, None).await, None, "their address is not");
    desk.blocks.lift(&Suspect::User(ana)).await.unwrap();
    desk.settle().await;
    assert_eq!(desk.kept_out(STRANGER, Some("ana")).await, None);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_exempt_from_the_limits_is_never_blocked() {
    let mut desk = desk();
    for _ in 0..100 {
        desk.watch.failed(Some(from("127.0.0.1")));
        desk.watch.tried(
            Some(from("127.0.0.1")),
            &"ana".parse().unwrap(),
            Suspicion::ForeignChannel,
        );
        desk.watch.failed(None);
    }
    desk.settle().await;
    assert!(desk.blocks.list().await.unwrap().blocks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_attackers_is_one_alarm_a_minute() {
    let mut desk = desk();
    for n in 0..100 {
        for _ in 0..11 {
            desk.watch.failed(Some(from(&format!("203.0.113.{n}"))));
        }
    }
    desk.settle().await;
    assert_eq!(desk.blocks.list().await.unwrap().blocks.all().len(), 100);
    assert_eq!(*desk.told.0.lock().unwrap(), [100], "told together");
    for n in 0..20 {
        for _ in 0..11 {
            desk.watch.failed(Some(from(&format!("198.51.100.{n}"))));
        }
        desk.settle().await;
    }
    assert_eq!(
        desk.told.0.lock().unwrap().len(),
        1,
        "within a minute nobody is told again"
    );
    desk.clock.advance(Duration::from_secs(60));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*desk.told.0.lock().unwrap(), [100, 20]);
}

#[tokio::test(start_paused = true)]
async fn a_block_by_hand_needs_an_end_and_one_that_is_not_there_cannot_be_lifted() {
    let mut desk = desk();
    let block = |lasts| Block {
        suspect: "user:ana".parse().unwrap(),
        why: Why::try_new("a test").unwrap(),
        by: Some("admin".parse().unwrap()),
        at: SimClock::START,
        ends_at: SimClock::START.plus(lasts),
    };
    assert_eq!(
        desk.blocks.add(&[block(Duration::ZERO)]).await,
        Err(BlockError::Over)
    );
    let hour = Duration::from_secs(3_600);
    desk.blocks.add(&[block(hour)]).await.unwrap();
    desk.settle().await;
    assert_eq!(
        desk.kept_out(STRANGER, Some("ana")).await,
        Some((Of::Block, hour))
    );
    let unknown = "user:bia".parse().unwrap();
    assert_eq!(desk.blocks.lift(&unknown).await, Err(BlockError::Unknown));
}
