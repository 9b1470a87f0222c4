use std::time::Duration;

use application::ports::{Breakers as _, MockStore};
use application::testing::{SimClock, Unobserved};
use domain::breaker::{BreakerPolicy, BreakerState};
use domain::cursor::Epoch;
use domain::ids::UserId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::Circuits;
use super::*;

const AGAIN: Duration = Duration::from_secs(1);

struct Scene {
    store: GuardedStore,
    circuits: Circuits,
    answers: Arc<Circuit>,
    clock: Arc<SimClock>,
}

fn scene(inner: MockStore) -> Scene {
    let clock = Arc::new(SimClock::new());
    let circuits = Circuits::new(clock.clone(), Arc::new(Unobserved));
    let writes = circuits.add("postgres-writes", BreakerPolicy::POSTGRES_WRITES, Vec::new());
    let answers = circuits.add("postgres", BreakerPolicy::POSTGRES, vec![Arc::clone(&writes)]);
    Scene {
        store: GuardedStore::new(Arc::new(inner), Arc::clone(&answers), writes),
        circuits,
        answers,
        clock,
    }
}

const fn away() -> StoreError {
    StoreError::Unavailable { retry_after: AGAIN }
}

fn head() -> Head {
    let cursor = Cursor {
        epoch: Epoch(1),
        position: Position(7),
    };
    Head {
        cursor,
        oldest: Position(1),
    }
}

fn written<T>(value: T) -> Written<T> {
    Written {
        value,
        epoch: Epoch(1),
        events: Vec::new(),
    }
}

fn state_of(scene: &Scene, name: &str) -> BreakerState {
    let all = scene.circuits.list();
    all.iter().find(|report| report.name == name).unwrap().state
}

#[tokio::test]
async fn a_store_that_takes_nothing_is_not_asked_to_again_and_people_read_on() {
    let mut inner = MockStore::new();
    inner.expect_accept().times(5).returning(|_| Err(away()));
    inner.expect_head().returning(|| Ok(head()));
    let scene = scene(inner);
    for _ in 0..5 {
        assert_eq!(scene.store.accept(Vec::new()).await.unwrap_err(), away());
    }
    let Err(StoreError::Unavailable { retry_after }) = scene.store.accept(Vec::new()).await else {
        panic!("it was asked")
    };
    assert!(
        (AGAIN..=Duration::from_secs(5)).contains(&retry_after),
        "{retry_after:?}"
    );
    assert!(scene.store.head().await.is_ok());
    assert_eq!(state_of(&scene, "postgres"), BreakerState::Closed);
}

#[tokio::test]
async fn an_outcome_that_is_not_known_stays_one_and_speaks_against_the_store() {
    let unknown = || StoreError::OutcomeUnknown { retry_after: AGAIN };
    let mut inner = MockStore::new();
    inner.expect_accept().times(5).returning(move |_| Err(unknown()));
    let scene = scene(inner);
    for _ in 0..5 {
        assert_eq!(scene.store.accept(Vec::new()).await.unwrap_err(), unknown());
    }
    assert!(matches!(
        state_of(&scene, "postgres-writes"),
        BreakerState::Open { .. }
    ));
}

