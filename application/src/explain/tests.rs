//! What is explained is what people are told and what the deliveries hold, and nobody is remembered by it.

use domain::breaker::BreakerState;
use domain::capability::{Matrix, Role};
use domain::cohort::Share;
use domain::cursor::Epoch;
use domain::event::MarkName;
use domain::outbox::{DeadReason, Delivery, Status};
use domain::policy::{Health, Rule, Said};
use domain::rollout::Rollout;
use domain::transport::{Reason, Transport as Kind};

use super::*;
use crate::ports::{DeliveryPage, EventPage, Head, MockOutbox, MockStore, MockTransport};
use crate::rights::Rights;
use crate::testing::{SeededEntropy, SimClock, Unobserved};

const UNIT: &str = "private:unit:cras-1:notifications";
const OWN: &str = "private:user:ana:notifications";
const ID: &str = "019b76da-a800-7cc0-8a5e-0a6b6e1f2c3d";

fn at(position: u64) -> Cursor {
    Cursor {
        epoch: Epoch(7),
        position: Position(position),
    }
}

fn id() -> NotificationId {
    ID.parse().unwrap()
}

fn user() -> UserId {
    "ana".parse().unwrap()
}

struct Scene {
    store: MockStore,
    outbox: MockOutbox,
    holder: Option<TokenHolder>,
}

impl Scene {
    /// The notification was published on these channels.
    fn published_on(channels: &[&str]) -> Self {
        let channels: Vec<Channel> = channels.iter().map(|name| name.parse().unwrap()).collect();
        let mut store = MockStore::new();
        store
            .expect_channels_of()
            .returning(move |_| Ok(Some(channels.clone())));
        store.expect_head().returning(|| {
            Ok(Head {
                cursor: at(2_500),
                oldest: Position(5),
            })
        });
        Self {
            store,
            outbox: MockOutbox::new(),
            holder: None,
        }
    }

    fn held_by(mut self, units: &[&str]) -> Self {
        self.holder = Some(TokenHolder {
            user: user(),
            units: units.iter().map(|unit| unit.parse().unwrap()).collect(),
            roles: vec![Role::new("TECNICO")],
            until: SimClock::START,
        });
        self
    }

    async fn explain(mut self, notification: Option<NotificationId>) -> Result<Explanation, Error> {
        let holder = self.holder;
        self.outbox.expect_holders().returning(move |users| {
            assert_eq!(users, [user()]);
            Ok(holder.clone().into_iter().collect())
        });
        let mut ably = MockTransport::new();
        ably.expect_breaker().return_const(BreakerState::HalfOpen);
        let mut rollout = Rollout::new("0123456789abcdef".parse().unwrap());
        rollout.share = Share::percent(100);
        let explain = Explain {
            select: Arc::new(SelectTransport {
                store: Arc::new(self.store),
                outbox: Arc::new(self.outbox),
                rights: Arc::new(Rights::new(Matrix::default_roles())),
                ably: Some(Arc::new(ably)),
                rollout: Box::new(move || rollout.clone()),
                health: Box::new(|| Health::Up),
                entropy: Arc::new(SeededEntropy::new(1)),
                observer: Arc::new(Unobserved),
            }),
        };
        explain.run(&user(), notification).await
    }
}

fn event(position: u64, of: &str) -> Arc<Event> {
    Arc::new(Event {
        position: Position(position),
        at: SimClock::START,
        change: Change::Marked {
            channel: OWN.parse().unwrap(),
            marks: Marked {
                what: MarkedWhat::One(of.parse().unwrap(), MarkName::Read),
                unread: 0,
                unread_as_of: at(position),
            },
        },
    })
}

#[tokio::test]
async fn a_person_is_explained_rule_by_rule_up_to_the_one_that_decides() {
    let explanation = Scene::published_on(&[]).explain(None).await.unwrap();
    assert_eq!((explanation.holder, explanation.notification), (None, None));
    let steps: Vec<_> = explanation
        .route
        .steps()
        .map(|step| (step.rule, step.said))
        .collect();
    assert_eq!(
        steps,
        [
            (Rule::Configured, Said::Nothing),
            (Rule::KillSwitch, Said::Nothing),
            (Rule::Override, Said::Nothing),
            (Rule::Cohort, Said::Ably(Reason::InCohort)),
            (Rule::Breaker, Said::Streams(Reason::BreakerProbing)),
        ]
    );
    assert_eq!(explanation.route.transport(), Kind::Streams);
}

