//! A client is told to stay on Ably only with evidence, and what nobody looked at is to be replayed.

use std::sync::Mutex;

use domain::capability::{Matrix, Operation, Operations, Role, RoleGrants, Scope};
use domain::cohort::Share;
use domain::cursor::Epoch;
use domain::event::Change;
use domain::outbox::{DeadReason, Delivery, Status, Withdrawal};
use domain::rollout::{KillSwitch, Why};
use domain::time::Timestamp;

use super::*;
use crate::ports::{DeliveryPage, EventPage, Head, MockOutbox, MockStore, MockTransport};
use crate::testing::{SeededEntropy, SimClock};

const UNIT: &str = "private:unit:cras-1:notifications";
const OWN: &str = "private:user:ana:notifications";

#[derive(Default)]
struct Seen(Mutex<Vec<Observation>>);

impl Observer for Seen {
    fn saw(&self, observation: &Observation) {
        self.0.lock().unwrap().push(*observation);
    }
}

/// A log whose head is 20 and whose oldest event is 5.
struct Scene {
    store: MockStore,
    outbox: MockOutbox,
    rights: Rights,
    rollout: Rollout,
    breaker: Option<BreakerState>,
    health: Health,
    seen: Arc<Seen>,
}

fn at(position: u64) -> Cursor {
    Cursor {
        epoch: Epoch(7),
        position: Position(position),
    }
}

fn head() -> Head {
    Head {
        cursor: at(20),
        oldest: Position(5),
    }
}

impl Scene {
    /// Everybody is on Ably.
    fn new() -> Self {
        let mut rollout = Rollout::new("0123456789abcdef".parse().unwrap());
        rollout.share = Share::percent(100);
        let mut store = MockStore::new();
        store.expect_head().returning(|| Ok(head()));
        Self {
            store,
            outbox: MockOutbox::new(),
            rights: Rights::new(Matrix::default_roles()),
            rollout,
            breaker: Some(BreakerState::Closed),
            health: Health::Up,
            seen: Arc::default(),
        }
    }