#[tokio::test]
async fn a_refusal_proves_that_the_store_is_there() {
    let mut inner = MockStore::new();
    let refused = || Ok(written(vec![Err(Refusal::KeyReused), Err(Refusal::Unstorable)]));
    inner.expect_accept().returning(move |_| refused());
    inner
        .expect_read()
        .returning(|_, _| Err(ReadError::Expired { head: head() }));
    let scene = scene(inner);
    for _ in 0..50 {
        assert!(scene.store.accept(Vec::new()).await.is_ok());
        assert!(scene.store.read(head().cursor, 1).await.is_err());
    }
    for report in scene.circuits.list() {
        assert_eq!((report.state, report.refused), (BreakerState::Closed, 0));
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_not_written_to_either() {
    let mut inner = MockStore::new();
    inner.expect_head().times(5).returning(|| Err(away()));
    inner.expect_accept().never();
    let scene = scene(inner);
    for _ in 0..5 {
        assert!(scene.store.head().await.is_err());
    }
    assert!(scene.store.accept(Vec::new()).await.is_err());
    let reports = scene.circuits.list();
    assert_eq!(reports[0].last_failure.unwrap().call, "head");
    assert_eq!((reports[0].opened, reports[0].refused), (1, 1));
}

#[tokio::test]
async fn whoever_goes_away_says_nothing_about_the_store() {
    let mut inner = MockStore::new();
    inner.expect_durability().return_const(Durability::Postgres);
    let scene = scene(inner);
    for _ in 0..20 {
        let call = scene.answers.permit("head").unwrap();
        drop(call);
    }
    assert_eq!(state_of(&scene, "postgres"), BreakerState::Closed);
}

#[tokio::test]
async fn one_that_is_opened_by_hand_asks_nothing_until_it_is_reset() {
    let mut inner = MockStore::new();
    inner.expect_head().times(1).returning(|| Ok(head()));
    let scene = scene(inner);
    let report = scene.circuits.force_open("postgres").unwrap();
    assert_eq!(report.state, BreakerState::ForcedOpen);
    assert!(scene.store.head().await.is_err());
    assert!(scene.store.accept(Vec::new()).await.is_err());
    scene.clock.advance(Duration::from_secs(3_600));
    assert!(scene.store.head().await.is_err());
    scene.circuits.reset("postgres").unwrap();
    assert!(scene.store.head().await.is_ok());
    assert!(scene.circuits.force_open("mysql").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_back_is_used_again_before_its_breakers_time_is_over() {
    let mut inner = MockStore::new();
    inner.expect_head().times(5).returning(|| Err(away()));
    inner.expect_accept().times(5).returning(|_| Err(away()));
    inner.expect_accept().returning(|_| Ok(written(Vec::new())));
    inner.expect_head().returning(|| Ok(head()));
    let scene = scene(inner);
    for _ in 0..5 {
        assert!(scene.store.accept(Vec::new()).await.is_err());
    }
    for _ in 0..5 {
        assert!(scene.store.head().await.is_err());
    }
    assert!(scene.store.head().await.is_err());
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    scene.answers.look_after(|| async { true }, (&tasks, &cancel));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(scene.store.head().await.is_ok());
    assert!(scene.store.accept(Vec::new()).await.is_ok(), "a probe");
    assert!(scene.store.accept(Vec::new()).await.is_ok(), "a probe");
    assert_eq!(state_of(&scene, "postgres-writes"), BreakerState::Closed);
    cancel.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_question_that_hangs_is_given_up_and_a_write_never_is() {
    let hangs = |inner: &mut MockStore| {
        inner.expect_head().returning(|| Ok(head()));
    };
    let mut inner = MockStore::new();
    hangs(&mut inner);
    let scene = scene(inner);
    let never = std::future::pending::<Result<(), StoreError>>();
    let began = tokio::time::Instant::now();
    assert_eq!(scene.answers.ask("hangs", never).await, Err(away()));
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    let late = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok::<_, StoreError>("stored")
    };
    assert_eq!(scene.answers.guard("late", late).await, Ok("stored"));
}

#[tokio::test]
async fn what_came_to_nothing_does_not_speak_for_a_store_that_takes_nothing() {
    let mut inner = MockStore::new();
    inner.expect_accept().times(5).returning(|_| Err(away()));
    // The first visit was long ago, and nothing is due: neither is written.
    inner.expect_meet().times(5).returning(|_| Ok(()));
    let nothing = Promoted {
        published: 0,
        expired: 0,
        next_due: None,
    };
    inner
        .expect_promote()
        .times(5)
        .returning(move |_| Ok(written(nothing)));
    let scene = scene(inner);
    let user: UserId = "u-1".parse().unwrap();
    for _ in 0..5 {
        assert!(scene.store.meet(&user).await.is_ok());
        assert!(scene.store.promote(1).await.is_ok());
        assert!(scene.store.accept(Vec::new()).await.is_err());
    }
    assert!(matches!(
        state_of(&scene, "postgres-writes"),
        BreakerState::Open { .. }
    ));
    assert!(scene.store.meet(&user).await.is_err());
    assert!(scene.store.promote(1).await.is_err());
}