#[tokio::test]
async fn the_events_of_a_notification_are_found_page_by_page_with_their_deliveries() {
    let mut scene = Scene::published_on(&[OWN, "private:user:bia:notifications"]);
    scene.store.expect_read_channels().times(3).returning(|query| {
        assert_eq!(
            query.channels,
            [OWN.parse().unwrap()],
            "nobody else's channel is read"
        );
        let other = "019b76da-a800-7cc0-8a5e-000000000000";
        let (events, scanned_to) = match query.after.position.0 {
            4 => (vec![event(7, ID), event(8, other)], 1_000),
            1_000 => (Vec::new(), 2_000),
            2_000 => (vec![event(2_100, ID)], 2_500),
            after => panic!("{after}"),
        };
        Ok(EventPage {
            events,
            scanned_to: Position(scanned_to),
            head: Head {
                cursor: at(2_500),
                oldest: Position(5),
            },
        })
    });
    scene.outbox.expect_find().returning(|positions| {
        assert_eq!(positions, [Position(7), Position(2_100)]);
        let dead = Status::Dead(DeadReason::Refused { code: 40_009 });
        let row = DeliveryRow {
            cursor: at(7),
            channel: OWN.parse().unwrap(),
            delivery: Delivery {
                status: dead,
                ..Delivery::pending(SimClock::START)
            },
            version: 2,
        };
        Ok(DeliveryPage {
            rows: vec![row],
            now: SimClock::START,
        })
    });
    let way = scene.explain(Some(id())).await.unwrap().notification.unwrap();
    assert_eq!((way.addressed, way.complete), (Addressed::Yes, Complete::All));
    assert_eq!(way.channel, Some(OWN.parse().unwrap()));
    let events: Vec<_> = way
        .events
        .iter()
        .map(|step| (step.cursor, step.event, step.carried, step.delivery.is_some()))
        .collect();
    assert_eq!(
        events,
        [
            (at(7), "state", Carried::Missed, true),
            (at(2_100), "state", Carried::Missed, false),
        ]
    );
}

#[tokio::test]
async fn a_history_that_is_too_long_to_be_looked_through_says_so() {
    let mut scene = Scene::published_on(&[OWN]);
    scene
        .store
        .expect_read_channels()
        .times(LOOKED_THROUGH_MAX / PAGE)
        .returning(|query| {
            Ok(EventPage {
                events: Vec::new(),
                scanned_to: query.after.position.next(),
                head: Head {
                    cursor: at(2_500),
                    oldest: Position(5),
                },
            })
        });
    let way = scene.explain(Some(id())).await.unwrap().notification.unwrap();
    assert_eq!((way.events.len(), way.complete), (0, Complete::Partly));
}

#[tokio::test]
async fn whether_a_group_is_theirs_is_known_from_their_token_alone() {
    let nothing = |query: &ChannelsQuery| {
        Ok(EventPage {
            events: Vec::new(),
            scanned_to: query.up_to,
            head: Head {
                cursor: at(2_500),
                oldest: Position(5),
            },
        })
    };
    let benefit = "private:benefit:natalidade:notifications";
    let table: [(&str, Option<&[&str]>, Addressed); 6] = [
        (UNIT, None, Addressed::Unknown),
        (UNIT, Some(&["cras-1"]), Addressed::Yes),
        (UNIT, Some(&["cras-2"]), Addressed::No),
        (benefit, Some(&["cras-1"]), Addressed::Unknown),
        ("system:notifications", None, Addressed::Yes),
        ("private:user:bia:notifications", None, Addressed::No),
    ];
    for (channel, units, addressed) in table {
        let mut scene = Scene::published_on(&[channel]);
        scene.store.expect_read_channels().returning(nothing);
        if let Some(units) = units {
            scene = scene.held_by(units);
        }
        let way = scene.explain(Some(id())).await.unwrap().notification.unwrap();
        assert_eq!(way.addressed, addressed, "{channel} {units:?}");
        assert_eq!(way.channel.is_none(), addressed == Addressed::No);
    }
}

#[tokio::test]
async fn a_notification_that_is_unknown_or_gone_is_not_found() {
    let mut scene = Scene::published_on(&[]);
    scene.store = MockStore::new();
    scene.store.expect_channels_of().returning(|_| Ok(None));
    let refused = scene.explain(Some(id())).await;
    assert_eq!(refused, Err(Error::NotFound("notification")));
}
