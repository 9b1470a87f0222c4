//! The guard of the rollout: whatever Ably does and whichever nodes lead, a step is taken once, told once, and never
//! followed by another before its time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapters::RolloutJson;
use adapters::memory::{MemoryBus, MemorySettings, MemoryStore, MemoryStoreConfig, MemoryTally};
use adapters::sanitize::HtmlSanitizer;
use api::wire::WireEncoder;
use application::guard::{Counting, GUARD, Guard, Looked};
use application::ports::{
    Clock as _, InboxItem, InboxQuery, Observation, Observer as _, Reader, Store as _, StoreError, Tally,
};
use application::publish::Publish;
use application::rights::Rights;
use application::rollout::{AdministerRollout, ChangeRollout, Documented, RolloutInForce};
use application::settings::ChangeSettings;
use application::testing::{CountingIds, SeededEntropy, SimClock, Unobserved};
use async_trait::async_trait;
use domain::capability::{Matrix, Principal, Role};
use domain::channel::Channel;
use domain::cohort::Share;
use domain::guard::{Decision, GuardPolicy, Publishes};
use domain::ids::{NodeId, UserId};
use domain::rollout::{Schedule, Why};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// What nodes share.
struct Cluster {
    clock: Arc<SimClock>,
    store: Arc<MemoryStore>,
    bus: Arc<MemoryBus>,
    settings: Arc<MemorySettings>,
    tally: Arc<MemoryTally>,
}

/// A tally over which everybody believes to lead: as after a pause of the whole process.
struct EverybodyLeads(Arc<MemoryTally>);

#[async_trait]
impl Tally for EverybodyLeads {
    async fn tell(&self, node: NodeId, number: u32, publishes: Publishes) -> Result<(), StoreError> {
        self.0.tell(node, number, publishes).await
    }

    async fn recent(&self, window: Duration) -> Result<Publishes, StoreError> {
        let recent = self.0.recent(window).await;
        // The other one comes as far before either writes.
        tokio::task::yield_now().await;
        recent
    }

    async fn lead(&self, _: &str, _: NodeId, _: Duration) -> Result<bool, StoreError> {
        Ok(true)
    }
}

/// A tally whose answers are lost.
struct Lossy(Arc<MemoryTally>, AtomicBool);

#[async_trait]
impl Tally for Lossy {
    async fn tell(&self, node: NodeId, number: u32, publishes: Publishes) -> Result<(), StoreError> {
        self.0.tell(node, number, publishes).await?;
        if self.1.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { retry_after: SECOND });
        }
        Ok(())
    }

    async fn recent(&self, window: Duration) -> Result<Publishes, StoreError> {
        self.0.recent(window).await
    }

    async fn lead(&self, task: &str, node: NodeId, term: Duration) -> Result<bool, StoreError> {
        self.0.lead(task, node, term).await
    }
}

impl Cluster {
    fn new() -> Self {
        let clock = Arc::new(SimClock::new());
        let entropy = Arc::new(SeededEntropy::new(1));
        Self {
            store: Arc::new(MemoryStore::new(
                MemoryStoreConfig::default(),
                clock.clone(),
                entropy,
            )),
            bus: Arc::new(MemoryBus::new()),
            settings: Arc::new(MemorySettings::default()),
            tally: Arc::new(MemoryTally::new(clock.clone())),
            clock,
        }
    }

    fn administer(&self) -> AdministerRollout {
        AdministerRollout {
            change: ChangeSettings {
                settings: self.settings.clone(),
                store: self.store.clone(),
                bus: self.bus.clone(),
            },
            format: Arc::new(RolloutJson),
            in_force: Arc::new(RolloutInForce::default()),
            clock: self.clock.clone(),
            entropy: Arc::new(SeededEntropy::new(7)),
        }
    }

    fn guard(&self, node: u32) -> Guard {
        self.guard_with(node, self.tally.clone())
    }

    fn guard_with(&self, node: u32, tally: Arc<dyn Tally>) -> Guard {
        Guard {
            administer: self.administer(),
            tally,
            publish: Publish {
                store: self.store.clone(),
                bus: self.bus.clone(),
                rights: Arc::new(Rights::new(Matrix::default_roles())),
                sanitizer: Arc::new(HtmlSanitizer::new()),
                encoder: Arc::new(WireEncoder),
                clock: self.clock.clone(),
                ids: Arc::new(CountingIds::default()),
                observer: Arc::new(Unobserved),
                notification_bytes_max: 32_768,
            },
            policy: GuardPolicy::default(),
            node: NodeId(node),
            guard: Principal::new(GUARD.parse().unwrap(), [Role::new("SERVICE")]),
            told: vec!["on-duty".parse().unwrap()],
            clock: self.clock.clone(),
            observer: Arc::new(Unobserved),
            announced: Mutex::new(BTreeSet::new()),
        }
    }

    async fn rollout(&self) -> Documented {
        self.administer().show().await.unwrap()
    }

    async fn share(&self) -> u16 {
        self.rollout().await.audited.rollout.share.hundredths() / 100
    }

