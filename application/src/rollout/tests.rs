use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::cohort::Share;
use domain::cursor::Epoch;
use domain::ids::UserId;
use domain::rollout::{Overrides, Switched, Why};
use domain::transport::Transport;

use super::*;
use crate::ports::{MockBus, MockStore, RolloutFormat, Settings, StoreError, Written};
use crate::settings::{ChangeError, ChangeSettings, ROLLOUT};
use crate::testing::{Drawer, SeededEntropy, Shelf, SimClock};

struct World {
    drawer: Arc<Drawer>,
    shelf: Arc<Shelf>,
    told: Arc<AtomicUsize>,
    clock: Arc<SimClock>,
}

impl World {
    fn new() -> Self {
        Self {
            drawer: Arc::default(),
            shelf: Arc::default(),
            told: Arc::default(),
            clock: Arc::default(),
        }
    }

    /// A node, with chance of its own.
    fn node(&self, seed: u64) -> (AdministerRollout, FollowRollout, Arc<RolloutInForce>) {
        let mut store = MockStore::new();
        let told = Arc::clone(&self.told);
        store.expect_control().returning(move |_| {
            told.fetch_add(1, Ordering::SeqCst);
            Ok(Written {
                value: (),
                epoch: Epoch(1),
                events: Vec::new(),
            })
        });
        self.node_with(seed, store)
    }

    fn node_with(
        &self,
        seed: u64,
        store: MockStore,
    ) -> (AdministerRollout, FollowRollout, Arc<RolloutInForce>) {
        let settings: Arc<dyn Settings> = Arc::clone(&self.drawer) as _;
        let format: Arc<dyn RolloutFormat> = Arc::clone(&self.shelf) as _;
        let in_force = Arc::new(RolloutInForce::default());
        let administer = AdministerRollout {
            change: ChangeSettings {
                settings: Arc::clone(&settings),
                store: Arc::new(store),
                bus: Arc::new(MockBus::new()),
            },
            format: Arc::clone(&format),
            in_force: Arc::clone(&in_force),
            clock: Arc::clone(&self.clock) as _,
            entropy: Arc::new(SeededEntropy::new(seed)),
        };
        let follow = FollowRollout::new(settings, format, Arc::clone(&in_force));
        (administer, follow, in_force)
    }

    fn told(&self) -> usize {
        self.told.load(Ordering::SeqCst)
    }
}

fn admin() -> UserId {
    "admin-1".parse().unwrap()
}

fn why(text: &str) -> Why {
    Why::try_new(text).unwrap()
}

fn to_percent(expected: u64, percent: u8) -> ChangeRollout {
    ChangeRollout {
        expected,
        why: why("by plan"),
        share: Some(Share::percent(percent)),
        overrides: None,
        stages: None,
        schedule: None,
    }
}

#[tokio::test]
async fn nothing_is_written_by_looking() {
    let world = World::new();
    let (administer, ..) = world.node(1);
    let shown = administer.show().await.unwrap();
    assert_eq!((shown.version, shown.audited.rollout.share), (0, Share::NONE));
    assert_eq!(world.drawer.get(ROLLOUT).await, Ok(None));
}

#[tokio::test]
async fn the_first_write_draws_the_salt_and_later_ones_keep_it() {
    let world = World::new();
    let (one, ..) = world.node(1);
    let (two, ..) = world.node(2);
    let first = one.change(&admin(), to_percent(0, 5)).await.unwrap();
    let salt = first.audited.rollout.salt.clone();
    assert_ne!(
        two.show().await.unwrap().audited.rollout.salt.as_str(),
        "00000000000000000000000000000000"
    );
    for (version, percent) in [(1, 25), (2, 75), (3, 5)] {
        let node = if percent == 75 { &one } else { &two };
        let changed = node.change(&admin(), to_percent(version, percent)).await.unwrap();
        assert_eq!(changed.audited.rollout.salt, salt);
    }
    let killed = two.kill(&admin(), &why("stop")).await.unwrap();
    assert_eq!(killed.audited.rollout.salt, salt);
}

#[tokio::test]
async fn two_who_write_first_agree_on_one_salt() {
    let world = World::new();
    let (one, ..) = world.node(1);
    let (two, ..) = world.node(2);
    // The other one's document stands there before ours is written.
    let other = one.kill(&admin(), &why("other")).await.unwrap();
    let conflict = two.change(&admin(), to_percent(0, 5)).await;
    assert_eq!(conflict, Err(RolloutError::Conflict { current: 1 }));
    let ours = two.kill(&admin(), &why("ours")).await.unwrap();
    assert_eq!(ours.audited, other.audited);
}

#[tokio::test]
async fn whoever_comes_second_is_told_the_version_and_changes_nothing() {
    let world = World::new();
    let (administer, ..) = world.node(1);
    administer.change(&admin(), to_percent(0, 5)).await.unwrap();
    let second = administer.change(&admin(), to_percent(0, 25)).await;
    assert_eq!(second, Err(RolloutError::Conflict { current: 1 }));

    world.drawer.let_others_write_first(1);
    let between = administer.change(&admin(), to_percent(1, 25)).await;
    assert_eq!(between, Err(RolloutError::Conflict { current: 2 }));
    let shown = administer.show().await.unwrap();
    assert_eq!(shown.audited.rollout.share, Share::percent(5));
}