    /// The caller's events after 10, each with what became of it.
    fn log(mut self, events: &[(u64, &'static str, Option<DeliveryRow>)]) -> Self {
        let (scanned_to, head) = (Position(20), head());
        let logged = events.iter().map(|(position, channel, _)| {
            Arc::new(Event {
                position: Position(*position),
                at: SimClock::START,
                change: Change::Retracted {
                    channel: channel.parse().unwrap(),
                    id: "019b76da-a800-7cc0-8a5e-0a6b6e1f2c3d".parse().unwrap(),
                },
            })
        });
        let page = EventPage {
            events: logged.collect(),
            scanned_to,
            head,
        };
        let positions: Vec<Position> = page.events.iter().map(|event| event.position).collect();
        let rows: Vec<DeliveryRow> = events.iter().filter_map(|(_, _, row)| row.clone()).collect();
        self.store.expect_read_channels().returning(move |query| {
            assert_eq!(
                (query.after, query.up_to, query.limit),
                (at(10), Position(20), EVENTS_MAX)
            );
            Ok(page.clone())
        });
        self.outbox.expect_find().returning(move |asked| {
            assert_eq!(asked, positions);
            let (rows, now) = (rows.clone(), SimClock::START);
            Ok(DeliveryPage { rows, now })
        });
        self
    }

    async fn ask(self, after: Option<Cursor>) -> Result<Selected, Error> {
        self.ask_as("TECNICO", after).await
    }

    async fn ask_as(self, role: &str, after: Option<Cursor>) -> Result<Selected, Error> {
        let ably = self.breaker.map(|state| {
            let mut ably = MockTransport::new();
            ably.expect_breaker().return_const(state);
            Arc::new(ably) as Arc<dyn Transport>
        });
        let (rollout, health) = (self.rollout, self.health);
        let select = SelectTransport {
            store: Arc::new(self.store),
            outbox: Arc::new(self.outbox),
            rights: Arc::new(self.rights),
            ably,
            rollout: Box::new(move || rollout.clone()),
            health: Box::new(move || health),
            entropy: Arc::new(SeededEntropy::new(1)),
            observer: self.seen,
        };
        let person = Principal::new("ana".parse().unwrap(), [Role::new(role)])
            .with_memberships(vec!["cras-1".parse().unwrap()], Vec::new())
            .unwrap();
        select.run(&person, after).await
    }
}

fn row(position: u64, channel: &str, status: Status) -> DeliveryRow {
    DeliveryRow {
        cursor: at(position),
        channel: channel.parse().unwrap(),
        delivery: Delivery {
            status,
            ..Delivery::pending(SimClock::START)
        },
        version: 3,
    }
}

fn done(position: u64, channel: &str) -> DeliveryRow {
    row(position, channel, Status::Done)
}

#[tokio::test]
async fn what_ably_accepted_is_listed_by_its_last_cursor_on_each_channel() {
    let scene = Scene::new().log(&[
        (11, OWN, Some(done(11, OWN))),
        (12, UNIT, Some(done(12, UNIT))),
        (15, OWN, Some(done(15, OWN))),
    ]);
    let seen = Arc::clone(&scene.seen);
    let selected = scene.ask(Some(at(10))).await.unwrap();
    assert_eq!(
        (selected.transport, selected.reason),
        (Kind::Ably, Reason::InCohort)
    );
    let channels = [(OWN, 15), (UNIT, 12)].map(|(name, last)| (name.parse().unwrap(), at(last)));
    assert_eq!(
        selected.answer,
        Answer {
            after: at(10),
            cursor: at(20),
            channels: channels.into(),
            replay: false,
        }
    );
    assert!(
        (POLL_MIN..=POLL_MAX).contains(&selected.poll_after),
        "{selected:?}"
    );
    assert_eq!(
        *seen.0.lock().unwrap(),
        [Observation::TransportSelected {
            transport: "ably",
            reason: "in_cohort",
            replay: false
        }]
    );
}

#[tokio::test]
async fn whatever_ably_did_not_accept_in_its_order_is_to_be_replayed_and_asked_for_again_soon() {
    let revived = DeliveryRow {
        delivery: Delivery {
            revived: true,
            ..row(12, UNIT, Status::Done).delivery
        },
        ..row(12, UNIT, Status::Done)
    };
    let of_another_history = DeliveryRow {
        cursor: Cursor {
            epoch: Epoch(6),
            ..at(12)
        },
        ..row(12, UNIT, Status::Done)
    };
    let later = Timestamp::from_millis(1);
    let missed = [
        ("routed elsewhere, or not planned yet", None),
        ("pending", Some(row(12, UNIT, Status::Pending))),
        ("leased", Some(row(12, UNIT, Status::Leased { until: later }))),
        ("to be tried again", Some(row(12, UNIT, Status::RetryAt(later)))),
        (
            "suppressed",
            Some(row(12, UNIT, Status::Suppressed(Reason::NoToken))),
        ),
        (
            "dead",
            Some(row(12, UNIT, Status::Dead(DeadReason::Unauthorized))),
        ),
        ("revived", Some(revived)),
        ("of another history", Some(of_another_history)),
        ("of another channel", Some(done(12, OWN))),
    ];
    for (what, delivery) in missed {
        let scene = Scene::new().log(&[(11, OWN, Some(done(11, OWN))), (12, UNIT, delivery)]);
        let selected = scene.ask(Some(at(10))).await.unwrap();
        assert_eq!(
            (selected.transport, selected.answer.replay),
            (Kind::Ably, true),
            "{what}"
        );
        assert!(selected.poll_after <= POLL_SOON_MIN * 2, "{what}: {selected:?}");
    }
}

#[tokio::test]
async fn what_was_taken_back_is_nothing_to_miss() {
    let withdrawn = Status::Withdrawn {
        why: Withdrawal::Retracted,
        in_flight_until: None,
    };
    let scene = Scene::new().log(&[(11, OWN, Some(row(11, OWN, withdrawn)))]);
    let answer = scene.ask(Some(at(10))).await.unwrap().answer;
    assert_eq!((answer.channels.len(), answer.replay), (0, false));
}

#[tokio::test]
async fn deliveries_are_looked_at_after_the_head_was_read() {
    let mut scene = Scene::new().log(&[(11, OWN, Some(done(11, OWN)))]);
    let head_read = Arc::new(Mutex::new(false));
    let (reading, finding) = (Arc::clone(&head_read), Arc::clone(&head_read));
    scene.store.checkpoint();
    scene.outbox.checkpoint();
    scene.store.expect_head().returning(move || {
        *reading.lock().unwrap() = true;
        Ok(head())
    });
    let page = EventPage {
        events: vec![Arc::new(Event {
            position: Position(11),
            at: SimClock::START,
            change: Change::Retracted {
                channel: OWN.parse().unwrap(),
                id: "019b76da-a800-7cc0-8a5e-0a6b6e1f2c3d".parse().unwrap(),
            },
        })],
        scanned_to: Position(20),
        head: head(),
    };
    scene
        .store
        .expect_read_channels()
        .returning(move |_| Ok(page.clone()));
    scene.outbox.expect_find().returning(move |_| {
        assert!(
            *finding.lock().unwrap(),
            "an event that comes now would pass for accepted"
        );
        Ok(DeliveryPage {
            rows: vec![done(11, OWN)],
            now: SimClock::START,
        })
    });
    assert!(!scene.ask(Some(at(10))).await.unwrap().answer.replay);
}

#[tokio::test]
async fn a_cursor_that_nothing_can_be_given_after_is_sent_to_the_replay_without_reading_the_log() {
    let other = |epoch| Cursor {
        epoch: Epoch(epoch),
        ..at(10)
    };
    for after in [other(6), other(8), at(21), at(3)] {
        let answer = Scene::new().ask(Some(after)).await.unwrap().answer;
        assert_eq!(answer, to_replay(after, at(20)), "{after}");
    }
}

#[tokio::test]
async fn history_that_goes_while_it_is_read_is_for_the_replay_to_report() {
    let moved = Head {
        cursor: at(40),
        oldest: Position(30),
    };
    for error in [
        ReadError::Expired { head: moved },
        ReadError::EpochChanged { head: moved },
    ] {
        let mut scene = Scene::new();
        scene
            .store
            .expect_read_channels()
            .returning(move |_| Err(error.clone()));
        let answer = scene.ask(Some(at(10))).await.unwrap().answer;
        assert_eq!(answer, to_replay(at(10), at(40)));
    }
}

#[tokio::test]
async fn whoever_is_far_behind_is_sent_to_the_replay_after_one_page() {
    let mut scene = Scene::new();
    scene.store.expect_read_channels().times(1).returning(|_| {
        Ok(EventPage {
            events: Vec::new(),
            scanned_to: Position(19),
            head: head(),
        })
    });
    let seen = Arc::clone(&scene.seen);
    let answer = scene.ask(Some(at(10))).await.unwrap().answer;
    assert_eq!(answer, to_replay(at(10), at(20)));
    assert!(
        seen.0
            .lock()
            .unwrap()
            .contains(&Observation::Full("transport_events"))
    );
}

#[tokio::test]
async fn without_a_cursor_or_at_the_head_there_is_nothing_to_look_at() {
    for after in [None, Some(at(20))] {
        let selected = Scene::new().ask(after).await.unwrap();
        let nothing = Answer::from_log(at(20), at(20), []);
        assert_eq!((selected.transport, selected.answer), (Kind::Ably, nothing));
    }
}

#[tokio::test]
async fn people_on_the_streams_are_told_why_and_nobody_reads_the_log_for_them() {
    let sent_away = |reason, change: &dyn Fn(&mut Scene)| {
        let mut scene = Scene::new();
        change(&mut scene);
        (reason, scene)
    };
    let open = BreakerState::Open {
        retry_after: Duration::from_secs(1),
    };
    let table = [
        sent_away(Reason::NotConfigured, &|scene| scene.breaker = None),
        sent_away(Reason::KillSwitch, &|scene| {
            let (by, why) = ("admin".parse().unwrap(), Why::try_new("a drill").unwrap());
            scene.rollout.kill_switch = Some(KillSwitch::new(by, why, SimClock::START));
        }),
        sent_away(Reason::OutsideCohort, &|scene| {
            scene.rollout.share = Share::percent(0);
        }),
        sent_away(Reason::BreakerOpen, &|scene| scene.breaker = Some(open)),
        sent_away(Reason::BreakerProbing, &|scene| {
            scene.breaker = Some(BreakerState::HalfOpen);
        }),
        sent_away(Reason::Unhealthy, &|scene| scene.health = Health::Down),
    ];
    for (reason, scene) in table {
        let selected = scene.ask(Some(at(10))).await.unwrap();
        assert_eq!((selected.transport, selected.reason), (Kind::Streams, reason));
        assert_eq!(selected.answer, to_replay(at(10), at(20)), "{reason:?}");
        let soon = matches!(
            reason,
            Reason::BreakerOpen | Reason::BreakerProbing | Reason::Unhealthy
        );
        assert_eq!(selected.poll_after < POLL_MIN, soon, "{reason:?}: {selected:?}");
    }
}

#[tokio::test]
async fn whoever_could_not_be_given_again_what_ably_loses_is_on_the_streams() {
    let mut scene = Scene::new();
    let live_only = Operations::NONE.with(Operation::Subscribe);
    let grants = RoleGrants {
        channels: [(Scope::System, live_only)].into(),
        ..RoleGrants::default()
    };
    scene.rights = Rights::new(Matrix::new([(Role::new("WATCHER"), grants)]));
    let selected = scene.ask_as("WATCHER", Some(at(10))).await.unwrap();
    assert_eq!(
        (selected.transport, selected.reason),
        (Kind::Streams, Reason::HistoryWithheld)
    );
}

#[tokio::test]
async fn whoever_may_hear_nothing_is_refused() {
    let refused = Scene::new().ask_as("SERVICE", None).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))));
}

#[tokio::test]
async fn a_store_or_an_outbox_that_is_away_is_said() {
    let away = StoreError::Unavailable {
        retry_after: Duration::from_secs(1),
    };
    let mut scene = Scene::new().log(&[(11, OWN, None)]);
    let error = away.clone();
    scene.outbox.checkpoint();
    scene.outbox.expect_find().returning(move |_| Err(error.clone()));
    assert_eq!(scene.ask(Some(at(10))).await, Err(Error::Store(away)));
}

#[test]
fn nobody_waits_longer_than_the_longest_pause() {
    assert_eq!(
        POLL_MIN + Jitter::from_bits(u64::MAX).of(POLL_MAX.saturating_sub(POLL_MIN)),
        POLL_MAX
    );
    assert!(POLL_SOON_MIN * 2 < POLL_MIN);
}