    /// Sets the share by hand.
    async fn set(&self, percent: u8, schedule: Schedule) {
        let change = ChangeRollout {
            expected: self.rollout().await.version,
            why: Why::try_new("by hand").unwrap(),
            share: Some(Share::percent(percent)),
            overrides: None,
            stages: None,
            schedule: Some(schedule),
        };
        let by: UserId = "admin-1".parse().unwrap();
        self.administer().change(&by, change).await.unwrap();
    }

    /// What somebody was told, newest first.
    async fn inbox(&self, of: &str) -> Vec<InboxItem> {
        let user: UserId = of.parse().unwrap();
        let reader = Reader {
            channels: vec![Channel::User(user.clone())],
            user,
        };
        let query = InboxQuery {
            limit: 100,
            ..InboxQuery::default()
        };
        self.store.inbox(&reader, &query).await.unwrap().items
    }
}

fn pushed(outcome: &'static str) -> Observation {
    Observation::Pushed {
        outcome,
        took: Duration::from_millis(30),
    }
}

/// Publishes on a node, and tells.
async fn publishes(cluster: &Cluster, node: u32, counting: &Counting, outcome: &'static str, count: u32) {
    for _ in 0..count {
        counting.saw(&pushed(outcome));
    }
    counting.tell(&*cluster.tally, NodeId(node)).await.unwrap();
}

fn counting() -> Counting {
    Counting::new(Arc::new(Unobserved))
}

#[tokio::test]
async fn publishes_of_all_nodes_together_take_the_share_down_a_step() {
    let cluster = Cluster::new();
    cluster.set(75, Schedule::Stopped).await;
    cluster.clock.advance(MINUTE);
    let (one, two) = (cluster.guard(1), cluster.guard(2));
    publishes(&cluster, 1, &counting(), "transient", 49).await;
    assert!(matches!(
        one.look().await.unwrap(),
        Looked::Decided(Decision::Hold(_))
    ));
    publishes(&cluster, 2, &counting(), "refused", 1).await;
    assert_eq!(two.look().await.unwrap(), Looked::Elsewhere);
    assert!(matches!(
        one.look().await.unwrap(),
        Looked::Decided(Decision::StepDown { .. })
    ));
    assert_eq!(cluster.share().await, 25);
    let shown = cluster.rollout().await;
    let change = &shown.audited.changes()[0];
    assert_eq!(change.by.as_str(), GUARD);
    assert_eq!(
        change.why.as_ref().unwrap().as_str(),
        "50 of 50 publishes to Ably failed"
    );
}

#[tokio::test]
async fn of_two_that_hold_themselves_for_the_leader_one_steps_and_tells_once() {
    for _ in 0..20 {
        let cluster = Cluster::new();
        cluster.set(100, Schedule::Stopped).await;
        cluster.clock.advance(MINUTE);
        publishes(&cluster, 1, &counting(), "transient", 100).await;
        let everybody = || Arc::new(EverybodyLeads(cluster.tally.clone()));
        let guards = [
            cluster.guard_with(1, everybody()),
            cluster.guard_with(2, everybody()),
        ];
        let (one, two) = tokio::join!(guards[0].look(), guards[1].look());
        let looked = [one.unwrap(), two.unwrap()];
        let stepped = |looked: &&Looked| matches!(looked, Looked::Decided(Decision::StepDown { .. }));
        assert_eq!(looked.iter().filter(stepped).count(), 1, "{looked:?}");
        for _ in 0..100 {
            cluster.clock.advance(SECOND);
            for guard in &guards {
                guard.look().await.unwrap();
            }
        }
        assert_eq!((cluster.share().await, cluster.rollout().await.version), (75, 2));
        for person in ["on-duty", "admin-1"] {
            let told = cluster.inbox(person).await;
            assert_eq!(told.len(), 1, "{person}");
            assert_eq!(told[0].notification.content.priority.as_str(), "urgent");
            assert_eq!(&*told[0].notification.content.title, "Ably: 100 % → 75 %");
        }
    }
}

#[tokio::test]
async fn what_was_raised_by_hand_is_taken_back_within_the_hold_and_what_went_before_does_not_count() {
    let cluster = Cluster::new();
    let (guard, counting) = (cluster.guard(1), counting());
    cluster.set(5, Schedule::Stopped).await;
    cluster.clock.advance(MINUTE);
    publishes(&cluster, 1, &counting, "transient", 500).await;
    cluster.set(25, Schedule::Stopped).await;
    cluster.clock.advance(MINUTE);
    guard.look().await.unwrap();
    assert_eq!(
        cluster.share().await,
        25,
        "those failed before the share was raised"
    );
    publishes(&cluster, 1, &counting, "lost", 50).await;
    guard.look().await.unwrap();
    assert_eq!(cluster.share().await, 5);
    for _ in 0..29 {
        cluster.clock.advance(MINUTE);
        publishes(&cluster, 1, &counting, "lost", 50).await;
        guard.look().await.unwrap();
        assert_eq!(cluster.share().await, 5);
    }
    cluster.clock.advance(MINUTE);
    publishes(&cluster, 1, &counting, "lost", 50).await;
    guard.look().await.unwrap();
    assert_eq!(cluster.share().await, 0);
}