#[tokio::test]
async fn what_is_left_out_stays_and_what_changes_nothing_is_not_written() {
    let world = World::new();
    let (administer, ..) = world.node(1);
    let users = [("u-1".parse().unwrap(), Transport::Ably)].into();
    let overrides = Overrides::try_new(users, BTreeMap::new(), BTreeMap::new()).unwrap();
    let first = ChangeRollout {
        overrides: Some(overrides.clone()),
        ..to_percent(0, 5)
    };
    administer.change(&admin(), first).await.unwrap();
    let raised = administer.change(&admin(), to_percent(1, 25)).await.unwrap();
    assert_eq!(raised.audited.rollout.overrides, overrides);
    let same = administer.change(&admin(), to_percent(2, 25)).await.unwrap();
    assert_eq!((same.version, same.audited.changes().len()), (2, 2));
}

#[tokio::test]
async fn a_kill_switch_finds_its_way_past_whoever_writes_at_the_same_time() {
    let world = World::new();
    let (administer, ..) = world.node(1);
    administer.change(&admin(), to_percent(0, 5)).await.unwrap();
    world.drawer.let_others_write_first(9);
    let killed = administer
        .kill(&admin(), &why("Ably repeats messages"))
        .await
        .unwrap();
    assert_eq!(killed.version, 11);
    assert!(killed.audited.rollout.kill_switch.is_some());

    world.drawer.let_others_write_first(10);
    let released = administer.release(&admin(), None).await;
    assert_eq!(released, Err(RolloutError::Contended));
}

#[tokio::test]
async fn throwing_the_kill_switch_twice_keeps_the_first_and_tells_the_nodes_again() {
    let world = World::new();
    let (administer, ..) = world.node(1);
    let first = administer.kill(&admin(), &why("first")).await.unwrap();
    world.clock.advance(Duration::from_secs(5));
    let second = administer
        .kill(&"admin-2".parse().unwrap(), &why("second"))
        .await
        .unwrap();
    assert_eq!(second, first);
    assert_eq!(world.told(), 2);

    let released = administer
        .release(&admin(), Some(&why("Ably is well")))
        .await
        .unwrap();
    let again = administer.release(&admin(), None).await.unwrap();
    assert_eq!((again.version, again.audited.changes().len()), (2, 2));
    assert_eq!(released.audited.rollout.kill_switch, None);
    let last = &released.audited.changes()[0];
    assert_eq!(
        (last.what.kill_switch, last.at),
        (
            Some(Switched::Released),
            SimClock::START.plus(Duration::from_secs(5))
        )
    );
    assert_eq!(world.told(), 4);
}

#[tokio::test]
async fn the_kill_switch_works_over_what_cannot_be_read_and_everything_else_refuses() {
    let world = World::new();
    let (administer, mut follow, _) = world.node(1);
    let before = administer.change(&admin(), to_percent(0, 5)).await.unwrap();
    follow.look().await.unwrap();
    world.drawer.stuff(ROLLOUT, "from the future");

    assert!(matches!(
        administer.show().await,
        Err(RolloutError::Unreadable(_))
    ));
    let refused = administer.change(&admin(), to_percent(2, 25)).await;
    assert!(matches!(refused, Err(RolloutError::Unreadable(_))));
    let refused = administer.release(&admin(), None).await;
    assert!(matches!(refused, Err(RolloutError::Unreadable(_))));

    let killed = administer.kill(&admin(), &why("stop")).await.unwrap();
    assert_eq!(killed.version, 3);
    assert_eq!(killed.audited.rollout.salt, before.audited.rollout.salt);
    assert_eq!(killed.audited.rollout.share, Share::percent(5));

    // A node that has just come up knows no rollout, and stops all the same.
    world.drawer.stuff(ROLLOUT, "from the future");
    let (fresh, ..) = world.node(2);
    let killed = fresh.kill(&admin(), &why("stop")).await.unwrap();
    assert!(killed.audited.rollout.kill_switch.is_some());
}

#[tokio::test]
async fn what_was_written_without_word_to_the_nodes_says_so() {
    let world = World::new();
    let mut store = MockStore::new();
    let gone = StoreError::Unavailable {
        retry_after: Duration::from_secs(1),
    };
    let error = gone.clone();
    store.expect_control().returning(move |_| Err(error.clone()));
    let (administer, ..) = world.node_with(1, store);
    let untold = administer.kill(&admin(), &why("stop")).await;
    assert_eq!(untold, Err(RolloutError::Change(ChangeError::NotTold(gone))));
    let (other, ..) = world.node(2);
    let shown = other.kill(&admin(), &why("again")).await.unwrap();
    assert_eq!((shown.version, world.told()), (1, 1));
}

#[tokio::test]
async fn a_node_goes_by_what_it_could_read_last() {
    let world = World::new();
    let (administer, mut follow, in_force) = world.node(1);
    follow.look().await.unwrap();
    assert_eq!(in_force.current().version, 0);
    assert!(!in_force.current().rollout().reaches_anybody());

    administer.change(&admin(), to_percent(0, 5)).await.unwrap();
    follow.look().await.unwrap();
    let known = in_force.current();
    assert_eq!((known.version, known.rollout().share), (1, Share::percent(5)));

    world.drawer.stuff(ROLLOUT, "nonsense");
    follow.look().await.unwrap();
    assert_eq!(in_force.current(), known);

    administer.kill(&admin(), &why("stop")).await.unwrap();
    follow.look().await.unwrap();
    assert!(in_force.current().rollout().kill_switch.is_some());

    world.drawer.lock();
    assert!(follow.look().await.is_err());
    assert_eq!(in_force.current().version, 3);
}