#[tokio::test]
async fn what_the_breaker_or_the_health_check_keeps_from_ably_counts_as_failed() {
    let cluster = Cluster::new();
    cluster.set(25, Schedule::Stopped).await;
    cluster.clock.advance(MINUTE);
    let counting = counting();
    for _ in 0..30 {
        counting.saw(&Observation::Fallback("breaker_open"));
        counting.saw(&Observation::Fallback("ably_unhealthy"));
        counting.saw(&Observation::Fallback("no_ably_token"));
        counting.saw(&Observation::Fallback("kill_switch"));
        counting.saw(&pushed("held"));
    }
    counting.tell(&*cluster.tally, NodeId(1)).await.unwrap();
    let seen = cluster.tally.recent(MINUTE).await.unwrap();
    assert_eq!((seen.failed, seen.accepted), (60, 0));
    cluster.guard(1).look().await.unwrap();
    assert_eq!(cluster.share().await, 5);
}

#[tokio::test]
async fn a_report_whose_answer_was_lost_counts_once_and_hides_nothing_that_came_after_it() {
    let cluster = Cluster::new();
    let lossy = Lossy(cluster.tally.clone(), AtomicBool::new(true));
    let counting = counting();
    for round in 1..=3 {
        counting.saw(&pushed("accepted"));
        assert!(counting.tell(&lossy, NodeId(1)).await.is_err(), "{round}");
    }
    lossy.1.store(false, Ordering::SeqCst);
    for _ in 0..3 {
        counting.tell(&lossy, NodeId(1)).await.unwrap();
    }
    let seen = cluster.tally.recent(MINUTE).await.unwrap();
    assert_eq!(seen.accepted, 3);
}

#[tokio::test]
async fn a_step_that_nobody_could_be_told_of_is_told_by_whoever_leads_next_and_once() {
    let cluster = Cluster::new();
    cluster.set(25, Schedule::Stopped).await;
    cluster.clock.advance(MINUTE);
    publishes(&cluster, 1, &counting(), "transient", 100).await;
    let mut mute = cluster.guard(1);
    mute.publish.notification_bytes_max = 1;
    mute.look().await.unwrap();
    assert_eq!(cluster.share().await, 5);
    assert!(cluster.inbox("on-duty").await.is_empty());
    drop(mute);
    cluster.clock.advance(MINUTE);
    for node in [2, 2, 3, 2] {
        cluster.guard(node).look().await.unwrap();
        cluster.clock.advance(MINUTE);
    }
    assert_eq!(cluster.inbox("on-duty").await.len(), 1);
    // Somebody else changed the rollout since: the audience would be another one.
    cluster.set(10, Schedule::Stopped).await;
    cluster.guard(4).look().await.unwrap();
    assert_eq!(cluster.inbox("on-duty").await.len(), 1);
}

/// A day of weather that changes at random, two nodes that publish and look every few seconds, no hands.
#[tokio::test]
async fn through_a_day_of_changing_health_steps_keep_their_distance() {
    for seed in 1..=6_u64 {
        let cluster = Cluster::new();
        cluster.set(100, Schedule::Running).await;
        let chance = SeededEntropy::new(seed);
        let draw = |bound: u64| application::ports::Entropy::bits(&chance) % bound;
        let nodes = [(cluster.guard(1), counting()), (cluster.guard(2), counting())];
        let mut fails = 0;
        let mut seen = vec![(cluster.clock.now(), cluster.share().await)];
        for _ in 0..24 * 60 * 3 {
            cluster.clock.advance(SECOND * 20);
            if draw(40) == 0 {
                fails = draw(30);
            }
            for (number, (guard, counting)) in (1..).zip(&nodes) {
                for _ in 0..draw(6) {
                    let outcome = if draw(100) < fails {
                        "transient"
                    } else {
                        "accepted"
                    };
                    counting.saw(&pushed(outcome));
                }
                counting.tell(&*cluster.tally, NodeId(number)).await.unwrap();
                guard.look().await.unwrap();
            }
            let share = cluster.share().await;
            if share != seen.last().unwrap().1 {
                seen.push((cluster.clock.now(), share));
            }
        }
        assert!(seen.len() > 1, "the weather of {seed} moved nothing");
        for pair in seen.windows(3) {
            let [(_, first), (stepped, second), (next, third)] = pair else {
                unreachable!()
            };
            if second < first {
                assert!(next.since(*stepped) >= MINUTE * 30, "{seed}: {seen:?}");
            }
            if third > second {
                assert!(next.since(*stepped) >= MINUTE * 60 * 48, "{seed}: {seen:?}");
            }
        }
        for pair in seen.windows(2) {
            let ((_, from), (_, to)) = (pair[0], pair[1]);
            let steps: &[u16] = &[100, 75, 25, 5, 0];
            let place = |share| steps.iter().position(|step| *step == share).unwrap();
            assert_eq!(place(from).abs_diff(place(to)), 1, "{seed}: {seen:?}");
        }
        assert_eq!(cluster.inbox("on-duty").await.len(), (seen.len() - 1).min(100));
    }
}
